//! What a set of latencies comes to. It knows nothing of where they come from.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Latencies in milliseconds; percentiles by nearest rank, so each is a latency that occurred.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) count: usize,
    pub(super) mean_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Latency {
    /// `None` of an empty set.
    pub(super) fn of(mut latencies: Vec<Duration>) -> Option<Self> {
        latencies.sort_unstable();
        let sum: Duration = latencies.iter().sum();
        Some(Self {
            count: latencies.len(),
            mean_ms: milliseconds(sum) / latencies.len() as f64,
            p50_ms: milliseconds(percentile(&latencies, 50.0)?),
            p90_ms: milliseconds(percentile(&latencies, 90.0)?),
            p99_ms: milliseconds(percentile(&latencies, 99.0)?),
            max_ms: milliseconds(*latencies.last()?),
        })
    }
}

/// The least value that at least `percent` of `sorted` do not exceed.
fn percentile<T: Copy>(sorted: &[T], percent: f64) -> Option<T> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50.0), Some(50));
        assert_eq!(percentile(&hundred, 99.0), Some(99));
        assert_eq!(percentile(&hundred, 100.0), Some(100));
        assert_eq!(percentile(&hundred[..3], 50.0), Some(2));
        assert_eq!(percentile(&hundred[..1], 99.0), Some(1));
        assert_eq!(percentile(&hundred[..1], 0.0), Some(1));
        assert_eq!(percentile::<u32>(&[], 50.0), None);
    }

    #[test]
    fn latencies_are_summed_up_in_any_order() {
        let latency = Latency::of([4, 2, 3, 1].map(Duration::from_millis).to_vec()).unwrap();
        assert_eq!(
            (latency.count, latency.mean_ms, latency.p50_ms, latency.max_ms),
            (4, 2.5, 2.0, 4.0)
        );
        assert_eq!(Latency::of(Vec::new()), None);
    }
}
