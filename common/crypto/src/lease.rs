//! What a coordinator lends a shard node of another process: the keys of one partition of one index and the key of a session,
//! sealed to a key pair that the node drew when it started and keeps in memory alone.
//!
//! ```text
//! [term in seconds][session secret 32][scope's root 32][the other epoch's root 32, while the index is between two]
//! ```

use crate::aad::{FORMAT, Scope};
use crate::data_keys::DataKeys;
use crate::encoding::encode;
use crate::error::OpenError;
use crate::hybrid::{self, OVERHEAD, PrivateKey};
use crate::labels;
use crate::public_keys::LeasePublicKey;
use crate::secret::Secret;
use crate::session::SessionKey;
use sealdex_core::{DeploymentId, IndexId, KeyEpoch, NodeId, PartitionId};
use std::time::Duration;
use zeroize::Zeroizing;

/// Who lends what to whom. A lease opens as nothing else.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LeaseContext {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The coordinator that grants.
    pub from: NodeId,
    /// The shard node that it is granted to.
    pub to: NodeId,
    /// The index.
    pub index: IndexId,
    /// The epoch that the keys seal under.
    pub epoch: KeyEpoch,
    /// The other epoch that they open, while the index is between two.
    pub other: Option<KeyEpoch>,
    /// The partition.
    pub partition: PartitionId,
}

impl LeaseContext {
    /// RFC 9180, section 8.1: what a single shot is bound to enters by `info`.
    fn info(&self) -> Vec<u8> {
        // No epoch is nothing, one is four bytes.
        let other = self
            .other
            .map_or_else(Vec::new, |epoch| epoch.0.to_be_bytes().to_vec());
        encode(
            labels::LEASE,
            &[
                &[FORMAT],
                self.deployment.as_bytes(),
                &self.from.0.to_be_bytes(),
                &self.to.0.to_be_bytes(),
                &self.index.0.to_be_bytes(),
                &self.epoch.0.to_be_bytes(),
                &other,
                &self.partition.0.to_be_bytes(),
            ],
        )
    }
}

/// What a lease brings.
pub struct Lease {
    /// The partition's keys.
    pub keys: DataKeys,
    /// What calls under the lease are sealed with.
    pub session: SessionKey,
    /// How long after its last use it ends.
    pub term: Duration,
}

/// What leases are sealed to, for one run of a node.
pub struct LeaseKeyPair(PrivateKey);

impl LeaseKeyPair {
    /// A fresh one.
    pub fn generate() -> Self {
        Self(PrivateKey::derive(&Secret::generate()))
    }

    /// What coordinators seal to.
    pub fn public_key(&self) -> LeasePublicKey {
        LeasePublicKey::of_private(self.0.public())
    }

    /// Opens a lease that was sealed as what `context` describes.
    pub fn open(&self, context: &LeaseContext, sealed: &[u8]) -> Result<Lease, OpenError> {
        let length = sealed.len().checked_sub(OVERHEAD).ok_or(OpenError)?;
        let mut plaintext = Zeroizing::new(vec![0; length]);
        self.0.open(&context.info(), &[], sealed, &mut plaintext)?;
        let (term, secrets) = plaintext.split_first().ok_or(OpenError)?;
        let (secrets, []) = secrets.as_chunks::<{ Secret::BYTES }>() else {
            return Err(OpenError);
        };
        let secret = |bytes: &[u8; Secret::BYTES]| Secret::fill_with(|out| out.copy_from_slice(bytes));
        let keys = |root, epoch| {
            DataKeys::of_root(
                secret(root),
                context.index,
                epoch,
                Scope::Partition(context.partition),
            )
        };
        let (session, keys) = match (secrets, context.other) {
            ([session, root], None) => (session, keys(root, context.epoch)),
            ([session, root, other_root], Some(other)) => {
                let other = keys(other_root, other);
                (session, keys(root, context.epoch).opening_also(other))
            }
            _ => return Err(OpenError),
        };
        Ok(Lease {
            keys,
            session: SessionKey::of_secret(secret(session)),
            term: Duration::from_secs(u64::from(*term)),
        })
    }
}

