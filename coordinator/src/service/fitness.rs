//! Whether a generation's codes still fit the items that queries are after. Every query compares the order that codes gave
//! its candidates with their true order; this counts those that were misled. Knows nothing of what a query is about.

use sealdex_index::agreement;
use sealdex_index::quantiser::Codec;

/// Queries that count; older ones fade.
const WINDOW: u32 = 256;
/// Misled queries below which nothing is concluded.
const MISLED_MIN: u32 = 16;
/// Of so many queries one may be misled where codes fit, by chance.
const ONE_IN: u32 = 10;

/// The queries of late.
#[derive(Default)]
pub(crate) struct Fitness {
    queries: u32,
    misled: u32,
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
