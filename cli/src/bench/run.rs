//! One run from beginning to end: prepare, load, measure, clean up, report.

use super::api::{Api, Index};
use super::args::{BenchArgs, Part};
use super::data::Dataset;
use super::error::BenchError;
use super::fields::{Fields, Predicate};
use super::machine::Watch;
use super::plot::Plot;
use super::report::Report;
use super::truth::{self, Neighbour};
use super::{change, compare, ingest, mixed, query, report, table, tuning, upsert};
use crate::client::Endpoint;
use crate::progress;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Measures the server that `args` name, prints a table, and writes the report if asked. A run that fails half-way
/// still reports what it saw, and deletes what it created. With `--compare` it measures nothing and reads two reports.
pub(crate) fn start(args: BenchArgs) -> Result<(), BenchError> {
    if let [first, second] = &args.compare[..] {
        return compare::start(first, second, args.plot.as_deref());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(BenchError::Runtime)?.block_on(run(args))
}

async fn run(args: BenchArgs) -> Result<(), BenchError> {
    args.check()?;
    if let Some(path) = &args.output {
        report::check_writable("--output", path)?;
    }
    if let Some(path) = &args.plot {
        report::check_writable("--plot", path)?;
    }
    let endpoint = Endpoint::new(&args.url, args.api_key.as_deref())?;
    let version = Api::new(&endpoint, Duration::from_secs(args.timeout))
        .version()
        .await?;
    let bench = tokio::task::spawn_blocking(move || Bench::prepare(args, endpoint));
    let bench = Arc::new(bench.await.expect("preparing neither panics nor is cancelled")?);
    let mut findings = Report::begin(&bench.args, &bench.data, version);
    // From here on there is an index to delete: a signal no longer ends the process by itself.
    let mut stop = Stop::listen().map_err(BenchError::Runtime)?;
    let outcome = tokio::select! {
        outcome = measure(&bench, &mut findings) => outcome,
        () = stop.asked() => Err(BenchError::Interrupted),
    };
    let cleaned = tokio::select! {
        cleaned = bench.clean_up() => cleaned,
        () = stop.asked() => Err(BenchError::NotDeleted { name: bench.index.name().to_owned() }),
    };
    findings.finish(outcome.as_ref().err());
    table::print(&findings);
    if let Some(path) = &bench.args.output {
        findings.write(path)?;
    }
    if let Some(path) = &bench.args.plot
        && let Some(plot) = Plot::of(&[("", &findings)])
    {
        plot.write(path)?;
    }
    outcome.and(cleaned)
}

/// The signals that ask a run to stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Resolves at the next of them.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What all parts of a run share.
pub(super) struct Bench {
    pub(super) args: BenchArgs,
    pub(super) endpoint: Endpoint,
    pub(super) index: Index,
    pub(super) data: Dataset,
    /// The metadata of every item, if items have any.
    pub(super) fields: Option<Fields>,
    /// The filters to measure, each with its exact answers.
    pub(super) filters: Vec<(Predicate, Vec<Vec<Neighbour>>)>,
    pub(super) watch: Watch,
}

impl Bench {
    fn prepare(args: BenchArgs, endpoint: Endpoint) -> Result<Self, BenchError> {
        let watch = Watch::start(args.data_dir.clone(), args.pid)?;
        let data = Dataset::prepare(&args)?;
        let wanted = args.metadata || args.wants(Part::Filter);
        let fields = wanted.then(|| Fields::draw(&data.stored, args.seed));
        let filters = match &fields {
            Some(fields) if args.wants(Part::Filter) => filters(&args, &data, fields),
            _ => Vec::new(),
        };
        let index = Index::new(args.reuse.as_deref(), args.index_key.as_deref())?;
        Ok(Self {
            args,
            endpoint,
            index,
            data,
            fields,
            filters,
            watch,
        })
    }

    /// For calls outside the measured loops.
    pub(super) fn api(&self) -> Api {
        Api::new(&self.endpoint, self.timeout())
    }

    /// For each request but training.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.args.timeout)
    }

    /// Deletes the index if this run created it and nobody wants to keep it.
    async fn clean_up(&self) -> Result<(), BenchError> {
        if self.args.reuse.is_some() || self.args.keep {
            return Ok(());
        }
        Ok(self.api().delete(&self.index).await?)
    }

    fn note_footprint(&self, report: &mut Report, stage: &'static str) -> Result<(), BenchError> {
        if self.watch.sees_anything() {
            report.footprints.push(self.watch.footprint(stage)?);
        }
        Ok(())
    }
}

