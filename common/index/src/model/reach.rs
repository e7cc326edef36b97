//! How far from their centroids the rows of a training lay. A later row that lies further out is a *stray*: it is in a
//! place that no cluster covers, and who looks for it cannot tell by the centroids where it went.

use crate::layout::{LayoutError, Reader};
use crate::quantiser::{put_floats, read_floats};
use sealdex_core::ClusterNo;

/// The quantile of the distances in a cluster that its reach follows. The outermost rows have no say.
const QUANTILE: f64 = 0.95;
/// The squared reach is so many times the square of that quantile, the reach itself 1.25 times it: rows at the rim are
/// ordinary, and those of a small sample lie nearer to centroids that were fitted to them than others do.
const SLACK: f32 = 1.5625;
/// With fewer rows than this in the sample, a cluster has the reach of all rows together.
const ROWS_MIN: usize = 16;

/// The squared distance up to which each cluster of a trained model takes rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    /// By cluster number. Empty if it was not learned: then every cluster takes any row.
    squares: Vec<f32>,
}

impl Reach {
    /// Every cluster takes any row.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// Learns from the nearest of `clusters` centroids to each row of a sample, and the squared distance to it.
    pub fn learn(nearest: &[(ClusterNo, f32)], clusters: usize) -> Self {
        let mut members: Vec<Vec<f32>> = vec![Vec::new(); clusters];
        for (cluster, square) in nearest {
            members[cluster.0 as usize].push(*square);
        }
        let of_all = reach(nearest.iter().map(|(_, square)| *square).collect());
        let of_cluster = |squares: Vec<f32>| match squares.len() {
            ROWS_MIN.. => reach(squares),
            _ => of_all,
        };
        Self {
            squares: members.into_iter().map(of_cluster).collect(),
        }
    }

    /// Whether a cluster may turn rows away.
    pub(super) fn is_limited(&self) -> bool {
        !self.squares.is_empty()
    }

    /// That of clusters of which some stay and others follow them, which reach so far. What is unlimited remains so.
    pub(super) fn replaced(&self, staying: &[ClusterNo], new: &[f32]) -> Self {
        if !self.is_limited() {
            return Self::unlimited();
        }
        let kept = staying.iter().map(|cluster| self.squares[cluster.0 as usize]);
        Self {
            squares: kept.chain(new.iter().copied()).collect(),
        }
    }

    /// By cluster.
    pub(super) fn squares(&self) -> &[f32] {
        &self.squares
    }

    /// Whether `cluster` takes a row at that squared distance from its centroid.
    pub(super) fn holds(&self, cluster: ClusterNo, square: f32) -> bool {
        self.squares
            .get(cluster.0 as usize)
            .is_none_or(|reach| square <= *reach)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_limited()));
        put_floats(out, &self.squares);
    }

    /// Reads what [`Reach::write`] appended for a model of so many clusters.
    pub(super) fn read(reader: &mut Reader<'_>, clusters: usize) -> Result<Self, LayoutError> {
        let squares = match reader.u8()? {
            0 => Vec::new(),
            1 => read_floats(reader, clusters)?,
            _ => return Err(reader.damaged()),
        };
        match squares.iter().all(|square| *square >= 0.0) {
            true => Ok(Self { squares }),
            false => Err(reader.damaged()),
        }
    }
}

fn reach(mut squares: Vec<f32>) -> f32 {
    let Some(last) = squares.len().checked_sub(1) else {
        return 0.0;
    };
    let at = (last as f64 * QUANTILE).ceil() as usize;
    let (_, square, _) = squares.select_nth_unstable_by(at, f32::total_cmp);
    (*square * SLACK).min(f32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(distances: impl Iterator<Item = f32>, cluster: u32) -> Vec<(ClusterNo, f32)> {
        distances
            .map(|distance| (ClusterNo(cluster), distance * distance))
            .collect()
    }

    #[test]
    fn a_cluster_reaches_a_quarter_beyond_its_rim_whatever_a_few_rows_do() {
        let rim = (1..=100).map(|n| n as f32 / 100.0).chain([50.0, 60.0]);
        let nearest = [sample(rim, 0), sample((0..100).map(|_| 8.0), 1)].concat();
        let reach = Reach::learn(&nearest, 2);
        let holds = |cluster, distance: f32| reach.holds(ClusterNo(cluster), distance * distance);
        assert!(holds(0, 1.2) && !holds(0, 1.3));
        assert!(holds(1, 9.9) && !holds(1, 10.1));
    }

    #[test]
    fn a_cluster_of_few_rows_reaches_as_far_as_all_do() {
        let nearest = [sample((0..100).map(|_| 8.0), 0), sample((0..3).map(|_| 0.0), 1)].concat();
        let reach = Reach::learn(&nearest, 3);
        for cluster in [1, 2].map(ClusterNo) {
            assert!(reach.holds(cluster, 81.0) && !reach.holds(cluster, 121.0));
        }
    }

    #[test]
    fn what_was_not_learned_turns_nothing_away() {
        assert!(Reach::unlimited().holds(ClusterNo(7), f32::MAX));
        assert!(!Reach::unlimited().is_limited() && Reach::learn(&[], 2).is_limited());
    }
}
