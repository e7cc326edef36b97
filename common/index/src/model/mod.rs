//! Everything a generation is searched and written with: quantiser, centroids, and how many clusters to probe.
//!
//! A value that is made once and then only read. Knows nothing of where its bytes are kept or how they are sealed.

mod centroids;
mod coarse;
mod probing;
#[cfg(test)]
mod tests;

pub use centroids::Centroids;
pub use probing::{Learned, Probing};

use crate::layout::{LayoutError, Reader};
use crate::quantiser::{Codec, Quantiser, put_floats, read_floats};
use sealdex_core::{ClusterNo, Dimension, Generation, Metric, limits};

const LAYOUT: &str = "a model";
const VERSION: u8 = 2;
/// Models written before [`Probing::population`] was.
const VERSION_WITHOUT_POPULATION: u8 = 1;
const CLUSTERS_MIN: usize = 8;

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
    let ideal = 1.3 * (rows as f64).sqrt();
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
        }
    }

    /// How many clusters there are.
    pub fn clusters(&self) -> u32 {
        self.centroids.len() as u32
    }

    /// The nearest cluster of each prepared row (row-major). Without meaning for an untrained model, whose rows may go
    /// to any cluster.
    pub fn assign(&self, prepared_rows: &[f32]) -> Vec<ClusterNo> {
        self.centroids.assign(prepared_rows)
    }

    /// The `n_probes` clusters nearest to a prepared query, nearest first; of an untrained model, all.
    pub fn route(&self, prepared_query: &[f32], n_probes: usize) -> Vec<Probe> {
        let residual = self.quantiser.codec() == Codec::Int8;
        let base = |distance: f32| if residual { distance } else { 0.0 };
        if !self.trained {
            let base = base(crate::distance::dot(prepared_query, prepared_query));
            return (0..self.clusters())
                .map(|cluster| Probe {
                    cluster: ClusterNo(cluster),
                    base,
                })
                .collect();
        }
        let nearest = self.centroids.nearest(prepared_query, n_probes);
        nearest
            .into_iter()
            .map(|(distance, cluster)| Probe {
                cluster,
                base: base(distance),
            })
            .collect()
    }

    /// The model as bytes, all numbers little-endian.
    ///
    /// ```text
    /// model = version, trained, metric, zero byte, generation u32, dimension u32, clusters u32,
    ///         probing (4 x u32, u64), codec, scale f64, mean, codebooks if Pq4, centroids if trained
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.trained), metric_byte(self.metric), 0];
        for number in [self.generation.0, self.dimension.get() as u32, self.clusters()] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.probing.write(&mut out);
        self.quantiser.write(&mut out);
        if self.trained {
            put_floats(&mut out, self.centroids.values());
        }
        out
    }

    /// Reads what [`Model::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        let version = reader.version_of([VERSION_WITHOUT_POPULATION, VERSION])?;
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
        reader.finish()?;
        let centroids = Centroids::new(dimension.get(), centroids);
        Ok(Self {
            generation,
            trained,
            metric,
            dimension,
            quantiser,
            centroids,
            probing,
        })
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
