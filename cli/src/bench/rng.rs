//! The generator behind made-up data. Its sequence is fixed for ever: a figure quoted with a seed can be taken again.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Not for secrets.
pub(super) struct Rng {
    state: u64,
}

impl Rng {
    /// The sequence number `stream` of `seed`; sequences of one seed are independent of each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self { state: seed };
        rng.state = rng.next_u64() ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03);
        rng.next_u64();
        rng
    }

    /// 64 uniform bits.
    pub(super) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..`bound`, which is at least 1. The bias is below 2^-32 for the bounds used here.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Standard normal, by the polar-free Box-Muller transform.
    pub(super) fn normal(&mut self) -> f32 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let radius = (-2.0 * unit(self.next_u64()).ln()).sqrt();
        let angle = std::f64::consts::TAU * unit(self.next_u64());
        (radius * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_never_changes() {
        let mut plain = Rng { state: 1_234_567 };
        assert_eq!(
            plain.next_u64(),
            6_457_827_717_110_365_317,
            "published test vector of SplitMix64"
        );
        assert_eq!(plain.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |stream| Rng::new(7, stream).next_u64();
        assert_ne!(draw(0), draw(1));
        assert_eq!(draw(1), draw(1));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut rng = Rng::new(3, 0);
        let sample: Vec<f64> = (0..20_000).map(|_| f64::from(rng.normal())).collect();
        let mean = sample.iter().sum::<f64>() / sample.len() as f64;
        let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / sample.len() as f64;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "mean {mean}, variance {variance}"
        );
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        let mut rng = Rng::new(5, 0);
        let seen: Vec<usize> = (0..200).map(|_| rng.below(3)).collect();
        assert!((0..3).all(|value| seen.contains(&value)) && seen.iter().all(|value| *value < 3));
    }
}
