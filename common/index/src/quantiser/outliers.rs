//! Rows that lie far from all others. A handful of them would shift the mean, take most centroids of a codebook, and
//! stretch its tables until all other rows score alike; so they have no say in what codes are fitted to. They are coded
//! like rows at the rim.

/// Rows this many times as far out as the median row are outliers.
const MEDIAN_DISTANCES: f64 = 4.0;
/// Rows that the middle is taken from; more change nothing that matters.
const ROWS_FOR_MEDIANS: usize = 1_024;

/// Leaves out rows that are far further from `middle` than most. Of the rows that are not at the middle itself, at
/// least half stay.
pub(super) fn without<'a>(rows: Vec<&'a [f32]>, middle: &[f32]) -> Vec<&'a [f32]> {
    let distances: Vec<f64> = rows.iter().map(|row| squared_distance(row, middle)).collect();
    let mut apart: Vec<f64> = distances
        .iter()
        .copied()
        .filter(|distance| *distance > 0.0)
        .collect();
    if apart.is_empty() {
        return rows;
    }
    let half = (apart.len() - 1) / 2;
    let (_, median, _) = apart.select_nth_unstable_by(half, f64::total_cmp);
    let limit = *median * MEDIAN_DISTANCES * MEDIAN_DISTANCES;
    rows.into_iter()
        .zip(distances)
        .filter(|(_, distance)| *distance <= limit)
        .map(|(row, _)| row)
        .collect()
}

/// The median of each coordinate: a middle that outliers do not move.
pub(super) fn medians(dimension: usize, rows: &[&[f32]]) -> Vec<f32> {
    let step = rows.len().div_ceil(ROWS_FOR_MEDIANS).max(1);
    let mut values = Vec::with_capacity(ROWS_FOR_MEDIANS);
    (0..dimension)
        .map(|at| {
            values.clear();
            values.extend(rows.iter().step_by(step).map(|row| row[at]));
            let half = values.len() / 2;
            *values.select_nth_unstable_by(half, f32::total_cmp).1
        })
        .collect()
}

/// In 64 bits: originals may be as large as an f32 can be.
fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let differences = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
    differences.map(|difference| difference * difference).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_from_all_others_is_left_out() {
        let rows: Vec<[f32; 2]> = (0..50)
            .map(|n| [n as f32, -(n as f32)])
            .chain([[1e6, 0.0], [0.0, f32::MAX]])
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(|row| row.as_slice()).collect();
        let middle = medians(2, &rows);
        assert!((20.0..30.0).contains(&middle[0]), "{middle:?}");
        assert_eq!(without(rows, &middle).len(), 50);
    }

    #[test]
    fn rows_that_are_all_alike_do_not_make_outliers_of_the_rest() {
        let rows: Vec<[f32; 1]> = (0..60).map(|n| [if n < 40 { 7.0 } else { n as f32 }]).collect();
        let rows: Vec<&[f32]> = rows.iter().map(|row| row.as_slice()).collect();
        let middle = medians(1, &rows);
        assert_eq!(middle, [7.0]);
        assert_eq!(without(rows, &middle).len(), 60);
    }
}
