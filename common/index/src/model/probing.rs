//! How many clusters to probe and how many candidates to refine, learned from queries whose answers are known.
//!
//! The sample may be a part of the index. A neighbour among `n` rows then stands for `population / n` of them, so the
//! `k` nearest of the index are judged by the `k * n / population` nearest of the sample, and ranks found in the sample
//! are scaled back up. That overestimates probes where fewer than one neighbour would be left.

use super::Model;
use crate::codes::{self, CodesView};
use crate::kernel::{self, Isa};
use crate::kmeans::half_squares;
use crate::layout::{LayoutError, Reader};
use crate::quantiser::Scorer;
use rayon::prelude::*;
use sealdex_core::ClusterNo;

/// Neighbour counts that are learned; what lies between is interpolated.
const LEARNED: [usize; 2] = [10, 100];
/// Candidates to refine at least, by experience: fewer have to be bought with many more probes.
const REFINE_MIN: [usize; 2] = [30, 150];
/// Candidates to refine at most, per neighbour.
const REFINE_MAX: usize = 20;
/// So few rows are all looked at when they are what is left of more: clusters and codes would save next to nothing.
const FEW_ROWS: u64 = 256;
/// Twice the standard error of recall measured with a few hundred queries.
const MARGIN: f64 = 0.01;
/// Costs of a query in nanoseconds, as measured with every page opened: of a candidate, of a page, and of a byte of code.
const CANDIDATE_COST: f64 = 2_500.0;
const PAGE_COST: f64 = 800.0;
const BYTE_COST: f64 = 0.15;
/// Queries and rows of one blocked product.
const QUERIES: usize = 64;
const ROWS: usize = 1_024;

/// Probes and candidates that reach the recall a generation was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Probing {
    clusters: usize,
    /// Rows of the index when it was learned; 0 if that was not recorded.
    population: u64,
    n_probes: [usize; 2],
    refine: [usize; 2],
}

/// What [`Probing::learn`] found.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The settings.
    pub probing: Probing,
    /// Recall that they reach for 10 and for 100 neighbours of the sampled queries.
    pub recall: [f32; 2],
}

impl Probing {
    /// Probes everything: for models that are not trained.
    pub fn everywhere(clusters: usize) -> Self {
        Self {
            clusters,
            population: 0,
            n_probes: [clusters; 2],
            refine: [40, 200],
        }
    }

    /// The same where as many rows lie in so many clusters: as large a part of them is looked into, at least.
    pub(super) fn over(&self, clusters: usize) -> Self {
        let part = (clusters as f64 / self.clusters as f64).max(1.0);
        Self {
            clusters,
            n_probes: self.n_probes.map(|n| (n as f64 * part).ceil() as usize),
            ..self.clone()
        }
    }

    /// Rows of the index when this was learned, if that is known.
    pub fn population(&self) -> Option<u64> {
        (self.population > 0).then_some(self.population)
    }

    /// Clusters to probe for `k` neighbours among the `rows` rows that the index has now. If that is fewer than when it
    /// was learned, so many more that as many rows are looked at: those that are left lie further apart.
    pub fn n_probes(&self, k: usize, rows: u64) -> usize {
        if self.leaves_few(rows) {
            return self.clusters;
        }
        let emptied = (self.population as f64 / rows.max(1) as f64).max(1.0);
        let [near, far] = self.n_probes.map(|n| n as f64);
        let probes = (near * (far / near).powf(decades(k)) * emptied).ceil();
        (probes as usize).clamp(1, self.clusters)
    }

    /// Candidates to refine for `k` neighbours among `rows` rows; `k` at least.
    pub fn refine(&self, k: usize, rows: u64) -> usize {
        if self.leaves_few(rows) {
            return k.max(rows as usize);
        }
        let [near, far] = self.refine.map(|n| n as f64);
        let candidates = match decades(k) {
            part @ ..1.0 => near * (far / near).powf(part),
            _ => far * k as f64 / LEARNED[1] as f64,
        };
        (candidates.ceil() as usize).max(k)
    }

    /// Whether `rows` rows are so few of what there was that all are to be looked at.
    pub fn leaves_few(&self, rows: u64) -> bool {
        self.population > 0 && rows <= FEW_ROWS
    }

