//! Which centroids should move into which clusters, judged by size alone.

use std::collections::BinaryHeap;

/// A cluster gives up its centroid only to one whose parts would still be this many times larger.
const WORTH_IT: usize = 4;

/// Pairs of a cluster that is to be given up and one that is to be split instead: empty clusters always, others while
/// some cluster has more than `size_max` times the mean. No cluster is both.
pub(super) fn plan(sizes: &[usize], size_max: usize) -> Vec<(usize, usize)> {
    let rows: usize = sizes.iter().sum();
    let large = |part: usize| part * sizes.len() > size_max * rows;
    let mut small: Vec<usize> = (0..sizes.len()).collect();
    small.sort_by_key(|cluster| (sizes[*cluster], *cluster));
    // Largest part first; equals by number, from the end.
    let mut parts: BinaryHeap<(usize, usize, usize)> = (0..sizes.len()).map(|c| (sizes[c], c, 1)).collect();
    let mut split = vec![false; sizes.len()];
    let mut moves = Vec::new();
    for from in small {
        let Some((part, to, pieces)) = parts.pop() else {
            break;
        };
        let wanted = sizes[from] == 0 || large(part) && sizes[from] * WORTH_IT < part;
        if !wanted || from == to || split[from] || part <= 1 {
            break;
        }
        split[to] = true;
        moves.push((from, to));
        parts.push((sizes[to] / (pieces + 1), to, pieces + 1));
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_clusters_are_split_at_the_expense_of_small_ones() {
        assert_eq!(plan(&[10, 10, 10], 2), []);
        assert_eq!(plan(&[0, 10, 12], 2), [(0, 2)]);
        assert_eq!(plan(&[70, 10, 9, 11], 2), [(2, 0)]);
        assert_eq!(plan(&[0, 0, 1, 1], 2), []);
    }

    #[test]
    fn a_huge_cluster_is_cut_into_many() {
        let mut sizes = vec![10; 100];
        sizes[7] = 1_000;
        let moves = plan(&sizes, 2);
        assert!(moves.iter().all(|(from, to)| *to == 7 && *from != 7));
        assert_eq!(
            moves.len(),
            24,
            "parts of 40 rows are not large, and 41 more than four times 10"
        );
    }
}
