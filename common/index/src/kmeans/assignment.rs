//! The nearest centroid of many rows at once, as blocked matrix products.

use crate::kernel::{self, Isa};
use rayon::prelude::*;

/// Rows and centroids of one product: its result stays in the second-level cache.
const ROWS: usize = 128;
const CENTROIDS: usize = 512;

/// For each of `rows`, the nearest centroid (equals by number) and the squared distance to it. `half_squares` are those
/// of the centroids. Parallel over blocks of rows, whose borders do not depend on the number of threads.
pub(crate) fn assign(
    dimension: usize,
    rows: &[f32],
    centroids: &[f32],
    half_squares: &[f32],
) -> Vec<(u32, f32)> {
    let mut nearest = vec![(0, f32::INFINITY); rows.len() / dimension];
    let blocks = rows
        .par_chunks(ROWS * dimension)
        .zip(nearest.par_chunks_mut(ROWS));
    blocks.for_each_init(
        || vec![0.0; ROWS * CENTROIDS],
        |products, (rows, nearest)| {
            assign_block(dimension, rows, centroids, half_squares, products, nearest);
        },
    );
    nearest
}

fn assign_block(
    dimension: usize,
    rows: &[f32],
    centroids: &[f32],
    half_squares: &[f32],
    products: &mut [f32],
    nearest: &mut [(u32, f32)],
) {
    let blocks = centroids
        .chunks(CENTROIDS * dimension)
        .zip(half_squares.chunks(CENTROIDS));
    for ((centroids, half_squares), first) in blocks.zip((0..).step_by(CENTROIDS)) {
        let width = half_squares.len();
        let products = &mut products[..nearest.len() * width];
        kernel::products(Isa::best(), dimension, rows, centroids, products);
        for (products, nearest) in products.chunks_exact(width).zip(&mut *nearest) {
            let scores = half_squares
                .iter()
                .zip(products)
                .map(|(half, product)| half - product);
            for (number, score) in (first..).zip(scores) {
                if score < nearest.1 {
                    *nearest = (number, score);
                }
            }
        }
    }
    for (row, nearest) in rows.chunks_exact(dimension).zip(nearest) {
        nearest.1 = (kernel::dot(Isa::best(), row, row) + 2.0 * nearest.1).max(0.0);
    }
}
