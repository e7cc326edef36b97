//! The fastest setting that reaches a recall, as anybody would look for it who knows the contract alone: n_probes
//! doubled until the recall is reached, then what lies between halved.

use super::error::BenchError;
use super::query::Case;
use super::report::{PointKind, Report};
use super::run::Bench;
use super::setting::Setting;

/// A point on the way lasts this fraction of one that is reported.
const SHORTER: u32 = 4;

/// For every combination of wire and clients: the server's own setting, and the fastest that reaches `target`, or the
/// best recall where none does.
pub(super) async fn at_target(bench: &Bench, target: f64, report: &mut Report) -> Result<(), BenchError> {
    let clusters = bench.api().describe(&bench.index).await?.n_lists;
    let (least, greatest) = bench.args.span();
    let short = (least / SHORTER, greatest / SHORTER);
    for wire in &bench.args.wire {
        for clients in &bench.args.clients {
            let case = |kind, parameters: Parameters| {
                let ask = bench.ask(*wire, parameters.n_probes, parameters.rerank_mult);
                Case::plain(bench, kind, *clients, ask)
            };
            let default = case(PointKind::Query, Parameters::DEFAULT);
            report.points.push(default.measure(bench).await?);
            let try_out = async |parameters| {
                let case = case(PointKind::Matched, parameters);
                let point = case.measure_for(bench, short).await?;
                Ok((point.score.recall, point.queries_per_second))
            };
            let mut tuning = Tuning::new(target, clusters);
            let point = loop {
                for rerank_mult in &bench.args.rerank_mult {
                    tuning.search(*rerank_mult, &try_out).await?;
                }
                let choice = tuning.choice();
                let point = case(PointKind::Matched, choice.parameters).measure(bench).await?;
                // A short point that asked but some of the queries may have flattered it.
                if point.score.recall >= target || choice.recall < target {
                    break point;
                }
                tuning.correct(choice.parameters, point.score.recall);
            };
            report.points.push(point);
        }
    }
    Ok(())
}

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Parameters {
    n_probes: Setting,
    rerank_mult: Setting,
}

impl Parameters {
    const DEFAULT: Self = Self {
        n_probes: Setting::Auto,
        rerank_mult: Setting::Auto,
    };
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    parameters: Parameters,
    recall: f64,
    queries_per_second: f64,
}

/// A search at one load. It trusts that more probes bring no less recall and no more speed, and measures nothing
/// itself.
struct Tuning {
    target: f64,
    /// Probing more clusters than there are changes nothing.
    most_probes: u32,
    trials: Vec<Trial>,
}

impl Tuning {
    fn new(target: f64, clusters: u64) -> Self {
        Self {
            target,
            most_probes: u32::try_from(clusters).unwrap_or(u32::MAX).max(1),
            trials: Vec::new(),
        }
    }

