//! The parts upload and training: binary batches as a client sends them, then the wait until the index is ready.

use super::api::{self, Description};
use super::ask::base64_of;
use super::error::BenchError;
use super::report::{Ingest, Training};
use super::run::Bench;
use super::stats::Latency;
use crate::client::{ClientError, Connection};
use crate::progress;
use bytes::Bytes;
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often automatic training is looked after.
pub(super) const POLL: Duration = Duration::from_millis(200);

/// Uploads everything.
pub(super) async fn upload(bench: &Arc<Bench>) -> Result<Ingest, BenchError> {
    let progress = progress::bar(bench.data.stored.len(), "upload");
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..bench.args.upload_clients {
        running.spawn(upload_share(bench.clone(), next.clone(), progress.clone()));
    }
    let mut latencies = Vec::new();
    while let Some(ended) = running.join_next().await {
        latencies.extend(ended.expect("an upload neither panics nor is cancelled")?);
    }
    let seconds = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    Ok(Ingest {
        upload_seconds: seconds,
        vectors_per_second: bench.data.stored.len() as f64 / seconds,
        latency: Latency::of(latencies)
            .ok_or_else(|| BenchError::Mismatch("there is nothing to upload".into()))?,
        training: None,
    })
}

/// Trains, or waits for automatic training.
pub(super) async fn train(bench: &Bench) -> Result<Training, BenchError> {
    let progress = progress::spinner("training");
    let patience = Duration::from_secs(bench.args.train_timeout);
    let started = Instant::now();
    if bench.args.no_train {
        wait_for_training(bench, patience).await?;
    } else {
        bench
            .api()
            .train(&bench.index, bench.args.lists, patience)
            .await?;
    }
    let train_seconds = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    let Description { is_trained, n_lists } = bench.api().describe(&bench.index).await?;
    Ok(Training {
        train_seconds,
        is_trained,
        n_lists,
    })
}

/// Until nothing is being trained, and the index is trained unless it is too small to be trained unasked.
async fn wait_for_training(bench: &Bench, patience: Duration) -> Result<(), BenchError> {
    let mut api = bench.api();
    let deadline = Instant::now() + patience;
    loop {
        let status = api.training_status().await?;
        let expected = bench.data.stored.len() as u64 > status.retrain_threshold;
        let ready = !expected || api.describe(&bench.index).await?.is_trained;
        if ready && !status.concerns(bench.index.name()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let seconds = patience.as_secs();
            let cure = "raise --train-timeout, or leave out --no-train";
            return Err(BenchError::Training(format!(
                "not trained by itself within {seconds} s; {cure}"
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One client's batches, taken from the common counter.
async fn upload_share(
    bench: Arc<Bench>,
    next: Arc<AtomicUsize>,
    progress: ProgressBar,
) -> Result<Vec<Duration>, ClientError> {
    let mut connection = Connection::new(&bench.endpoint, bench.timeout());
    let (total, size) = (bench.data.stored.len(), bench.args.batch);
    let mut latencies = Vec::new();
    loop {
        let first = next.fetch_add(size, Ordering::Relaxed);
        if first >= total {
            return Ok(latencies);
        }
        let rows = first..total.min(first + size);
        let body = batch(&bench, rows.clone());
        let sent = Instant::now();
        connection.post(api::UPSERT_BINARY, body).await?;
        latencies.push(sent.elapsed());
        progress.inc(rows.len() as u64);
    }
}

/// The request that stores a run of rows under their numbers.
pub(super) fn batch(bench: &Bench, rows: Range<usize>) -> Bytes {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    batch_of(bench, &rows)
}

/// The request that stores `rows` under their numbers.
pub(super) fn batch_of(bench: &Bench, rows: &[u32]) -> Bytes {
    let stored = &bench.data.stored;
    let mut fields = Map::new();
    fields.insert("dimension".into(), stored.width().into());
    fields.insert("ids".into(), rows.iter().map(u32::to_string).collect());
    if let Some(metadata) = &bench.fields {
        fields.insert(
            "metadata".into(),
            rows.iter().map(|row| metadata.of(*row as usize)).collect(),
        );
    }
    let values: Vec<f32> = rows
        .iter()
        .flat_map(|row| stored.row(*row as usize))
        .copied()
        .collect();
    let vectors = base64_of(&values);
    let mut body = bench.index.open_request();
    body.extend_from_slice(b",\"batch\":");
    body.extend_from_slice(Value::Object(fields).to_string().as_bytes());
    body.pop();
    body.extend_from_slice(b",\"vectors_b64\":\"");
    body.extend_from_slice(vectors.as_bytes());
    body.extend_from_slice(b"\"}}");
    body.into()
}
