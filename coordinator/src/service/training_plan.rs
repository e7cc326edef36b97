//! What a training will do, decided from the size of the index and the request; and the learning itself. No IO.

use super::fitness::Unfit;
use super::indexes::FIRST_GENERATION;
use super::{ServiceError, Settings, TrainRequest};
use crate::domain::{GenerationRecord, IndexRecord};
use sealdex_core::{ClusterNo, Dimension, Generation, Metric, limits};
use sealdex_index::kmeans;
use sealdex_index::model::{Centroids, Lineage, Model, Probing, Reach, Revision, Sample, default_clusters};
use sealdex_index::quantiser::{Codec, Quantiser};

/// Fewer items than this are looked through faster than clusters would be.
const ITEMS_MIN: u64 = 256;
/// Sample rows per cluster that k-means gains from.
const SAMPLE_ROWS_PER_CLUSTER: usize = 128;
/// Sample rows at least, for the codes' sake.
const SAMPLE_ROWS_MIN: usize = 20_000;
/// Copies of the sample that learning holds at a time.
const SAMPLE_COPIES: usize = 3;
/// Rounds of k-means unless the request says otherwise.
const ITERATIONS: usize = 12;
/// Relative movement of the centroids at which k-means stops unless the request says otherwise.
const TOLERANCE: f64 = 1e-3;
/// Queries held out of the sample to learn how many clusters to probe.
const HELD_OUT_QUERIES: usize = 500;
/// An index that has grown or shrunk by this much since its training or last revision wants to learn everything: twice or
/// half as many clusters would suit it, and next to none would stay.
const CHANGE: u64 = 4;
/// One that is at so many hundredths wants some of its clusters revised. One that has shrunk is looked through further without
/// that, so there is less haste.
const REVISION_GROWN: u64 = 150;
const REVISION_SHRUNK: u64 = 40;
/// Rows that an untrained generation takes middle and scale of its codes from.
const CODES_SAMPLE_ROWS: usize = 4_096;

/// What a training learns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lesson {
    /// Clusters and codes.
    Clusters,
    /// Codes for an untrained index, of which every query goes on looking at all items.
    Codes,
    /// Those clusters of a trained index that do not suit it any more.
    Revision,
}

/// A training to be done.
pub(crate) struct TrainingPlan {
    pub(crate) lesson: Lesson,
    pub(crate) generation: Generation,
    pub(crate) metric: Metric,
    pub(crate) dimension: Dimension,
    pub(crate) clusters: usize,
    /// Items in the index when the plan was made.
    pub(crate) items: u64,
    /// Rows to learn from.
    pub(crate) sample_rows: usize,
    pub(crate) batch: Option<usize>,
    pub(crate) iterations: usize,
    pub(crate) tolerance: f64,
    pub(crate) recall_target: f32,
}

impl TrainingPlan {
    /// What an index of that size, whose active generation has this model, wants to learn, if anything. `unfit` says
    /// how what is written and asked for of late is unlike what that generation was fitted to.
    pub(crate) fn due(
        active: &GenerationRecord,
        model: &Model,
        items: u64,
        threshold: u64,
        unfit: Option<Unfit>,
    ) -> Option<Lesson> {
        if items < ITEMS_MIN {
            return None;
        }
        if !active.trained {
            // What codes of all items do not mend, clusters do: they are coded around their centroids.
            let refitted = active.generation != FIRST_GENERATION;
            return match unfit {
                _ if items > threshold => Some(Lesson::Clusters),
                Some(_) if refitted => Some(Lesson::Clusters),
                Some(_) => Some(Lesson::Codes),
                None => None,
            };
        }
        let Some(then) = model.probing.population() else {
            let outgrown = default_clusters(items) >= 2 * active.clusters as usize;
            return (outgrown || unfit.is_some()).then_some(Lesson::Clusters);
        };
        let hundredths = items.saturating_mul(100) / then;
        match unfit {
            _ if items / CHANGE >= then || items <= then / CHANGE => Some(Lesson::Clusters),
            Some(Unfit::Codes) => Some(Lesson::Clusters),
            Some(Unfit::Clusters) => Some(Lesson::Revision),
            // One stopped half way.
            None if model.is_moving() => Some(Lesson::Revision),
            None => (!(REVISION_SHRUNK..REVISION_GROWN).contains(&hundredths)).then_some(Lesson::Revision),
        }
    }

