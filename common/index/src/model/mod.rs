//! Everything a generation is searched and written with: quantiser, centroids, how far these reach, and how many
//! clusters to probe.
//!
//! A value that is made once and then only read. Knows nothing of where its bytes are kept or how they are sealed.

mod centroids;
mod coarse;
mod lineage;
mod probing;
mod reach;
mod revision;
#[cfg(test)]
mod tests;

pub use centroids::Centroids;
pub use lineage::Lineage;
pub use probing::{Learned, Probing};
pub use reach::Reach;
pub use revision::{Revision, Sample, Step};

use crate::layout::{LayoutError, Reader};
use crate::quantiser::{Codec, Quantiser, put_floats, read_floats};
use sealdex_core::{ClusterNo, Dimension, Generation, Metric, limits};
use std::ops::Range;

const LAYOUT: &str = "a model";
const VERSION: u8 = 4;
/// Models written before [`Lineage`] was, and those since that were never revised: who knows no revisions can read them.
const VERSION_WITHOUT_LINEAGE: u8 = 3;
/// Models written before [`Reach`] was.
const VERSION_WITHOUT_REACH: u8 = 2;
/// Models written before [`Probing::population`] was.
const VERSION_WITHOUT_POPULATION: u8 = 1;
const CLUSTERS_MIN: usize = 8;
/// Clusters that suit an index, against the root of its rows.
const CLUSTERS_PER_ROOT: f64 = 1.3;
/// Clusters that strays of a trained generation are spread over, so that they do not all go to one partition.
const STRAY_CLUSTERS: u32 = 4;

/// One generation's model.
#[derive(Clone)]
pub struct Model {
    /// The generation.
    pub generation: Generation,
    /// Whether the clusters are real ones. Else they are pseudo-clusters around the origin, all of which every query
    /// probes and any of which may take a row.
    pub trained: bool,
    /// The metric that rows are ranked by.
    pub metric: Metric,
    /// Values per vector.
    pub dimension: Dimension,
    /// How rows are coded.
    pub quantiser: Quantiser,
    /// The clusters' centroids, in prepared space.
    pub centroids: Centroids,
    /// How far to look.
    pub probing: Probing,
    /// Up to where clusters take rows.
    pub reach: Reach,
    /// What revisions have made of it.
    pub lineage: Lineage,
}

/// A cluster to scan for a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// The cluster.
    pub cluster: ClusterNo,
    /// What [`crate::quantiser::Scorer::scan`] adds to the estimates of the cluster's rows.
    pub base: f32,
}

/// How many clusters suit `rows` rows: about 1.3 times the square root, a power of two.
pub fn default_clusters(rows: u64) -> usize {
    let ideal = CLUSTERS_PER_ROOT * (rows as f64).sqrt();
    let power = ideal.max(1.0).log2().round() as u32;
    (1usize << power.min(30)).clamp(CLUSTERS_MIN, limits::CLUSTERS_MAX)
}

impl Model {
    /// The model of a generation that was not trained: `pseudo_clusters` clusters without meaning. `sample` are original
    /// vectors, row-major, at least one row.
    pub fn untrained(
        generation: Generation,
        metric: Metric,
        dimension: Dimension,
        sample: &[f32],
        pseudo_clusters: u32,
    ) -> Self {
        let quantiser = Quantiser::untrained(dimension, metric, sample);
        let clusters = pseudo_clusters.max(1) as usize;
        let centroids = Centroids::new(dimension.get(), vec![0.0; clusters * dimension.get()]);
        let probing = Probing::everywhere(clusters);
        Self {
            generation,
            trained: false,
            metric,
            dimension,
            quantiser,
            centroids,
            probing,
            reach: Reach::unlimited(),
            lineage: Lineage::default(),
        }
    }

    /// How many clusters there are; those of strays, and those that rows leave, are not counted.
    pub fn clusters(&self) -> u32 {
        self.centroids.len() as u32
    }

    /// The numbers of the clusters that strays go to, which follow the others. They have no place: every query looks
    /// into them.
    pub fn stray_clusters(&self) -> Range<u32> {
        let strays = if self.reach.is_limited() {
            STRAY_CLUSTERS
        } else {
            0
        };
        self.clusters()..self.clusters() + strays
    }

    /// How many clusters of any kind there are.
    pub fn all_clusters(&self) -> u32 {
        self.stray_clusters().end + self.leaving()
    }

    /// Whether that is a cluster of strays.
    pub fn is_of_strays(&self, cluster: ClusterNo) -> bool {
        self.stray_clusters().contains(&cluster.0)
    }

    /// The nearest cluster of each prepared row (row-major) and the squared distance to its centroid. Without meaning
    /// for an untrained model.
    pub fn nearest(&self, prepared_rows: &[f32]) -> Vec<(ClusterNo, f32)> {
        self.centroids.nearest_to_each(prepared_rows)
    }

    /// The cluster that each prepared row (row-major) goes to: the nearest, if it reaches so far. Strays, and all rows
    /// of an untrained model, go to any of their clusters, whichever `spread` (a byte for each row) says.
    pub fn assign(&self, prepared_rows: &[f32], spread: &[u8]) -> Vec<ClusterNo> {
        let any_of = |clusters: Range<u32>, spread: &u8| {
            ClusterNo(clusters.start + u32::from(*spread) % clusters.len().max(1) as u32)
        };
        if !self.trained {
            return spread
                .iter()
                .map(|byte| any_of(0..self.clusters(), byte))
                .collect();
        }
        let nearest = self.nearest(prepared_rows).into_iter().zip(spread);
        nearest
            .map(
                |((cluster, square), byte)| match self.reach.holds(cluster, square) {
                    true => cluster,
                    false => any_of(self.stray_clusters(), byte),
                },
            )
            .collect()
    }

