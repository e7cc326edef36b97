//! From a question to its answer: which node, in how many attempts, and when a second replica is asked beside the first.

use super::super::backoff::Backoff;
use super::ShardGrpc;
use super::attempts::{Attempts, Next, Repeat};
use super::effort::{Effort, LEADER_WAIT_MAX, READ};
use super::hedging::{Probe, SILENCE};
use super::link::{Asked, Hearsay};
use parking_lot::Mutex;
use sealdex_core::{NodeId, PartitionId};
use sealdex_index::dataplane::ShardError;
use sealdex_proto::shard as wire;
use sealdex_telemetry::{Queue, Queued, Reason, metrics};
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

/// How often is looked whether the first attempts wait for a node again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is asked of a partition.
#[derive(Clone, Copy)]
pub(super) struct Question {
    pub(super) partition: PartitionId,
    pub(super) call: &'static str,
    pub(super) effort: Effort,
}

/// The attempt that is under way, if one is.
#[derive(Default)]
struct Pending(Mutex<Option<Attempt>>);

#[derive(Clone, Copy, PartialEq)]
struct Attempt {
    node: NodeId,
    since: Instant,
    /// Who was thought to lead when it began.
    leader: Option<NodeId>,
}

/// How a second replica is asked while another node is silent.
struct Second<'a> {
    silent: NodeId,
    reason: Reason,
    _probe: Option<Probe<'a>>,
}

impl Second<'_> {
    fn new(silent: NodeId, reason: Reason) -> Self {
        Self {
            silent,
            reason,
            _probe: None,
        }
    }

    /// Whether a replica may answer it that does not lead.
    fn any_replica(&self) -> bool {
        self.reason == Reason::Slow
    }
}

/// A call that waits until its partition has a leader.
struct Waiting<'a> {
    until: Instant,
    backoff: Backoff,
    _place: SemaphorePermit<'a>,
    _queued: Queued,
}

impl ShardGrpc {
    /// Asks the partition's replicas until one answers. What may be carried out twice is asked of a second one when there is reason to;
    /// the first answer counts.
    pub(super) async fn ask<T, F>(
        &self,
        question: Question,
        ask: impl Fn(Asked) -> F + Sync,
    ) -> Result<T, ShardError>
    where
        F: Future<Output = Result<T, ShardError>>,
    {
        let until = Instant::now() + question.effort.in_all;
        let pending = Pending::default();
        let first = self.pursue(question, until, &pending, None, &ask);
        if question.effort.repeat == Repeat::Unsafe {
            return tokio::select! {
                biased;
                answer = first => answer,
                () = self.deposed(question.partition, &pending) => Err(ShardError::OutcomeUnknown),
            };
        }
        if question.effort.hedged {
            self.hedges.earn();
        }
        let beside = Pending::default();
        let second = async {
            let second = self.second(question, &pending).await;
            self.pursue(question, until, &beside, Some(&second), &ask).await
        };
        tokio::pin!(first, second);
        tokio::select! {
            biased;
            answer = &mut first => answer,
            answer = &mut second => {
                if !is_decisive(&answer) {
                    return first.await;
                }
                if let Some(silent) = pending.get() {
                    self.hedges.note(silent.node, question.call, silent.since.elapsed());
                }
                answer
            }
        }
    }

