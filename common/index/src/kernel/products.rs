//! Products of matrices, for clustering.

/// All sums of products of `a`'s rows with `b`'s rows, each of `dimension` values: row after row of `a` in `out`.
///
/// # Panics
/// If `out` has another length than there are pairs of rows, or the last row of `a` or `b` is not complete.
pub(crate) fn products(dimension: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    let (rows, columns) = (a.len() / dimension, b.len() / dimension);
    assert!(a.len() == rows * dimension && b.len() == columns * dimension && out.len() == rows * columns);
    let [along, across, width] = [1, dimension as isize, columns as isize];
    // SAFETY: `a` is rows x dimension, `b` transposed is dimension x columns, `out` is rows x columns; the strides stay
    // within these lengths, which were checked above, and `out` is borrowed mutably.
    unsafe {
        matrixmultiply::sgemm(
            rows,
            dimension,
            columns,
            1.0,
            a.as_ptr(),
            across,
            along,
            b.as_ptr(),
            along,
            across,
            0.0,
            out.as_mut_ptr(),
            width,
            along,
        );
    }
}
