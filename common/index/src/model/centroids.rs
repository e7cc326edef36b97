//! The centroids of a generation, and which of them are nearest.

use super::coarse::Coarse;
use crate::kernel::{self, Isa};
use sealdex_core::ClusterNo;
use std::cmp::Ordering;

/// From this many values on, a first look in 8 bits saves time.
const COARSE_FROM: usize = 16 * 1024;
/// What the first look lets through: this many times the number wanted, and some more.
const COARSE_FACTOR: f64 = 1.25;
const COARSE_MORE: usize = 8;

/// Centroids in prepared space.
#[derive(Clone)]
pub struct Centroids {
    dimension: usize,
    values: Vec<f32>,
    /// Half the squared length of each.
    half_squares: Vec<f32>,
    coarse: Option<Coarse>,
}

impl Centroids {
    /// Takes `values`, which are row-major and at least one row.
    pub fn new(dimension: usize, values: Vec<f32>) -> Self {
        let half_squares = values
            .chunks_exact(dimension)
            .map(|c| kernel::dot(Isa::best(), c, c) / 2.0)
            .collect();
        let coarse = (values.len() >= COARSE_FROM).then(|| Coarse::new(dimension, &values));
        Self {
            dimension,
            values,
            half_squares,
            coarse,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.half_squares.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.half_squares.is_empty()
    }

    /// The centroid of a cluster.
    ///
    /// # Panics
    /// If there is no such cluster.
    pub fn get(&self, cluster: ClusterNo) -> &[f32] {
        &self.values[cluster.0 as usize * self.dimension..][..self.dimension]
    }

    /// All of them, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The `count` nearest to `query`, each with its squared distance; nearest first, equals by number.
    pub(super) fn nearest(&self, query: &[f32], count: usize) -> Vec<(f32, ClusterNo)> {
        let square = kernel::dot(Isa::best(), query, query);
        let mut products = vec![0.0; self.len()];
        let wide = (count as f64 * COARSE_FACTOR) as usize + COARSE_MORE;
        let nearest = match &self.coarse {
            Some(coarse) if wide < self.len() / 2 => {
                coarse.products(query, &mut products);
                let mut found = least(self.distances(square, &products), wide);
                for (distance, cluster) in &mut found {
                    let product = kernel::dot(Isa::best(), query, self.get(*cluster));
                    *distance = self.distance(square, product, *cluster);
                }
                found
            }
            _ => {
                kernel::dots(Isa::best(), query, &self.values, &mut products);
                self.distances(square, &products).collect()
            }
        };
        let mut nearest = least(nearest.into_iter(), count);
        nearest.sort_unstable_by(order);
        nearest
    }

    fn distances(&self, square: f32, products: &[f32]) -> impl Iterator<Item = (f32, ClusterNo)> {
        let numbered = products.iter().zip((0..).map(ClusterNo));
        numbered.map(move |(product, cluster)| (self.distance(square, *product, cluster), cluster))
    }

    fn distance(&self, square: f32, product: f32, cluster: ClusterNo) -> f32 {
        (square + 2.0 * (self.half_squares[cluster.0 as usize] - product)).max(0.0)
    }

    /// The nearest to each of `rows`, equals by number, and the squared distance to it.
    pub(super) fn nearest_to_each(&self, rows: &[f32]) -> Vec<(ClusterNo, f32)> {
        crate::kmeans::assign(self.dimension, rows, &self.values, &self.half_squares)
            .into_iter()
            .map(|(cluster, square)| (ClusterNo(cluster), square))
            .collect()
    }
}

/// The `count` least, in any order.
fn least(all: impl Iterator<Item = (f32, ClusterNo)>, count: usize) -> Vec<(f32, ClusterNo)> {
    let mut all: Vec<(f32, ClusterNo)> = all.collect();
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all
}

fn order(a: &(f32, ClusterNo), b: &(f32, ClusterNo)) -> Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn rows(rng: &mut Rng, count: usize, dimension: usize) -> Vec<f32> {
        (0..count * dimension).map(|_| rng.unit() as f32 - 0.5).collect()
    }

    #[test]
    fn the_nearest_come_first_and_equals_by_number() {
        let centroids = Centroids::new(2, vec![1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, -1.0, 0.5, 0.0]);
        let found: Vec<(f32, u32)> = centroids
            .nearest(&[0.0, 0.0], 4)
            .into_iter()
            .map(|(d, c)| (d, c.0))
            .collect();
        assert_eq!(found, [(0.25, 4), (1.0, 0), (1.0, 1), (1.0, 3)]);
        assert_eq!(centroids.nearest(&[0.0, 0.0], 9).len(), 5);
        assert!(centroids.nearest(&[0.0, 0.0], 0).is_empty());
    }

    #[test]
    fn a_first_look_loses_next_to_nothing() {
        let mut rng = Rng::new(6, 0);
        let centroids = Centroids::new(96, rows(&mut rng, 512, 96));
        let exact = Centroids {
            coarse: None,
            ..centroids.clone()
        };
        let mut missed = 0;
        for query in rows(&mut rng, 50, 96).chunks_exact(96) {
            let (found, expected) = (centroids.nearest(query, 40), exact.nearest(query, 40));
            missed += expected
                .iter()
                .filter(|(_, cluster)| found.iter().all(|(_, other)| other != cluster))
                .count();
            assert!(found.is_sorted_by(|a, b| a.0 <= b.0) && found.len() == 40);
            assert_eq!(centroids.nearest(query, 400).len(), 400);
        }
        assert!(missed <= 2, "{missed} of 2,000");
    }

    #[test]
    fn rows_go_to_the_nearest_centroid() {
        let mut rng = Rng::new(3, 0);
        for (dimension, clusters, count) in [(1, 1, 1), (3, 700, 300), (40, 513, 129), (97, 20, 5)] {
            let centroids = Centroids::new(dimension, rows(&mut rng, clusters, dimension));
            let rows = rows(&mut rng, count, dimension);
            let assigned = centroids.nearest_to_each(&rows);
            assert_eq!(assigned.len(), count);
            for (row, (assigned, square)) in rows.chunks_exact(dimension).zip(assigned) {
                let distance = |c: u32| crate::distance::squared(row, centroids.get(ClusterNo(c)));
                let least = (0..clusters as u32).map(distance).fold(f32::INFINITY, f32::min);
                assert!(
                    distance(assigned.0) <= least + 1e-5 && (square - least).abs() <= 1e-4,
                    "dimension {dimension}, {clusters} clusters"
                );
                let (routed, number) = centroids.nearest(row, 1)[0];
                assert!((routed - least).abs() <= 1e-5 && distance(number.0) <= least + 1e-5);
            }
        }
    }
}
