//! Vectors in half precision: two little-endian bytes per value.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Values converted at a time.
const CHUNK: usize = 256;

/// Appends `v` in half precision, rounded to nearest. False if a value is too large for it, infinite or NaN; what was
/// appended is of no use then.
#[must_use]
pub fn encode_f16(v: &[f32], out: &mut Vec<u8>) -> bool {
    let mut halves = [f16::ZERO; CHUNK];
    let mut finite = true;
    for values in v.chunks(CHUNK) {
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        finite &= halves.iter().fold(true, |finite, half| finite & half.is_finite());
        out.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    }
    finite
}

/// Replaces what is in `out` by the values of `bytes`; an odd last byte is ignored.
pub fn decode_f16(bytes: &[u8], out: &mut Vec<f32>) {
    let mut halves = [f16::ZERO; CHUNK];
    out.clear();
    out.resize(bytes.len() / 2, 0.0);
    for (bytes, values) in bytes.as_chunks::<2>().0.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
        let halves = &mut halves[..values.len()];
        halves
            .iter_mut()
            .zip(bytes)
            .for_each(|(half, bytes)| *half = f16::from_le_bytes(*bytes));
        halves.convert_to_f32_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_survive_and_overflow_is_seen() {
        let values: Vec<f32> = (0..1_000).map(|i| (i as f32 - 500.0) / 8.0).collect();
        let (mut bytes, mut back) = (Vec::new(), vec![7.0]);
        assert!(encode_f16(&values, &mut bytes));
        decode_f16(&bytes, &mut back);
        assert_eq!(back, values);
        assert!(encode_f16(&[65_504.0, 65_519.0], &mut Vec::new()));
        assert!(!encode_f16(&[1.0, 65_520.0], &mut Vec::new()));
        assert!(!encode_f16(&[f32::NAN], &mut Vec::new()));
    }
}
