//! What scoring, coding and routing cost, for every instruction set of the machine. Criterion's time per element is the
//! time per row.

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use sealdex_core::{Dimension, Metric};
use sealdex_index::codes::{self, CodesView};
use sealdex_index::kernel::{self, Isa};
use sealdex_index::quantiser::Quantiser;
use std::hint::black_box;

/// Rows of a page.
const ROWS: usize = 300;
/// Centroids of an index of 150,000 rows.
const CENTROIDS: usize = 512;

/// Values between -1 and 1 without a generator to depend on.
fn values(count: usize) -> Vec<f32> {
    (0..count as u32)
        .map(|i| (i.wrapping_mul(2_654_435_769) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

fn each(
    criterion: &mut Criterion,
    name: &str,
    elements: usize,
    mut run: impl FnMut(&mut BenchmarkGroup<'_, WallTime>, Isa),
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(elements as u64));
    for isa in Isa::available() {
        run(&mut group, isa);
    }
    group.finish();
}

fn scan(criterion: &mut Criterion, name: &str, dimension: usize, trained: bool) {
    let (rows, checked) = (
        values(ROWS * dimension),
        Dimension::new(dimension as u64).expect("a dimension"),
    );
    let quantiser = if trained {
        Quantiser::train(checked, Metric::Cosine, &rows, 1)
    } else {
        Quantiser::untrained(checked, Metric::Cosine, &rows)
    };
    let (prepared, centroid) = (quantiser.prepare_all(&rows), vec![0.0; dimension]);
    let mut code = Vec::new();
    prepared
        .chunks_exact(dimension)
        .for_each(|row| quantiser.encode(row, &centroid, &mut code));
    let packed = codes::pack(quantiser.codec(), checked, &code);
    let codes = CodesView::parse(quantiser.codec(), checked, &packed).expect("these codes were packed here");
    let scorer = quantiser.scorer(&prepared[..dimension]);
    each(criterion, name, ROWS, |group, isa| {
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| {
                let mut found = 0;
                scorer.scan_with(isa, black_box(&codes), 0.0, None, 0.1, &mut |_, _| found += 1);
                found
            });
        });
    });
}

fn scans(criterion: &mut Criterion) {
    scan(criterion, "pq4 m=192", 384, true);
    scan(criterion, "pq4 m=392", 784, true);
    scan(criterion, "int8 384", 384, false);
    scan(criterion, "int8 784", 784, false);
}

fn floats(criterion: &mut Criterion) {
    let (query, rows) = (values(384), values(CENTROIDS * 384));
    each(criterion, "exact 384", ROWS, |group, isa| {
        group.bench_function(isa.name(), |bencher| {
            let rows = rows.chunks_exact(384).take(ROWS);
            bencher.iter(|| {
                rows.clone()
                    .map(|row| kernel::exact_squared(isa, black_box(&query), row))
                    .sum::<f64>()
            });
        });
    });
    each(criterion, "exact cosine 384", ROWS, |group, isa| {
        group.bench_function(isa.name(), |bencher| {
            let rows = rows.chunks_exact(384).take(ROWS);
            bencher.iter(|| {
                rows.clone()
                    .map(|row| kernel::exact_products(isa, black_box(&query), row)[0])
                    .sum::<f64>()
            });
        });
    });
    each(criterion, "route 512 x 384", CENTROIDS, |group, isa| {
        let mut out = vec![0.0; CENTROIDS];
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| kernel::dots(isa, black_box(&query), black_box(&rows), &mut out));
        });
    });
}

fn bytes(criterion: &mut Criterion) {
    let coded: Vec<i8> = values((CENTROIDS + 1) * 384)
        .iter()
        .map(|value| (value * 127.0) as i8)
        .collect();
    let (query, rows) = coded.split_at(384);
    let mut out = vec![0; CENTROIDS];
    each(criterion, "route 512 x 384 in bytes", CENTROIDS, |group, isa| {
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| kernel::byte_dots(isa, black_box(query), black_box(rows), &mut out));
        });
    });
}

fn products(criterion: &mut Criterion) {
    let (rows, centroids) = (values(128 * 384), values(CENTROIDS * 384));
    let mut out = vec![0.0; 128 * CENTROIDS];
    each(criterion, "assign to 512 x 384", 128, |group, isa| {
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| kernel::products(isa, 384, black_box(&rows), black_box(&centroids), &mut out));
        });
    });
}

fn coding(criterion: &mut Criterion) {
    let (row, books) = (values(384), values(192 * 32));
    let books = books.as_chunks().0;
    let mut code = vec![0; 96];
    each(criterion, "encode pq4 m=192", 1, |group, isa| {
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| kernel::pq4_encode(isa, black_box(books), black_box(&row), &mut code));
        });
    });
    let checked = Dimension::new(384).expect("a dimension");
    let quantiser = Quantiser::train(checked, Metric::Cosine, &values(ROWS * 384), 1);
    criterion.bench_function("tables m=192", |bencher| {
        bencher.iter(|| quantiser.scorer(black_box(&row)))
    });
    let untrained = Quantiser::untrained(checked, Metric::Cosine, &values(ROWS * 384));
    let mut code = Vec::new();
    criterion.bench_function("encode int8 384", |bencher| {
        bencher.iter(|| {
            code.clear();
            untrained.encode(black_box(&row), &row, &mut code);
        });
    });
    criterion.bench_function("query int8 384", |bencher| {
        bencher.iter(|| untrained.scorer(black_box(&row)))
    });
    let mut prepared = vec![0.0; 384];
    criterion.bench_function("prepare 384", |bencher| {
        bencher.iter(|| quantiser.prepare(black_box(&row), &mut prepared));
    });
}

criterion_group!(benches, scans, floats, bytes, products, coding);
criterion_main!(benches);
