//! Vectors that cluster, as embeddings do.

/// Rows and queries of one distribution, row-major.
pub(crate) struct Data {
    pub(crate) dimension: usize,
    pub(crate) rows: Vec<f32>,
    pub(crate) queries: Vec<f32>,
}

impl Data {
    /// 200 centres of unequal weight; around each, a few directions of large variance and noise in all.
    pub(crate) fn clustered(rows: usize, queries: usize, dimension: usize, seed: u64) -> Self {
        let mut rng = Random(seed);
        let centres: Vec<Vec<f32>> = (0..200).map(|_| rng.normals(dimension, 1.0)).collect();
        let directions: Vec<Vec<f32>> = (0..24).map(|_| rng.normals(dimension, 0.35)).collect();
        let mut vector = || {
            // Products of uniform numbers favour the first centres.
            let centre = &centres[(rng.unit() * rng.unit() * centres.len() as f64) as usize];
            let mut vector = centre.clone();
            for direction in &directions {
                let along = rng.normal();
                vector
                    .iter_mut()
                    .zip(direction)
                    .for_each(|(value, step)| *value += along * step);
            }
            vector.iter_mut().for_each(|value| *value += 0.3 * rng.normal());
            vector
        };
        let rows = (0..rows).flat_map(|_| vector()).collect();
        let queries = (0..queries).flat_map(|_| vector()).collect();
        Self {
            dimension,
            rows,
            queries,
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    fn normals(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| scale * self.normal()).collect()
    }
}
