//! Balanced k-means: centroids whose clusters are of similar size, because a query pays for the size of what it probes.
//!
//! Lloyd's algorithm, or mini-batch k-means (Sculley, 2010), with one addition: a cluster that holds far more than its
//! share is split, at the expense of the smallest ones. The outcome depends on the seed alone, not on the threads.

mod assignment;
mod rebalance;
#[cfg(test)]
mod tests;

pub(crate) use assignment::assign;

use crate::kernel::{self, Isa};
use crate::rng::Rng;
use rayon::prelude::*;
use sealdex_core::Dimension;

/// No cluster shall be larger than this many times the mean.
const SIZE_MAX: usize = 3;
/// What iterations aim at, so that less is left to do at the end.
const SIZE_SOUGHT: usize = 2;
/// Passes over the whole sample that are spent on sizes after the last iteration, at most.
const SETTLING_PASSES: usize = 8;

/// How to cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clusters wanted. There are fewer if the sample has fewer different rows.
    pub clusters: usize,
    /// Iterations at most.
    pub max_iterations: usize,
    /// Stop when an iteration lowers the mean squared distance by less than this fraction.
    pub tolerance: f32,
    /// Rows per iteration; all of them if `None`.
    pub batch: Option<usize>,
    /// Determines the outcome.
    pub seed: u64,
}

/// Clusters `sample` (row-major, at least one row) and gives the centroids, row-major: `settings.clusters` at most, and
/// none without a row that is nearest to it. `progress` is called with what part of the work is done, up to 1.
pub fn balanced(
    dimension: Dimension,
    sample: &[f32],
    settings: &Settings,
    progress: &dyn Fn(f32),
) -> Vec<f32> {
    let mut run = Run::new(dimension.get(), sample, settings);
    let passes = (settings.max_iterations + 1) as f32;
    let batch = settings.batch.filter(|batch| *batch < run.rows);
    // Batches differ from each other, so one that is no better than the last says little.
    let patience = if batch.is_some() { 5 } else { 1 };
    let (mut least, mut idle) = (f64::INFINITY, 0);
    for iteration in 0..settings.max_iterations {
        let (error, moved) = match batch {
            Some(batch) => (run.step_batch(batch), false),
            None => run.step(SIZE_SOUGHT),
        };
        progress((iteration + 1) as f32 / passes);
        let better = error < least * (1.0 - f64::from(settings.tolerance));
        idle = if better || moved { 0 } else { idle + 1 };
        least = least.min(error);
        if idle == patience {
            break;
        }
    }
    for _ in 0..SETTLING_PASSES {
        let (_, moved) = run.step(SIZE_MAX);
        if !moved {
            break;
        }
    }
    let centroids = run.without_empty();
    progress(1.0);
    centroids
}

struct Run<'a> {
    dimension: usize,
    sample: &'a [f32],
    rows: usize,
    centroids: Vec<f32>,
    /// Of each centroid, the rows that have shaped it in mini-batches.
    weights: Vec<u64>,
    rng: Rng,
}

impl<'a> Run<'a> {
    fn new(dimension: usize, sample: &'a [f32], settings: &Settings) -> Self {
        let rows = sample.len() / dimension;
        let mut rng = Rng::new(settings.seed, 0);
        let chosen = rng.choose(rows, settings.clusters.max(1));
        let centroids = gather(dimension, sample, &chosen);
        Self {
            dimension,
            sample,
            rows,
            centroids,
            weights: vec![0; chosen.len()],
            rng,
        }
    }

    /// One iteration over the whole sample. Gives the mean squared distance before it, and whether a centroid had to be
    /// moved elsewhere because a cluster had more than `size_max` times the mean.
    fn step(&mut self, size_max: usize) -> (f64, bool) {
        let nearest = self.assign(self.sample);
        let members = Members::of(&nearest, self.weights.len());
        let moves = rebalance::plan(&members.sizes(), size_max);
        let dimension = self.dimension;
        self.centroids
            .par_chunks_mut(dimension)
            .enumerate()
            .for_each(|(cluster, centroid)| {
                mean_of(self.sample, members.of_cluster(cluster), centroid);
            });
        let mut moved = false;
        for (from, to) in moves {
            // A row at the centroid itself shows no direction in which to split.
            let apart: Vec<u32> = members
                .of_cluster(to)
                .iter()
                .copied()
                .filter(|row| nearest[*row as usize].1 > 0.0)
                .collect();
            if !apart.is_empty() {
                let row = apart[self.rng.below(apart.len())] as usize;
                self.split(from, to, row);
                moved = true;
            }
        }
        (mean_error(&nearest), moved)
    }