    /// Learns from a sample of `population` rows: `rows` in prepared space (row-major), the cluster of each, and the
    /// positions of those that serve as queries (each is left out of its own neighbours). `target` is the recall to
    /// reach. Some hundred queries are enough; the work grows with queries times rows.
    pub fn learn(
        model: &Model,
        rows: &[f32],
        assignments: &[ClusterNo],
        queries: &[u32],
        population: u64,
        target: f32,
    ) -> Learned {
        let sample = Sample::new(model, rows, assignments);
        let share = (assignments.len() as f64 / population.max(1) as f64).min(1.0);
        let nearest = LEARNED.map(|k| ((k as f64 * share).round() as usize).max(1));
        let found = sample.neighbours(queries, nearest[1]);
        let rows_per_cluster = population as f64 / model.centroids.len() as f64;
        let probe_cost = PAGE_COST + BYTE_COST * rows_per_cluster * model.quantiser.row_bytes() as f64;
        let mut learned = Learned {
            probing: Self {
                population,
                ..Self::everywhere(model.centroids.len())
            },
            recall: [1.0; 2],
        };
        for (i, k) in LEARNED.into_iter().enumerate() {
            let neighbours: Vec<Neighbour> = found
                .iter()
                .flat_map(|all| all.iter().take(nearest[i]))
                .copied()
                .collect();
            let wanted = ((f64::from(target) + MARGIN).min(1.0) * neighbours.len() as f64).ceil() as usize;
            let (least, most) = (REFINE_MIN[i], REFINE_MAX * k);
            let choices = std::iter::successors(Some(least), |r| (*r < most).then(|| most.min(r + r / 8)))
                .filter_map(|refine| {
                    choose(
                        &neighbours,
                        refine,
                        refine as f64 * nearest[i] as f64 / k as f64,
                        wanted,
                    )
                });
            let cost = |choice: &Choice| {
                let missed = wanted.saturating_sub(choice.reached) as f64;
                let work = choice.refine as f64 * CANDIDATE_COST + choice.n_probes as f64 * probe_cost;
                (missed, work)
            };
            let order = |a: &Choice, b: &Choice| {
                let ((a_missed, a_work), (b_missed, b_work)) = (cost(a), cost(b));
                a_missed.total_cmp(&b_missed).then(a_work.total_cmp(&b_work))
            };
            if let Some(best) = choices.min_by(order) {
                learned.probing.n_probes[i] = best.n_probes;
                learned.probing.refine[i] = best.refine;
                learned.recall[i] = best.reached as f32 / neighbours.len() as f32;
            }
        }
        let Probing { n_probes, refine, .. } = &mut learned.probing;
        n_probes[1] = n_probes[1].max(n_probes[0]);
        refine[1] = refine[1].max(refine[0]);
        learned
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for number in self.n_probes.into_iter().chain(self.refine) {
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.population.to_le_bytes());
    }

    /// Reads what [`Probing::write`] appended; without the population if `version` of the model had none.
    pub(super) fn read(reader: &mut Reader<'_>, clusters: usize, version: u8) -> Result<Self, LayoutError> {
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = reader.u32()? as usize;
            if *number == 0 {
                return Err(reader.damaged());
            }
        }
        let [near, far, refine_near, refine_far] = numbers;
        let population = match version {
            super::VERSION_WITHOUT_POPULATION => 0,
            _ => u64::from_le_bytes(reader.array()?),
        };
        Ok(Self {
            clusters,
            population,
            n_probes: [near, far],
            refine: [refine_near, refine_far],
        })
    }
}

/// Where `k` lies between the learned counts, by its logarithm: 0 at 10 and below, 1 at 100, 2 at 1,000.
fn decades(k: usize) -> f64 {
    (k.max(LEARNED[0]) as f64 / LEARNED[0] as f64).log10()
}

/// One way to search, and how many of the true neighbours it reaches.
struct Choice {
    refine: usize,
    n_probes: usize,
    reached: usize,
}

/// The fewest probes that reach `wanted` neighbours when the `refine` best candidates of the index are refined, which
/// are the `sampled` best of the sample; as many as help if none reaches them.
fn choose(neighbours: &[Neighbour], refine: usize, sampled: f64, wanted: usize) -> Option<Choice> {
    let ranked = neighbours.iter().filter(|n| (n.by_estimate as f64) < sampled);
    let mut places: Vec<usize> = ranked.map(|n| n.by_cluster).collect();
    places.sort_unstable();
    let n_probes = 1 + places.get(wanted.min(places.len()).checked_sub(1)?)?;
    let reached = places.partition_point(|place| *place < n_probes);
    Some(Choice {
        refine,
        n_probes,
        reached,
    })
}

