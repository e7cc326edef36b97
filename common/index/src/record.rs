//! The plaintext of an item's meta record: its id and its metadata.
//!
//! ```text
//! record = version, id (length, UTF-8), metadata (as `Metadata::encode`, to the end)
//! ```

use crate::layout::{LayoutError, Reader, put_prefixed};
use crate::metadata::Metadata;

const LAYOUT: &str = "a meta record";
const VERSION: u8 = 1;

/// Writes a meta record.
pub fn encode_meta(id: &str, metadata: &Metadata) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_prefixed(&mut out, id.as_bytes());
    out.extend_from_slice(&metadata.encode());
    out
}

/// Reads a meta record back: the id and the metadata.
pub fn decode_meta(bytes: &[u8]) -> Result<(String, Metadata), LayoutError> {
    let mut reader = Reader::new(bytes, LAYOUT);
    reader.version(VERSION)?;
    let id = reader.text()?.to_owned();
    Ok((id, Metadata::decode(reader.rest())?))
}
