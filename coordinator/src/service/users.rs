//! Users of an index: making, listing and revoking them. What a user may do is which grants exist; nothing else is kept
//! of them, and their token is never stored.

use super::bundles::{Bundles, Rights};
use super::{IndexRef, Service, ServiceError};
use crate::adapters::CatalogError;
use crate::auth::{Authenticator, Caller, Forbidden};
use crate::domain::{Command, IndexRecord, Rejection, UserRecord};
use sealdex_core::{SecretText, UserId};
use std::sync::Arc;

/// A new user of an index.
pub struct CreateUser {
    /// The index and, unless a KMS keeps it, its key.
    pub index: IndexRef,
    /// What the user may do.
    pub rights: Rights,
}

/// A user that was made. The token is shown once.
pub struct CreatedUser {
    /// Who it is.
    pub id: UserId,
    /// What they send as `X-API-Key`.
    pub token: SecretText,
}

/// A user and what they may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UserListed {
    /// Who it is.
    pub id: UserId,
    /// What the grants that exist allow.
    pub rights: Rights,
}

impl Service {
    /// Makes a user of an index.
    pub async fn create_user(
        self: &Arc<Self>,
        caller: &Caller,
        authenticator: &Authenticator,
        request: CreateUser,
    ) -> Result<CreatedUser, ServiceError> {
        caller.require_root()?;
        let mut record = self.named(&request.index.name).await?;
        let key = self.callers_key(caller, &record, request.index.key).await?;
        let (id, token) = authenticator.mint().ok_or(Forbidden::NotRoot)?;
        loop {
            let bundles = Bundles::open(&record, &key)?;
            let user = bundles.user(id, &token.public_key(), request.rights);
            let add = Command::AddUser {
                name: record.name.clone(),
                id: record.id,
                epochs: record.key.epochs(),
                user: Box::new(user),
            };
            match self.catalog.change(add).await {
                Ok(_) => break,
                // The index has gone on between its key epochs; each has an end.
                Err(CatalogError::Rejected(Rejection::OutOfTurn)) => {
                    record = self.named(&record.name).await?
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(CreatedUser {
            id,
            token: SecretText::new(token.reveal()),
        })
    }

    /// The users of an index, in the order in which they were made.
    pub async fn list_users(
        self: &Arc<Self>,
        caller: &Caller,
        index: IndexRef,
    ) -> Result<Vec<UserListed>, ServiceError> {
        let record = self.administered(caller, index).await?;
        Ok(listed(&record))
    }

    /// Revokes a user: from the next request on their token opens nothing. Revoking who is not there succeeds, and a KMS that keeps
    /// the index's key is not asked: whoever has to shut somebody out may have no time to wait for it.
    pub async fn delete_user(
        self: &Arc<Self>,
        caller: &Caller,
        index: IndexRef,
        user: UserId,
    ) -> Result<(), ServiceError> {
        caller.require_root()?;
        let record = self.named(&index.name).await?;
        self.check_owner(caller, &record, index.key).await?;
        self.catalog
            .change(Command::RemoveUser {
                name: record.name.clone(),
                id: record.id,
                user,
            })
            .await?;
        Ok(())
    }

    /// An index whose key the root caller has.
    async fn administered(
        self: &Arc<Self>,
        caller: &Caller,
        index: IndexRef,
    ) -> Result<Arc<IndexRecord>, ServiceError> {
        caller.require_root()?;
        let record = self.named(&index.name).await?;
        let key = self.callers_key(caller, &record, index.key).await?;
        self.custodian.verify(&record, &key)?;
        Ok(record)
    }
}

/// The users of an index, with what the grants that exist allow.
pub(crate) fn listed(record: &IndexRecord) -> Vec<UserListed> {
    let of = |user: &UserRecord| UserListed {
        id: user.id,
        rights: Rights {
            read: user.grants.read.is_some(),
            write: user.grants.write.is_some(),
        },
    };
    record.users.iter().map(of).collect()
}
