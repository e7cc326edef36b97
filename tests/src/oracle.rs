//! Exact answers, by the plainest arithmetic in double precision, and the comparison of the server's answers with them.

use crate::index::Hit;
use crate::item::Item;
use std::collections::HashSet;

/// The metrics by the names that clients use.
pub const METRICS: [&str; 3] = ["euclidean", "squared_euclidean", "cosine"];

/// The distance between `a` and `b`.
pub fn distance(metric: &str, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    let squared: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
    match metric {
        "euclidean" => squared.sqrt(),
        "squared_euclidean" => squared,
        "cosine" => {
            let dot: f64 = pairs().map(|(x, y)| x * y).sum();
            let norms = pairs().map(|(x, _)| x * x).sum::<f64>() * pairs().map(|(_, y)| y * y).sum::<f64>();
            if norms == 0.0 {
                1.0
            } else {
                1.0 - dot / norms.sqrt()
            }
        }
        other => panic!("no metric {other}"),
    }
}

/// The `k` nearest items, nearest first, ties by id, each with its distance.
pub fn nearest<'a>(
    metric: &str,
    items: impl IntoIterator<Item = &'a Item>,
    query: &[f32],
    k: usize,
) -> Vec<(f64, &'a Item)> {
    let mut all: Vec<(f64, &Item)> = items
        .into_iter()
        .map(|item| (distance(metric, &item.vector, query), item))
        .collect();
    all.sort_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.id.cmp(&y.id)));
    all.truncate(k);
    all
}

/// The share of the true nearest that were found. A row at the distance of the last true one counts: ties are no misses.
pub fn recall(found: &[Hit], truth: &[(f64, &Item)]) -> f64 {
    let Some((worst, _)) = truth.last() else {
        return 1.0;
    };
    let limit = worst + tolerance(*worst);
    let distinct: HashSet<&str> = found
        .iter()
        .filter(|hit| hit.distance <= limit)
        .map(|hit| hit.id.as_str())
        .collect();
    distinct.len().min(truth.len()) as f64 / truth.len() as f64
}

/// What is wrong with one answer: an order that does not ascend, an id twice, an item that `item_of` does not know, a distance that is
/// not the exact one to 1e-5. `None` if nothing is.
pub fn fault<'a>(
    metric: &str,
    found: &[Hit],
    query: &[f32],
    item_of: impl Fn(&str) -> Option<&'a Item>,
) -> Option<String> {
    let mut seen = HashSet::new();
    let mut last = f64::NEG_INFINITY;
    for hit in found {
        let Some(item) = item_of(&hit.id) else {
            return Some(format!("{} is not there", hit.id));
        };
        let exact = distance(metric, &item.vector, query);
        if !is_close(hit.distance, exact) {
            return Some(format!("{} is at {exact}, not {}", hit.id, hit.distance));
        }
        if hit.distance < last {
            return Some(format!("{} at {} comes after {last}", hit.id, hit.distance));
        }
        if !seen.insert(&hit.id) {
            return Some(format!("{} comes twice", hit.id));
        }
        last = hit.distance;
    }
    None
}

/// True if a reported distance is the exact one to 1e-5 relative.
pub fn is_close(reported: f64, exact: f64) -> bool {
    (reported - exact).abs() <= tolerance(exact)
}

/// 1e-5 relative; beside zero, what one minus a cosine has left of double precision.
fn tolerance(exact: f64) -> f64 {
    1e-5 * exact.abs() + 1e-12
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn line() -> Vec<Item> {
        (0..5)
            .map(|i| Item::bare(format!("i{i}"), vec![i as f32, 0.0]))
            .collect()
    }

    fn hit(id: &str, distance: f64) -> Hit {
        Hit {
            id: id.into(),
            distance,
            metadata: Value::Null,
        }
    }

    #[test]
    fn distances_by_hand() {
        assert_eq!(distance("euclidean", &[0.0, 3.0], &[4.0, 0.0]), 5.0);
        assert_eq!(distance("squared_euclidean", &[0.0, 3.0], &[4.0, 0.0]), 25.0);
        assert_eq!(distance("cosine", &[0.0, 3.0], &[4.0, 0.0]), 1.0);
        assert_eq!(distance("cosine", &[2.0], &[-3.0]), 2.0);
        assert_eq!(distance("cosine", &[0.0], &[-3.0]), 1.0);
    }

    #[test]
    fn a_right_answer_passes_and_every_fault_is_seen() {
        let items = line();
        let of = |id: &str| items.iter().find(|item| item.id == id);
        let judge = |found: &[Hit]| fault("euclidean", found, &[0.0, 0.0], of);
        assert_eq!(judge(&[hit("i0", 0.0), hit("i1", 1.0)]), None);
        assert!(judge(&[hit("i1", 1.0), hit("i0", 0.0)]).is_some(), "order");
        assert!(judge(&[hit("i1", 1.0), hit("i1", 1.0)]).is_some(), "twice");
        assert!(judge(&[hit("i9", 9.0)]).is_some(), "unknown");
        assert!(judge(&[hit("i1", 1.0001)]).is_some(), "inexact");
        assert!(judge(&[hit("i1", f64::NAN)]).is_some(), "no distance");
    }

    #[test]
    fn recall_counts_what_is_missing() {
        let items = line();
        let truth = nearest("euclidean", &items, &[0.0, 0.0], 2);
        assert_eq!(recall(&[hit("i0", 0.0), hit("i1", 1.0)], &truth), 1.0);
        assert_eq!(recall(&[hit("i0", 0.0), hit("i2", 2.0)], &truth), 0.5);
        assert_eq!(recall(&[hit("i0", 0.0), hit("i0", 0.0)], &truth), 0.5);
        assert_eq!(recall(&[], &truth), 0.0);
    }
}