    /// One attempt after another, with pauses while nobody leads.
    async fn pursue<T, F>(
        &self,
        question: Question,
        until: Instant,
        pending: &Pending,
        second: Option<&Second<'_>>,
        ask: &(impl Fn(Asked) -> F + Sync),
    ) -> Result<T, ShardError>
    where
        F: Future<Output = Result<T, ShardError>>,
    {
        let Question {
            partition, effort, ..
        } = question;
        let replicas = || self.link.nearest_first(self.routes.replicas(partition));
        let mut attempts = Attempts::new(effort.repeat, second.map(|second| second.silent));
        let mut waiting = None;
        let mut next = attempts.again(replicas());
        loop {
            let node = match next {
                Next::Ask(node) if self.link.is_shunned(node) => {
                    next = attempts.after(ShardError::Unreachable);
                    continue;
                }
                Next::Ask(node) => node,
                Next::GiveUp(error) => return Err(error),
                Next::Wait => {
                    pending.set(None);
                    let waiting = match &mut waiting {
                        Some(waiting) => waiting,
                        none => none.insert(self.wait(until)?),
                    };
                    waiting.pause(self, partition).await?;
                    next = attempts.again(replicas());
                    continue;
                }
            };
            let begun = Instant::now();
            pending.set(Some(Attempt {
                node,
                since: begun,
                leader: self.routes.leader(partition),
            }));
            let hearsay = second
                .filter(|second| second.any_replica())
                .map(|_| Hearsay::default());
            let at_one = until.min(begun + effort.at_one);
            match self.link.ask(node, at_one, hearsay.clone(), ask).await {
                Ok(answer) => {
                    self.hedges.note(node, question.call, begun.elapsed());
                    let leader = hearsay.map_or(Some(node), |hearsay| hearsay.leader());
                    if let Some(leader) = leader {
                        self.routes.note_leader(partition, leader);
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    let hint = match error {
                        ShardError::NotLeader { leader } => leader,
                        _ => None,
                    };
                    next = attempts.after(error);
                    if let (Some(hint), Next::Ask(node)) = (hint, &next)
                        && hint == *node
                    {
                        self.routes.note_leader(partition, hint);
                    }
                }
            }
        }
    }

    /// Waits until there is reason to ask beside the node that is being asked: another one leads by now, it is away, or, for reads, it
    /// takes longer than usual.
    async fn second(&self, question: Question, pending: &Pending) -> Second<'_> {
        loop {
            let Some(attempt) = pending.get() else {
                sleep(LOOK_EVERY).await;
                continue;
            };
            let silent = attempt.node;
            let known = [attempt.leader, Some(silent)];
            let second = tokio::select! {
                () = self.routes.other_leader(question.partition, known) => Second::new(silent, Reason::Leader),
                () = self.link.away(silent) => Second::new(silent, Reason::Away),
                probe = self.hedge(question, attempt), if question.effort.hedged => Second {
                    _probe: probe,
                    ..Second::new(silent, Reason::Slow)
                },
            };
            if pending.get() == Some(attempt) {
                metrics().fanout.asked_again(second.reason);
                return second;
            }
        }
    }

    /// Waits until a read may be asked of a second replica.
    async fn hedge(&self, question: Question, silent: Attempt) -> Option<Probe<'_>> {
        sleep_until(silent.since + self.hedges.delay(silent.node, question.call)).await;
        if self.hedges.take() {
            return None;
        }
        sleep_until(silent.since + SILENCE).await;
        loop {
            if let Some(probe) = self.hedges.probe(question.partition) {
                return Some(probe);
            }
            sleep(SILENCE).await;
        }
    }

    /// Waits until the node that is being asked is away and another one leads. What was asked of it is decided then, and nobody here knows
    /// how: to wait for it longer helps nobody.
    async fn deposed(&self, partition: PartitionId, pending: &Pending) {
        loop {
            let Some(attempt) = pending.get() else {
                sleep(LOOK_EVERY).await;
                continue;
            };
            self.link.away(attempt.node).await;
            let second = Second::new(attempt.node, Reason::Away);
            let question = Question {
                partition,
                call: "indexes",
                effort: READ,
            };
            let until = Instant::now() + READ.in_all;
            let led = self
                .pursue(
                    question,
                    until,
                    &Pending::default(),
                    Some(&second),
                    &|mut asked| async move {
                        let request = asked.request(wire::IndexesRequest {
                            partition: u32::from(partition.0),
                        });
                        let answer = asked.wire.indexes(request).await;
                        asked.said(answer)
                    },
                )
                .await;
            if led.is_ok() && self.link.is_away(attempt.node) && pending.get() == Some(attempt) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A place among those who wait for a leader.
    fn wait(&self, until: Instant) -> Result<Waiting<'_>, ShardError> {
        let Ok(place) = self.waiting.try_acquire() else {
            metrics().queues.refused(Queue::Election);
            return Err(ShardError::Busy);
        };
        Ok(Waiting {
            until: until.min(Instant::now() + LEADER_WAIT_MAX),
            backoff: Backoff::default(),
            _place: place,
            _queued: metrics().queues.enter(Queue::Election),
        })
    }
}

impl Waiting<'_> {
    /// Pauses until it is worth looking for a leader again. Busy if there was none for too long: a majority is gone, and the client comes
    /// back.
    async fn pause(&mut self, shards: &ShardGrpc, partition: PartitionId) -> Result<(), ShardError> {
        if Instant::now() >= self.until {
            return Err(ShardError::Busy);
        }
        let known = shards.routes.leader(partition);
        tokio::select! {
            () = sleep(self.backoff.next()) => {}
            () = shards.routes.other_leader(partition, [known, None]), if known.is_some() => {}
        }
        Ok(())
    }
}

impl Pending {
    fn set(&self, attempt: Option<Attempt>) {
        *self.0.lock() = attempt;
    }

    fn get(&self) -> Option<Attempt> {
        *self.0.lock()
    }
}

/// Whether what a second replica says is as good as the first one's answer. That it has too much to do, or a damaged record, is not.
fn is_decisive<T>(answer: &Result<T, ShardError>) -> bool {
    matches!(
        answer,
        Ok(_)
            | Err(ShardError::LeaseRequired
                | ShardError::UnknownIndex
                | ShardError::StaleGeneration
                | ShardError::BlocksGone)
    )
}
