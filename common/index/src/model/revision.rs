//! Revisions: a trained model goes along with an index that grows, shrinks and drifts, without being learned anew. Clusters
//! that have become too large are split, small ones are given up, and strays get clusters of their own; all others stay as
//! they are, and so do the codes. (SPFresh's split, merge and reassign, Xu et al., SOSP 2023, on a sample of the rows.)
//!
//! A revision goes by steps, each of which touches few clusters: what has to be looked into while rows are on their way
//! stays little. Knows nothing of how rows are moved.

#[cfg(test)]
mod tests;

use super::lineage::{Lineage, Moving};
use super::{CLUSTERS_PER_ROOT, Centroids, Learned, Model, Probing, Reach};
use crate::kmeans;
use sealdex_core::ClusterNo;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A cluster is split from so many times the rows on that suit it …
const SPLIT_FROM: f64 = 2.0;
/// … and given up below so many times.
const GIVE_UP_BELOW: f64 = 0.25;
/// Of so many rows of a cluster one may lie out of the reach of all others if it is given up.
const OUT_OF_REACH_ONE_IN: usize = 20;
/// Clusters that one step replaces.
const CLUSTERS_PER_STEP: usize = 16;
/// Clusters around each that is replaced whose rows may be nearer to a new one.
const NEIGHBOURS: usize = 8;
/// Rows that must be known of a cluster for it to be parted.
const ROWS_TO_PART: usize = 8;
const ITERATIONS: usize = 10;
const TOLERANCE: f32 = 1e-3;
/// A revision leaves so many clusters at least.
const CLUSTERS_LEFT_MIN: usize = 8;

/// What a model wants to be changed, one step after another.
pub struct Revision {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// How far to look when all are done, and what recall that reaches.
    pub learned: Learned,
}

/// Some clusters that are replaced together.
pub struct Step {
    /// Numbers of those that take no rows any more.
    leaving: Vec<u32>,
    /// New centroids, row-major.
    centroids: Vec<f32>,
    /// How far each new cluster reaches.
    reach: Vec<f32>,
}

/// A sample of an index's rows and where they lie.
pub struct Sample<'a> {
    /// In prepared space, row-major.
    pub rows: &'a [f32],
    /// Positions of those that serve as queries.
    pub queries: &'a [u32],
    /// Items in the index.
    pub population: u64,
}

/// A cluster as a sample shows it: the rows that lie in it.
struct Seen {
    cluster: ClusterNo,
    members: Vec<u32>,
}

/// A cluster that is replaced by none or some: its centroids and their reach.
struct Replacement {
    leaves: Option<ClusterNo>,
    centroids: Vec<f32>,
    reach: Vec<f32>,
}

impl Model {
    /// What would suit the index better that `sample` is of, for a recall of `target`. With no steps, how far to look is
    /// all that changes.
    pub fn revision(&self, sample: &Sample<'_>, target: f32) -> Revision {
        let nearest = self.nearest(sample.rows);
        let replacements = self.replacements(sample, &nearest);
        let steps: Vec<Step> = replacements
            .chunks(CLUSTERS_PER_STEP)
            .map(|some| self.step(some))
            .collect();
        let mut last = self.clone();
        let mut moved_from: HashSet<u32> = HashSet::new();
        for step in &steps {
            last = last.begin(step);
            moved_from.extend(last.sources().map(|cluster| last.number(cluster)));
            last = last.arrived();
        }
        let first_new = self.next_number();
        let places: HashMap<u32, ClusterNo> = (0..last.clusters())
            .map(|place| (last.number(ClusterNo(place)), ClusterNo(place)))
            .collect();
        let will_be = last.nearest(sample.rows);
        let lies = nearest.iter().zip(&will_be).map(|((now, square), (then, _))| {
            let (from, to) = (self.number(*now), last.number(*then));
            let stays = to < first_new || !moved_from.contains(&from);
            match places.get(&from) {
                Some(place) if stays && self.reach.holds(*now, *square) => *place,
                _ => *then,
            }
        });
        let lies: Vec<ClusterNo> = lies.collect();
        // Strays are looked into by every query: nothing is to be learned of them.
        let last = Model {
            reach: Reach::unlimited(),
            lineage: Lineage::default(),
            ..last
        };
        let learned = Probing::learn(
            &last,
            sample.rows,
            &lies,
            sample.queries,
            sample.population,
            target,
        );
        Revision { steps, learned }
    }

