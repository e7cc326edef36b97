//! Numbers that look random and are the same in every run: SplitMix64 (Steele, Lea, Flood, 2014). Not for keys.

/// A generator of repeatable pseudo-random numbers.
pub struct Random(u64);

impl Random {
    /// A generator whose whole sequence follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator that starts elsewhere in every run, and says so: the printed seed repeats the run.
    pub fn from_clock(purpose: &str, variable: &str) -> Self {
        let seed = match std::env::var(variable) {
            Ok(given) => given.parse().expect("the seed variable holds a number"),
            Err(_) => std::time::UNIX_EPOCH
                .elapsed()
                .expect("the clock is past 1970")
                .as_nanos() as u64,
        };
        println!("{purpose}: repeat with {variable}={seed}");
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.word()) * bound as u128) >> 64) as usize
    }

    /// True with probability `percent` in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Roughly normal, mean 0, variance 1: the sum of twelve uniform numbers, less six.
    pub fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12)
            .map(|_| (self.word() >> 11) as f64 / (1u64 << 53) as f64)
            .sum();
        (sum - 6.0) as f32
    }

    /// A vector of `dimension` roughly normal numbers.
    pub fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.normal()).collect()
    }

    /// `bytes` random bytes in lower-case hex.
    pub fn hex(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.word() as u8)).collect()
    }
}

/// Vectors in loose clumps, as embeddings come: `rows` points around `clumps` centres.
pub fn clumped(random: &mut Random, rows: usize, clumps: usize, dimension: usize) -> Vec<Vec<f32>> {
    let centres: Vec<Vec<f32>> = (0..clumps).map(|_| random.vector(dimension)).collect();
    (0..rows)
        .map(|_| {
            let centre = &centres[random.below(clumps)];
            centre.iter().map(|x| x + 0.3 * random.normal()).collect()
        })
        .collect()
}
