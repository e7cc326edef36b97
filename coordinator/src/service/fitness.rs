//! Whether a generation still fits the items that queries are after. Every query compares the order that codes gave its
//! candidates with their true order, and sees how many of them are current; this counts those that were misled, and the
//! rows that are dead. Knows nothing of what a query is about.

use sealdex_index::agreement;
use sealdex_index::quantiser::Codec;

/// Queries that count; older ones fade.
const WINDOW: u32 = 256;
/// Misled queries below which nothing is concluded.
const MISLED_MIN: u32 = 16;
/// Of so many queries one may be misled where codes fit, by chance.
const ONE_IN: u32 = 10;

/// Candidates that count.
const CANDIDATES: usize = 4_096;
/// Of so many candidates one may be dead before clusters are folded for it.
const DEAD_ONE_IN: usize = 5;

/// The queries of late.
#[derive(Default)]
pub(crate) struct Fitness {
    queries: u32,
    misled: u32,
    candidates: usize,
    dead: usize,
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

    /// Whether so many were misled that codes have to be learned anew.
    pub(crate) fn is_lost(&self) -> bool {
        self.misled >= MISLED_MIN && self.misled >= self.queries / ONE_IN
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
            assert!(!fitness.is_lost());
        }
    }

    #[test]
    fn clusters_are_littered_when_many_candidates_are_dead() {
        let mut fitness = Fitness::default();
        fitness.note_candidates(CANDIDATES - 1, 0);
        assert!(!fitness.take_littered(), "too few to tell");
        fitness.note_candidates(1, 0);
        assert!(fitness.take_littered());
        assert!(!fitness.take_littered(), "told once");
        fitness.note_candidates(CANDIDATES, CANDIDATES - CANDIDATES / 10);
        assert!(!fitness.take_littered());
    }

    #[test]
    fn many_are_not_and_recent_ones_count_most() {
        let mut fitness = Fitness::default();
        (0..MISLED_MIN).for_each(|_| fitness.note(1, 1));
        assert!(fitness.is_lost());
        (0..40).for_each(|_| fitness.note(32, 0));
        assert!(!fitness.is_lost());
        (0..10).for_each(|_| fitness.note(32, 30));
        assert!(fitness.is_lost());
    }
}