    /// Gives up the centroid `from` and puts it beside `to`, so that they part the cluster across the direction of `row`.
    /// The row itself would be a bad place: with many dimensions it is farther from the others than their mean is.
    fn split(&mut self, from: usize, to: usize, row: usize) {
        for i in 0..self.dimension {
            let centre = self.centroids[to * self.dimension + i];
            let step = 0.1 * (self.sample[row * self.dimension + i] - centre);
            self.centroids[to * self.dimension + i] = centre - step;
            self.centroids[from * self.dimension + i] = centre + step;
        }
    }

    /// One iteration over `batch` rows. Gives their mean squared distance before it.
    fn step_batch(&mut self, batch: usize) -> f64 {
        let chosen = self.rng.choose(self.rows, batch.max(1));
        let rows = gather(self.dimension, self.sample, &chosen);
        let nearest = self.assign(&rows);
        let members = Members::of(&nearest, self.weights.len());
        let centroids = self
            .centroids
            .par_chunks_mut(self.dimension)
            .zip(&mut self.weights)
            .enumerate();
        centroids.for_each(|(cluster, (centroid, weight))| {
            let members = members.of_cluster(cluster);
            let mut mean = centroid.to_vec();
            mean_of(&rows, members, &mut mean);
            *weight += members.len() as u64;
            let rate = members.len() as f32 / (*weight).max(1) as f32;
            centroid
                .iter_mut()
                .zip(&mean)
                .for_each(|(c, mean)| *c += rate * (mean - *c));
        });
        mean_error(&nearest)
    }

    /// The centroids that are nearest to at least one row. Leaving out the others changes no assignment.
    fn without_empty(self) -> Vec<f32> {
        let nearest = self.assign(self.sample);
        let sizes = Members::of(&nearest, self.weights.len()).sizes();
        let kept = self
            .centroids
            .chunks_exact(self.dimension)
            .zip(sizes)
            .filter(|(_, size)| *size > 0);
        kept.flat_map(|(centroid, _)| centroid.iter().copied()).collect()
    }

    fn assign(&self, rows: &[f32]) -> Vec<(u32, f32)> {
        let half_squares = half_squares(self.dimension, &self.centroids);
        assign(self.dimension, rows, &self.centroids, &half_squares)
    }
}

/// The rows of each cluster, in order.
struct Members {
    rows: Vec<u32>,
    starts: Vec<usize>,
}

impl Members {
    fn of(nearest: &[(u32, f32)], clusters: usize) -> Self {
        let mut starts = vec![0; clusters + 1];
        nearest
            .iter()
            .for_each(|(cluster, _)| starts[*cluster as usize + 1] += 1);
        for cluster in 0..clusters {
            starts[cluster + 1] += starts[cluster];
        }
        let mut rows = vec![0; nearest.len()];
        let mut next = starts.clone();
        for (row, (cluster, _)) in nearest.iter().enumerate() {
            let next = &mut next[*cluster as usize];
            rows[*next] = row as u32;
            *next += 1;
        }
        Self { rows, starts }
    }

    fn of_cluster(&self, cluster: usize) -> &[u32] {
        &self.rows[self.starts[cluster]..self.starts[cluster + 1]]
    }

    fn sizes(&self) -> Vec<usize> {
        self.starts.windows(2).map(|ends| ends[1] - ends[0]).collect()
    }
}

/// Half the squared length of each row.
pub(crate) fn half_squares(dimension: usize, rows: &[f32]) -> Vec<f32> {
    rows.chunks_exact(dimension)
        .map(|row| kernel::dot(Isa::best(), row, row) / 2.0)
        .collect()
}

/// Writes the mean of some rows to `mean`, which stays as it is if there are none.
fn mean_of(sample: &[f32], rows: &[u32], mean: &mut [f32]) {
    if rows.is_empty() {
        return;
    }
    let mut sums = vec![0.0f64; mean.len()];
    for row in rows {
        let row = &sample[*row as usize * mean.len()..][..mean.len()];
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let inverse = 1.0 / rows.len() as f64;
    mean.iter_mut()
        .zip(sums)
        .for_each(|(mean, sum)| *mean = (sum * inverse) as f32);
}

fn mean_error(nearest: &[(u32, f32)]) -> f64 {
    nearest
        .iter()
        .map(|(_, distance)| f64::from(*distance))
        .sum::<f64>()
        / nearest.len().max(1) as f64
}

fn gather(dimension: usize, sample: &[f32], rows: &[usize]) -> Vec<f32> {
    rows.iter()
        .flat_map(|row| sample[row * dimension..][..dimension].iter().copied())
        .collect()
}