/// A true neighbour of a query: at which place of the probing order its cluster comes, and how many rows have a smaller
/// estimate.
#[derive(Clone, Copy)]
struct Neighbour {
    by_cluster: usize,
    by_estimate: usize,
}

struct Sample<'a> {
    model: &'a Model,
    rows: &'a [f32],
    half_squares: Vec<f32>,
    assignments: &'a [ClusterNo],
    /// Of each cluster, which rows it has and their codes as a block.
    clusters: Vec<(Vec<u32>, Vec<u8>)>,
}

impl<'a> Sample<'a> {
    fn new(model: &'a Model, rows: &'a [f32], assignments: &'a [ClusterNo]) -> Self {
        let dimension = model.dimension.get();
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); model.centroids.len()];
        for (row, cluster) in assignments.iter().enumerate() {
            members[cluster.0 as usize].push(row as u32);
        }
        let pack = |(cluster, members): (usize, Vec<u32>)| {
            let centroid = model.centroids.get(ClusterNo(cluster as u32));
            let mut code = Vec::new();
            for row in &members {
                let row = &rows[*row as usize * dimension..][..dimension];
                model.quantiser.encode(row, centroid, &mut code);
            }
            let codes = codes::pack(model.quantiser.codec(), model.dimension, &code);
            (members, codes)
        };
        let clusters = members.into_par_iter().enumerate().map(pack).collect();
        Self {
            model,
            rows,
            half_squares: half_squares(dimension, rows),
            assignments,
            clusters,
        }
    }

    /// The `count` true neighbours of each query, nearest first.
    fn neighbours(&self, queries: &[u32], count: usize) -> Vec<Vec<Neighbour>> {
        let blocks: Vec<Vec<Vec<Neighbour>>> = queries
            .par_chunks(QUERIES)
            .map(|queries| {
                let nearest = self.nearest_rows(queries, count);
                queries
                    .iter()
                    .zip(nearest)
                    .map(|(query, rows)| self.judge(*query, &rows))
                    .collect()
            })
            .collect();
        blocks.into_iter().flatten().collect()
    }

    /// The rows nearest to each of `queries`, themselves left out, nearest first.
    fn nearest_rows(&self, queries: &[u32], count: usize) -> Vec<Vec<u32>> {
        let dimension = self.model.dimension.get();
        let prepared: Vec<f32> = queries
            .iter()
            .flat_map(|query| self.row(*query).iter().copied())
            .collect();
        let mut best: Vec<Vec<(f32, u32)>> = vec![Vec::with_capacity(2 * count + ROWS); queries.len()];
        let mut products = vec![0.0; queries.len() * ROWS];
        let blocks = self
            .rows
            .chunks(ROWS * dimension)
            .zip(self.half_squares.chunks(ROWS));
        for ((rows, half_squares), first) in blocks.zip((0u32..).step_by(ROWS)) {
            let products = &mut products[..queries.len() * half_squares.len()];
            kernel::products(Isa::best(), dimension, &prepared, rows, products);
            for ((query, best), products) in queries
                .iter()
                .zip(&mut best)
                .zip(products.chunks(half_squares.len()))
            {
                let scores = half_squares
                    .iter()
                    .zip(products)
                    .map(|(half, product)| half - product);
                best.extend(scores.zip(first..).filter(|(_, row)| row != query));
                keep_least(best, count);
            }
        }
        for best in &mut best {
            best.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        best.into_iter()
            .map(|best| best.into_iter().map(|(_, row)| row).collect())
            .collect()
    }

    fn judge(&self, query: u32, nearest: &[u32]) -> Vec<Neighbour> {
        let prepared = self.row(query);
        let probes = self.model.route(prepared, self.clusters.len());
        let scorer = self.model.quantiser.scorer(prepared);
        let mut estimates = vec![0.0; self.assignments.len()];
        let mut place = vec![0; self.clusters.len()];
        for (i, probe) in probes.iter().enumerate() {
            place[probe.cluster.0 as usize] = i;
            self.estimate(&scorer, probe.cluster, probe.base, &mut estimates);
        }
        // The query itself is no rival of its neighbours.
        estimates[query as usize] = f32::INFINITY;
        let mut bounds: Vec<f32> = nearest.iter().map(|row| estimates[*row as usize]).collect();
        bounds.sort_unstable_by(f32::total_cmp);
        let mut below = vec![0usize; bounds.len() + 1];
        let last = bounds.last().copied().unwrap_or(0.0);
        for estimate in estimates.iter().filter(|estimate| **estimate < last) {
            below[bounds.partition_point(|bound| bound <= estimate)] += 1;
        }
        let rank = |estimate: f32| {
            below[..=bounds.partition_point(|bound| *bound < estimate)]
                .iter()
                .sum()
        };
        let judge = |row: &u32| Neighbour {
            by_cluster: place[self.assignments[*row as usize].0 as usize],
            by_estimate: rank(estimates[*row as usize]),
        };
        nearest.iter().map(judge).collect()
    }

    fn estimate(&self, scorer: &Scorer, cluster: ClusterNo, base: f32, estimates: &mut [f32]) {
        let (members, codes) = &self.clusters[cluster.0 as usize];
        let codes = CodesView::parse(self.model.quantiser.codec(), self.model.dimension, codes)
            .expect("these codes were packed here");
        scorer.scan(&codes, base, None, f32::INFINITY, &mut |row, estimate| {
            estimates[members[row as usize] as usize] = estimate;
        });
    }

    fn row(&self, row: u32) -> &[f32] {
        let dimension = self.model.dimension.get();
        &self.rows[row as usize * dimension..][..dimension]
    }
}