impl LeasePublicKey {
    /// Lends `keys`, which must be those that `context` names, and `session` for `term_seconds` after their last use.
    pub fn seal(
        &self,
        context: &LeaseContext,
        keys: &DataKeys,
        session: &SessionKey,
        term_seconds: u8,
    ) -> Vec<u8> {
        // All of it at once: a buffer that grew later would leave keys behind in freed memory.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(1 + 3 * Secret::BYTES));
        plaintext.push(term_seconds);
        for secret in std::iter::once(session.secret()).chain(keys.roots()) {
            plaintext.extend_from_slice(secret.expose());
        }
        hybrid::seal(self.as_bytes(), &context.info(), &[], &plaintext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aad::{Aad, RecordKind};
    use crate::bundle::Bundle;
    use crate::session::{CallContext, Direction};
    use proptest::prelude::*;
    use sealdex_core::Generation;

    const CONTEXT: LeaseContext = LeaseContext {
        deployment: DeploymentId([7; 16]),
        from: NodeId(1),
        to: NodeId(2),
        index: IndexId(3),
        epoch: KeyEpoch(4),
        other: None,
        partition: PartitionId(5),
    };

    const AAD: Aad<'_> = Aad {
        kind: RecordKind::Vector,
        part: 0,
        label: &[1; 16],
        generation: Generation(0),
        op: &[2; 16],
    };

    fn keys(bundle: &Bundle, epoch: KeyEpoch) -> DataKeys {
        bundle.partition_keys(CONTEXT.index, epoch, CONTEXT.partition)
    }

    #[test]
    fn lends_keys_that_open_and_a_session_that_both_know() {
        let (node, bundle) = (LeaseKeyPair::generate(), Bundle::generate());
        let owners = keys(&bundle, CONTEXT.epoch);
        let session = SessionKey::generate();
        let lent = node.public_key().seal(&CONTEXT, &owners, &session, 60);
        let lease = node.open(&CONTEXT, &lent).ok().unwrap();
        assert_eq!(lease.term, Duration::from_secs(60));
        assert_eq!(
            lease.keys.open(&AAD, &owners.seal(&AAD, b"record")).unwrap(),
            b"record"
        );
        assert_eq!(
            owners.open(&AAD, &lease.keys.seal(&AAD, b"record")).unwrap(),
            b"record"
        );
        let call = CallContext {
            deployment: CONTEXT.deployment,
            from: CONTEXT.from,
            to: CONTEXT.to,
            method: "scan",
            index: CONTEXT.index,
            epoch: CONTEXT.epoch,
            partition: CONTEXT.partition,
            call: 0,
        };
        let sealed = session.seal(Direction::Call, &call, 0, |out| out.push(1));
        assert_eq!(lease.session.open(Direction::Call, &call, &sealed).unwrap(), [1]);
    }

    #[test]
    fn lends_both_epochs_while_an_index_is_between_two() {
        let (node, bundle) = (LeaseKeyPair::generate(), Bundle::generate());
        let between = LeaseContext {
            other: Some(KeyEpoch(9)),
            ..CONTEXT
        };
        let (now, before) = (keys(&bundle, CONTEXT.epoch), keys(&bundle, KeyEpoch(9)));
        let old = before.seal(&AAD, b"old");
        let both = now.opening_also(before);
        let lent = node
            .public_key()
            .seal(&between, &both, &SessionKey::generate(), 1);
        let lease = node.open(&between, &lent).ok().unwrap();
        assert_eq!(lease.keys.open(&AAD, &old).unwrap(), b"old");
        assert!(lease.keys.reseal(&AAD, &old).unwrap().is_some());
        assert!(node.open(&CONTEXT, &lent).is_err());
    }

    #[test]
    fn opens_at_its_place_and_for_its_node_alone() {
        let (node, bundle) = (LeaseKeyPair::generate(), Bundle::generate());
        let owners = keys(&bundle, CONTEXT.epoch);
        let lent = node
            .public_key()
            .seal(&CONTEXT, &owners, &SessionKey::generate(), 60);
        for elsewhere in [
            LeaseContext {
                deployment: DeploymentId([8; 16]),
                ..CONTEXT
            },
            LeaseContext {
                from: NodeId(9),
                ..CONTEXT
            },
            LeaseContext {
                to: NodeId(9),
                ..CONTEXT
            },
            LeaseContext {
                index: IndexId(9),
                ..CONTEXT
            },
            LeaseContext {
                epoch: KeyEpoch(9),
                ..CONTEXT
            },
            LeaseContext {
                other: Some(KeyEpoch(4)),
                ..CONTEXT
            },
            LeaseContext {
                partition: PartitionId(9),
                ..CONTEXT
            },
        ] {
            assert!(node.open(&elsewhere, &lent).is_err(), "{elsewhere:?}");
        }
        assert!(LeaseKeyPair::generate().open(&CONTEXT, &lent).is_err());
    }

    proptest! {
        #[test]
        fn damage_opens_nothing(at: prop::sample::Index, bit in 0u8..8) {
            let (node, bundle) = (LeaseKeyPair::generate(), Bundle::generate());
            let owners = keys(&bundle, CONTEXT.epoch);
            let mut lent = node.public_key().seal(&CONTEXT, &owners, &SessionKey::generate(), 60);
            let cut = at.index(lent.len());
            prop_assert!(node.open(&CONTEXT, &lent[..cut]).is_err());
            lent[cut] ^= 1 << bit;
            prop_assert!(node.open(&CONTEXT, &lent).is_err());
        }
    }
}
