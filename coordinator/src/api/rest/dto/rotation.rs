//! The reply that tells how far a rotation is.

use crate::service::{RotationPhase, RotationStatus};
use serde::Serialize;
use utoipa::ToSchema;

/// How far an index is on its way to a new key epoch.
#[derive(Serialize, ToSchema)]
pub(crate) struct RotationResponse {
    /// The index.
    index_name: String,
    /// Whether records of two epochs are there.
    rotating: bool,
    /// The epoch that everything is sealed under that is written now.
    epoch: u32,
    /// While rotating, the other epoch: the next one while `phase` is `preparing` for the first time, afterwards the one before.
    #[schema(required = true)]
    other_epoch: Option<u32>,
    /// `none`; `preparing`: requests that began before are waited for; `resealing`; `purging`: files that hold what was
    /// sealed before are rewritten; `waiting_for_key`: nobody is at it before the index's key is there, so send any request
    /// with it, or mend its key provider.
    phase: &'static str,
    /// Items gone through since the server began with them.
    items_done: u64,
    /// Items there were then, or more if more were gone through since.
    items_total: u64,
    /// Blocks of compact codes gone through.
    blocks_done: u64,
    /// Why it does not get on, if it does not. It is tried again by itself.
    #[schema(required = true)]
    error: Option<String>,
}

impl From<RotationStatus> for RotationResponse {
    fn from(status: RotationStatus) -> Self {
        Self {
            index_name: status.name,
            rotating: status.other.is_some(),
            epoch: status.epoch.0,
            other_epoch: status.other.map(|epoch| epoch.0),
            phase: match status.phase {
                RotationPhase::None => "none",
                RotationPhase::Preparing => "preparing",
                RotationPhase::Resealing => "resealing",
                RotationPhase::Purging => "purging",
                RotationPhase::WaitingForKey => "waiting_for_key",
            },
            items_done: status.items.0,
            items_total: status.items.1,
            blocks_done: status.blocks,
            error: status.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_core::KeyEpoch;

    #[test]
    fn keys_and_their_order() {
        let status = RotationStatus {
            name: "a".into(),
            epoch: KeyEpoch(2),
            other: Some(KeyEpoch(1)),
            phase: RotationPhase::Resealing,
            items: (3, 9),
            blocks: 4,
            error: None,
        };
        assert_eq!(
            serde_json::to_string(&RotationResponse::from(status)).unwrap(),
            r#"{"index_name":"a","rotating":true,"epoch":2,"other_epoch":1,"phase":"resealing","items_done":3,"items_total":9,"blocks_done":4,"error":null}"#
        );
    }
}
