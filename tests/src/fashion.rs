//! The small real data set of `tests/data/fashion`: pictures of clothes as 196 numbers each.

use crate::item::Item;
use serde_json::json;
use std::path::Path;

/// Numbers per vector.
pub const DIMENSION: usize = 196;

/// The 12,000 base vectors as items `f0`, `f1`, …; metadata `label` (the class, 0 to 9) and `bucket` (the number modulo 100).
pub fn items() -> Vec<Item> {
    let labels = file("labels.u8");
    vectors("base.u8")
        .into_iter()
        .zip(labels)
        .enumerate()
        .map(|(i, (vector, label))| {
            Item::bare(format!("f{i}"), vector)
                .with_metadata(json!({"label": format!("c{label}"), "bucket": i % 100}))
        })
        .collect()
}

/// The 200 query vectors; none of them is a base vector.
pub fn queries() -> Vec<Vec<f32>> {
    vectors("queries.u8")
}

fn vectors(name: &str) -> Vec<Vec<f32>> {
    file(name)
        .chunks_exact(DIMENSION)
        .map(|row| row.iter().map(|&x| f32::from(x)).collect())
        .collect()
}

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data/fashion")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
