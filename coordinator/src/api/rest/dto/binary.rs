//! Vectors as bytes: standard base64 of little-endian `float32`, row-major.

use super::numbers;
use crate::api::rest::json::Int;
use crate::service::{ServiceError, Vectors};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const FLOAT_BYTES: usize = size_of::<f32>();

/// Whole rows of `dimension` finite numbers, possibly none.
pub(super) fn decode(vectors_b64: &str, dimension: Int) -> Result<Vectors, ServiceError> {
    let dimension = numbers::dimension(dimension)?;
    let bytes = STANDARD.decode(vectors_b64).map_err(|_| {
        ServiceError::invalid("vectors_b64 must be standard base64 with padding and without line breaks.")
    })?;
    if !bytes.len().is_multiple_of(dimension.get() * FLOAT_BYTES) {
        return Err(ServiceError::invalid(format!(
            "vectors_b64 holds {} bytes, which are not whole rows of {dimension} float32 numbers.",
            bytes.len()
        )));
    }
    let (floats, _) = bytes.as_chunks::<FLOAT_BYTES>();
    numbers::vectors(
        dimension,
        floats.iter().copied().map(f32::from_le_bytes).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(values: &[f32]) -> String {
        STANDARD.encode(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    fn refusal(vectors_b64: &str, dimension: i64) -> String {
        decode(vectors_b64, Int(dimension))
            .err()
            .unwrap()
            .detail()
            .to_owned()
    }

    #[test]
    fn rows_come_back() {
        let vectors = decode(&base64(&[1.0, -2.5, 3.0, f32::MIN_POSITIVE]), Int(2)).unwrap();
        assert_eq!(
            vectors.rows().collect::<Vec<_>>(),
            [&[1.0, -2.5], &[3.0, f32::MIN_POSITIVE]]
        );
        assert!(decode("", Int(2)).unwrap().is_empty());
    }

    #[test]
    fn only_whole_rows_of_standard_base64() {
        let whole = base64(&[1.0, 2.0]);
        for broken in [
            "AACAPw",
            "AACAPw=",
            "AACA\nPw==",
            "AACA*Pw=",
            "AACA_w==",
            "AACAPx==",
        ] {
            assert!(
                refusal(broken, 1).starts_with("vectors_b64 must be standard base64"),
                "{broken}"
            );
        }
        assert!(refusal("AAA=", 1).contains("2 bytes"));
        assert!(refusal(&whole, 3).contains("8 bytes"));
        assert!(refusal(&whole, 0).contains("dimension"));
        assert!(refusal(&whole, -1).contains("dimension"));
        assert!(refusal(&base64(&[1.0, 2.0, 3.0, f32::NAN]), 2).contains("vector at index 1"));
    }
}
