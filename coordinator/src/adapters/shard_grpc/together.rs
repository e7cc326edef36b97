//! What queries ask of shard nodes: of many partitions at once, so questions to one node travel together.

use super::link::{Asked, Link, refused};
use prost::Message;
use sealdex_core::{NodeId, limits};
use sealdex_index::dataplane::ShardError;
use sealdex_peer::payload::{MALFORMED, read_refusal};
use sealdex_peer::wire::shard::shard_client::ShardClient as Wire;
use sealdex_peer::{Bundles, Channels, Lane, Waiting};
use sealdex_proto::shard as wire;
use sealdex_proto::shard::answer::Told;
use sealdex_proto::shard::question::Asked as Question;
use sealdex_telemetry::traceparent;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Status};

/// Nobody waits longer for what travels together: as long as a read may take at one node.
const TOGETHER_MAX: Duration = Duration::from_secs(10);

/// Questions to one node.
pub(super) type ToNode = Bundles<wire::Question, wire::Answer>;

impl Link {
    /// Asks a node, together with whoever asks it meanwhile.
    pub(super) async fn together(&self, asked: &Asked, question: Question) -> Result<Told, ShardError> {
        let question = wire::Question {
            any_replica: asked.any_replica(),
            traceparent: traceparent().unwrap_or_default(),
            asked: Some(question),
        };
        let (channels, node) = (Arc::clone(self.channels()), asked.node);
        let bytes = question.encoded_len();
        let send = move |questions, waiting| send(Arc::clone(&channels), node, questions, waiting);
        let answer = self.bundles_to(node).ask(question, bytes, send).await;
        let answer = answer.map_err(|status| refused(node, &status))?;
        asked.heard(answer.leader.map(NodeId));
        match answer.told.ok_or(MALFORMED)? {
            Told::Error(refusal) => Err(read_refusal(refusal).unwrap_or(ShardError::OutcomeUnknown)),
            told => Ok(told),
        }
    }

    /// The same, of what is sealed.
    pub(super) async fn sealed_together(
        &self,
        asked: &Asked,
        question: Question,
    ) -> Result<wire::SealedReply, ShardError> {
        match self.together(asked, question).await? {
            Told::Sealed(reply) => Ok(reply),
            Told::Counted(_) | Told::Error(_) => Err(MALFORMED),
        }
    }
}

async fn send(
    channels: Arc<Channels>,
    node: NodeId,
    questions: Vec<wire::Question>,
    waiting: Waiting<wire::Answer>,
) {
    // As metadata and credentials are now, for senders go on as long as there is something to send.
    let channel = match channels.to(node, Lane::Data) {
        Ok(channel) => channel,
        Err(error) => return waiting.fail(&Status::failed_precondition(error.to_string())),
    };
    let mut wire = Wire::new(channel)
        .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
    let mut request = Request::new(wire::Questions { questions });
    request.set_timeout(TOGETHER_MAX);
    let position = |answer: wire::Answer| (answer.position, Ok(answer));
    waiting.listen(wire.together(request), position).await;
}
