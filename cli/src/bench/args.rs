//! The command line of `sealdex bench`. It checks what can be checked without opening a file or a connection.

use super::change::{self, Scenario};
use super::error::BenchError;
use super::generate::Clustered;
use super::machine;
use super::setting::Setting;
use clap::{Args, ValueEnum};
use sealdex_core::{Metric, limits};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Measure a server that speaks the REST contract: ingest, training, recall, speed, disk and memory.
///
/// Without options: 50,000 made-up vectors against the server on this machine, about a minute. Secrets may be given
/// in the environment: SEALDEX_API_KEY, SEALDEX_INDEX_KEY.
#[derive(Args, Serialize)]
pub(crate) struct BenchArgs {
    /// Vectors to store: .npy (float16, float32, float64) or .fvecs.
    #[arg(long, value_name = "FILE", help_heading = "Data", conflicts_with = "generate")]
    pub(super) data: Option<PathBuf>,
    /// Made-up vectors instead, `clustered:ROWSxDIMENSION[:INTRINSIC]`. The greater INTRINSIC, the harder.
    #[arg(
        long,
        value_name = "SHAPE",
        help_heading = "Data",
        default_value = "clustered:50000x128:16"
    )]
    #[serde(skip)]
    pub(super) generate: Clustered,
    /// Vectors to ask for; otherwise some of the data are held out.
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "data")]
    pub(super) queries: Option<PathBuf>,
    /// Row numbers of the exact neighbours of each query, .npy (integers) or .ivecs; otherwise computed.
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "queries")]
    pub(super) truth: Option<PathBuf>,
    /// Vectors held out as queries where there is no file of queries.
    #[arg(long, value_name = "N", help_heading = "Data", default_value_t = 1000)]
    pub(super) holdout: usize,
    /// Take only the first N vectors of the data.
    #[arg(long, value_name = "N", help_heading = "Data", conflicts_with = "truth")]
    pub(super) limit: Option<usize>,
    /// Ask only the first N queries.
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(super) max_queries: Option<usize>,
    /// Fill every vector up to this dimension with zeros, for servers that cannot take the data's own.
    #[arg(long, value_name = "DIMENSION", help_heading = "Data")]
    pub(super) pad_to: Option<usize>,
    /// euclidean, squared_euclidean or cosine.
    #[arg(long, help_heading = "Data", default_value = "euclidean")]
    #[serde(serialize_with = "metric_name")]
    pub(super) metric: Metric,
    /// Seed of everything drawn at random.
    #[arg(long, help_heading = "Data", default_value_t = 7)]
    pub(super) seed: u64,

    /// Where the server listens; http only.
    #[arg(long, help_heading = "Server", default_value = "http://127.0.0.1:8000")]
    pub(super) url: String,
    /// The key the server asks of its clients.
    #[arg(
        long,
        env = "SEALDEX_API_KEY",
        hide_env_values = true,
        help_heading = "Server"
    )]
    #[serde(skip)]
    pub(super) api_key: Option<String>,
    /// The index's own key, 64 hex digits; otherwise one is drawn and forgotten.
    #[arg(
        long,
        env = "SEALDEX_INDEX_KEY",
        hide_env_values = true,
        help_heading = "Server"
    )]
    #[serde(skip)]
    pub(super) index_key: Option<String>,
    /// Query the index of this name, which an earlier run with the same data kept, instead of loading one.
    #[arg(long, value_name = "NAME", help_heading = "Server", requires = "index_key")]
    pub(super) reuse: Option<String>,
    /// Do not delete the index at the end.
    #[arg(long, help_heading = "Server", requires = "index_key")]
    pub(super) keep: bool,
    /// Seconds that one request may take.
    #[arg(long, value_name = "SECONDS", help_heading = "Server", default_value_t = 120)]
    pub(super) timeout: u64,
    /// Seconds that training may take.
    #[arg(long, value_name = "SECONDS", help_heading = "Server", default_value_t = 3600)]
    pub(super) train_timeout: u64,
    /// The server's data directory, if it is on this machine: its size is measured.
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    pub(super) data_dir: Option<PathBuf>,
    /// The server's process, if it is on this machine: its memory and processor time are measured.
    #[arg(long, help_heading = "Server")]
    pub(super) pid: Option<u32>,

    /// Vectors per upsert.
    #[arg(long, value_name = "N", help_heading = "Loading", default_value_t = 1000)]
    pub(super) batch: usize,
    /// Concurrent uploads.
    #[arg(long, value_name = "N", help_heading = "Loading", default_value_t = 1)]
    pub(super) upload_clients: usize,
    /// Give every item metadata even when no filter is measured.
    #[arg(long, help_heading = "Loading")]
    pub(super) metadata: bool,
    /// Wait for the server's automatic training instead of calling train.
    #[arg(long, help_heading = "Loading")]
    pub(super) no_train: bool,
    /// Number of clusters to train; otherwise the server's choice.
    #[arg(long, value_name = "N", help_heading = "Loading")]
    pub(super) lists: Option<u32>,

    /// What to measure. Every part but ingest alone needs the data loaded or --reuse.
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Measuring",
        default_value = "ingest,query,upsert"
    )]
    pub(super) parts: Vec<Part>,
    /// Measure queries before training too.
    #[arg(long, help_heading = "Measuring")]
    pub(super) untrained: bool,
    /// Neighbours asked for.
    #[arg(long, help_heading = "Measuring", default_value_t = 10)]
    pub(super) k: usize,
    /// Values of n_probes to sweep; auto leaves the choice to the server.
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Measuring",
        default_value = "auto,1,4,16,64"
    )]
    pub(super) probes: Vec<Setting>,
    /// Instead of sweeping --probes, search the fastest setting whose recall is at least this, by n_probes and by the
    /// values of --rerank-mult.
    #[arg(long, value_name = "RECALL", help_heading = "Measuring")]
    pub(super) target_recall: Option<f64>,
    /// Values of rerank_mult to sweep; auto leaves the choice to the server.
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Measuring",
        default_value = "auto"
    )]
    pub(super) rerank_mult: Vec<Setting>,
    /// Numbers of concurrent clients to sweep, each with one connection.
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Measuring",
        default_value = "1,8"
    )]
    pub(super) clients: Vec<usize>,
    /// Also ask at these steady rates, in queries per second, whether those before are answered or not: latencies then
    /// count from when a query was due.
    #[arg(long, value_delimiter = ',', help_heading = "Measuring")]
    pub(super) rates: Vec<f64>,
    /// Query routes to sweep.
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Measuring",
        default_value = "binary"
    )]
    pub(super) wire: Vec<Wire>,
    /// Queries per request in the part batch.
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Measuring",
        default_value = "100,1000"
    )]
    pub(super) batch_queries: Vec<usize>,
    /// A point of a sweep lasts at least this long and until every query was asked …
    #[arg(long, help_heading = "Measuring", default_value_t = 2.0)]
    pub(super) seconds: f64,
    /// … but is cut off after this long; recall is then that of the queries asked.
    #[arg(long, help_heading = "Measuring", default_value_t = 30.0)]
    pub(super) max_seconds: f64,
    /// Single upserts in the part upsert.
    #[arg(long, value_name = "N", help_heading = "Measuring", default_value_t = 200)]
    pub(super) singles: usize,
    /// Clients that query while one writes, in the part mixed.
    #[arg(long, value_name = "N", help_heading = "Measuring", default_value_t = 2)]
    pub(super) readers: usize,
    /// Vectors per upsert of the client that writes in the part mixed.
    #[arg(long, value_name = "N", help_heading = "Measuring", default_value_t = 100)]
    pub(super) write_batch: usize,
    /// Ways in which the index changes in the part change.
    #[arg(
        long,
        value_delimiter = ',',
        help_heading = "Measuring",
        default_value = "growth,churn,drift"
    )]
    pub(super) changes: Vec<Scenario>,

    /// Also write everything to this file, as JSON.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Also draw recall against queries per second into this file, as SVG: of a run, or of what --compare reads.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(super) plot: Option<PathBuf>,
    /// Measure nothing: print what two reports (JSON) have in common, and how many times better the second is.
    #[arg(
        long,
        num_args = 2,
        value_names = ["FIRST", "SECOND"],
        action = clap::ArgAction::Set,
        conflicts_with_all = [
            "data", "generate", "queries", "truth", "url", "reuse", "keep", "data_dir", "pid", "parts", "target_recall",
            "output",
        ]
    )]
    #[serde(skip)]
    pub(super) compare: Vec<PathBuf>,
}

