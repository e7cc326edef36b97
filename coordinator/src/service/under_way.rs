//! What of one kind is under way. Whoever waits for it waits for what had begun by then, and holds up nothing that begins later: one
//! write that hangs at a node which is away must not stop all others. Knows nothing of what is counted.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Counts what is under way. Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub(crate) struct UnderWay {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rounds: Mutex<Rounds>,
    /// Told when a round has ended.
    ended: watch::Sender<()>,
}

/// Each wait begins a new round, so that it is known what had begun before.
#[derive(Default)]
struct Rounds {
    now: u64,
    /// How many are under way that began in each round; none of zero.
    counts: BTreeMap<u64, usize>,
}

/// One that is under way, until this is dropped.
pub(crate) struct Begun {
    shared: Arc<Shared>,
    round: u64,
}

impl UnderWay {
    /// Another one begins. Never waits.
    pub(crate) fn begin(&self) -> Begun {
        let mut rounds = self.shared.rounds.lock();
        let round = rounds.now;
        *rounds.counts.entry(round).or_default() += 1;
        Begun {
            shared: self.shared.clone(),
            round,
        }
    }

    /// Waits until all have ended that began before this was called.
    pub(crate) async fn settled(&self) {
        let mut ended = self.shared.ended.subscribe();
        let last = {
            let mut rounds = self.shared.rounds.lock();
            rounds.now += 1;
            rounds.now - 1
        };
        while self.shared.rounds.lock().has_until(last) {
            ended
                .changed()
                .await
                .expect("the sender is shared with whoever waits");
        }
    }

    #[cfg(test)]
    pub(crate) fn counts_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Rounds {
    fn has_until(&self, last: u64) -> bool {
        self.counts.keys().next().is_some_and(|first| *first <= last)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut rounds = self.shared.rounds.lock();
        if let Some(count) = rounds.counts.get_mut(&self.round) {
            *count -= 1;
            if *count == 0 {
                rounds.counts.remove(&self.round);
                self.shared.ended.send_replace(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const A_MOMENT: Duration = Duration::from_millis(20);

    async fn is_settled(under_way: &UnderWay) -> bool {
        timeout(A_MOMENT, under_way.settled()).await.is_ok()
    }

    #[tokio::test]
    async fn what_began_before_is_waited_for_and_what_began_later_is_not() {
        let under_way = UnderWay::default();
        assert!(is_settled(&under_way).await);
        let before = under_way.begin();
        let waiting = tokio::spawn({
            let under_way = under_way.clone();
            async move { under_way.settled().await }
        });
        tokio::time::sleep(A_MOMENT).await;
        let later = under_way.begin();
        assert!(!waiting.is_finished());
        drop(before);
        timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert!(!is_settled(&under_way).await, "the later one is under way");
        drop(later);
        assert!(is_settled(&under_way).await);
    }

    #[tokio::test]
    async fn one_that_hangs_holds_up_nobody_who_begins() {
        let under_way = UnderWay::default();
        let hangs = under_way.begin();
        for _ in 0..3 {
            assert!(!is_settled(&under_way).await);
            drop(under_way.begin());
        }
        drop(hangs);
        assert!(is_settled(&under_way).await);
    }

    #[tokio::test]
    async fn all_who_wait_are_told() {
        let under_way = UnderWay::default();
        let begun = [under_way.begin(), under_way.begin()];
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let under_way = under_way.clone();
                tokio::spawn(async move { under_way.settled().await })
            })
            .collect();
        tokio::time::sleep(A_MOMENT).await;
        drop(begun);
        for waiter in waiting {
            timeout(Duration::from_secs(10), waiter).await.unwrap().unwrap();
        }
    }
}
