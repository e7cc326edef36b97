//! How long to pause before asking again: longer each time, and never the same for two who began together.

use sealdex_crypto::random_u64;
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(150);

/// The pauses of one who waits.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pauses: u32,
}

impl Backoff {
    /// The next pause: between half and all of what has doubled each time up to a limit.
    pub(super) fn next(&mut self) -> Duration {
        let whole = PAUSE_MIN.saturating_mul(1 << self.pauses.min(8)).min(PAUSE_MAX);
        self.pauses = self.pauses.saturating_add(1);
        let half = whole / 2;
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        half + Duration::from_micros(random_u64() % (spread + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_differ() {
        let (mut one, mut other) = (Backoff::default(), Backoff::default());
        let mut differ = false;
        for n in 0..40 {
            let whole = PAUSE_MIN.saturating_mul(1 << n.min(8)).min(PAUSE_MAX);
            let (a, b) = (one.next(), other.next());
            differ |= a != b;
            for pause in [a, b] {
                assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            }
        }
        assert!(differ, "two who began together go on together");
    }
}
