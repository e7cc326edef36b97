//! Sizes that blocks are rounded up to, so that a block's size tells its class and not what is in it.

/// The smallest class that holds `bytes`: a power of two, or one of the three geometric steps to the next.
pub(crate) fn size_class(bytes: usize) -> usize {
    /// 2^0, 2^(1/4), 2^(1/2), 2^(3/4) in units of 2^-16, rounded up.
    const STEPS: [u128; 4] = [65_536, 77_936, 92_682, 110_218];
    let bytes = bytes.max(1);
    let octave = bytes.ilog2();
    STEPS
        .iter()
        .map(|step| ((step << octave) >> 16) as usize)
        .find(|class| *class >= bytes)
        .unwrap_or(2 << octave)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn classes_hold_what_they_are_for_and_waste_little(bytes in 1usize..1 << 40) {
            let class = size_class(bytes);
            prop_assert!(class >= bytes);
            // One step is 18.92 %; rounding adds up to a byte.
            prop_assert!(class as f64 <= bytes as f64 * 1.1893 + 1.0);
            prop_assert_eq!(size_class(class), class);
        }
    }

    #[test]
    fn there_are_four_classes_to_an_octave() {
        let mut classes: Vec<usize> = (1025..=2048).map(size_class).collect();
        classes.dedup();
        assert_eq!(classes, [1217, 1448, 1722, 2048]);
    }
}
