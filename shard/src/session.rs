//! Zone K: the session by which a coordinator of another process uses its lease: the key that its calls are sealed with, and which of
//! them have come already.

use parking_lot::Mutex;
use sealdex_crypto::SessionKey;

/// What a session is named by: 16 random bytes. Not secret.
pub(crate) type SessionId = [u8; 16];

/// Calls that may overtake one another: far more than a coordinator has under way.
const WINDOW: u64 = 4096;

/// A session. Share it in an `Arc`; its key is zeroised when the last call that uses it is done.
pub(crate) struct Session {
    id: SessionId,
    key: SessionKey,
    taken: Mutex<Taken>,
}

impl Session {
    pub(crate) fn new(id: SessionId, key: SessionKey) -> Self {
        Self {
            id,
            key,
            taken: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(crate) fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Takes a call by its number, if it did not come before. Only calls that have opened are taken, so that a forged one
    /// uses up nobody's number.
    pub(crate) fn take(&self, call: u64) -> bool {
        self.taken.lock().take(call)
    }
}

/// The numbers of calls that were taken: a bit for each of the last [`WINDOW`], and everything before them.
struct Taken {
    /// The lowest number above all that were taken.
    end: u64,
    bits: Box<[u64; WINDOW as usize / 64]>,
}

impl Default for Taken {
    fn default() -> Self {
        Self {
            end: 0,
            bits: Box::new([0; WINDOW as usize / 64]),
        }
    }
}

impl Taken {
    fn take(&mut self, call: u64) -> bool {
        if call >= u64::MAX - WINDOW || call + WINDOW < self.end {
            return false;
        }
        if call >= self.end {
            // What lay in these places is now before the window.
            let first = self.end.max((call + 1).saturating_sub(WINDOW));
            for skipped in first..=call {
                *self.word(skipped) &= !bit(skipped);
            }
            self.end = call + 1;
        }
        let word = self.word(call);
        let fresh = *word & bit(call) == 0;
        *word |= bit(call);
        fresh
    }

    fn word(&mut self, call: u64) -> &mut u64 {
        &mut self.bits[(call % WINDOW / 64) as usize]
    }
}

fn bit(call: u64) -> u64 {
    1 << (call % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a model that forgets nothing but what is older than the window.
        #[test]
        fn each_call_is_taken_once(steps in prop::collection::vec((0u64..3 * WINDOW, 0u64..200), 1..400)) {
            let (mut taken, mut model, mut base) = (Taken::default(), BTreeSet::new(), 0);
            for (far, near) in steps {
                // Mostly near the end, sometimes far ahead or far behind.
                let call = if near < 195 { base + near } else { far };
                let end = model.last().map_or(0, |last: &u64| last + 1);
                let in_window = call + WINDOW >= end;
                let fresh = in_window && model.insert(call);
                prop_assert_eq!(taken.take(call), fresh, "call {} at end {}", call, end);
                base = (base + near / 4).max(call.saturating_sub(WINDOW));
            }
        }
    }

    #[test]
    fn the_last_numbers_are_no_way_around() {
        let mut taken = Taken::default();
        assert!(!taken.take(u64::MAX));
        assert!(taken.take(0));
        assert!(!taken.take(0));
    }
}
