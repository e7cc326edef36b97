//! The part change: what becomes of recall and speed when the index goes on living and nobody calls train. It grows to
//! four times its size, has all of its items replaced by others of their kind, and by such as lie elsewhere; at the end
//! of each it is trained again, which tells what a fresh training would give.
//!
//! What the index holds is always a window on the rows in some order. Adding moves its upper end, removing its lower.

use super::error::BenchError;
use super::ingest;
use super::query::{Asked, Case};
use super::report::{Change, PointKind, Report};
use super::rng::Rng;
use super::rows::Rows;
use super::run::Bench;
use super::setting::Setting;
use super::truth;
use crate::client::Connection;
use crate::progress;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Fewer rows than this make no quarter that is worth training.
pub(super) const ROWS_MIN: usize = 64;

/// The random stream that rows are shuffled with.
const ORDER_STREAM: u64 = u64::MAX - 1;

/// In what way an index changes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scenario {
    /// Rows in random order: a quarter is trained, the rest comes on top.
    Growth,
    /// Rows in random order: half is trained, then replaced by the other half.
    Churn,
    /// Rows in the order of their distance from one of them: the nearer half is trained, then replaced by the farther.
    Drift,
}

impl Scenario {
    /// What the index holds of `rows` ordered rows: when it is trained, and at each stage behind.
    fn stages(self, rows: usize) -> [(&'static str, Range<usize>); 3] {
        let (quarter, half) = (rows / 4, rows / 2);
        let windows = [0..half, quarter..half + quarter, half..rows];
        let named = |names: [&'static str; 3], windows: [Range<usize>; 3]| {
            let mut named = names.into_iter().zip(windows);
            std::array::from_fn(|_| named.next().expect("there are as many windows as names"))
        };
        match self {
            Scenario::Growth => named(
                ["trained", "+50 %", "+300 %"],
                [0..quarter, 0..quarter + rows / 8, 0..rows],
            ),
            Scenario::Churn => named(["trained", "half replaced", "all replaced"], windows),
            Scenario::Drift => named(["trained", "half moved", "all moved"], windows),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scenario::Growth => "growth",
            Scenario::Churn => "churn",
            Scenario::Drift => "drift",
        })
    }
}

/// Runs every scenario asked for, each on an index that is made for it. The last one's is left behind.
pub(super) async fn scenarios(bench: &Arc<Bench>, report: &mut Report) -> Result<(), BenchError> {
    for scenario in &bench.args.changes {
        bench.api().delete_if_there(&bench.index).await?;
        let data = &bench.data;
        bench
            .api()
            .create(&bench.index, data.stored.width(), data.metric)
            .await?;
        let life = Life::new(bench.clone(), *scenario);
        life.run(report).await?;
    }
    Ok(())
}

/// An index on its way through the stages.
struct Life {
    bench: Arc<Bench>,
    scenario: Scenario,
    /// Numbers of all rows, in the order in which they come and go.
    order: Vec<u32>,
    /// Where rows are ordered by distance: from where it is measured.
    origin: Option<u32>,
}

impl Life {
    fn new(bench: Arc<Bench>, scenario: Scenario) -> Self {
        let rows = bench.data.stored.len();
        let mut rng = Rng::new(bench.args.seed, ORDER_STREAM);
        let mut order: Vec<u32> = (0..rows as u32).collect();
        for last in (1..rows).rev() {
            order.swap(last, rng.below(last + 1));
        }
        let origin = (scenario == Scenario::Drift).then(|| order[0]);
        let mut life = Self {
            bench,
            scenario,
            order: Vec::new(),
            origin,
        };
        if origin.is_some() {
            let away = |row: &u32| life.distance_from_origin(life.bench.data.stored.row(*row as usize));
            let mut distances: Vec<(f64, u32)> = order.iter().map(|row| (away(row), *row)).collect();
            distances.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            order = distances.into_iter().map(|(_, row)| row).collect();
        }
        life.order = order;
        life
    }

    async fn run(&self, report: &mut Report) -> Result<(), BenchError> {
        let mut held = 0..0;
        let stages = self.scenario.stages(self.order.len());
        let last = stages.len() - 1;
        for (number, (stage, window)) in stages.into_iter().enumerate() {
            self.slide(&mut held, &window).await?;
            if number == 0 {
                ingest::train(&self.bench).await?;
            }
            self.bench.until_quiet().await?;
            let mut change = self.measure(stage, &window).await?;
            if number == last {
                ingest::train(&self.bench).await?;
                change.trained_again = Some(self.measure(stage, &window).await?.as_it_is);
            }
            report.changes.push(change);
        }
        Ok(())
    }

