//! Everything a run found out, as it is written to the JSON file. Figures only: no key, no vector.

use super::args::{BenchArgs, Wire};
use super::change::Scenario;
use super::data::Dataset;
use super::error::BenchError;
use super::machine::{Footprint, Machine};
use super::score::Score;
use super::setting::Setting;
use super::stats::Latency;
use super::truth;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The form of the file. Raised when a reader of the form before would misread it.
const FORMAT: u64 = 1;

/// The report of one run. Filled as the run goes, so that a run that fails half-way still tells what it saw.
#[derive(Deserialize, Serialize)]
pub(super) struct Report {
    /// The form of this file; the first ones did not say it.
    #[serde(default)]
    pub(super) format: u64,
    /// Version of this tool.
    pub(super) tool: String,
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
    /// One per stage of each scenario; reports from before the part change have none.
    #[serde(default)]
    pub(super) changes: Vec<Change>,
    #[serde(skip, default = "Instant::now")]
    started: Instant,
}

/// Refuses a file that could not be written in the end, before time is spent; the option `name` asks for it. Leaves
/// what is there as it is.
pub(super) fn check_writable(name: &'static str, path: &Path) -> Result<(), BenchError> {
    let is_new = !path.exists();
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    let tried = opened.and_then(|_| if is_new { fs::remove_file(path) } else { Ok(()) });
    tried.map_err(|source| BenchError::Output {
        name,
        path: path.into(),
        source,
    })
}

/// What was stored and asked.
#[derive(Deserialize, Serialize)]
pub(super) struct DataFacts {
    pub(super) name: String,
    pub(super) vectors: usize,
    /// As stored, padding included.
    pub(super) dimension: usize,
    /// As it came.
    pub(super) own_dimension: usize,
    pub(super) metric: String,
    pub(super) queries: usize,
    pub(super) intrinsic_dimension: Option<f64>,
}

/// Loading and training.
#[derive(Deserialize, Serialize)]
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
#[derive(Deserialize, Serialize)]
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
#[derive(Deserialize, Serialize)]
pub(super) struct Point {
    pub(super) part: PointKind,
    pub(super) wire: Wire,
    pub(super) clients: usize,
    /// Queries that were due per second, if that was fixed.
    #[serde(default)]
    pub(super) rate: Option<f64>,
    /// Queries per request.
    pub(super) per_request: usize,
    pub(super) filter: Option<String>,
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
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PointKind {
    /// Before training.
    Untrained,
    /// The sweep.
    Query,
    /// The fastest that reaches `--target-recall`, or the best where none does.
    Matched,
    /// Many queries per request.
    Batch,
    /// Asked at a steady rate.
    Paced,
    /// With a filter.
    Filter,
    /// The readers of the part mixed, alone.
    Alone,
    /// The same readers while one client writes.
    Mixed,
    /// A stage of the part change.
    Change,
}

/// Single upserts.
#[derive(Deserialize, Serialize)]
pub(super) struct Upsert {
    pub(super) latency: Latency,
    /// Items looked for at once after they were written, and how many of them were found.
    pub(super) checked: usize,
    pub(super) found_at_once: usize,
    /// How many of them were still found after they were deleted.
    pub(super) found_after_delete: usize,
}

/// Reads while one client writes.
#[derive(Deserialize, Serialize)]
pub(super) struct Mixed {
    pub(super) readers: usize,
    /// Queries per second against those of the same readers alone.
    pub(super) read_ratio: f64,
    pub(super) writes_per_second: f64,
    /// Of the writes.
    pub(super) write_latency: Option<Latency>,
}

/// An index that has changed since it was trained.
#[derive(Deserialize, Serialize)]
pub(super) struct Change {
    pub(super) scenario: Scenario,
    pub(super) stage: String,
    /// Items that it holds.
    pub(super) vectors: usize,
    pub(super) n_lists: u64,
    pub(super) as_it_is: Point,
    /// The same after a training, at the last stage.
    pub(super) trained_again: Option<Point>,
}

impl Report {
    /// A report of settings and data; everything measured is still missing.
    pub(super) fn begin(args: &BenchArgs, data: &Dataset, server_version: String) -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            format: FORMAT,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
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
                metric: data.metric.as_str().to_owned(),
                queries: data.queries.len(),
                intrinsic_dimension: truth::intrinsic_dimension(data.metric, &data.truth),
            },
            ingest: None,
            footprints: Vec::new(),
            points: Vec::new(),
            upsert: None,
            mixed: None,
            changes: Vec::new(),
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
            name: "--output",
            path: path.into(),
            source,
        })
    }

    /// Reads what `write` wrote. What a later form says is not guessed at.
    pub(super) fn read(path: &Path) -> Result<Self, BenchError> {
        let refused = |problem: String| BenchError::Report {
            path: path.into(),
            problem,
        };
        let foreign = |error: serde_json::Error| {
            refused(format!(
                "this is no report that sealdex bench wrote with --output: {error}"
            ))
        };
        let text = fs::read(path).map_err(|error| refused(error.to_string()))?;
        let written: Value = serde_json::from_slice(&text).map_err(foreign)?;
        let format = written["format"].as_u64().unwrap_or(0);
        if format > FORMAT {
            return Err(refused(format!(
                "a later sealdex wrote this, in format {format}, and this one reads up to {FORMAT}; use that one"
            )));
        }
        serde_json::from_value(written).map_err(foreign)
    }

    /// The number of neighbours asked for.
    pub(super) fn k(&self) -> u64 {
        self.settings["k"].as_u64().unwrap_or(0)
    }

    /// The recall that settings were searched for, if any were.
    pub(super) fn target_recall(&self) -> Option<f64> {
        self.settings["target_recall"].as_f64()
    }
}