    /// Tries `auto`, then the n_probes that lead to the least that reaches the target. `measure` answers with recall
    /// and queries per second, and is asked once for the same parameters, however often they are searched.
    async fn search(
        &mut self,
        rerank_mult: Setting,
        measure: &impl AsyncFn(Parameters) -> Result<(f64, f64), BenchError>,
    ) -> Result<(), BenchError> {
        let parameters = |n_probes| Parameters {
            n_probes,
            rerank_mult,
        };
        let fixed = |probes| parameters(Setting::Fixed(probes));
        self.trial(parameters(Setting::Auto), measure).await?;
        let (mut low, mut high) = (0, 1);
        loop {
            let trial = self.trial(fixed(high), measure).await?;
            if trial.recall >= self.target {
                break;
            }
            if high == self.most_probes || self.is_beaten(trial) {
                return Ok(());
            }
            low = high;
            high = high.saturating_mul(2).min(self.most_probes);
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.trial(fixed(middle), measure).await?.recall >= self.target {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(())
    }

    async fn trial(
        &mut self,
        parameters: Parameters,
        measure: &impl AsyncFn(Parameters) -> Result<(f64, f64), BenchError>,
    ) -> Result<Trial, BenchError> {
        let mut known = self.trials.iter();
        if let Some(known) = known.find(|trial| trial.parameters == parameters) {
            return Ok(*known);
        }
        let (recall, queries_per_second) = measure(parameters).await?;
        let trial = Trial {
            parameters,
            recall,
            queries_per_second,
        };
        self.trials.push(trial);
        Ok(trial)
    }

    /// Whether something reaches the target already at a speed that more probes than in `trial` would not bring.
    fn is_beaten(&self, trial: Trial) -> bool {
        let mut reaching = self.trials.iter().filter(|other| other.recall >= self.target);
        reaching.any(|other| other.queries_per_second >= trial.queries_per_second)
    }

    /// The fastest of those that reach the target; of the best recall if none does.
    fn choice(&self) -> Trial {
        let speed = |a: &&Trial, b: &&Trial| a.queries_per_second.total_cmp(&b.queries_per_second);
        let reaching = self.trials.iter().filter(|trial| trial.recall >= self.target);
        let best = || {
            self.trials
                .iter()
                .max_by(|a, b| a.recall.total_cmp(&b.recall).then(speed(a, b)))
        };
        let choice = reaching.max_by(speed).or_else(best);
        *choice.expect("every search tries auto at least")
    }

    /// Notes a recall that was measured more thoroughly.
    fn correct(&mut self, parameters: Parameters, recall: f64) {
        let measured = self
            .trials
            .iter_mut()
            .filter(|trial| trial.parameters == parameters);
        measured.for_each(|trial| trial.recall = recall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// An index of 300 clusters: recall grows with the probes up to what reranking allows, speed falls with both.
    fn made_up(parameters: Parameters) -> (f64, f64) {
        let probes = match parameters.n_probes {
            Setting::Auto => 100.0,
            Setting::Fixed(probes) => f64::from(probes),
        };
        let (ceiling, cost) = match parameters.rerank_mult {
            Setting::Auto => (0.97, 1.0),
            Setting::Fixed(_) => (1.0, 3.0),
        };
        (
            ceiling * (1.0 - (-probes / 20.0).exp()),
            1e5 / (10.0 + probes * cost),
        )
    }

    /// What is chosen, and how many points that took.
    async fn tune(target: f64, clusters: u64, rerank_mults: &[Setting]) -> (Tuning, usize) {
        let tried = RefCell::new(Vec::new());
        let mut tuning = Tuning::new(target, clusters);
        for rerank_mult in rerank_mults {
            let measure = async |parameters| {
                tried.borrow_mut().push(parameters);
                Ok(made_up(parameters))
            };
            tuning.search(*rerank_mult, &measure).await.unwrap();
        }
        let tried = tried.into_inner();
        for (number, parameters) in tried.iter().enumerate() {
            assert!(!tried[..number].contains(parameters), "{parameters:?} twice");
        }
        (tuning, tried.len())
    }

    fn fixed(probes: u32, rerank_mult: Setting) -> Parameters {
        Parameters {
            n_probes: Setting::Fixed(probes),
            rerank_mult,
        }
    }

    #[tokio::test]
    async fn the_least_number_of_probes_that_reaches_the_recall_is_found() {
        for target in [0.01, 0.3, 0.5, 0.9, 0.95] {
            let (tuning, tried) = tune(target, 300, &[Setting::Auto]).await;
            let reaches = |probes: &u32| made_up(fixed(*probes, Setting::Auto)).0 >= target;
            let least = (1..=300).find(reaches).unwrap();
            let choice = tuning.choice();
            assert_eq!(choice.parameters, fixed(least, Setting::Auto), "{target}");
            assert!(choice.recall >= target && tried <= 17, "{tried} points");
        }
    }

    #[tokio::test]
    async fn the_servers_own_choice_wins_where_it_is_the_fastest() {
        let mut tuning = Tuning::new(0.9, 64);
        let adaptive = async |parameters: Parameters| match parameters.n_probes {
            Setting::Auto => Ok((0.96, 5000.0)),
            Setting::Fixed(probes) => Ok((f64::from(probes) / 64.0, 8000.0 / f64::from(probes))),
        };
        tuning.search(Setting::Auto, &adaptive).await.unwrap();
        assert_eq!(tuning.choice().parameters, Parameters::DEFAULT);
        // One probe is faster but misses; two are slower already.
        assert_eq!(tuning.trials.len(), 3);
    }

    #[tokio::test]
    async fn a_slower_rerank_mult_is_taken_only_where_no_other_reaches_the_recall() {
        let both = [Setting::Auto, Setting::Fixed(8)];
        let (tuning, _) = tune(0.9, 300, &both).await;
        assert_eq!(tuning.choice().parameters.rerank_mult, Setting::Auto);
        let (tuning, _) = tune(0.98, 300, &both).await;
        let choice = tuning.choice();
        assert_eq!(choice.parameters, fixed(79, Setting::Fixed(8)));
        assert!(choice.recall >= 0.98);
    }

    #[tokio::test]
    async fn where_none_reaches_it_the_best_is_chosen_within_the_clusters_there_are() {
        let (tuning, _) = tune(0.99, 300, &[Setting::Auto]).await;
        let choice = tuning.choice();
        assert_eq!(choice.parameters, fixed(300, Setting::Auto));
        assert!(choice.recall < 0.99);
        for clusters in [0, 1] {
            let (_, tried) = tune(0.99, clusters, &[Setting::Auto]).await;
            assert_eq!(tried, 2, "auto and one probe");
        }
    }

    #[tokio::test]
    async fn what_falls_short_at_full_length_gives_way_to_the_next() {
        let (mut tuning, tried) = tune(0.9, 300, &[Setting::Auto]).await;
        let choice = tuning.choice();
        assert_eq!(choice.parameters, fixed(53, Setting::Auto));
        tuning.correct(choice.parameters, 0.899);
        tuning
            .search(Setting::Auto, &async |parameters| Ok(made_up(parameters)))
            .await
            .unwrap();
        assert_eq!(tuning.choice().parameters, fixed(54, Setting::Auto));
        assert!(
            tuning.trials.len() <= tried + 1,
            "what was tried is not tried again"
        );
    }

    #[tokio::test]
    async fn what_was_given_up_for_a_flattered_setting_is_looked_at_after_all() {
        let flattered = async |parameters: Parameters| match parameters.n_probes {
            Setting::Auto => Ok((0.91, 9000.0)),
            Setting::Fixed(_) => Ok(made_up(parameters)),
        };
        let mut tuning = Tuning::new(0.9, 300);
        tuning.search(Setting::Auto, &flattered).await.unwrap();
        assert_eq!(tuning.choice().parameters, Parameters::DEFAULT);
        tuning.correct(Parameters::DEFAULT, 0.89);
        tuning.search(Setting::Auto, &flattered).await.unwrap();
        assert_eq!(tuning.choice().parameters, fixed(53, Setting::Auto));
    }
}