impl BenchArgs {
    /// Refuses what cannot be measured, before time is spent.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let positive = [
            ("--k", self.k),
            ("--batch", self.batch),
            ("--upload-clients", self.upload_clients),
            ("--holdout", self.holdout),
            ("--limit", self.limit.unwrap_or(1)),
            ("--max-queries", self.max_queries.unwrap_or(1)),
            ("--readers", self.readers),
            ("--write-batch", self.write_batch),
            ("--singles", self.singles),
            ("--clients", self.clients.iter().copied().min().unwrap_or(0)),
            (
                "--batch-queries",
                self.batch_queries.iter().copied().min().unwrap_or(0),
            ),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(BenchError::Argument {
                name,
                problem: "must be at least 1".into(),
            });
        }
        if !(self.seconds >= 0.0 && self.seconds <= self.max_seconds && self.max_seconds < 1e6) {
            let problem = format!(
                "must be between 0 and --max-seconds, which is {}",
                self.max_seconds
            );
            return Err(BenchError::Argument {
                name: "--seconds",
                problem,
            });
        }
        self.check_recall()?;
        self.check_change()?;
        if let Some(width) = self
            .pad_to
            .filter(|width| *width > limits::DIMENSION_MAX as usize)
        {
            let problem = format!("must be at most {}, not {width}", limits::DIMENSION_MAX);
            return Err(BenchError::Argument {
                name: "--pad-to",
                problem,
            });
        }
        if self.data.is_none() {
            self.check_generated(machine::memory_bytes())?;
        }
        if self.reuse.is_some() && self.untrained {
            let problem = "needs a fresh index; leave out --reuse".into();
            return Err(BenchError::Argument {
                name: "--untrained",
                problem,
            });
        }
        match &self.index_key {
            Some(key) if key.len() != 64 || !key.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                let problem = "must be 64 hex digits; draw one with: openssl rand -hex 32".into();
                Err(BenchError::Argument {
                    name: "--index-key",
                    problem,
                })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a recall that nothing has, and what would be searched or drawn without queries.
    fn check_recall(&self) -> Result<(), BenchError> {
        let refuse = |name, problem: String| Err(BenchError::Argument { name, problem });
        if let Some(rate) = self.rates.iter().find(|rate| !(**rate > 0.0 && **rate < 1e6)) {
            return refuse(
                "--rates",
                format!("must be above 0 and below a million, not {rate}"),
            );
        }
        if let Some(target) = self.target_recall
            && !(target > 0.0 && target <= 1.0)
        {
            let problem = format!("must be above 0 and at most 1, such as 0.95, not {target}");
            return refuse("--target-recall", problem);
        }
        let asked = [
            ("--target-recall", self.target_recall.is_some()),
            ("--plot", self.plot.is_some()),
            ("--rates", !self.rates.is_empty()),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            Some((name, _)) if !self.wants(Part::Query) => {
                refuse(*name, "needs query among the --parts".into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses to empty an index that is to be kept, and what would not ask or store anything.
    fn check_change(&self) -> Result<(), BenchError> {
        if !self.wants(Part::Change) {
            return Ok(());
        }
        let refuse = |name, problem: String| Err(BenchError::Argument { name, problem });
        let made_up = self.data.is_none().then_some(self.generate.rows);
        let rows = made_up
            .unwrap_or(usize::MAX)
            .min(self.limit.unwrap_or(usize::MAX));
        if rows < change::ROWS_MIN {
            let problem = format!("change needs at least {} vectors, not {rows}", change::ROWS_MIN);
            return refuse("--parts", problem);
        }
        match (&self.reuse, self.keep) {
            (None, false) => Ok(()),
            (Some(_), _) => refuse(
                "--reuse",
                "cannot be given with the part change, which fills an index anew".into(),
            ),
            (_, true) => refuse(
                "--keep",
                "cannot be given with the part change, which fills an index anew".into(),
            ),
        }
    }

    /// Refuses made-up vectors that no server takes, or that do not fit into this machine's memory.
    fn check_generated(&self, memory_bytes: Option<u64>) -> Result<(), BenchError> {
        let shape = &self.generate;
        let refuse = |problem: String| {
            Err(BenchError::Argument {
                name: "--generate",
                problem,
            })
        };
        if shape.dimension > limits::DIMENSION_MAX as usize {
            return refuse(format!(
                "may ask for at most {} numbers per vector, not {}",
                limits::DIMENSION_MAX,
                shape.dimension
            ));
        }
        let rows = shape.rows.min(self.limit.unwrap_or(usize::MAX));
        let width = shape.dimension.max(self.pad_to.unwrap_or(0));
        let bytes = rows
            .saturating_add(self.holdout)
            .saturating_mul(width * size_of::<f32>()) as u64;
        // Without a limit that is known, what the address space cannot hold is refused.
        let memory = memory_bytes.unwrap_or(1 << 46);
        if bytes > memory {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            return refuse(format!(
                "asks for {:.1} GiB of vectors, more than this machine's memory of {:.1} GiB; ask for fewer rows or \
                 dimensions, or give --limit",
                gib(bytes),
                gib(memory)
            ));
        }
        Ok(())
    }

    /// Whether the data are loaded whole: for everything but the part change, which loads them bit by bit.
    pub(super) fn wants_load(&self) -> bool {
        self.reuse.is_none() && self.parts.iter().any(|part| *part != Part::Change)
    }

    /// Whether `part` was asked for.
    pub(super) fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// What the data are called in the report.
    pub(super) fn data_name(&self) -> String {
        match &self.data {
            Some(path) => path.display().to_string(),
            None => self.generate.to_string(),
        }
    }

    /// How long a point lasts at least and at most.
    pub(super) fn span(&self) -> (Duration, Duration) {
        (
            Duration::from_secs_f64(self.seconds),
            Duration::from_secs_f64(self.max_seconds),
        )
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    /// Loading and training; part of every run without --reuse.
    Ingest,
    /// The sweep over n_probes, rerank_mult, clients and wire, or the search for --target-recall.
    Query,
    /// Many queries in one request.
    Batch,
    /// Queries with filters of 10 %, 1 % and 0.1 % selectivity.
    Filter,
    /// Single upserts into the index as it then is.
    Upsert,
    /// Queries while one client writes.
    Mixed,
    /// Queries of an index that grows, is replaced and drifts without being trained, and then is.
    Change,
}

/// Which of the two query routes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wire {
    /// Vectors as lists of numbers.
    Json,
    /// Vectors as base64 of little-endian f32.
    Binary,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wire::Json => "json",
            Wire::Binary => "binary",
        })
    }
}

fn metric_name<S: Serializer>(metric: &Metric, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(metric.as_str())
}

/// Options as a command line would give them.
#[cfg(test)]
pub(super) fn parse(line: &str) -> Result<BenchArgs, clap::Error> {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }
    let words = std::iter::once("bench").chain(line.split_whitespace());
    <Cli as clap::Parser>::try_parse_from(words).map(|cli| cli.bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_secrets_are_not_reported() {
        let key = "ab".repeat(32);
        let line =
            format!("--probes auto,4 --clients 1,8 --parts query,filter --api-key hunter2 --index-key {key}");
        let args = parse(&line).unwrap();
        args.check().unwrap();
        assert_eq!(args.probes, [Setting::Auto, Setting::Fixed(4)]);
        assert!(args.wants(Part::Filter) && !args.wants(Part::Batch));
        let reported = serde_json::to_string(&args).unwrap();
        assert!(
            !reported.contains("hunter2") && !reported.contains(&key),
            "{reported}"
        );
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for line in [
            "--probes 0",
            "--probes many",
            "--reuse old",
            "--keep",
            "--metric dot",
            "--queries q.npy",
            "--compare one.json",
            "--compare one.json two.json --target-recall 0.9",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in [
            "--k 0",
            "--clients 0",
            "--index-key abc",
            "--seconds 60",
            "--batch 0",
            "--generate clustered:99999999999x99999",
            "--generate clustered:18446744073709551615x16384",
            "--generate clustered:99999999999999x128",
            "--holdout 99999999999999999",
            "--rates 0",
            "--rates 100,NaN",
            "--rates 100 --parts ingest",
            "--target-recall 0",
            "--target-recall 95",
            "--target-recall NaN",
            "--target-recall 0.9 --parts ingest",
            "--plot curve.svg --parts batch",
            "--pad-to 99999999999999999",
            "--parts change --generate clustered:63x8",
            "--parts change --limit 63",
            &format!("--parts change --keep --index-key {}", "ab".repeat(32)),
            &format!("--parts change --reuse old --index-key {}", "ab".repeat(32)),
        ] {
            assert!(parse(line).unwrap().check().is_err(), "{line}");
        }
    }
    #[test]
    fn vectors_that_do_not_fit_are_refused_by_their_size() {
        let args = parse("--generate clustered:1000000x1024 --holdout 1000").unwrap();
        let refusal = |memory| {
            args.check_generated(Some(memory))
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refusal(8 << 30), None);
        let text = refusal(2 << 30).unwrap();
        assert!(
            text.contains("3.8 GiB") && text.contains("2.0 GiB") && text.contains("fewer rows"),
            "{text}"
        );
        let limited = parse("--generate clustered:1000000x1024 --limit 1000").unwrap();
        assert!(limited.check_generated(Some(1 << 30)).is_ok());
    }
}
