//! What revisions of a model leave behind: the numbers that clusters keep while others come and go, and, while rows are on
//! their way from clusters that were replaced to those that took their places, where they come from.
//!
//! Rows on their way lie where an earlier model put them or where this one does, and no query may miss one. Where this
//! model puts a row into a new cluster, whoever looks into any new cluster looks into all that rows come from. Where it
//! puts a row into one that was there before, the cluster which the row leaves is no further away than that one, and is
//! looked into by its distance. Who looks into all clusters looks into those too, however far away.

use super::Centroids;
use crate::layout::{LayoutError, Reader, put_varint};
use crate::quantiser::{put_floats, read_floats};
use sealdex_core::{ClusterNo, limits};
use std::collections::BTreeSet;

/// How much further away than the last cluster looked into one may be that rows leave: distances are rounded.
const ROUNDING: f32 = 1.001;

/// What revisions have made of a generation's clusters. The default is that of a model that was never revised.
#[derive(Clone, Default)]
pub struct Lineage {
    /// What the label of each cluster is made of: of those that take rows, then of strays, then of those that rows leave.
    /// Empty if that is the cluster's place.
    pub(super) numbers: Vec<u32>,
    /// No cluster ever had this number or a higher one, if there are numbers.
    pub(super) next: u32,
    /// How many rows a cluster had when the generation was learned, against the root of all rows: as many suit it.
    pub(super) rows_by_root: f32,
    pub(super) moving: Option<Moving>,
}

/// Where rows come from and where they go to.
#[derive(Clone)]
pub(super) struct Moving {
    /// The centroids of clusters that take no rows any more.
    pub(super) leaving: Centroids,
    /// Clusters from here on are new.
    pub(super) first_new: u32,
    /// Clusters that stay, and may hold rows that belong to new ones.
    pub(super) neighbours: Vec<ClusterNo>,
}

impl Lineage {
    /// ```text
    /// lineage = numbers (varint, u32 each), next u32, rows by root f32, 0, or 1 and
    ///           leaving (varint, f32 x dimension each), first new u32, neighbours (varint, u32 each)
    /// ```
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_numbers(out, self.numbers.iter().copied());
        out.extend_from_slice(&self.next.to_le_bytes());
        put_floats(out, &[self.rows_by_root]);
        out.push(u8::from(self.moving.is_some()));
        if let Some(moving) = &self.moving {
            put_varint(out, moving.leaving.len() as u64);
            put_floats(out, moving.leaving.values());
            out.extend_from_slice(&moving.first_new.to_le_bytes());
            put_numbers(out, moving.neighbours.iter().map(|cluster| cluster.0));
        }
    }

    /// Reads what [`Lineage::write`] appended for a model of so many clusters, and so many of strays.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        dimension: usize,
        clusters: usize,
        strays: usize,
    ) -> Result<Self, LayoutError> {
        let numbers = read_numbers(reader)?;
        let next = reader.u32()?;
        let rows_by_root = read_floats(reader, 1)?[0];
        let moving = match reader.u8()? {
            0 => None,
            1 => Some(Moving::read(reader, dimension, clusters)?),
            _ => return Err(reader.damaged()),
        };
        let leaving = moving.as_ref().map_or(0, |moving| moving.leaving.len());
        let different: BTreeSet<u32> = numbers.iter().copied().collect();
        let whole = numbers.len() == clusters + strays + leaving
            && different.len() == numbers.len()
            && rows_by_root > 0.0;
        match whole && different.last().is_some_and(|last| *last < next) {
            true => Ok(Self {
                numbers,
                next,
                rows_by_root,
                moving,
            }),
            false => Err(reader.damaged()),
        }
    }
}

impl Moving {
    /// What else to look into, with its squared distance, for a query that looks into `found`, nearest first.
    /// `everywhere` says that these are all that take rows, `first_leaving` is the place of the first cluster that takes none
    /// any more, and `distance` tells how far away is one that stays.
    pub(super) fn sources(
        &self,
        prepared_query: &[f32],
        found: &[(f32, ClusterNo)],
        everywhere: bool,
        first_leaving: u32,
        distance: impl Fn(ClusterNo) -> f32,
    ) -> Vec<(f32, ClusterNo)> {
        let enters_new = found.iter().any(|(_, cluster)| cluster.0 >= self.first_new);
        let last = found.last().map_or(f32::INFINITY, |(distance, _)| *distance);
        let leaving = self.leaving.nearest(prepared_query, self.leaving.len());
        let mut sources: Vec<(f32, ClusterNo)> = leaving
            .into_iter()
            .filter(|(away, _)| everywhere || enters_new || *away <= last * ROUNDING)
            .map(|(away, place)| (away, ClusterNo(first_leaving + place.0)))
            .collect();
        if enters_new {
            let unseen = |cluster: &&ClusterNo| found.iter().all(|(_, seen)| seen != *cluster);
            let neighbours = self.neighbours.iter().filter(unseen);
            sources.extend(neighbours.map(|cluster| (distance(*cluster), *cluster)));
        }
        sources
    }

    fn read(reader: &mut Reader<'_>, dimension: usize, clusters: usize) -> Result<Self, LayoutError> {
        let leaving = reader.count(limits::CLUSTERS_MAX as u32)? as usize;
        let centroids = read_floats(reader, leaving * dimension)?;
        let first_new = reader.u32()?;
        let neighbours: Vec<ClusterNo> = read_numbers(reader)?.into_iter().map(ClusterNo).collect();
        let known = neighbours.iter().all(|cluster| cluster.0 < first_new);
        match known && first_new as usize <= clusters {
            true => Ok(Self {
                leaving: Centroids::new(dimension, centroids),
                first_new,
                neighbours,
            }),
            false => Err(reader.damaged()),
        }
    }
}

fn put_numbers(out: &mut Vec<u8>, numbers: impl ExactSizeIterator<Item = u32>) {
    put_varint(out, numbers.len() as u64);
    out.extend(numbers.flat_map(u32::to_le_bytes));
}

fn read_numbers(reader: &mut Reader<'_>) -> Result<Vec<u32>, LayoutError> {
    // Twice the clusters that there may be: with those that rows leave, and those of strays.
    let count = reader.count(2 * limits::CLUSTERS_MAX as u32)? as usize;
    let bytes = reader.bytes(count * 4)?;
    Ok(bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect())
}