/// A report of these points: clients, n_probes, recall, queries per second.
#[cfg(test)]
pub(super) fn made_up(points: &[(usize, u32, f64, f64)]) -> Report {
    made_up_of(Value::Null, points)
}

/// The same with some fields changed.
#[cfg(test)]
pub(super) fn made_up_of(changes: Value, points: &[(usize, u32, f64, f64)]) -> Report {
    use serde_json::json;
    fn change(fields: &mut Value, changes: Value) {
        match changes {
            Value::Object(changes) if fields.is_object() => {
                for (name, value) in changes {
                    change(&mut fields[name], value);
                }
            }
            Value::Null => {}
            value => *fields = value,
        }
    }
    let latency =
        json!({"count": 9, "mean_ms": 1.0, "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "max_ms": 4.0});
    let points = points.iter().map(|(clients, n_probes, recall, queries_per_second)| {
        json!({
            "part": "query", "wire": "binary", "clients": clients, "per_request": 1, "filter": null, "n_probes": n_probes,
            "rerank_mult": "auto", "recall": recall, "queries": 100, "short": 0, "wrong": 0, "unordered": 0,
            "distance_error": 0.0, "queries_per_second": queries_per_second, "latency": latency, "refused": 0,
            "client_cores": null, "server_cores": null
        })
    });
    let mut report = json!({
        "format": FORMAT, "tool": "0", "started_unix": 0, "seconds": 1.0, "error": null,
        "settings": {"k": 10, "seed": 7, "data": null, "queries": null, "target_recall": null},
        "machine": {"cores": 2, "cpu": "any", "memory_bytes": null, "kernel": "", "load_before": "0"},
        "server_version": "0",
        "data": {"name": "clustered:1000x8:4", "vectors": 1000, "dimension": 8, "own_dimension": 8, "metric": "euclidean",
            "queries": 100, "intrinsic_dimension": null},
        "ingest": {"upload_seconds": 1.0, "vectors_per_second": 1000.0, "latency": latency, "train_seconds": 4.0,
            "is_trained": true, "n_lists": 30},
        "footprints": [{"stage": "queried", "disk_bytes": 1_600_000, "resident_bytes": null, "peak_resident_bytes": null}],
        "points": points.collect::<Vec<_>>(),
        "upsert": {"latency": latency, "checked": 1, "found_at_once": 1, "found_after_delete": 0},
        "mixed": null
    });
    change(&mut report, changes);
    serde_json::from_value(report).expect("a report is read as it is written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_refused_and_one_that_can_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new.json"), folder.path().join("old.json"));
        fs::write(&old, "kept").unwrap();
        check_writable("--output", &new).unwrap();
        check_writable("--output", &old).unwrap();
        assert!(!new.exists());
        assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
        for wrong in [folder.path().join("no/such/folder.json"), folder.path().into()] {
            let error = check_writable("--output", &wrong).unwrap_err().to_string();
            assert!(error.contains("choose another --output"), "{error}");
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_a_later_or_foreign_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let report = made_up(&[(1, 4, 0.95, 1234.5)]);
        report.write(&path).unwrap();
        let read = Report::read(&path).unwrap();
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            serde_json::to_value(&report).unwrap()
        );
        // The first reports did not say their format.
        let written = serde_json::to_value(&report).unwrap();
        let refused = |format: Option<u64>| {
            let mut changed = written.clone();
            match format {
                Some(format) => changed["format"] = format.into(),
                None => drop(changed.as_object_mut().unwrap().remove("format")),
            }
            fs::write(&path, changed.to_string()).unwrap();
            Report::read(&path).err().map(|error| error.to_string())
        };
        assert_eq!(refused(None), None);
        let later = refused(Some(FORMAT + 1)).unwrap();
        assert!(
            later.contains("later sealdex") && later.contains("report.json"),
            "{later}"
        );
        for foreign in ["", "[]", "{\"points\": []}", "not json"] {
            fs::write(&path, foreign).unwrap();
            let error = Report::read(&path).err().unwrap().to_string();
            assert!(
                error.contains("no report") && error.lines().count() == 1,
                "{error}"
            );
        }
        assert!(Report::read(Path::new("/no/such/report.json")).is_err());
    }
}
