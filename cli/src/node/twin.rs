//! Whether a coordinator that is part of the deployment runs already, from the disk that this one's is a copy of: it would vote twice.
//!
//! Shard nodes are let in anew at each start, by whoever leads. A coordinator asks in the same way, and does not wait for a leader: it may
//! be the one without which there is none. Where nobody leads, the node itself answers, at the address where the others know it.

use super::joining::{Answer, Disk, JoinToken, PAUSE, Waiting, ask_on, read, refused};
use super::{Identified, NodeArgs, NodeError};
use futures_util::future::join_all;
use sealdex_peer::{Credentials, PeerError, is_of_other_authority};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Code;

/// Whoever takes longer is as good as away: others wait for this node, perhaps to be a majority again.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Refuses to go on as `me`, with this disk, if somebody says that another process does, or that the node is gone.
pub(crate) async fn no_twin(
    args: &NodeArgs,
    credentials: &Credentials,
    token: &JoinToken,
    disk: Disk,
    me: Identified,
) -> Result<(), NodeError> {
    let mut waiting = Waiting::new(args);
    loop {
        let asked = args.join.iter();
        let asked = asked.map(|address| timeout(ANSWER_MAX, ask_on(args, credentials, token, disk, address)));
        let mut namesake = None;
        // One says yes, who has not heard of it for a while, and another no, who is that node: all have to be heard.
        for Answer { from, outcome } in join_all(asked).await.into_iter().flatten() {
            match outcome {
                Ok(reply) => {
                    let told = read(reply)?.identified;
                    if told != me {
                        return Err(NodeError::OtherNode(told.deployment));
                    }
                }
                Err(PeerError::Status(status)) if status.code() == Code::FailedPrecondition => {
                    return Err(refused(&from, &status));
                }
                Err(PeerError::Status(status)) if status.code() == Code::AlreadyExists => {
                    namesake = Some((from, PeerError::Status(status)));
                }
                Err(error) if is_of_other_authority(&error) => {
                    let ca = args.authority();
                    tracing::warn!("{}", NodeError::OtherAuthority { address: from, ca });
                }
                // Nobody is there, or nobody leads.
                Err(error) => {
                    tracing::debug!(address = from, %error, "not asked whether this node runs elsewhere")
                }
            }
        }
        // It may be that this node has just moved, and is not known to be lost where it was.
        let Some((address, error)) = namesake else {
            return Ok(());
        };
        waiting.after(&address, &error)?;
        sleep(PAUSE).await;
    }
}
