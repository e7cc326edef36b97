//! Whether a generation still fits its items and what queries are after. Every query compares the order that codes gave
//! its candidates with their true order, and sees how many of them are current; every write sees which of its rows lie
//! where the generation has no cluster. This counts the queries that were misled, the rows that are dead, and the
//! strays. Knows nothing of what a query is about.

use sealdex_index::agreement;
use sealdex_index::quantiser::Codec;

/// Queries that count; older ones fade.
const WINDOW: u32 = 256;
/// Misled queries below which nothing is concluded.
const MISLED_MIN: u32 = 16;
/// Of so many queries one may be misled where codes fit, by chance.
const ONE_IN: u32 = 10;

/// Of so many items one may have strayed before clusters are learned anew, and of so many rows written: where clusters
/// fit, one in a hundred strays by chance, however often items are written. Every query looks at all strays.
const STRAYED_ONE_IN: u64 = 20;

/// Candidates that count.
const CANDIDATES: usize = 4_096;
/// Of so many candidates one may be dead before clusters are folded for it.
const DEAD_ONE_IN: usize = 10;

/// What of a generation does not fit the index any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unfit {
    /// Codes mislead queries.
    Codes,
    /// Too many items lie where no cluster is.
    Clusters,
}

/// The queries of late, and the writes since the generation was learned or the process began.
#[derive(Default)]
pub(crate) struct Fitness {
    queries: u32,
    misled: u32,
    candidates: usize,
    dead: usize,
    written: u64,
    strays: u64,
}

impl Fitness {
    /// Takes note of one request's queries.
    pub(crate) fn note(&mut self, queries: usize, misled: usize) {
        if self.queries >= WINDOW {
            (self.queries, self.misled) = (self.queries / 2, self.misled / 2);
        }
        self.queries = self.queries.saturating_add(queries as u32);
        self.misled = self.misled.saturating_add(misled as u32);
    }

    /// Takes note of one request's candidates, of which so many are current.
    pub(crate) fn note_candidates(&mut self, candidates: usize, live: usize) {
        self.candidates += candidates;
        self.dead += candidates.saturating_sub(live);
    }

    /// Whether so many candidates were dead that all clusters are to be folded; asked once for every so many of them.
    pub(crate) fn take_littered(&mut self) -> bool {
        if self.candidates < CANDIDATES {
            return false;
        }
        let littered = self.dead >= self.candidates / DEAD_ONE_IN;
        (self.candidates, self.dead) = (0, 0);
        littered
    }

    /// Takes note of one write's rows, of which so many went to clusters of strays.
    pub(crate) fn note_written(&mut self, rows: u64, strays: u64) {
        self.written += rows;
        self.strays += strays;
    }

    /// Whether so many queries were misled that codes have to be learned anew.
    pub(crate) fn is_misleading(&self) -> bool {
        self.misled >= MISLED_MIN && self.misled >= self.queries / ONE_IN
    }

    /// What an index of so many items has to learn anew, for its queries' or its writes' sake.
    pub(crate) fn unfit(&self, items: u64) -> Option<Unfit> {
        if self.is_misleading() {
            return Some(Unfit::Codes);
        }
        (self.strays > items.max(self.written) / STRAYED_ONE_IN).then_some(Unfit::Clusters)
    }
}

/// Whether `codec`'s estimates misled a query about its candidates, given each with its exact distance: then what is
/// nearest may not be among them.
pub(crate) fn misled(codec: Codec, candidates: &[(f32, f64)]) -> bool {
    agreement::rank_correlation(candidates).is_some_and(|agreement| agreement < codec.agreement_min())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_misled_queries_are_chance() {
        let mut fitness = Fitness::default();
        for _ in 0..1_000 {
            fitness.note(20, 1);
            assert!(!fitness.is_misleading());
        }
    }

    #[test]
    fn a_few_strays_are_chance() {
        let mut fitness = Fitness::default();
        assert_eq!(fitness.unfit(0), None);
        fitness.note_written(50, 50);
        assert_eq!(fitness.unfit(1_000), None);
        fitness.note_written(1, 1);
        assert_eq!(fitness.unfit(1_000), Some(Unfit::Clusters));
        assert_eq!(fitness.unfit(2_000), None);
        fitness.note_written(5_000, 50);
        assert_eq!(fitness.unfit(1_000), None, "items are written anew");
    }

    #[test]
    fn clusters_are_littered_when_many_candidates_are_dead() {
        let mut fitness = Fitness::default();
        fitness.note_candidates(CANDIDATES - 1, 0);
        assert!(!fitness.take_littered(), "too few to tell");
        fitness.note_candidates(1, 0);
        assert!(fitness.take_littered());
        assert!(!fitness.take_littered(), "told once");
        fitness.note_candidates(CANDIDATES, CANDIDATES - CANDIDATES / 20);
        assert!(!fitness.take_littered());
    }

    #[test]
    fn many_are_not_and_recent_ones_count_most() {
        let mut fitness = Fitness::default();
        (0..MISLED_MIN).for_each(|_| fitness.note(1, 1));
        assert!(fitness.is_misleading());
        (0..40).for_each(|_| fitness.note(32, 0));
        assert!(!fitness.is_misleading());
        (0..10).for_each(|_| fitness.note(32, 30));
        assert!(fitness.is_misleading());
    }
}
