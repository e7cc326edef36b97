//! Judges answers against the truth: recall, completeness, order, distances. It knows no clock and no connection.

use super::api;
use super::error::BenchError;
use super::rows::Rows;
use super::truth::{self, Neighbour};
use bytes::Bytes;
use sealdex_core::Metric;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Queries whose distances are compared with exact ones.
const DISTANCE_SAMPLE: usize = 100;

/// Share of the farthest neighbour's distance below which an error counts as if the distance were that large: the
/// distance of a vector from itself has no relative error.
const DISTANCE_FLOOR: f64 = 1e-3;

/// How much a distance may fall behind the one before it: the rounding of f32.
const ORDER_TOLERANCE: f64 = 1e-6;

/// What a set of answers is worth.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Score {
    /// Share of the exact k nearest that were answered; an item exactly as near as the k-th counts.
    pub(super) recall: f64,
    /// Queries that were judged.
    pub(super) queries: usize,
    /// Answers with fewer hits than there are items to find.
    pub(super) short: usize,
    /// Answers that name an item twice, or one that should not be there.
    pub(super) wrong: usize,
    /// Answers that are not ordered by distance.
    pub(super) unordered: usize,
    /// The largest relative error of a sample of the distances.
    pub(super) distance_error: f64,
}

/// What answers are compared with.
pub(super) struct Judge<'a> {
    pub(super) metric: Metric,
    pub(super) stored: &'a Rows<f32>,
    pub(super) queries: &'a Rows<f32>,
    /// Per query, nearest first, at least `k` or all that match.
    pub(super) truth: &'a [Vec<Neighbour>],
    /// The rows that may be answered, in order; all if `None`.
    pub(super) matching: Option<&'a [u32]>,
    pub(super) k: usize,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default)]
    distance: Option<f64>,
}

#[derive(Deserialize)]
struct Flat<'a> {
    #[serde(borrow)]
    results: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Nested<'a> {
    #[serde(borrow)]
    results: Vec<Vec<Hit<'a>>>,
}

