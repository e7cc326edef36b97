//! Questions that concern plaintext: under which session they are sealed, and how a node comes to the lease behind it.

use super::ShardGrpc;
use super::asking::Question;
use super::effort::Effort;
use super::link::Asked;
use super::sessions::{Route, Session, TERM};
use prost::Message;
use sealdex_core::NodeId;
use sealdex_crypto::{DataKeys, LeaseContext, LeasePublicKey};
use sealdex_index::dataplane::{ShardError, Target};
use sealdex_peer::payload::{self, MALFORMED};
use sealdex_proto::shard as wire;
use std::sync::Arc;

/// Payloads up to this size are sealed and opened where they are, in some 100 µs.
const INLINE_BYTES_MAX: usize = 128 * 1024;

impl ShardGrpc {
    /// Asks for something that concerns plaintext, sealed under the session of the lease that the asked node has.
    pub(super) async fn sealed<Q, A, F>(
        &self,
        method: &'static str,
        target: Target,
        effort: Effort,
        message: Q,
        send: impl Fn(Asked, wire::SealedCall) -> F + Sync,
    ) -> Result<A, ShardError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
        F: Future<Output = Result<wire::SealedReply, ShardError>>,
    {
        let (message, send) = (Arc::new(message), &send);
        let bytes = message.encoded_len();
        let question = Question {
            partition: target.partition,
            call: method,
            effort,
        };
        self.ask(question, |mut asked| {
            let message = message.clone();
            async move {
                let session = self.session(&mut asked, target).await?;
                let route = self.route(asked.node, method, target);
                let sealing = session.clone();
                let call = compute(bytes, move || Ok(sealing.seal(&route, &*message))).await?;
                let number = call.call;
                let reply = send(asked.clone(), call).await;
                if reply == Err(ShardError::LeaseRequired) {
                    self.sessions.forget(asked.node, target, &session);
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

    /// The session of a node's lease. Grants one if there is none, and somebody holds keys that may be lent.
    async fn session(&self, asked: &mut Asked, target: Target) -> Result<Arc<Session>, ShardError> {
        if let Some(session) = self.sessions.get(asked.node, target) {
            return Ok(session);
        }
        let keys = self.sessions.lendable(target).ok_or(ShardError::LeaseRequired)?;
        let _granting = self.sessions.granting(asked.node, target).await;
        if let Some(session) = self.sessions.get(asked.node, target) {
            return Ok(session);
        }
        self.grant_at(asked, target, &keys).await
    }

    async fn grant_at(
        &self,
        asked: &mut Asked,
        target: Target,
        keys: &DataKeys,
    ) -> Result<Arc<Session>, ShardError> {
        let node = asked.node;
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
                None => self.fetch_lease_key(asked).await?,
            };
            let session = Session::generate();
            let sealed = key.seal(&context, keys, session.key(), TERM.as_secs() as u8);
            let request = asked.request(wire::GrantRequest {
                target: Some(payload::target(&target)),
                session: session.id().to_vec().into(),
                sealed: sealed.into(),
            });
            let granted = asked.wire.grant(request).await;
            match asked.said(granted) {
                // Sealed to the key of the node's last run.
                Err(ShardError::LeaseRequired) if known.is_some() => self.sessions.set_lease_key(node, None),
                Err(error) => return Err(error),
                Ok(_) => return Ok(self.sessions.insert(node, target, session)),
            }
        }
    }

    async fn fetch_lease_key(&self, asked: &mut Asked) -> Result<LeasePublicKey, ShardError> {
        let request = asked.request(wire::LeaseKeyRequest {});
        let fetched = asked.wire.lease_key(request).await;
        let reply = asked.said(fetched)?;
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
