//! The best rows of one query so far. Knows estimates and places, nothing of codes.

use sealdex_core::{ItemLabel, Op};
use sealdex_index::dataplane::Candidate;

/// Keeps the `keep` rows with the smallest estimates.
///
/// Twice as many are collected before the worse half is thrown away, so that a row costs a comparison most of the
/// time and amortised constant work otherwise.
pub(super) struct Reservoir {
    keep: usize,
    /// Estimates from here on are of no use any more.
    threshold: f32,
    rows: Vec<Kept>,
}

/// A row that may be among the best.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    estimate: f32,
    pub(super) row: Row,
}

/// How a row is known.
#[derive(Clone, Copy)]
pub(super) enum Row {
    /// By its place: a block, counted as the sweep counts them, and a row of it.
    Place { block: u32, row: u32 },
    /// By its name, once its block's identities were opened.
    Name(ItemLabel, Op),
}

impl Reservoir {
    pub(super) fn new(keep: usize) -> Self {
        let threshold = if keep == 0 {
            f32::NEG_INFINITY
        } else {
            f32::INFINITY
        };
        Self {
            keep,
            threshold,
            rows: Vec::new(),
        }
    }

    pub(super) fn threshold(&self) -> f32 {
        self.threshold
    }

    pub(super) fn offer(&mut self, estimate: f32, row: Row) {
        if estimate < self.threshold {
            self.rows.push(Kept { estimate, row });
            if self.rows.len() >= 2 * self.keep {
                self.shrink();
            }
        }
    }

    /// Takes over the rows of another reservoir of the same query.
    pub(super) fn absorb(&mut self, other: Reservoir) {
        for kept in other.rows {
            self.offer(kept.estimate, kept.row);
        }
    }

    /// The best rows, at most `keep`, in no order.
    pub(super) fn best(&mut self) -> &mut [Kept] {
        self.shrink();
        &mut self.rows
    }

    /// The best rows by name, best first; each row once, however many blocks it is in.
    ///
    /// Those that are known by place only are left out; a sweep leaves none.
    pub(super) fn into_candidates(mut self) -> Vec<Candidate> {
        self.shrink();
        let candidate = |kept: &Kept| match kept.row {
            Row::Name(label, op) => Some(Candidate {
                label,
                op,
                estimate: kept.estimate,
            }),
            Row::Place { .. } => None,
        };
        let mut best: Vec<Candidate> = self.rows.iter().filter_map(candidate).collect();
        let name = |candidate: &Candidate| (candidate.label, candidate.op);
        best.sort_unstable_by(|a, b| name(a).cmp(&name(b)).then(a.estimate.total_cmp(&b.estimate)));
        best.dedup_by_key(|candidate| name(candidate));
        best.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate).then(name(a).cmp(&name(b))));
        best
    }

    fn shrink(&mut self) {
        if self.keep > 0 && self.rows.len() > self.keep {
            let (_, worst, _) = self
                .rows
                .select_nth_unstable_by(self.keep - 1, |a, b| a.estimate.total_cmp(&b.estimate));
            self.threshold = worst.estimate;
            self.rows.truncate(self.keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(n: u32) -> Row {
        let mut label = [0; 16];
        label[..4].copy_from_slice(&n.to_be_bytes());
        Row::Name(ItemLabel(label), Op([1; 16]))
    }

    proptest! {
        #[test]
        fn it_keeps_what_sorting_would(estimates in prop::collection::vec(0u16..500, 0..400), keep in 0usize..40) {
            let mut whole = Reservoir::new(keep);
            let mut parts = [Reservoir::new(keep), Reservoir::new(keep)];
            for (n, estimate) in estimates.iter().enumerate() {
                whole.offer(f32::from(*estimate), name(n as u32));
                parts[n % 2].offer(f32::from(*estimate), name(n as u32));
            }
            let mut merged = Reservoir::new(keep);
            parts.into_iter().for_each(|part| merged.absorb(part));
            let mut sorted: Vec<f32> = estimates.iter().map(|estimate| f32::from(*estimate)).collect();
            sorted.sort_by(f32::total_cmp);
            sorted.truncate(keep);
            for reservoir in [whole, merged] {
                let kept: Vec<f32> = reservoir.into_candidates().iter().map(|c| c.estimate).collect();
                prop_assert_eq!(&kept, &sorted);
            }
        }
    }

    #[test]
    fn a_row_in_two_blocks_is_one_candidate() {
        let mut reservoir = Reservoir::new(4);
        for (estimate, n) in [(3.0, 1), (2.0, 2), (1.0, 1)] {
            reservoir.offer(estimate, name(n));
        }
        let estimates: Vec<f32> = reservoir.into_candidates().iter().map(|c| c.estimate).collect();
        assert_eq!(estimates, [1.0, 2.0]);
    }
}
