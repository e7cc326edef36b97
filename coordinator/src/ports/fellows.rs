//! The other coordinators of a deployment, as far as use cases have to wait for them. What is said here of "under way" began before the
//! call; what begins later sees metadata as it is by then.

use crate::domain::Epochs;
use async_trait::async_trait;
use sealdex_core::IndexId;

/// All coordinators but this one.
#[async_trait]
pub trait Fellows: Send + Sync {
    /// Waits until no write of the index is half way on any of them.
    async fn settle_writes(&self, index: IndexId) -> Result<(), Unsettled>;

    /// Waits until no request of the index is under way on any of them that began with metadata before these.
    async fn settle_requests(&self, index: IndexId) -> Result<(), Unsettled>;

    /// Waits until nobody on any of them uses the index in key epochs before these.
    async fn settle_epochs(&self, index: IndexId, epochs: Epochs) -> Result<(), Unsettled>;
}

/// One of them could not be asked, or took too long. Nothing is known; it may be asked again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("another coordinator cannot be asked whether it has anything under way")]
pub struct Unsettled;

/// There are none: the deployment has one coordinator.
pub struct NoFellows;

#[async_trait]
impl Fellows for NoFellows {
    async fn settle_writes(&self, _: IndexId) -> Result<(), Unsettled> {
        Ok(())
    }

    async fn settle_requests(&self, _: IndexId) -> Result<(), Unsettled> {
        Ok(())
    }

    async fn settle_epochs(&self, _: IndexId, _: Epochs) -> Result<(), Unsettled> {
        Ok(())
    }
}