    /// This model while the rows of `step` are on their way.
    ///
    /// # Panics
    /// If rows are on their way already.
    pub fn begin(&self, step: &Step) -> Self {
        assert!(!self.is_moving(), "one step after another");
        let dimension = self.dimension.get();
        let (staying, leaving): (Vec<ClusterNo>, Vec<ClusterNo>) = (0..self.clusters())
            .map(ClusterNo)
            .partition(|cluster| !step.leaving.contains(&self.number(*cluster)));
        let values = |clusters: &[ClusterNo]| -> Vec<f32> {
            clusters
                .iter()
                .flat_map(|cluster| self.centroids.get(*cluster))
                .copied()
                .collect()
        };
        let leaving_centroids = Centroids::new(dimension, values(&leaving));
        let kept = Centroids::new(dimension, values(&staying));
        let new = step.centroids.chunks_exact(dimension);
        let neighbours: BTreeSet<u32> = new
            .flat_map(|centroid| kept.nearest(centroid, NEIGHBOURS))
            .map(|(_, cluster)| cluster.0)
            .collect();
        let centroids = Centroids::new(dimension, [kept.values(), &step.centroids].concat());
        let next = self.next_number();
        let numbers = |clusters: &[ClusterNo]| clusters.iter().map(|cluster| self.number(*cluster)).collect();
        let strays: Vec<ClusterNo> = self.stray_clusters().map(ClusterNo).collect();
        let numbers: [Vec<u32>; 4] = [
            numbers(&staying),
            (next..next + step.reach.len() as u32).collect(),
            numbers(&strays),
            numbers(&leaving),
        ];
        Self {
            probing: self.probing.over(centroids.len()),
            centroids,
            reach: self.reach.replaced(&staying, &step.reach),
            lineage: Lineage {
                numbers: numbers.concat(),
                next: next + step.reach.len() as u32,
                rows_by_root: self.rows_by_root(),
                moving: Some(Moving {
                    leaving: leaving_centroids,
                    first_new: staying.len() as u32,
                    neighbours: neighbours.into_iter().map(ClusterNo).collect(),
                }),
            },
            ..self.clone()
        }
    }

    /// Whether rows are on their way.
    pub fn is_moving(&self) -> bool {
        self.lineage.moving.is_some()
    }

    /// The clusters that rows on their way may lie in: those that take none any more, neighbours of new ones, and strays.
    pub fn sources(&self) -> impl Iterator<Item = ClusterNo> {
        let moving = self.lineage.moving.iter();
        let stray = self.stray_clusters();
        let leaving = stray.end..stray.end + self.leaving();
        let staying = stray.map(ClusterNo);
        let sources = moving.flat_map(move |moving| moving.neighbours.iter().copied().chain(staying.clone()));
        leaving.map(ClusterNo).chain(sources)
    }

    /// Whether a row that lies in the cluster `from`, and would be put into `to` now, has to be moved there.
    pub fn moves(&self, from: ClusterNo, to: ClusterNo) -> bool {
        let Some(moving) = &self.lineage.moving else {
            return false;
        };
        self.takes_no_rows(from) || (from != to && (moving.first_new..self.clusters()).contains(&to.0))
    }

    /// Whether a cluster is one that rows leave and none is put into.
    pub fn takes_no_rows(&self, cluster: ClusterNo) -> bool {
        cluster.0 >= self.stray_clusters().end
    }

    /// This model when all rows have arrived.
    pub fn arrived(&self) -> Self {
        let mut arrived = self.clone();
        arrived.lineage.moving = None;
        arrived
            .lineage
            .numbers
            .truncate(self.stray_clusters().end as usize);
        arrived
    }

    /// This model with what was learned of how far to look. What clusters hold on the whole is remembered from the training.
    pub fn looking(&self, learned: Learned) -> Self {
        let all = (0..self.all_clusters()).map(|place| self.number(ClusterNo(place)));
        Self {
            lineage: Lineage {
                numbers: all.collect(),
                next: self.next_number(),
                rows_by_root: self.rows_by_root(),
                moving: self.lineage.moving.clone(),
            },
            probing: learned.probing,
            ..self.clone()
        }
    }

    /// What the label of a cluster is made of.
    pub fn number(&self, cluster: ClusterNo) -> u32 {
        let number = self.lineage.numbers.get(cluster.0 as usize);
        number.copied().unwrap_or(cluster.0)
    }

    /// How many clusters take no rows any more. Their places follow those of strays.
    pub(super) fn leaving(&self) -> u32 {
        let moving = self.lineage.moving.as_ref();
        moving.map_or(0, |moving| moving.leaving.len() as u32)
    }

    /// See [`Lineage::rows_by_root`].
    fn rows_by_root(&self) -> f32 {
        match self.probing.population() {
            _ if !self.lineage.numbers.is_empty() => self.lineage.rows_by_root,
            Some(then) => (then as f32).sqrt() / self.clusters() as f32,
            None => 1.0 / CLUSTERS_PER_ROOT as f32,
        }
    }