fn keep_least(best: &mut Vec<(f32, u32)>, count: usize) {
    if count < best.len() {
        best.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        best.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_interpolated() {
        let probing = Probing {
            clusters: 512,
            population: 100_000,
            n_probes: [40, 90],
            refine: [40, 250],
        };
        let n_probes = |k| probing.n_probes(k, 100_000);
        assert_eq!([1, 10, 100].map(n_probes), [40, 40, 90]);
        assert_eq!(
            [1, 10, 100, 1_000].map(|k| probing.refine(k, 100_000)),
            [40, 40, 250, 2_500]
        );
        let ks: Vec<usize> = (1..20_000).collect();
        assert!(ks.iter().map(|k| n_probes(*k)).is_sorted());
        assert!(ks.iter().map(|k| probing.refine(*k, 100_000)).is_sorted());
        assert!(
            ks.iter()
                .all(|k| probing.refine(*k, 100_000) >= *k && n_probes(*k) <= 512)
        );
        assert_eq!(n_probes(100_000), 512);
    }

    #[test]
    fn fewer_rows_are_looked_for_further_out() {
        let probing = Probing {
            clusters: 512,
            population: 100_000,
            n_probes: [40, 90],
            refine: [40, 250],
        };
        assert_eq!(probing.n_probes(10, 50_000), 80);
        assert_eq!(probing.n_probes(10, 400_000), 40);
        assert_eq!(probing.n_probes(10, 0), 512);
        assert_eq!(
            (probing.n_probes(10, FEW_ROWS), probing.refine(10, FEW_ROWS)),
            (512, FEW_ROWS as usize)
        );
        assert!(probing.refine(10, FEW_ROWS + 1) < FEW_ROWS as usize);
        let unknown = Probing {
            population: 0,
            ..probing
        };
        assert_eq!((unknown.n_probes(10, 10), unknown.population()), (40, None));
    }

    #[test]
    fn few_candidates_are_paid_for_with_probes() {
        let neighbour = |by_cluster, by_estimate| Neighbour {
            by_cluster,
            by_estimate,
        };
        let neighbours = [
            neighbour(0, 0),
            neighbour(1, 50),
            neighbour(2, 1),
            neighbour(9, 3),
        ];
        let choice = |sampled, wanted| choose(&neighbours, 30, sampled, wanted).unwrap();
        assert_eq!((choice(30.0, 3).n_probes, choice(30.0, 3).reached), (10, 3));
        assert_eq!((choice(60.0, 3).n_probes, choice(60.0, 3).reached), (3, 3));
        assert_eq!((choice(2.0, 3).n_probes, choice(2.0, 3).reached), (3, 2));
        assert!(choose(&neighbours, 30, 0.0, 3).is_none());
    }
}
