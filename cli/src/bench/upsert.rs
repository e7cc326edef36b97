//! The part upsert: one item at a time into the index as it is, and whether it is found at once and gone after its
//! deletion. The items are new ones and are deleted again.

use super::api::{self, Api};
use super::error::BenchError;
use super::report::Upsert;
use super::run::Bench;
use super::stats::Latency;
use crate::client::{ClientError, Connection};
use crate::progress;
use serde_json::json;
use std::time::Instant;

/// Items looked for.
const CHECKED: usize = 10;

/// An item must be among this many nearest to its own vector: others may be equally near.
const NEAREST: usize = 10;

/// Upserts that are not counted.
const WARM_UP: usize = 5;

/// Writes `--singles` new items one by one, by one client over the JSON route.
pub(super) async fn singles(bench: &Bench) -> Result<Upsert, BenchError> {
    let progress = progress::bar(bench.args.singles, "single upserts");
    let mut connection = Connection::new(&bench.endpoint, bench.timeout());
    let (started, (_, limit)) = (Instant::now(), bench.args.span());
    let (mut latencies, mut written) = (Vec::new(), 0);
    while latencies.len() < bench.args.singles && (latencies.is_empty() || started.elapsed() < limit) {
        let mut body = bench.index.open_request();
        let items = json!([{"id": id(written), "vector": vector(bench, written)}]);
        body.extend_from_slice(format!(",\"items\":{items}}}").as_bytes());
        let sent = Instant::now();
        connection.post(api::UPSERT, body.into()).await?;
        if written >= WARM_UP {
            latencies.push(sent.elapsed());
            progress.inc(1);
        }
        written += 1;
    }
    progress.finish_and_clear();
    let mut api = bench.api();
    let checked = written.min(CHECKED);
    let found_at_once = found(bench, &mut api, checked).await?;
    let ids: Vec<String> = (0..written).map(id).collect();
    api.delete_items(&bench.index, &ids).await?;
    Ok(Upsert {
        latency: Latency::of(latencies).expect("at least one was written"),
        checked,
        found_at_once,
        found_after_delete: found(bench, &mut api, checked).await?,
    })
}

async fn found(bench: &Bench, api: &mut Api, checked: usize) -> Result<usize, ClientError> {
    let mut found = 0;
    for number in 0..checked {
        let nearest = api
            .nearest_ids(&bench.index, &vector(bench, number), NEAREST)
            .await?;
        found += usize::from(nearest.contains(&id(number)));
    }
    Ok(found)
}

fn id(number: usize) -> String {
    format!("new-{number}")
}

/// Half-way between a query and a stored vector: new, but of the same kind as the others.
fn vector(bench: &Bench, number: usize) -> Vec<f32> {
    let data = &bench.data;
    let ends = data
        .queries
        .row(number % data.queries.len())
        .iter()
        .zip(data.stored.row(number % data.stored.len()));
    ends.map(|(a, b)| (a + b) / 2.0).collect()
}
