//! The parts that query: the sweep, batches, filters, and the index before it is trained.

use super::args::Wire;
use super::ask::Ask;
use super::error::BenchError;
use super::load::Load;
use super::report::{Point, PointKind, Report};
use super::rows::Rows;
use super::run::Bench;
use super::score::Judge;
use super::setting::Setting;
use super::stats::Latency;
use super::truth::Neighbour;
use crate::progress;
use std::time::Duration;

/// Connections of those who ask at a steady rate: a query that finds none free waits for one.
const PACED_CLIENTS: usize = 64;

/// Queries of the untrained index, by one client with the server's own settings.
pub(super) async fn untrained(bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
    let ask = bench.ask(bench.args.wire[0], Setting::Auto, Setting::Auto);
    report.points.push(
        Case::plain(bench, PointKind::Untrained, 1, ask)
            .measure(bench)
            .await?,
    );
    Ok(())
}

/// Every combination of wire, clients, rerank_mult and n_probes asked for.
pub(super) async fn sweep(bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
    for wire in &bench.args.wire {
        for clients in &bench.args.clients {
            for (rerank, probes) in bench.settings() {
                let case = Case::plain(
                    bench,
                    PointKind::Query,
                    *clients,
                    bench.ask(*wire, probes, rerank),
                );
                report.points.push(case.measure(bench).await?);
            }
        }
    }
    Ok(())
}

/// Queries at each steady rate asked for, with the server's own settings.
pub(super) async fn paced(bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
    for rate in &bench.args.rates {
        let ask = bench.ask(bench.args.wire[0], Setting::Auto, Setting::Auto);
        let case = Case {
            rate: Some(*rate),
            ..Case::plain(bench, PointKind::Paced, PACED_CLIENTS, ask)
        };
        report.points.push(case.measure(bench).await?);
    }
    Ok(())
}

/// Requests of many queries, by one client.
pub(super) async fn batches(bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
    for wire in &bench.args.wire {
        for per_request in &bench.args.batch_queries {
            for (rerank, probes) in bench.settings() {
                let ask = Ask {
                    per_request: *per_request,
                    ..bench.ask(*wire, probes, rerank)
                };
                let case = Case::plain(bench, PointKind::Batch, 1, ask);
                report.points.push(case.measure(bench).await?);
            }
        }
    }
    Ok(())
}

/// Queries with each filter, by one client.
pub(super) async fn filters(bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
    for (predicate, truth) in &bench.filters {
        for (rerank, probes) in bench.settings() {
            let ask = Ask {
                filter: Some(predicate.filter.clone()),
                ..bench.ask(bench.args.wire[0], probes, rerank)
            };
            let asked = Asked {
                queries: &bench.data.queries,
                truth,
                matching: Some(&predicate.matching),
                filter: Some(predicate.name),
            };
            let case = Case {
                asked,
                ..Case::plain(bench, PointKind::Filter, 1, ask)
            };
            report.points.push(case.measure(bench).await?);
        }
    }
    Ok(())
}

/// One point of a sweep.
pub(super) struct Case<'a> {
    pub(super) kind: PointKind,
    pub(super) clients: usize,
    /// Requests that are due per second, if that is fixed.
    pub(super) rate: Option<f64>,
    pub(super) ask: Ask,
    pub(super) asked: Asked<'a>,
}

/// The queries of a point, and what the right answers are.
pub(super) struct Asked<'a> {
    pub(super) queries: &'a Rows<f32>,
    /// Per query, nearest first.
    pub(super) truth: &'a [Vec<Neighbour>],
    /// The rows that may be answered, in order; all if `None`.
    pub(super) matching: Option<&'a [u32]>,
    /// What the filter of the requests is called.
    pub(super) filter: Option<&'a str>,
}

impl<'a> Case<'a> {
    /// All queries of the run, over all of its data.
    pub(super) fn plain(bench: &'a Bench, kind: PointKind, clients: usize, ask: Ask) -> Self {
        let asked = Asked {
            queries: &bench.data.queries,
            truth: &bench.data.truth,
            matching: None,
            filter: None,
        };
        Self {
            kind,
            clients,
            rate: None,
            ask,
            asked,
        }
    }

    /// Measures it, with a warm-up before.
    pub(super) async fn measure(&self, bench: &Bench) -> Result<Point, BenchError> {
        self.measure_for(bench, bench.args.span()).await
    }

    /// The same for at least and at most as long as `span` says.
    pub(super) async fn measure_for(
        &self,
        bench: &Bench,
        span: (Duration, Duration),
    ) -> Result<Point, BenchError> {
        let progress = progress::spinner(self.label());
        let load = Load {
            endpoint: bench.endpoint.clone(),
            timeout: bench.timeout(),
            path: self.ask.path(),
            bodies: self.ask.bodies(&bench.index, self.asked.queries),
            clients: self.clients,
            rate: self.rate,
            span,
        };
        let processors = bench.watch.processors();
        let outcome = load.run().await?;
        let (client_cores, server_cores) = processors.cores();
        progress.finish_and_clear();
        let score = self.judge(bench).score(&outcome.answers, self.ask.per_request)?;
        let answered = outcome.latencies.len() * self.ask.per_request;
        Ok(Point {
            part: self.kind,
            wire: self.ask.wire,
            clients: self.clients,
            rate: self.rate,
            per_request: self.ask.per_request,
            filter: self.asked.filter.map(str::to_owned),
            n_probes: self.ask.n_probes,
            rerank_mult: self.ask.rerank_mult,
            score,
            queries_per_second: answered as f64 / outcome.elapsed.as_secs_f64(),
            latency: Latency::of(outcome.latencies).expect("a score was given, so there were answers"),
            refused: outcome.refused,
            client_cores,
            server_cores,
        })
    }

    fn judge<'b>(&'b self, bench: &'b Bench) -> Judge<'b> {
        Judge {
            metric: bench.data.metric,
            stored: &bench.data.stored,
            queries: self.asked.queries,
            truth: self.asked.truth,
            matching: self.asked.matching,
            k: self.ask.k,
        }
    }

    fn label(&self) -> String {
        format!(
            "{:?}, n_probes {}, {} clients",
            self.kind, self.ask.n_probes, self.clients
        )
    }
}

impl Bench {
    /// A plain query with these settings.
    pub(super) fn ask(&self, wire: Wire, n_probes: Setting, rerank_mult: Setting) -> Ask {
        Ask {
            wire,
            k: self.args.k,
            n_probes,
            rerank_mult,
            filter: None,
            per_request: 1,
        }
    }

    /// Every combination of rerank_mult and n_probes.
    fn settings(&self) -> Vec<(Setting, Setting)> {
        let probes = |rerank: &Setting| {
            self.args
                .probes
                .iter()
                .map(|probes| (*rerank, *probes))
                .collect::<Vec<_>>()
        };
        self.args.rerank_mult.iter().flat_map(probes).collect()
    }
}
