//! Plaintexts of an item: its id with its metadata, and all of it in one piece.
//!
//! ```text
//! meta  = version, id (length, UTF-8), metadata (as `Metadata::encode`, to the end)
//! whole = version, meta (length, bytes), contents (0, or 1 with length and bytes), vector (as it is stored, to the end)
//! ```

use crate::layout::{LayoutError, Reader, put_prefixed};
use crate::metadata::Metadata;

const LAYOUT: &str = "a meta record";
const WHOLE_LAYOUT: &str = "an item";
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

/// A whole item, read from one piece.
#[derive(PartialEq)]
pub struct WholeItem<'a> {
    /// Its id.
    pub id: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its contents, if it has some.
    pub contents: Option<&'a [u8]>,
    /// Its vector in the bytes that the index's precision stores.
    pub vector: &'a [u8],
}

/// Writes a whole item.
pub fn encode_whole(id: &str, metadata: &Metadata, contents: Option<&[u8]>, vector: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_prefixed(&mut out, &encode_meta(id, metadata));
    out.push(u8::from(contents.is_some()));
    if let Some(contents) = contents {
        put_prefixed(&mut out, contents);
    }
    out.extend_from_slice(vector);
    out
}

/// Reads a whole item back.
pub fn decode_whole(bytes: &[u8]) -> Result<WholeItem<'_>, LayoutError> {
    let mut reader = Reader::new(bytes, WHOLE_LAYOUT);
    reader.version(VERSION)?;
    let (id, metadata) = decode_meta(reader.prefixed()?)?;
    let contents = match reader.u8()? {
        0 => None,
        1 => Some(reader.prefixed()?),
        _ => return Err(reader.damaged()),
    };
    Ok(WholeItem {
        id,
        metadata,
        contents,
        vector: reader.rest(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_item_survives_a_round_trip(
            id in ".{0,20}",
            contents in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            vector in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let bytes = encode_whole(&id, &Metadata::empty(), contents.as_deref(), &vector);
            let expected = WholeItem {
                id,
                metadata: Metadata::empty(),
                contents: contents.as_deref(),
                vector: &vector,
            };
            prop_assert!(decode_whole(&bytes).unwrap() == expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_whole(&bytes);
            let _ = decode_whole(&[&[VERSION], bytes.as_slice()].concat());
        }
    }

    #[test]
    fn the_format_never_changes() {
        let bytes = encode_whole("id", &Metadata::empty(), Some(b"text"), &[7, 8]);
        let metadata = Metadata::empty().encode();
        let meta_bytes = 4 + metadata.len() as u8;
        let expected = [
            &[1, meta_bytes, 1, 2, b'i', b'd'],
            metadata.as_slice(),
            &[1, 4, b't', b'e', b'x', b't', 7, 8],
        ];
        assert_eq!(bytes, expected.concat());
        for cut in 0..bytes.len() - 2 {
            assert!(decode_whole(&bytes[..cut]).is_err(), "{cut} bytes");
        }
    }
}
