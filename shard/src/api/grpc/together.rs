//! Questions of many partitions in one call: each is answered on its own, as soon as it can be.

use super::{ShardService, Wanted, place};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, FuturesUnordered};
use sealdex_core::{IndexId, NodeId};
use sealdex_index::dataplane::{ShardError, Target};
use sealdex_peer::payload::{self, MALFORMED};
use sealdex_proto::shard as wire;
use sealdex_proto::shard::answer::Told;
use sealdex_proto::shard::question::Asked;
use sealdex_telemetry::serve;
use tonic::Status;

impl ShardService {
    /// What this node says to each of the questions of `from`, whichever it can answer first.
    pub(super) fn answers(
        &self,
        from: NodeId,
        questions: Vec<wire::Question>,
    ) -> BoxStream<'static, Result<wire::Answer, Status>> {
        let answers: FuturesUnordered<_> = (0..)
            .zip(questions)
            .map(|(position, question)| {
                let service = self.clone();
                async move { Ok(service.answer(from, position, question).await) }
            })
            .collect();
        answers.boxed()
    }

    async fn answer(&self, from: NodeId, position: u32, question: wire::Question) -> wire::Answer {
        let wanted = match question.any_replica {
            true => Wanted::Any,
            false => Wanted::Leader,
        };
        let traceparent = Some(question.traceparent).filter(|text| !text.is_empty());
        let (method, partition) = match &question.asked {
            Some(Asked::Count(place)) => ("count", Some(place.partition)),
            Some(Asked::Scan(call)) => ("scan", partition_of(call)),
            Some(Asked::Resolve(call)) => ("resolve", partition_of(call)),
            Some(Asked::Fetch(call)) => ("fetch", partition_of(call)),
            None => ("nothing", None),
        };
        let told = serve(
            method,
            traceparent.as_deref(),
            self.tell(from, wanted, question.asked),
        )
        .await;
        let leader = partition
            .and_then(|partition| payload::partition(partition).ok())
            .and_then(|partition| self.leader_to_tell(wanted, partition));
        wire::Answer {
            position,
            leader: leader.map(|leader| leader.0),
            told: Some(told.unwrap_or_else(|error| Told::Error(payload::refusal(&error)))),
        }
    }

    async fn tell(&self, from: NodeId, wanted: Wanted, asked: Option<Asked>) -> Result<Told, ShardError> {
        match asked.ok_or(MALFORMED)? {
            Asked::Count(asked) => {
                let (partition, index): (_, IndexId) = place(&asked)?;
                self.check_wanted(wanted, partition)?;
                let counted = self.node.count(partition, index).await?;
                Ok(Told::Counted(payload::counted(counted)))
            }
            Asked::Scan(call) => {
                let call = self.call("scan", wanted, from, call)?;
                let scan = move |target: Target, message| async move {
                    let request = payload::read_scan_request(target, &message)?;
                    Ok(payload::scan_reply(&self.node.scan(request).await?))
                };
                Ok(Told::Sealed(self.answer_sealed(call, scan).await?))
            }
            Asked::Resolve(call) => {
                let call = self.call("resolve", wanted, from, call)?;
                let resolve = move |target: Target, message| async move {
                    let request = payload::read_resolve_request(target, &message)?;
                    Ok(payload::resolve_reply(&self.node.resolve(request).await?))
                };
                Ok(Told::Sealed(self.answer_sealed(call, resolve).await?))
            }
            Asked::Fetch(call) => {
                let call = self.call("fetch", wanted, from, call)?;
                let fetch = move |target: Target, message| async move {
                    let request = payload::read_fetch_request(target, &message)?;
                    Ok(payload::fetch_reply(self.node.fetch(request).await?))
                };
                Ok(Told::Sealed(self.answer_sealed(call, fetch).await?))
            }
        }
    }
}

fn partition_of(call: &wire::SealedCall) -> Option<u32> {
    call.target.as_ref().map(|target| target.partition)
}