fn filters(args: &BenchArgs, data: &Dataset, fields: &Fields) -> Vec<(Predicate, Vec<Vec<Neighbour>>)> {
    let predicates = fields
        .predicates()
        .into_iter()
        .filter(|predicate| !predicate.matching.is_empty());
    predicates
        .map(|predicate| {
            let progress = progress::bar(data.queries.len(), format!("exact, {} match", predicate.name));
            let members = Some(&predicate.matching[..]);
            let truth = truth::nearest(
                data.metric,
                &data.stored,
                members,
                &data.queries,
                args.k,
                &progress,
            );
            (predicate, truth)
        })
        .collect()
}

async fn measure(bench: &Arc<Bench>, report: &mut Report) -> Result<(), BenchError> {
    if bench.args.reuse.is_some() {
        check_reused(bench).await?;
    }
    if bench.args.wants_load() {
        load(bench, report).await?;
    }
    if bench.args.wants(Part::Query) {
        match bench.args.target_recall {
            Some(target) => tuning::at_target(bench, target, report).await?,
            None => query::sweep(bench, report).await?,
        }
        query::paced(bench, report).await?;
    }
    if bench.args.wants(Part::Batch) {
        query::batches(bench, report).await?;
    }
    if bench.args.wants(Part::Filter) {
        query::filters(bench, report).await?;
    }
    if bench.args.wants_load() || bench.args.reuse.is_some() {
        bench.note_footprint(report, "queried")?;
    }
    if bench.args.wants(Part::Upsert) {
        report.upsert = Some(upsert::singles(bench).await?);
    }
    if bench.args.wants(Part::Mixed) {
        mixed::reads_while_writing(bench, report).await?;
    }
    if bench.args.wants(Part::Change) {
        change::scenarios(bench, report).await?;
    }
    Ok(())
}

async fn load(bench: &Arc<Bench>, report: &mut Report) -> Result<(), BenchError> {
    bench
        .api()
        .create(&bench.index, bench.data.stored.width(), bench.data.metric)
        .await?;
    report.ingest = Some(ingest::upload(bench).await?);
    bench.note_footprint(report, "loaded")?;
    if bench.args.untrained {
        query::untrained(bench, report).await?;
    }
    let training = ingest::train(bench).await?;
    if let Some(ingest) = &mut report.ingest {
        ingest.training = Some(training);
    }
    bench.note_footprint(report, "trained")
}

/// A few items tell whether the index was loaded with the same data and options.
async fn check_reused(bench: &Bench) -> Result<(), BenchError> {
    let mut api = bench.api();
    let (found, expected) = (api.count(&bench.index).await?, bench.data.stored.len());
    let mismatch = |what: String| {
        let cure = "give the data and options it was loaded with, --seed included";
        Err(BenchError::Mismatch(format!("--reuse: {what}; {cure}")))
    };
    if found != expected as u64 {
        return mismatch(format!("the index holds {found} items, the data {expected}"));
    }
    for row in [0, expected / 2, expected - 1] {
        let Some(item) = api.item(&bench.index, &row.to_string()).await? else {
            return mismatch(format!("the index has no item {row}"));
        };
        if !is_same(&item.vector, bench.data.stored.row(row)) {
            return mismatch(format!("item {row} is another vector than row {row} of the data"));
        }
        if bench
            .fields
            .as_ref()
            .is_some_and(|fields| fields.of(row) != item.metadata)
        {
            return mismatch(format!(
                "item {row} lacks the metadata that filters need (--metadata)"
            ));
        }
    }
    Ok(())
}

/// Equal but for the rounding of a server that stores half precision.
fn is_same(stored: &[f32], given: &[f32]) -> bool {
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() * 1e-3 + 1e-6;
    stored.len() == given.len() && stored.iter().zip(given).all(close)
}