    /// The plan for a request; `None` if the index is too small to gain from a training.
    pub(crate) fn new(
        record: &IndexRecord,
        items: u64,
        lesson: Lesson,
        request: &TrainRequest,
        settings: &Settings,
    ) -> Result<Option<Self>, ServiceError> {
        check(request, items)?;
        let Some(dimension) = record.dimension else {
            return Ok(None);
        };
        if items < ITEMS_MIN {
            return Ok(None);
        }
        let clusters = match lesson {
            Lesson::Clusters => request.n_lists.unwrap_or_else(|| default_clusters(items)),
            Lesson::Codes | Lesson::Revision => record.active.clusters as usize,
        };
        let memory_mib = request.max_memory_mib.unwrap_or(settings.training_memory_mib);
        let rows_in_memory = (memory_mib << 20) / (dimension.get() * size_of::<f32>() * SAMPLE_COPIES);
        let wanted = match lesson {
            Lesson::Clusters | Lesson::Revision => (clusters * SAMPLE_ROWS_PER_CLUSTER).max(SAMPLE_ROWS_MIN),
            Lesson::Codes => CODES_SAMPLE_ROWS,
        };
        let sample_rows = wanted
            .min(rows_in_memory)
            .min(usize::try_from(items).unwrap_or(usize::MAX));
        if sample_rows < clusters {
            return Err(ServiceError::invalid(format!(
                "max_memory of {memory_mib} MiB holds {sample_rows} vectors of dimension {dimension}, too few to learn {clusters} lists; raise max_memory or lower n_lists."
            )));
        }
        Ok(Some(Self {
            lesson,
            generation: record.next_generation,
            metric: record.metric,
            dimension,
            clusters,
            items,
            sample_rows,
            batch: request.batch_size,
            iterations: request.max_iters.unwrap_or(ITERATIONS),
            tolerance: request.tolerance.unwrap_or(TOLERANCE),
            recall_target: settings.recall_target,
        }))
    }

    /// How many rows of the sample a partition with `items` items gives. Rounded up, so that small ones are heard.
    pub(crate) fn share_of_sample(&self, items: u64) -> usize {
        let share = self.sample_rows as f64 * items as f64 / self.items.max(1) as f64;
        share.ceil() as usize
    }

    /// Learns what the plan says from `sample` (row-major, original vectors). Runs for seconds.
    pub(crate) fn learn(self, sample: Vec<f32>) -> Result<Model, ServiceError> {
        let rows = sample.len() / self.dimension.get();
        if rows == 0 {
            return Err(ServiceError::invalid(
                "The index lost its items while it was trained; upsert some and train again.",
            ));
        }
        Ok(match self.lesson {
            Lesson::Clusters | Lesson::Revision => self.learn_clusters(sample),
            Lesson::Codes => Model::untrained(
                self.generation,
                self.metric,
                self.dimension,
                &sample,
                self.clusters as u32,
            ),
        })
    }

    /// What would suit the index better than `model`, by `sample` (row-major, original vectors). `None` if its codes do not
    /// serve any more. Runs for seconds.
    pub(crate) fn revise(self, model: &Model, sample: &[f32]) -> Option<Revision> {
        let rows = sample.len() / self.dimension.get();
        let sample = Sample {
            rows: &model.quantiser.prepare_all(sample),
            queries: &held_out(rows),
            population: self.items,
        };
        let revision = model.revision(&sample, self.recall_target);
        let serves =
            model.quantiser.codec() != Codec::Pq4 || revision.learned.recall[0] >= self.recall_target;
        serves.then_some(revision)
    }

    fn learn_clusters(self, sample: Vec<f32>) -> Model {
        let rows = sample.len() / self.dimension.get();
        // A fixed seed: training the same items twice gives the same clusters.
        let seed = u64::from(self.generation.0);
        let quantiser = Quantiser::train(self.dimension, self.metric, &sample, seed);
        let prepared = quantiser.prepare_all(&sample);
        drop(sample);
        let settings = kmeans::Settings {
            clusters: self.clusters.min(rows),
            max_iterations: self.iterations,
            tolerance: self.tolerance as f32,
            batch: self.batch,
            seed,
        };
        let centroids = kmeans::balanced(self.dimension, &prepared, &settings, &|_| {});
        let centroids = Centroids::new(self.dimension.get(), centroids);
        let mut model = Model {
            generation: self.generation,
            trained: true,
            metric: self.metric,
            dimension: self.dimension,
            quantiser,
            probing: Probing::everywhere(centroids.len()),
            centroids,
            reach: Reach::unlimited(),
            lineage: Lineage::default(),
        };
        let nearest = model.nearest(&prepared);
        let assignments: Vec<ClusterNo> = nearest.iter().map(|(cluster, _)| *cluster).collect();
        let queries = held_out(rows);
        let learn = |model: &Model| {
            Probing::learn(
                model,
                &prepared,
                &assignments,
                &queries,
                self.items,
                self.recall_target,
            )
        };
        let mut learned = learn(&model);
        if model.quantiser.codec() == Codec::Pq4 && learned.recall[0] < self.recall_target {
            model.quantiser = model.quantiser.with_bytes();
            learned = learn(&model);
        }
        tracing::info!(
            clusters = model.clusters(),
            codec = ?model.quantiser.codec(),
            sample_rows = rows,
            recall_at_10 = learned.recall[0],
            recall_at_100 = learned.recall[1],
            probes_for_10 = learned.probing.n_probes(10, self.items),
            "learned a generation"
        );
        model.probing = learned.probing;
        model.reach = Reach::learn(&nearest, model.centroids.len());
        model
    }
}

