//! What a filter costs per row: by column over a block, as a scan does it, and item by item.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sealdex_index::columns::{Columns, ColumnsBuilder};
use sealdex_index::filter::Filter;
use sealdex_index::metadata::Metadata;
use serde_json::{Value, json};
use std::hint::black_box;

const ROWS: u32 = 300;

fn metadata(row: u32) -> Metadata {
    let languages = ["de", "en", "fr", "ja"];
    let value = json!({
        "language": languages[row as usize % languages.len()],
        "year": 1990 + row % 35,
        "source": format!("https://example.org/articles/{row}"),
        "tags": [format!("topic-{}", row % 20), format!("topic-{}", row % 7)],
        "author": {"name": format!("author {}", row % 50), "verified": row.is_multiple_of(3)},
    });
    let Value::Object(members) = value else {
        unreachable!("the literal above is an object")
    };
    Metadata::new(members).expect("within the limits")
}

fn filters(criterion: &mut Criterion) {
    let items: Vec<Metadata> = (0..ROWS).map(metadata).collect();
    let mut builder = ColumnsBuilder::default();
    items.iter().for_each(|item| builder.push(item));
    let segment = builder.finish();

    let mut group = criterion.benchmark_group("filters");
    group.throughput(Throughput::Elements(ROWS.into()));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Columns::parse(black_box(&segment)).map(|c| c.rows()))
    });
    for (name, filter) in [
        ("equal", json!({"language": "de"})),
        ("range", json!({"year": {"$gte": 2000, "$lt": 2010}})),
        (
            "and",
            json!({"language": {"$in": ["de", "en"]}, "author.verified": true}),
        ),
        ("tags", json!({"tags": "topic-3"})),
        ("unique", json!({"source": "https://example.org/articles/7"})),
        ("regex", json!({"source": {"$regex": "/articles/[12]\\d$"}})),
    ] {
        let filter = Filter::parse(&filter)
            .expect("a sound filter")
            .expect("not empty");
        let columns = Columns::parse(&segment).expect("just written");
        group.bench_function(format!("select/{name}"), |bencher| {
            bencher.iter(|| {
                black_box(&filter)
                    .select(black_box(&columns))
                    .map(|rows| rows.count())
            });
        });
        group.bench_function(format!("matches/{name}"), |bencher| {
            bencher.iter(|| items.iter().filter(|item| filter.matches(item)).count());
        });
    }
    group.finish();
}

criterion_group!(benches, filters);
criterion_main!(benches);