    fn next_number(&self) -> u32 {
        match self.lineage.numbers.is_empty() {
            true => self.stray_clusters().end,
            false => self.lineage.next,
        }
    }

    /// Which clusters to replace by which.
    fn replacements(&self, sample: &Sample<'_>, nearest: &[(ClusterNo, f32)]) -> Vec<Replacement> {
        let population = sample.population.max(1) as f64;
        let suits = population.sqrt() * f64::from(self.rows_by_root());
        let stands_for = population / nearest.len().max(1) as f64;
        let mut clusters: Vec<Seen> = (0..self.clusters())
            .map(|cluster| Seen::nothing(ClusterNo(cluster)))
            .collect();
        let mut strays = Seen::nothing(ClusterNo(u32::MAX));
        for (row, (cluster, square)) in (0..).zip(nearest) {
            match self.reach.holds(*cluster, *square) {
                true => clusters[cluster.0 as usize].members.push(row),
                false => strays.members.push(row),
            }
        }
        let share = |seen: &Seen| seen.members.len() as f64 * stands_for / suits;
        let mut replacements = Vec::new();
        if share(&strays) >= 1.0 {
            let parts = self.parts(sample.rows, &strays, share(&strays));
            replacements.push(Replacement {
                leaves: None,
                ..parts
            });
        }
        for seen in clusters.iter().filter(|seen| share(seen) >= SPLIT_FROM) {
            let parts = self.parts(sample.rows, seen, share(seen));
            if parts.reach.len() > 1 {
                replacements.push(parts);
            }
        }
        let mut left = clusters.len();
        for seen in clusters.iter().filter(|seen| share(seen) < GIVE_UP_BELOW) {
            if left > CLUSTERS_LEFT_MIN && self.is_dispensable(sample.rows, seen) {
                left -= 1;
                replacements.push(Replacement {
                    leaves: Some(seen.cluster),
                    centroids: Vec::new(),
                    reach: Vec::new(),
                });
            }
        }
        replacements.retain(|replacement| replacement.leaves.is_some() || !replacement.reach.is_empty());
        replacements
    }

    /// The centroids that part a cluster's rows into about `share` parts.
    fn parts(&self, rows: &[f32], seen: &Seen, share: f64) -> Replacement {
        let dimension = self.dimension.get();
        let most = seen.members.len() / ROWS_TO_PART;
        let settings = kmeans::Settings {
            clusters: (share.round() as usize).max(1).min(most.max(1)),
            max_iterations: ITERATIONS,
            tolerance: TOLERANCE,
            batch: None,
            seed: u64::from(self.next_number()),
        };
        let members = seen.members.iter().flat_map(|row| row_of(rows, dimension, *row));
        let members: Vec<f32> = members.copied().collect();
        let parts = Centroids::new(
            dimension,
            kmeans::balanced(self.dimension, &members, &settings, &|_| {}),
        );
        let reach = Reach::learn(&parts.nearest_to_each(&members), parts.len());
        Replacement {
            leaves: Some(seen.cluster),
            reach: reach.squares().to_vec(),
            centroids: parts.values().to_vec(),
        }
    }

    /// Whether other clusters reach the rows of one that is given up.
    fn is_dispensable(&self, rows: &[f32], seen: &Seen) -> bool {
        let out_of_reach = |row: &&u32| {
            let nearest = self
                .centroids
                .nearest(row_of(rows, self.dimension.get(), **row), 2);
            let other = nearest.into_iter().find(|(_, cluster)| *cluster != seen.cluster);
            other.is_none_or(|(square, cluster)| !self.reach.holds(cluster, square))
        };
        seen.members.iter().filter(out_of_reach).count() <= seen.members.len() / OUT_OF_REACH_ONE_IN
    }

    fn step(&self, replacements: &[Replacement]) -> Step {
        let leaving = replacements.iter().filter_map(|replacement| replacement.leaves);
        let of_all = |part: fn(&Replacement) -> &[f32]| replacements.iter().flat_map(part).copied().collect();
        Step {
            leaving: leaving.map(|cluster| self.number(cluster)).collect(),
            centroids: of_all(|replacement| &replacement.centroids),
            reach: of_all(|replacement| &replacement.reach),
        }
    }
}

impl Seen {
    fn nothing(cluster: ClusterNo) -> Self {
        Self {
            cluster,
            members: Vec::new(),
        }
    }
}

fn row_of(rows: &[f32], dimension: usize, row: u32) -> &[f32] {
    &rows[row as usize * dimension..][..dimension]
}