/// Which rows of a sample serve as queries.
fn held_out(rows: usize) -> Vec<u32> {
    let step = (rows / HELD_OUT_QUERIES).max(1);
    (0..rows as u32).step_by(step).take(HELD_OUT_QUERIES).collect()
}

fn check(request: &TrainRequest, items: u64) -> Result<(), ServiceError> {
    let at_least_one = |name: &str, value: Option<usize>| match value {
        Some(0) => Err(ServiceError::invalid(format!(
            "{name} must be at least 1; leave it out to let the index choose."
        ))),
        _ => Ok(()),
    };
    at_least_one("n_lists", request.n_lists)?;
    at_least_one("batch_size", request.batch_size)?;
    at_least_one("max_iters", request.max_iters)?;
    at_least_one("max_memory", request.max_memory_mib)?;
    if request.tolerance.is_some_and(|t| !t.is_finite() || t < 0.0) {
        return Err(ServiceError::invalid(
            "tolerance must be a finite number that is not negative.",
        ));
    }
    match request.n_lists {
        Some(n) if n > limits::CLUSTERS_MAX => Err(ServiceError::invalid(format!(
            "n_lists may be at most {}.",
            limits::CLUSTERS_MAX
        ))),
        Some(n) if items >= ITEMS_MIN && n as u64 > items => Err(ServiceError::invalid(format!(
            "n_lists is {n}, but the index holds only {items} vectors; choose at most as many lists as vectors."
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_core::{Dimension, Generation, Metric};

    const THRESHOLD: u64 = 65_536;

    fn model(population: u64, trained: bool, generation: u32) -> Model {
        let dimension = Dimension::new(2).unwrap();
        let sample: Vec<f32> = (0..1_024).map(|n| (n * 37 % 101) as f32).collect();
        let untrained = Model::untrained(Generation(generation), Metric::Euclidean, dimension, &sample, 4);
        if !trained {
            return untrained;
        }
        let prepared = untrained.quantiser.prepare_all(&sample);
        let mut model = Model {
            trained,
            centroids: Centroids::new(2, prepared[..16].to_vec()),
            ..untrained
        };
        let nearest = model.nearest(&prepared).into_iter();
        let assignments: Vec<ClusterNo> = nearest.map(|(cluster, _)| cluster).collect();
        model.probing = Probing::learn(&model, &prepared, &assignments, &[1, 2, 3], population, 0.9).probing;
        model
    }

    fn due(model: &Model, items: u64, unfit: Option<Unfit>) -> Option<Lesson> {
        let active = GenerationRecord {
            generation: model.generation,
            trained: model.trained,
            clusters: model.clusters(),
            model: None,
            former: Vec::new(),
        };
        TrainingPlan::due(&active, model, items, THRESHOLD, unfit)
    }

    #[test]
    fn an_untrained_index_wants_clusters_when_it_is_large() {
        let model = model(0, false, 1);
        assert_eq!(due(&model, THRESHOLD, None), None);
        assert_eq!(due(&model, THRESHOLD + 1, None), Some(Lesson::Clusters));
    }

    #[test]
    fn an_untrained_index_that_misleads_wants_codes_first_and_then_clusters() {
        let misled = Some(Unfit::Codes);
        assert_eq!(due(&model(0, false, 1), 3_000, misled), Some(Lesson::Codes));
        assert_eq!(due(&model(0, false, 2), 3_000, misled), Some(Lesson::Clusters));
        assert_eq!(due(&model(0, false, 1), 100, misled), None, "too few to gain");
    }

    #[test]
    fn a_trained_index_wants_a_revision_when_it_has_changed_and_a_training_when_it_has_by_much() {
        let model = model(10_000, true, 2);
        for (items, lesson) in [
            (10_000, None),
            (14_999, None),
            (15_000, Some(Lesson::Revision)),
            (39_999, Some(Lesson::Revision)),
            (40_000, Some(Lesson::Clusters)),
            (4_000, None),
            (3_999, Some(Lesson::Revision)),
            (2_501, Some(Lesson::Revision)),
            (2_500, Some(Lesson::Clusters)),
            (100, None),
        ] {
            assert_eq!(due(&model, items, None), lesson, "{items}");
        }
        assert_eq!(due(&model, 10_000, Some(Unfit::Codes)), Some(Lesson::Clusters));
        assert_eq!(due(&model, 10_000, Some(Unfit::Clusters)), Some(Lesson::Revision));
    }
}
