//! Whether estimates order rows as their true distances do. Codes are fitted to the data of a moment; this tells, query
//! by query, when they no longer fit the data around it. Pure statistics.

/// Fewer rows than this say nothing about an order.
pub const ROWS_MIN: usize = 16;

/// Spearman's rank correlation of estimates and exact distances of the same rows, equals sharing their mean rank: 1 where
/// the order is the same, about 0 where the estimates know nothing. `None` where there is no order to be wrong about:
/// fewer than [`ROWS_MIN`] rows, or all equally far.
pub fn rank_correlation(rows: &[(f32, f64)]) -> Option<f64> {
    if rows.len() < ROWS_MIN {
        return None;
    }
    let by_estimate = ranks(rows, |row| f64::from(row.0));
    let by_distance = ranks(rows, |row| row.1);
    let mean = (rows.len() as f64 - 1.0) / 2.0;
    let (mut product, mut squares) = (0.0, [0.0; 2]);
    for (a, b) in by_estimate.iter().zip(&by_distance) {
        let (a, b) = (a - mean, b - mean);
        product += a * b;
        squares = [squares[0] + a * a, squares[1] + b * b];
    }
    match squares {
        [_, 0.0] => None,
        [0.0, _] => Some(0.0),
        [a, b] => Some(product / (a * b).sqrt()),
    }
}

fn ranks(rows: &[(f32, f64)], value: impl Fn(&(f32, f64)) -> f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_unstable_by(|a, b| value(&rows[*a]).total_cmp(&value(&rows[*b])));
    let mut ranks = vec![0.0; rows.len()];
    let mut start = 0;
    for equals in order.chunk_by(|a, b| value(&rows[*a]) == value(&rows[*b])) {
        let shared = start as f64 + (equals.len() as f64 - 1.0) / 2.0;
        equals.iter().for_each(|row| ranks[*row] = shared);
        start += equals.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, of: impl Fn(usize) -> (f32, f64)) -> Vec<(f32, f64)> {
        (0..count).map(of).collect()
    }

    #[test]
    fn the_same_order_is_one_and_the_opposite_minus_one() {
        let same = rows(40, |n| (n as f32 * 3.0, (n * n) as f64));
        assert_eq!(rank_correlation(&same), Some(1.0));
        let opposite = rows(40, |n| (-(n as f32), n as f64));
        assert_eq!(rank_correlation(&opposite), Some(-1.0));
    }

    #[test]
    fn estimates_that_know_nothing_are_near_zero() {
        let mixed = rows(400, |n| (((n * 7919) % 401) as f32, n as f64));
        assert!(rank_correlation(&mixed).unwrap().abs() < 0.2);
        assert_eq!(rank_correlation(&rows(40, |n| (1.0, n as f64))), Some(0.0));
    }

    #[test]
    fn where_all_are_equally_far_no_order_is_wrong() {
        assert_eq!(rank_correlation(&rows(40, |n| (n as f32, 2.0))), None);
        assert_eq!(
            rank_correlation(&rows(ROWS_MIN - 1, |n| (n as f32, n as f64))),
            None
        );
    }

    #[test]
    fn equals_share_their_rank() {
        let pairs = rows(40, |n| ((n / 2) as f32, (n / 2) as f64));
        assert_eq!(rank_correlation(&pairs), Some(1.0));
        let half = rows(40, |n| ((n / 20) as f32, n as f64));
        let agreement = rank_correlation(&half).unwrap();
        assert!((0.8..0.9).contains(&agreement), "{agreement}");
    }
}
