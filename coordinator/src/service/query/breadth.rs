//! How far a query looks, and whether that was far enough. Pure.

use crate::service::Query;
use sealdex_core::limits;
use sealdex_index::model::Model;

/// By how much a query that found too little looks further.
const WIDENING: usize = 4;

/// Matches that a filtered query has to have seen for each neighbour it returns, unless it has looked everywhere.
const MATCHES_PER_NEIGHBOUR: u64 = 40;

/// Candidates that are looked at together: bounds the memory of a request, some 100 bytes each.
const CANDIDATES_TOGETHER_MAX: usize = 1 << 20;

/// How far one round of a query looks.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Breadth {
    /// Clusters to look into.
    pub(super) probes: usize,
    /// Rows to look at closely.
    pub(super) candidates: usize,
}

impl Breadth {
    /// How many queries of a request may look so far at the same time.
    pub(super) fn queries_together(&self) -> usize {
        (CANDIDATES_TOGETHER_MAX / self.candidates.max(1)).max(1)
    }
}

/// What a query wants and what there is.
pub(super) struct Horizon<'a> {
    pub(super) query: &'a Query,
    pub(super) model: &'a Model,
    /// Items in the index.
    pub(super) everything: u64,
}

/// What one query found in a round.
pub(super) struct Found {
    /// Rows that were scored, after the filter.
    pub(super) scored: u64,
    /// Candidates that are current.
    pub(super) live: usize,
    /// Whether rows were left out that may tie with what was found.
    pub(super) tied: bool,
    /// Whether the codes misled it about its candidates, and rows were left out for them.
    pub(super) misled: bool,
}

/// Whether a query has what it asked for.
pub(super) enum Verdict {
    Enough,
    /// It has to look into so many clusters, and at more candidates.
    Widen {
        probes: usize,
    },
}

impl Horizon<'_> {
    /// Where a query begins.
    pub(super) fn first(&self) -> Breadth {
        let (query, probing) = (self.query, &self.model.probing);
        let candidates = match query.rerank_mult {
            Some(multiple) => query.top_k.saturating_mul(multiple.max(1)),
            None if query.greedy => (probing.refine(query.top_k, self.everything) / 2).max(query.top_k),
            None => probing.refine(query.top_k, self.everything),
        };
        let probes = match query.n_probes {
            _ if !self.model.trained => self.clusters(),
            Some(n) => n.clamp(1, self.clusters()),
            None => probing
                .n_probes(query.top_k, self.everything)
                .clamp(1, self.clusters()),
        };
        Breadth {
            probes,
            candidates: candidates.max(query.top_k).min(self.everything.max(1) as usize),
        }
    }

    /// Where it goes on that has scored up to `scored` rows and is to look into at least `probes` clusters; `None` with
    /// nothing left to widen.
    pub(super) fn wider(&self, breadth: Breadth, probes: usize, scored: u64) -> Option<Breadth> {
        let wider = Breadth {
            probes: probes.min(self.clusters()),
            // All rows at last, however many of them are dead.
            candidates: breadth
                .candidates
                .saturating_mul(WIDENING)
                .min(breadth.candidates.max(scored as usize)),
        };
        (wider != breadth).then_some(wider)
    }

    /// Whether what was found within `breadth` will do.
    pub(super) fn judge(&self, breadth: Breadth, found: &Found) -> Verdict {
        let all_probed = breadth.probes >= self.clusters();
        if let Some(probes) = self.probes_for_filter(breadth, found.scored) {
            return Verdict::Widen { probes };
        }
        if found.tied && breadth.candidates < limits::TIED_CANDIDATES_MAX {
            return Verdict::Widen {
                probes: breadth.probes,
            };
        }
        let cut_off = found.scored > breadth.candidates as u64;
        // Who says how many candidates to refine has that many refined.
        if found.misled && self.query.rerank_mult.is_none() {
            return Verdict::Widen {
                probes: breadth.probes,
            };
        }
        // Where a few are left among many dead rows, the candidates are mostly dead until those are folded away.
        let all = self.model.probing.leaves_few(self.everything)
            && self.query.filter.is_none()
            && self.query.n_probes.is_none()
            && self.query.rerank_mult.is_none()
            && breadth.candidates < limits::TIED_CANDIDATES_MAX;
        let enough = (found.live >= self.query.top_k && !all) || found.live as u64 >= self.everything;
        if enough || (all_probed && !cut_off) {
            Verdict::Enough
        } else if all_probed || cut_off {
            Verdict::Widen {
                probes: breadth.probes,
            }
        } else {
            Verdict::Widen {
                probes: breadth.probes.saturating_mul(WIDENING),
            }
        }
    }

    /// How many clusters a filtered query still has to look into, if more than it has. A filter that few rows pass
    /// makes the nearest matches lie further out: as far as those of an unfiltered query for as many more neighbours.
    /// And where matches are rarer around the query than elsewhere, that guess falls short; so some multiple of
    /// `top_k` has to be seen in any case.
    fn probes_for_filter(&self, breadth: Breadth, scored: u64) -> Option<usize> {
        let clusters = self.clusters();
        if self.query.filter.is_none() || self.query.n_probes.is_some() || breadth.probes >= clusters {
            return None;
        }
        let looked_at = (self.everything as f64 * breadth.probes as f64 / clusters as f64).max(1.0);
        let selectivity = (scored as f64 / looked_at).clamp(1e-6, 1.0);
        let as_many_more = (self.query.top_k as f64 / selectivity).ceil() as usize;
        let by_selectivity = self.model.probing.n_probes(as_many_more, self.everything);
        let too_few = scored < (self.query.top_k as u64).saturating_mul(MATCHES_PER_NEIGHBOUR);
        let by_count = if too_few {
            breadth.probes.saturating_mul(WIDENING)
        } else {
            0
        };
        let wanted = by_selectivity.max(by_count).min(clusters);
        (wanted > breadth.probes).then_some(wanted)
    }

    fn clusters(&self) -> usize {
        self.model.clusters() as usize
    }
}
