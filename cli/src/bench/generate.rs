//! Made-up data whose difficulty can be set. It knows nothing of files and servers.
//!
//! What makes a data set hard for an index is not its dimension but its intrinsic dimension: how many directions the
//! neighbours of a point spread over. Here points are a Gaussian mixture in few directions, embedded in `dimension` by
//! a random linear map, plus noise in all directions that is too weak to reorder neighbours. The number of directions
//! is chosen such that the usual estimate, from ten neighbours among 10^5 to 10^6 points, comes out near `intrinsic`.

use super::rng::Rng;
use super::rows::Rows;
use rayon::prelude::*;
use std::fmt;
use std::str::FromStr;

/// The spread of a component, of which the centres spread over 1: components overlap, as they do in real embeddings.
const COMPONENT_SPREAD: f32 = 0.6;

/// Length of the noise against the spread of a component.
const NOISE: f32 = 0.05;

/// Rows per component on average.
const ROWS_PER_COMPONENT: usize = 500;

/// Directions a point may vary in unless asked otherwise.
const INTRINSIC: usize = 16;

/// `clustered:ROWSxDIMENSION[:INTRINSIC]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Clustered {
    /// How many vectors are to be stored; queries come on top.
    pub(super) rows: usize,
    /// Numbers per vector.
    pub(super) dimension: usize,
    /// The intrinsic dimension as it is estimated, at most `dimension`.
    pub(super) intrinsic: usize,
}

/// A description that is not of the form `clustered:ROWSxDIMENSION[:INTRINSIC]`.
#[derive(Debug, thiserror::Error)]
#[error("wanted clustered:ROWSxDIMENSION[:INTRINSIC], for instance clustered:150000x384:25")]
pub(super) struct NotClustered;

impl FromStr for Clustered {
    type Err = NotClustered;

    fn from_str(text: &str) -> Result<Self, NotClustered> {
        let number = |text: &str| {
            text.trim()
                .parse::<usize>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or(NotClustered)
        };
        let shape = text.strip_prefix("clustered:").ok_or(NotClustered)?;
        let (shape, intrinsic) = match shape.split_once(':') {
            Some((shape, intrinsic)) => (shape, Some(number(intrinsic)?)),
            None => (shape, None),
        };
        let (rows, dimension) = shape.split_once(['x', '×']).ok_or(NotClustered)?;
        let (rows, dimension) = (number(rows)?, number(dimension)?);
        Ok(Self {
            rows,
            dimension,
            intrinsic: intrinsic.unwrap_or(INTRINSIC).min(dimension),
        })
    }
}

impl fmt::Display for Clustered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clustered:{}x{}:{}", self.rows, self.dimension, self.intrinsic)
    }
}

impl Clustered {
    /// The vectors to store, then `queries` more of the same distribution. The same seed gives the same numbers.
    pub(super) fn generate(&self, seed: u64, queries: usize) -> (Rows<f32>, Rows<f32>) {
        let mixture = Mixture::draw(self, seed);
        let make = |first: usize, count: usize| {
            let mut values = vec![0.0; count * self.dimension];
            values
                .par_chunks_mut(self.dimension)
                .enumerate()
                .for_each(|(row, out)| {
                    mixture.sample(&mut Rng::new(seed, 2 + (first + row) as u64), out);
                });
            Rows::new(self.dimension, values)
        };
        (make(0, self.rows), make(self.rows, queries))
    }
}

struct Mixture {
    /// One row per component, as wide as there are directions.
    centres: Rows<f32>,
    /// One row per direction, `dimension` wide and of length about 1.
    directions: Rows<f32>,
    noise: f32,
}

/// Directions that the mixture spans. The estimate falls behind them the more the sparser they are filled; measured
/// at 50,000 to 400,000 points: 8 directions give 8, 24 give 16, 50 give 25.
fn directions(shape: &Clustered) -> usize {
    let intrinsic = shape.intrinsic;
    (intrinsic + intrinsic * intrinsic.saturating_sub(7) / 18).min(shape.dimension)
}

impl Mixture {
    fn draw(shape: &Clustered, seed: u64) -> Self {
        let normals = |rng: &mut Rng, count: usize, spread: f32| -> Vec<f32> {
            (0..count).map(|_| rng.normal() * spread).collect()
        };
        let (components, count) = (shape.rows.div_ceil(ROWS_PER_COMPONENT), directions(shape));
        let unit = 1.0 / (shape.dimension as f32).sqrt();
        let centres = normals(&mut Rng::new(seed, 0), components * count, 1.0);
        let directions = normals(&mut Rng::new(seed, 1), count * shape.dimension, unit);
        Self {
            centres: Rows::new(count, centres),
            directions: Rows::new(shape.dimension, directions),
            noise: NOISE * COMPONENT_SPREAD * (count as f32).sqrt() * unit,
        }
    }

    fn sample(&self, rng: &mut Rng, out: &mut [f32]) {
        out.fill_with(|| rng.normal() * self.noise);
        let centre = self.centres.row(rng.below(self.centres.len()));
        for (direction, middle) in self.directions.iter().zip(centre) {
            let along = middle + COMPONENT_SPREAD * rng.normal();
            for (value, step) in out.iter_mut().zip(direction) {
                *value += along * step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth;
    use super::*;
    use indicatif::ProgressBar;
    use sealdex_core::Metric;

    #[test]
    fn reads_its_description() {
        let full = Clustered {
            rows: 150_000,
            dimension: 384,
            intrinsic: 25,
        };
        assert_eq!("clustered:150000x384:25".parse::<Clustered>().unwrap(), full);
        assert_eq!("clustered:10 x 8".parse::<Clustered>().unwrap().intrinsic, 8);
        for wrong in [
            "",
            "clustered:",
            "clustered:10",
            "clustered:0x8",
            "uniform:10x8",
            "clustered:10x8:",
        ] {
            assert!(wrong.parse::<Clustered>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_numbers_and_another_seed_others() {
        let shape = Clustered {
            rows: 50,
            dimension: 6,
            intrinsic: 3,
        };
        assert_eq!(shape.generate(1, 5), shape.generate(1, 5));
        assert_ne!(shape.generate(1, 5).0, shape.generate(2, 5).0);
        let (stored, queries) = shape.generate(1, 5);
        assert_eq!((stored.len(), queries.len()), (50, 5));
        assert!(queries.iter().all(|query| stored.iter().all(|row| row != query)));
    }

    #[test]
    fn the_intrinsic_dimension_is_the_one_asked_for() {
        for (intrinsic, allowed) in [(4, 3.4..4.6), (12, 9.5..14.5)] {
            let shape = Clustered {
                rows: 20_000,
                dimension: 48,
                intrinsic,
            };
            let (stored, queries) = shape.generate(1, 100);
            let hidden = ProgressBar::hidden();
            let truth = truth::nearest(Metric::Euclidean, &stored, None, &queries, 10, &hidden);
            let estimate = truth::intrinsic_dimension(Metric::Euclidean, &truth).unwrap();
            assert!(allowed.contains(&estimate), "{intrinsic}: {estimate}");
        }
    }
}
