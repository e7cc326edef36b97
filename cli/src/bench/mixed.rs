//! The part mixed: the same readers alone, then while one client replaces items by themselves. The stored vectors
//! stay what they are, so recall can be judged while everything about them is being rewritten.

use super::api;
use super::error::BenchError;
use super::ingest;
use super::query::Case;
use super::report::{Mixed, PointKind, Report};
use super::run::Bench;
use super::setting::Setting;
use super::stats::Latency;
use crate::client::{ClientError, Connection};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Measures `--readers` clients without and with a writer, with the server's own query settings.
pub(super) async fn reads_while_writing(bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
    let case = |kind| {
        let ask = bench.ask(bench.args.wire[0], Setting::Auto, Setting::Auto);
        Case::plain(bench, kind, bench.args.readers, ask)
    };
    let alone = case(PointKind::Alone).measure(bench).await?;
    let stop = AtomicBool::new(false);
    let reading = async {
        let point = case(PointKind::Mixed).measure(bench).await;
        stop.store(true, Ordering::Relaxed);
        point
    };
    let started = Instant::now();
    let (mixed, written) = tokio::join!(reading, write(bench, &stop));
    let (mixed, latencies) = (mixed?, written?);
    let seconds = started.elapsed().as_secs_f64();
    report.mixed = Some(Mixed {
        readers: bench.args.readers,
        read_ratio: mixed.queries_per_second / alone.queries_per_second,
        writes_per_second: (latencies.len() * bench.args.write_batch.min(bench.data.stored.len())) as f64
            / seconds,
        write_latency: Latency::of(latencies),
    });
    report.points.extend([alone, mixed]);
    Ok(())
}

/// Replaces batch after batch until told to stop.
async fn write(bench: &Bench, stop: &AtomicBool) -> Result<Vec<Duration>, ClientError> {
    let mut connection = Connection::new(&bench.endpoint, bench.timeout());
    let total = bench.data.stored.len();
    let size = bench.args.write_batch.min(total);
    let (mut first, mut latencies) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let body = ingest::batch(bench, first..first + size);
        let sent = Instant::now();
        connection.post(api::UPSERT_BINARY, body).await?;
        latencies.push(sent.elapsed());
        first = if first + 2 * size > total { 0 } else { first + size };
    }
    Ok(latencies)
}