    /// Adds and removes batch by batch, in turn, until the index holds `wanted`.
    async fn slide(&self, held: &mut Range<usize>, wanted: &Range<usize>) -> Result<(), BenchError> {
        let bench = &self.bench;
        let steps = (wanted.end - held.end) + (wanted.start - held.start);
        let progress = progress::bar(steps, format!("{} to {wanted:?}", self.scenario));
        let mut connection = Connection::new(&bench.endpoint, bench.timeout());
        while held != wanted {
            let comes = held.end..wanted.end.min(held.end + bench.args.batch);
            if !comes.is_empty() {
                let body = ingest::batch_of(bench, &self.order[comes.clone()]);
                connection.post(super::api::UPSERT_BINARY, body).await?;
            }
            let goes = held.start..wanted.start.min(held.start + bench.args.batch);
            if !goes.is_empty() {
                let ids: Vec<String> = self.order[goes.clone()].iter().map(u32::to_string).collect();
                bench.api().delete_items(&bench.index, &ids).await?;
            }
            progress.inc((comes.len() + goes.len()) as u64);
            *held = goes.end..comes.end;
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// Recall and speed of an index that holds `window`, by one client with the server's own settings.
    async fn measure(&self, stage: &'static str, window: &Range<usize>) -> Result<Change, BenchError> {
        let bench = &self.bench;
        let data = &bench.data;
        let mut members = self.order[window.clone()].to_vec();
        members.sort_unstable();
        let queries = self.queries(window);
        if queries.len() == 0 {
            return Err(BenchError::Mismatch(format!(
                "{}: no query lies where the items of \"{stage}\" do; give more with --holdout or --queries",
                self.scenario
            )));
        }
        let progress = progress::bar(queries.len(), format!("exact, {} {stage}", self.scenario));
        let k = bench.args.k;
        let truth = truth::nearest(data.metric, &data.stored, Some(&members), &queries, k, &progress);
        let asked = Asked {
            queries: &queries,
            truth: &truth,
            matching: Some(&members),
            filter: None,
        };
        let ask = bench.ask(bench.args.wire[0], Setting::Auto, Setting::Auto);
        let case = Case {
            kind: PointKind::Change,
            clients: 1,
            rate: None,
            ask,
            asked,
        };
        Ok(Change {
            scenario: self.scenario,
            stage: stage.to_owned(),
            vectors: members.len(),
            n_lists: bench.api().describe(&bench.index).await?.n_lists,
            as_it_is: case.measure(bench).await?,
            trained_again: None,
        })
    }

    /// The queries that belong to what the index holds: where rows have places, those from the same places.
    fn queries(&self, window: &Range<usize>) -> Rows<f32> {
        let data = &self.bench.data;
        if self.origin.is_none() {
            return data.queries.clone();
        }
        let at = |place: usize| self.distance_from_origin(data.stored.row(self.order[place] as usize));
        let (least, greatest) = (at(window.start), at(window.end - 1));
        let lies_here = |row| (least..=greatest).contains(&self.distance_from_origin(data.queries.row(row)));
        data.queries.filtered(lies_here)
    }

    /// The distance of a vector from the origin; 0 where there is none.
    fn distance_from_origin(&self, vector: &[f32]) -> f64 {
        let data = &self.bench.data;
        let origin = |row| data.stored.row(row as usize);
        self.origin
            .map_or(0.0, |row| truth::distance(data.metric, origin(row), vector))
    }
}

impl Bench {
    /// Until nothing is being trained of the index, for as long as training may take.
    async fn until_quiet(&self) -> Result<(), BenchError> {
        let mut api = self.api();
        let quiet = async {
            while api.training_status().await?.concerns(self.index.name()) {
                tokio::time::sleep(ingest::POLL).await;
            }
            Ok(())
        };
        let patience = Duration::from_secs(self.args.train_timeout);
        tokio::time::timeout(patience, quiet).await.unwrap_or_else(|_| {
            Err(BenchError::Training(format!(
                "still training after {} s; raise --train-timeout",
                patience.as_secs()
            )))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_only_move_forward_and_end_where_they_say() {
        for rows in [ROWS_MIN, 1_001] {
            for scenario in Scenario::value_variants() {
                let stages = scenario.stages(rows);
                assert!(stages.iter().all(|(_, window)| !window.is_empty()));
                for pair in stages.windows(2) {
                    let (before, after) = (&pair[0].1, &pair[1].1);
                    assert!(before.start <= after.start && before.end <= after.end);
                }
                assert_eq!(stages[2].1.end, rows, "{scenario}");
            }
        }
        let [(_, trained), _, (_, grown)] = Scenario::Growth.stages(1_000);
        assert_eq!(grown.len(), 4 * trained.len());
        let [(_, before), _, (_, after)] = Scenario::Churn.stages(1_000);
        assert_eq!((before.end, before.len()), (after.start, after.len()));
    }
}
