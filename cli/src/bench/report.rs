//! Everything a run found out, as it is written to the JSON file. Figures only: no key, no vector.

use super::args::{BenchArgs, Setting, Wire};
use super::data::Dataset;
use super::error::BenchError;
use super::machine::{Footprint, Machine};
use super::score::Score;
use super::stats::Latency;
use super::truth;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The report of one run. Filled as the run goes, so that a run that fails half-way still tells what it saw.
#[derive(Serialize)]
pub(super) struct Report {
    /// Version of this tool.
    pub(super) tool: &'static str,
    pub(super) started_unix: u64,
    pub(super) seconds: f64,
    /// Why the run ended early, if it did.
    pub(super) error: Option<String>,
    pub(super) settings: Value,
    pub(super) machine: Machine,
    pub(super) server_version: String,
    pub(super) data: DataFacts,
    pub(super) ingest: Option<Ingest>,
    pub(super) footprints: Vec<Footprint>,
    pub(super) points: Vec<Point>,
    pub(super) upsert: Option<Upsert>,
    pub(super) mixed: Option<Mixed>,
    #[serde(skip)]
    started: Instant,
}

/// Refuses a file that could not be written in the end, before time is spent. Leaves what is there as it is.
pub(super) fn check_writable(path: &Path) -> Result<(), BenchError> {
    let is_new = !path.exists();
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    let tried = opened.and_then(|_| if is_new { fs::remove_file(path) } else { Ok(()) });
    tried.map_err(|source| BenchError::Output {
        path: path.into(),
        source,
    })
}

/// What was stored and asked.
#[derive(Serialize)]
pub(super) struct DataFacts {
    pub(super) name: String,
    pub(super) vectors: usize,
    /// As stored, padding included.
    pub(super) dimension: usize,
    /// As it came.
    pub(super) own_dimension: usize,
    pub(super) metric: &'static str,
    pub(super) queries: usize,
    pub(super) intrinsic_dimension: Option<f64>,
}

/// Loading and training.
#[derive(Serialize)]
pub(super) struct Ingest {
    pub(super) upload_seconds: f64,
    pub(super) vectors_per_second: f64,
    /// Of the batches.
    pub(super) latency: Latency,
    /// `None` if the run did not come so far.
    #[serde(flatten)]
    pub(super) training: Option<Training>,
}

/// How training went.
#[derive(Serialize)]
pub(super) struct Training {
    pub(super) train_seconds: f64,
    /// A server may find an index too small to be worth it.
    pub(super) is_trained: bool,
    pub(super) n_lists: u64,
}

impl Ingest {
    /// Vectors per second until the index is ready, training included.
    pub(super) fn ready_rate(&self, vectors: usize) -> f64 {
        let training = self
            .training
            .as_ref()
            .map_or(0.0, |training| training.train_seconds);
        vectors as f64 / (self.upload_seconds + training)
    }
}

/// One point of a sweep.
#[derive(Serialize)]
pub(super) struct Point {
    pub(super) part: PointKind,
    pub(super) wire: Wire,
    pub(super) clients: usize,
    /// Queries per request.
    pub(super) per_request: usize,
    pub(super) filter: Option<&'static str>,
    pub(super) n_probes: Setting,
    pub(super) rerank_mult: Setting,
    #[serde(flatten)]
    pub(super) score: Score,
    pub(super) queries_per_second: f64,
    /// Of the requests.
    pub(super) latency: Latency,
    /// Requests that the server put off.
    pub(super) refused: usize,
    /// Cores kept busy by this tool and by the server.
    pub(super) client_cores: Option<f64>,
    pub(super) server_cores: Option<f64>,
}

/// Which part a point belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PointKind {
    /// Before training.
    Untrained,
    /// The sweep.
    Query,
    /// Many queries per request.
    Batch,
    /// With a filter.
    Filter,
    /// The readers of the part mixed, alone.
    Alone,
    /// The same readers while one client writes.
    Mixed,
}

/// Single upserts.
#[derive(Serialize)]
pub(super) struct Upsert {
    pub(super) latency: Latency,
    /// Items looked for at once after they were written, and how many of them were found.
    pub(super) checked: usize,
    pub(super) found_at_once: usize,
    /// How many of them were still found after they were deleted.
    pub(super) found_after_delete: usize,
}

/// Reads while one client writes.
#[derive(Serialize)]
pub(super) struct Mixed {
    pub(super) readers: usize,
    /// Queries per second against those of the same readers alone.
    pub(super) read_ratio: f64,
    pub(super) writes_per_second: f64,
    /// Of the writes.
    pub(super) write_latency: Option<Latency>,
}

impl Report {
    /// A report of settings and data; everything measured is still missing.
    pub(super) fn begin(args: &BenchArgs, data: &Dataset, server_version: String) -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            tool: env!("CARGO_PKG_VERSION"),
            started_unix: unix,
            seconds: 0.0,
            error: None,
            settings: serde_json::to_value(args).expect("settings are plain values"),
            machine: Machine::here(),
            server_version,
            data: DataFacts {
                name: args.data_name(),
                vectors: data.stored.len(),
                dimension: data.stored.width(),
                own_dimension: data.own_dimension,
                metric: data.metric.as_str(),
                queries: data.queries.len(),
                intrinsic_dimension: truth::intrinsic_dimension(data.metric, &data.truth),
            },
            ingest: None,
            footprints: Vec::new(),
            points: Vec::new(),
            upsert: None,
            mixed: None,
            started: Instant::now(),
        }
    }

    /// Notes how long it took and how it ended.
    pub(super) fn finish(&mut self, error: Option<&BenchError>) {
        self.seconds = self.started.elapsed().as_secs_f64();
        self.error = error.map(ToString::to_string);
    }

    /// Writes it all as JSON.
    pub(super) fn write(&self, path: &Path) -> Result<(), BenchError> {
        let mut text = serde_json::to_string_pretty(self).expect("figures can always be written");
        text.push('\n');
        fs::write(path, text).map_err(|source| BenchError::Output {
            path: path.into(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_refused_and_one_that_can_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new.json"), folder.path().join("old.json"));
        fs::write(&old, "kept").unwrap();
        check_writable(&new).unwrap();
        check_writable(&old).unwrap();
        assert!(!new.exists());
        assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
        for wrong in [folder.path().join("no/such/folder.json"), folder.path().into()] {
            let error = check_writable(&wrong).unwrap_err().to_string();
            assert!(error.contains("choose another --output"), "{error}");
        }
    }
}
