//! The metadata that filters are measured with, and the filters. It knows no server and no query vector.
//!
//! `group` and `bucket` are independent of the vectors. `slice` is not: it ranks the items along a random direction,
//! so that the items of one slice lie together, far from most queries. That is where a filter hurts an index most.

use super::rng::Rng;
use super::rows::Rows;
use serde_json::{Value, json};

/// The random streams of the fields, apart from those of the data.
const STREAMS: [u64; 2] = [u64::MAX - 1, u64::MAX - 2];

const GROUPS: usize = 10;
const BUCKETS: usize = 1000;

/// The generated fields of every item.
pub(super) struct Fields {
    group: Vec<u16>,
    bucket: Vec<u16>,
    slice: Vec<u16>,
}

/// One filter to measure.
pub(super) struct Predicate {
    /// What it is called in the report.
    pub(super) name: &'static str,
    /// As it is sent.
    pub(super) filter: Value,
    /// The rows that match, in order.
    pub(super) matching: Vec<u32>,
}

impl Fields {
    /// Fields for all of `stored`; the same seed gives the same fields.
    pub(super) fn draw(stored: &Rows<f32>, seed: u64) -> Self {
        let mut rng = Rng::new(seed, STREAMS[0]);
        let mut draw = |bound| (0..stored.len()).map(|_| rng.below(bound) as u16).collect();
        Self {
            group: draw(GROUPS),
            bucket: draw(BUCKETS),
            slice: slices(stored, seed),
        }
    }

    /// The metadata of an item.
    pub(super) fn of(&self, row: usize) -> Value {
        json!({"group": format!("g{}", self.group[row]), "bucket": self.bucket[row], "slice": self.slice[row]})
    }

    /// The filters measured: an equality of strings, a range, an equality of numbers, a range far from the query.
    pub(super) fn predicates(&self) -> [Predicate; 4] {
        let matching = |field: &[u16], matches: &dyn Fn(u16) -> bool| -> Vec<u32> {
            (0..)
                .zip(field)
                .filter(|(_, value)| matches(**value))
                .map(|(row, _)| row)
                .collect()
        };
        [
            Predicate {
                name: "10 %",
                filter: json!({"group": "g3"}),
                matching: matching(&self.group, &|group| group == 3),
            },
            Predicate {
                name: "1 %",
                filter: json!({"bucket": {"$lt": 10}}),
                matching: matching(&self.bucket, &|bucket| bucket < 10),
            },
            Predicate {
                name: "0.1 %",
                filter: json!({"bucket": {"$eq": 42}}),
                matching: matching(&self.bucket, &|bucket| bucket == 42),
            },
            Predicate {
                name: "1 % far off",
                filter: json!({"slice": {"$lt": 10}}),
                matching: matching(&self.slice, &|slice| slice < 10),
            },
        ]
    }
}

/// The rank of each row along a random direction, in thousandths.
fn slices(stored: &Rows<f32>, seed: u64) -> Vec<u16> {
    let mut rng = Rng::new(seed, STREAMS[1]);
    let direction: Vec<f32> = (0..stored.width()).map(|_| rng.normal()).collect();
    let along = |row: &[f32]| {
        row.iter()
            .zip(&direction)
            .map(|(a, b)| f64::from(a * b))
            .sum::<f64>()
    };
    let projections: Vec<f64> = stored.iter().map(along).collect();
    let mut order: Vec<usize> = (0..stored.len()).collect();
    order.sort_by(|a, b| projections[*a].total_cmp(&projections[*b]).then(a.cmp(b)));
    let mut slices = vec![0; stored.len()];
    for (rank, row) in order.iter().enumerate() {
        slices[*row] = (rank * BUCKETS / stored.len()) as u16;
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates_select_what_their_filters_say() {
        let mut rng = Rng::new(1, 0);
        let stored = Rows::new(4, (0..40_000).map(|_| rng.normal()).collect());
        let fields = Fields::draw(&stored, 7);
        let expected = [1000.0, 100.0, 10.0, 100.0];
        for (predicate, expected) in fields.predicates().iter().zip(expected) {
            let share = predicate.matching.len() as f64 / expected;
            assert!(
                (0.5..1.6).contains(&share),
                "{}: {}",
                predicate.name,
                predicate.matching.len()
            );
        }
        let [tenth, _, thousandth, far] = fields.predicates();
        assert!(
            tenth
                .matching
                .iter()
                .all(|row| fields.of(*row as usize)["group"] == "g3")
        );
        assert!(
            thousandth
                .matching
                .iter()
                .all(|row| fields.of(*row as usize)["bucket"] == 42)
        );
        assert_eq!(far.matching.len(), 100);
    }

    #[test]
    fn the_same_seed_gives_the_same_fields() {
        let stored = Rows::new(1, (0..50).map(|row| row as f32).collect());
        let all = |seed| {
            (0..50)
                .map(|row| Fields::draw(&stored, seed).of(row))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }
}
