//! Calls that come sealed under a lease's session: opened, taken once, answered, and the answer sealed again.

use super::{ShardService, Wanted, caller, traceparent};
use crate::session::Session;
use bytes::Bytes;
use prost::Message;
use sealdex_core::{DeploymentId, NodeId};
use sealdex_crypto::{CallContext, Direction};
use sealdex_index::dataplane::{ShardError, Target};
use sealdex_peer::payload::{self, MALFORMED, status_of_error};
use sealdex_proto::shard as wire;
use sealdex_telemetry::serve;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Payloads up to this size are opened and sealed where they are, in some 100 µs: less than a turn on the pool may take.
const INLINE_BYTES_MAX: usize = 128 * 1024;

impl ShardService {
    /// Opens a call of `method`, lets `answer` answer it, and seals what it said. Whoever holds no live session is told to
    /// grant a lease.
    pub(super) async fn sealed<Q, A, F>(
        &self,
        method: &'static str,
        request: Request<wire::SealedCall>,
        answer: impl FnOnce(Target, Q) -> F + Send,
    ) -> Result<Response<wire::SealedReply>, Status>
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Future<Output = Result<A, ShardError>> + Send,
    {
        let from = caller(&request)?;
        let (wanted, traceparent) = (Wanted::by(&request), traceparent(&request));
        let answered = async {
            let call = self.call(method, wanted, from, request.into_inner())?;
            let partition = call.target.partition;
            let reply = self.answer_sealed(call, answer).await?;
            Ok(self.answered(wanted, partition, reply))
        };
        serve(method, traceparent.as_deref(), answered)
            .await
            .map_err(|error: ShardError| status_of_error(&error))
    }

    /// The same of a call whose session was found.
    pub(super) async fn answer_sealed<Q, A, F>(
        &self,
        call: Call,
        answer: impl FnOnce(Target, Q) -> F + Send,
    ) -> Result<wire::SealedReply, ShardError>
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Future<Output = Result<A, ShardError>> + Send,
    {
        let call = Arc::new(call);
        let opened = call.clone();
        let message = self.run(call.sealed.len(), move || opened.open()).await?;
        let answer = answer(call.target, message).await?;
        let bytes = answer.encoded_len();
        let sealed = self.run(bytes, move || Ok(call.seal(&answer, bytes))).await?;
        Ok(wire::SealedReply {
            sealed: sealed.into(),
        })
    }

    pub(super) fn call(
        &self,
        method: &'static str,
        wanted: Wanted,
        from: NodeId,
        message: wire::SealedCall,
    ) -> Result<Call, ShardError> {
        let target = payload::read_target(message.target.as_ref())?;
        self.check_wanted(wanted, target.partition)?;
        let id = message.session.as_ref().try_into().map_err(|_| MALFORMED)?;
        Ok(Call {
            session: self.node.session(target, from, id)?,
            deployment: self.deployment,
            from,
            to: self.me,
            method,
            target,
            number: message.call,
            sealed: message.sealed,
        })
    }

    /// Here if it is little work, else on the node's pool.
    async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        task: impl FnOnce() -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        if bytes <= INLINE_BYTES_MAX {
            task()
        } else {
            self.node.compute(task).await
        }
    }
}

/// One call of a session.
pub(super) struct Call {
    session: Arc<Session>,
    deployment: DeploymentId,
    from: NodeId,
    to: NodeId,
    method: &'static str,
    pub(super) target: Target,
    number: u64,
    sealed: Bytes,
}

impl Call {
    fn open<Q: Message + Default>(&self) -> Result<Q, ShardError> {
        let opened = self
            .session
            .key()
            .open(Direction::Call, &self.context(), &self.sealed);
        let opened = opened.map_err(|_| MALFORMED)?;
        // Came before, or so late that nobody can tell: under a new session it can be asked again.
        if !self.session.take(self.number) {
            return Err(ShardError::LeaseRequired);
        }
        Q::decode(Bytes::from(opened)).map_err(|_| MALFORMED)
    }

    fn seal<A: Message>(&self, answer: &A, bytes: usize) -> Vec<u8> {
        let write = |out: &mut Vec<u8>| answer.encode(out).expect("a vector grows");
        self.session
            .key()
            .seal(Direction::Reply, &self.context(), bytes, write)
    }

    fn context(&self) -> CallContext<'_> {
        CallContext {
            deployment: self.deployment,
            from: self.from,
            to: self.to,
            method: self.method,
            index: self.target.index,
            epoch: self.target.epoch,
            partition: self.target.partition,
            call: self.number,
        }
    }
}