impl Judge<'_> {
    /// Judges the answers that came: `answers[i]` belongs to the queries from `i * per_request` on, counted around.
    pub(super) fn score(&self, answers: &[Option<Bytes>], per_request: usize) -> Result<Score, BenchError> {
        let mut tally = Tally::default();
        for (request, body) in answers.iter().enumerate() {
            let Some(body) = body else { continue };
            let lists = parse(body, per_request)?;
            for (offset, hits) in lists.iter().enumerate() {
                let number = request * per_request + offset;
                if number < self.queries.len() {
                    self.judge(number, hits, &mut tally)?;
                }
            }
        }
        if tally.queries == 0 {
            return Err(BenchError::Answer(
                "not one query was answered; raise --max-seconds".into(),
            ));
        }
        if tally.hits > 0 && tally.known == 0 {
            let cure = "--reuse needs the data and options that the index was loaded with";
            return Err(BenchError::Answer(format!(
                "the index holds none of this run's items; {cure}"
            )));
        }
        Ok(Score {
            recall: tally.found as f64 / tally.expected.max(1) as f64,
            queries: tally.queries,
            short: tally.short,
            wrong: tally.wrong,
            unordered: tally.unordered,
            distance_error: tally.distance_error,
        })
    }

    fn judge(&self, number: usize, hits: &[Hit<'_>], tally: &mut Tally) -> Result<(), BenchError> {
        let truth = &self.truth[number][..self.k.min(self.truth[number].len())];
        let query = self.queries.row(number);
        let mut rows: Vec<u32> = hits.iter().filter_map(|hit| self.row_of(hit)).collect();
        let farthest = truth.last().map_or(0.0, |last| last.distance);
        if tally.queries < DISTANCE_SAMPLE {
            tally.distance_error = tally
                .distance_error
                .max(self.distance_error(query, hits, farthest)?);
        }
        tally.hits += hits.len();
        tally.known += rows.len();
        rows.sort_unstable();
        rows.dedup();
        rows.retain(|row| {
            self.matching
                .is_none_or(|matching| matching.binary_search(row).is_ok())
        });
        let near = |row: &&u32| {
            truth.iter().any(|neighbour| neighbour.row == **row)
                || truth::distance(self.metric, query, self.stored.row(**row as usize)) <= farthest
        };
        tally.queries += 1;
        tally.expected += truth.len();
        tally.found += rows.iter().filter(near).count().min(truth.len());
        tally.short += usize::from(hits.len() < truth.len());
        tally.wrong += usize::from(rows.len() < hits.len());
        tally.unordered += usize::from(!is_ordered(hits));
        Ok(())
    }

    fn distance_error(&self, query: &[f32], hits: &[Hit<'_>], farthest: f64) -> Result<f64, BenchError> {
        let mut worst = 0.0f64;
        for hit in hits {
            let Some(row) = self.row_of(hit) else { continue };
            let exact = truth::distance(self.metric, query, self.stored.row(row as usize));
            let scale = exact.max(farthest * DISTANCE_FLOOR).max(f64::MIN_POSITIVE);
            worst = worst.max((hit.distance.ok_or_else(no_distance)? - exact).abs() / scale);
        }
        Ok(worst)
    }

    /// `None` for an item that this run did not write.
    fn row_of(&self, hit: &Hit<'_>) -> Option<u32> {
        hit.id
            .parse()
            .ok()
            .filter(|row| (*row as usize) < self.stored.len())
    }
}

#[derive(Default)]
struct Tally {
    queries: usize,
    hits: usize,
    /// Hits that are items of this run.
    known: usize,
    expected: usize,
    found: usize,
    short: usize,
    wrong: usize,
    unordered: usize,
    distance_error: f64,
}

/// One list of hits per query of a request. One query is answered flat, several are answered nested.
fn parse(body: &[u8], per_request: usize) -> Result<Vec<Vec<Hit<'_>>>, BenchError> {
    let parsed = match per_request {
        1 => serde_json::from_slice(body).map(|flat: Flat<'_>| vec![flat.results]),
        _ => serde_json::from_slice(body).map(|nested: Nested<'_>| nested.results),
    };
    let lists = parsed.map_err(|source| crate::client::ClientError::Reply {
        path: api::QUERY.into(),
        source,
    })?;
    if lists.len() != per_request {
        let found = lists.len();
        return Err(BenchError::Answer(format!(
            "a request of {per_request} queries got {found} answers"
        )));
    }
    Ok(lists)
}

fn is_ordered(hits: &[Hit<'_>]) -> bool {
    hits.is_sorted_by(|a, b| match (a.distance, b.distance) {
        (Some(a), Some(b)) => b >= a - a.abs() * ORDER_TOLERANCE,
        _ => true,
    })
}

fn no_distance() -> BenchError {
    BenchError::Answer("a hit has no distance though distances were asked for".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five items at 0, 1, 2, 2 and 9 on a line; the query is at 0.
    fn score(body: &str, matching: Option<&[u32]>) -> Result<Score, BenchError> {
        let (stored, queries) = (
            Rows::new(1, vec![0.0, 1.0, 2.0, 2.0, 9.0]),
            Rows::new(1, vec![0.0]),
        );
        let all: Vec<u32> = (0..5).collect();
        let hidden = indicatif::ProgressBar::hidden();
        let members = matching.unwrap_or(&all);
        let truth = truth::nearest(Metric::Euclidean, &stored, Some(members), &queries, 3, &hidden);
        let judge = Judge {
            metric: Metric::Euclidean,
            stored: &stored,
            queries: &queries,
            truth: &truth,
            matching,
            k: 3,
        };
        judge.score(&[Some(Bytes::copy_from_slice(body.as_bytes()))], 1)
    }

    fn hits(hits: &[(u32, f64)]) -> String {
        let hits: Vec<String> = hits
            .iter()
            .map(|(id, d)| format!("{{\"id\":\"{id}\",\"distance\":{d}}}"))
            .collect();
        format!("{{\"results\":[{}]}}", hits.join(","))
    }

    #[test]
    fn an_item_as_near_as_the_last_counts() {
        for last in [2, 3] {
            let score = score(&hits(&[(0, 0.0), (1, 1.0), (last, 2.0)]), None).unwrap();
            assert_eq!(
                (score.recall, score.short, score.wrong, score.unordered),
                (1.0, 0, 0, 0)
            );
            assert_eq!(score.distance_error, 0.0);
        }
    }

    #[test]
    fn misses_and_short_answers_lower_recall() {
        let far = score(&hits(&[(0, 0.0), (1, 1.0), (4, 9.0)]), None).unwrap();
        assert!((far.recall - 2.0 / 3.0).abs() < 1e-12 && far.short == 0);
        let short = score(&hits(&[(0, 0.0)]), None).unwrap();
        assert!((short.recall - 1.0 / 3.0).abs() < 1e-12 && short.short == 1);
    }

    #[test]
    fn repeated_items_wrong_order_and_wrong_distances_are_seen() {
        let twice = score(&hits(&[(0, 0.0), (0, 0.0), (1, 1.0)]), None).unwrap();
        assert!((twice.recall - 2.0 / 3.0).abs() < 1e-12 && twice.wrong == 1);
        assert_eq!(
            score(&hits(&[(1, 1.0), (0, 0.0), (2, 2.0)]), None)
                .unwrap()
                .unordered,
            1
        );
        let off = score(&hits(&[(0, 0.0), (1, 1.1), (2, 2.0)]), None).unwrap();
        assert!((off.distance_error - 0.1).abs() < 1e-9, "{}", off.distance_error);
    }

    #[test]
    fn an_item_that_does_not_match_the_filter_is_wrong() {
        let good = score(&hits(&[(1, 1.0), (4, 9.0)]), Some(&[1, 4])).unwrap();
        assert_eq!((good.recall, good.short, good.wrong), (1.0, 0, 0));
        let stranger = score(&hits(&[(0, 0.0), (1, 1.0)]), Some(&[1, 4])).unwrap();
        assert_eq!((stranger.recall, stranger.wrong), (0.5, 1));
    }

    #[test]
    fn an_item_of_unknown_id_is_wrong() {
        let body =
            r#"{"results":[{"id":"new-3","distance":0},{"id":"0","distance":0},{"id":"1","distance":1}]}"#;
        let stranger = score(body, None).unwrap();
        assert!((stranger.recall - 2.0 / 3.0).abs() < 1e-12 && stranger.wrong == 1);
    }

    #[test]
    fn only_foreign_items_and_broken_answers_end_the_run() {
        for body in [
            hits(&[(7, 0.0)]),
            "{\"results\":[{\"id\":\"0\"}]}".into(),
            "{}".into(),
            "not json".into(),
        ] {
            assert!(score(&body, None).is_err(), "{body}");
        }
    }

    #[test]
    fn several_queries_are_answered_nested() {
        assert_eq!(parse(br#"{"results":[[{"id":"1"}],[]]}"#, 2).unwrap().len(), 2);
        assert!(parse(br#"{"results":[[]]}"#, 2).is_err());
        assert!(parse(br#"{"results":[]}"#, 2).is_err());
    }
}