    /// Appends the row-major code of a prepared row of `cluster`.
    pub fn encode(&self, prepared: &[f32], cluster: ClusterNo, out: &mut Vec<u8>) {
        match self.is_of_strays(cluster) {
            // Around the origin, as rows of untrained models.
            true => self.quantiser.encode(prepared, &vec![0.0; prepared.len()], out),
            false => self.quantiser.encode(prepared, self.centroids.get(cluster), out),
        }
    }

    /// The `n_probes` clusters nearest to a prepared query, nearest first, those that rows on their way to them come from, and
    /// those of strays; of an untrained model, all.
    pub fn route(&self, prepared_query: &[f32], n_probes: usize) -> Vec<Probe> {
        let residual = self.quantiser.codec() == Codec::Int8;
        let base = |distance: f32| if residual { distance } else { 0.0 };
        let around_origin = |clusters: Range<u32>| {
            let base = base(crate::distance::dot(prepared_query, prepared_query));
            clusters.map(move |cluster| Probe {
                cluster: ClusterNo(cluster),
                base,
            })
        };
        if !self.trained {
            return around_origin(0..self.clusters()).collect();
        }
        let mut nearest = self.centroids.nearest(prepared_query, n_probes);
        if let Some(moving) = &self.lineage.moving {
            let away = |cluster| crate::distance::squared(prepared_query, self.centroids.get(cluster));
            let everywhere = nearest.len() == self.centroids.len();
            let first_leaving = self.stray_clusters().end;
            nearest.extend(moving.sources(prepared_query, &nearest, everywhere, first_leaving, away));
        }
        let nearest = nearest.into_iter().map(|(distance, cluster)| Probe {
            cluster,
            base: base(distance),
        });
        nearest.chain(around_origin(self.stray_clusters())).collect()
    }

    /// The model as bytes, all numbers little-endian.
    ///
    /// ```text
    /// model = version, trained, metric, zero byte, generation u32, dimension u32, clusters u32,
    ///         probing (4 x u32, u64), codec, scale f64, mean, codebooks if Pq4,
    ///         centroids and reach (0, or 1 and f32 x clusters) if trained, lineage if revised
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let version = match self.lineage.numbers.is_empty() {
            true => VERSION_WITHOUT_LINEAGE,
            false => VERSION,
        };
        let mut out = vec![version, u8::from(self.trained), metric_byte(self.metric), 0];
        for number in [self.generation.0, self.dimension.get() as u32, self.clusters()] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.probing.write(&mut out);
        self.quantiser.write(&mut out);
        if self.trained {
            put_floats(&mut out, self.centroids.values());
            self.reach.write(&mut out);
        }
        if version == VERSION {
            self.lineage.write(&mut out);
        }
        out
    }

    /// Reads what [`Model::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        let version = reader.version_of(&[
            VERSION_WITHOUT_POPULATION,
            VERSION_WITHOUT_REACH,
            VERSION_WITHOUT_LINEAGE,
            VERSION,
        ])?;
        let [trained @ 0..=1, metric, 0] = reader.array()? else {
            return Err(reader.damaged());
        };
        let trained = trained == 1;
        let metric = metric_of(metric).ok_or(reader.damaged())?;
        let generation = Generation(reader.u32()?);
        let dimension = Dimension::new(reader.u32()?.into()).map_err(|_| reader.damaged())?;
        let clusters = reader.u32()? as usize;
        if !(1..=limits::CLUSTERS_MAX).contains(&clusters) {
            return Err(reader.damaged());
        }
        let probing = Probing::read(&mut reader, clusters, version)?;
        let quantiser = Quantiser::read(dimension, metric, &mut reader)?;
        if !quantiser.codec().serves(dimension, trained) {
            return Err(reader.damaged());
        }
        let values = clusters * dimension.get();
        let centroids = if trained {
            read_floats(&mut reader, values)?
        } else {
            vec![0.0; values]
        };
        let reach = match version {
            VERSION_WITHOUT_LINEAGE | VERSION if trained => Reach::read(&mut reader, clusters)?,
            _ => Reach::unlimited(),
        };
        let centroids = Centroids::new(dimension.get(), centroids);
        let mut model = Self {
            generation,
            trained,
            metric,
            dimension,
            quantiser,
            centroids,
            probing,
            reach,
            lineage: Lineage::default(),
        };
        if version == VERSION {
            if !trained {
                return Err(reader.damaged());
            }
            let strays = model.stray_clusters().len();
            model.lineage = Lineage::read(&mut reader, dimension.get(), clusters, strays)?;
        }
        reader.finish()?;
        Ok(model)
    }
}

fn metric_byte(metric: Metric) -> u8 {
    match metric {
        Metric::Euclidean => 0,
        Metric::SquaredEuclidean => 1,
        Metric::Cosine => 2,
    }
}

fn metric_of(byte: u8) -> Option<Metric> {
    [Metric::Euclidean, Metric::SquaredEuclidean, Metric::Cosine]
        .into_iter()
        .find(|m| metric_byte(*m) == byte)
}
