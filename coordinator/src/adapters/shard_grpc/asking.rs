//! From a question to its answer: which node, under which session, in how many attempts.

use super::ShardGrpc;
use super::attempts::{Attempts, Next};
use super::effort::Effort;
use super::link::{Asked, said};
use super::sessions::{Route, Session, TERM};
use prost::Message;
use sealdex_core::{NodeId, PartitionId};
use sealdex_crypto::{DataKeys, LeaseContext, LeasePublicKey};
use sealdex_index::dataplane::{ShardError, Target};
use sealdex_peer::payload::{self, MALFORMED};
use sealdex_proto::shard as wire;
use std::sync::Arc;
use tokio::time::Instant;

/// Payloads up to this size are sealed and opened where they are, in some 100 µs.
const INLINE_BYTES_MAX: usize = 128 * 1024;

impl ShardGrpc {
    /// Asks the partition's replicas until one answers.
    pub(super) async fn ask<T, F>(
        &self,
        partition: PartitionId,
        effort: Effort,
        ask: impl Fn(Asked) -> F,
    ) -> Result<T, ShardError>
    where
        F: Future<Output = Result<T, ShardError>>,
    {
        let until = Instant::now() + effort.in_all;
        let mut attempts = Attempts::new(self.routes.replicas(partition), effort.repeat);
        let mut next = attempts.first();
        loop {
            let node = match next {
                Next::Ask(node) => node,
                Next::GiveUp(error) => return Err(error),
            };
            let at_one = until.min(Instant::now() + effort.at_one);
            match self.link.ask(node, at_one, &ask).await {
                Ok(answer) => {
                    self.routes.note_leader(partition, node);
                    return Ok(answer);
                }
                Err(error) => {
                    if let ShardError::NotLeader { leader: Some(leader) } = error {
                        self.routes.note_leader(partition, leader);
                    }
                    next = attempts.after(error);
                }
            }
        }
    }

    /// Asks for something that concerns plaintext, sealed under the session of the target's lease.
    pub(super) async fn sealed<Q, A, F>(
        &self,
        method: &'static str,
        target: Target,
        effort: Effort,
        message: Q,
        send: impl Fn(Asked, wire::SealedCall) -> F,
    ) -> Result<A, ShardError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
        F: Future<Output = Result<tonic::Response<wire::SealedReply>, tonic::Status>>,
    {
        let (message, send) = (Arc::new(message), &send);
        let bytes = message.encoded_len();
        self.ask(target.partition, effort, |asked| {
            let message = message.clone();
            async move {
                let node = asked.node;
                let session = self.sessions.get(node, target).ok_or(ShardError::LeaseRequired)?;
                let route = self.route(node, method, target);
                let sealing = session.clone();
                let call = compute(bytes, move || Ok(sealing.seal(&route, &*message))).await?;
                let number = call.call;
                let reply = said(node, send(asked, call).await);
                if reply == Err(ShardError::LeaseRequired) {
                    self.sessions.forget(node, target, &session);
                }
                let reply = reply?;
                compute(reply.sealed.len(), move || session.open(&route, number, &reply)).await
            }
        })
        .await
    }

    fn route(&self, to: NodeId, method: &'static str, target: Target) -> Route {
        Route {
            deployment: self.link.channels().deployment(),
            from: self.link.channels().me(),
            to,
            method,
            target,
        }
    }

    /// Grants a lease to a node, unless somebody has done so meanwhile.
    pub(super) async fn grant_at(
        &self,
        mut asked: Asked,
        target: Target,
        keys: &DataKeys,
    ) -> Result<(), ShardError> {
        let node = asked.node;
        let _granting = self.sessions.granting(node, target).await;
        if self.sessions.get(node, target).is_some() {
            return Ok(());
        }
        let context = LeaseContext {
            deployment: self.link.channels().deployment(),
            from: self.link.channels().me(),
            to: node,
            index: target.index,
            epoch: target.epoch,
            other: target.other,
            partition: target.partition,
        };
        loop {
            let known = self.sessions.lease_key(node);
            let key = match known {
                Some(key) => key,
                None => self.fetch_lease_key(&mut asked).await?,
            };
            let session = Session::generate();
            let sealed = key.seal(&context, keys, session.key(), TERM.as_secs() as u8);
            let request = asked.request(wire::GrantRequest {
                target: Some(payload::target(&target)),
                session: session.id().to_vec().into(),
                sealed: sealed.into(),
            });
            match said(node, asked.wire.grant(request).await) {
                // Sealed to the key of the node's last run.
                Err(ShardError::LeaseRequired) if known.is_some() => self.sessions.set_lease_key(node, None),
                Err(error) => return Err(error),
                Ok(_) => {
                    self.sessions.insert(node, target, session);
                    return Ok(());
                }
            }
        }
    }

    async fn fetch_lease_key(&self, asked: &mut Asked) -> Result<LeasePublicKey, ShardError> {
        let request = asked.request(wire::LeaseKeyRequest {});
        let reply = said(asked.node, asked.wire.lease_key(request).await)?;
        let key = LeasePublicKey::from_slice(&reply.public_key).ok_or(MALFORMED)?;
        self.sessions.set_lease_key(asked.node, Some(key));
        Ok(key)
    }
}

/// Here if it is little work, else where it holds up nobody. How much of it there is at a time is bounded by the calls under way.
async fn compute<T: Send + 'static>(
    bytes: usize,
    task: impl FnOnce() -> Result<T, ShardError> + Send + 'static,
) -> Result<T, ShardError> {
    if bytes <= INLINE_BYTES_MAX {
        return task();
    }
    let done = tokio::task::spawn_blocking(task).await;
    done.unwrap_or_else(|error| Err(ShardError::Storage(error.to_string())))
}
