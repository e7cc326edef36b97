//! Calls between a coordinator and a shard node under one lease, each sealed besides TLS, so that what stands between the two
//! (a proxy, a mesh, a packet dump with TLS's keys) sees ciphertext.
//!
//! ```text
//! [format][nonce 12][ciphertext][tag 16]
//! ```
//!
//! Each direction has its own key. Nonces are random, so that even a call which is answered twice meets no nonce twice.

use crate::aad::FORMAT;
use crate::aead::{AeadKey, NONCE_BYTES, TAG_BYTES};
use crate::encoding::encode;
use crate::error::OpenError;
use crate::kdf::Kdf;
use crate::labels;
use crate::random;
use crate::secret::Secret;
use sealdex_core::{DeploymentId, IndexId, KeyEpoch, NodeId, PartitionId};

/// How much longer than its plaintext a sealed call is.
pub const SESSION_OVERHEAD: usize = HEAD_BYTES + TAG_BYTES;

const HEAD_BYTES: usize = 1 + NONCE_BYTES;

/// Calls of one session, each with its reply: half of what NIST SP 800-38D, section 8.3, allows for random nonces.
pub const CALLS_PER_SESSION: u64 = 1 << 31;

/// Which of the two ways a payload goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Direction {
    /// From the coordinator to the shard node.
    Call = 1,
    /// Back.
    Reply = 2,
}

/// Where a payload belongs. It opens as no other call's, nor as another node's, nor as a reply if it is a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CallContext<'a> {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The coordinator that calls.
    pub from: NodeId,
    /// The shard node that is called.
    pub to: NodeId,
    /// Which method.
    pub method: &'a str,
    /// The index.
    pub index: IndexId,
    /// The epoch that the lease's keys seal under.
    pub epoch: KeyEpoch,
    /// The partition.
    pub partition: PartitionId,
    /// The call's number in its session.
    pub call: u64,
}

impl CallContext<'_> {
    fn aad(&self, direction: Direction) -> Vec<u8> {
        encode(
            labels::SESSION_CALL,
            &[
                &[FORMAT, direction as u8],
                self.deployment.as_bytes(),
                &self.from.0.to_be_bytes(),
                &self.to.0.to_be_bytes(),
                self.method.as_bytes(),
                &self.index.0.to_be_bytes(),
                &self.epoch.0.to_be_bytes(),
                &self.partition.0.to_be_bytes(),
                &self.call.to_be_bytes(),
            ],
        )
    }
}

/// The keys of one session. A coordinator draws them and hands them over with a lease; both forget them with it.
pub struct SessionKey {
    secret: Secret,
    calls: AeadKey,
    replies: AeadKey,
}

impl SessionKey {
    /// A fresh session.
    pub fn generate() -> Self {
        Self::of_secret(Secret::generate())
    }

    pub(crate) fn of_secret(secret: Secret) -> Self {
        let kdf = Kdf::new(&secret);
        let key = |direction: Direction| {
            AeadKey::for_records(&kdf.derive(labels::SESSION_KEY, &[&[direction as u8]]))
        };
        Self {
            calls: key(Direction::Call),
            replies: key(Direction::Reply),
            secret,
        }
    }

    /// For the lease that hands it over.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Seals what `write` appends, about `bytes` long: it is encrypted where it was written.
    pub fn seal(
        &self,
        direction: Direction,
        context: &CallContext<'_>,
        bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = random::random();
        let mut sealed = Vec::with_capacity(bytes + SESSION_OVERHEAD);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        write(&mut sealed);
        let aad = context.aad(direction);
        let tag = self.key(direction).seal(&nonce, &aad, &mut sealed[HEAD_BYTES..]);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what was sealed in that direction as what `context` describes.
    pub fn open(
        &self,
        direction: Direction,
        context: &CallContext<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let rest = sealed.strip_prefix(&[FORMAT]).ok_or(OpenError)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(OpenError)?;
        let mut plaintext = vec![0; ciphertext.len()];
        self.key(direction)
            .open(nonce, &context.aad(direction), ciphertext, tag, &mut plaintext)?;
        Ok(plaintext)
    }

    fn key(&self, direction: Direction) -> &AeadKey {
        match direction {
            Direction::Call => &self.calls,
            Direction::Reply => &self.replies,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTEXT: CallContext<'_> = CallContext {
        deployment: DeploymentId([7; 16]),
        from: NodeId(1),
        to: NodeId(2),
        method: "scan",
        index: IndexId(3),
        epoch: KeyEpoch(4),
        partition: PartitionId(5),
        call: 6,
    };

    fn seal(key: &SessionKey, direction: Direction, plaintext: &[u8]) -> Vec<u8> {
        key.seal(direction, &CONTEXT, plaintext.len(), |out| {
            out.extend_from_slice(plaintext);
        })
    }

    proptest! {
        #[test]
        fn opens_as_it_was_sealed_and_not_when_changed(
            plaintext in prop::collection::vec(any::<u8>(), 0..200),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let key = SessionKey::generate();
            let sealed = seal(&key, Direction::Call, &plaintext);
            prop_assert_eq!(sealed.len(), plaintext.len() + SESSION_OVERHEAD);
            let opened = key.open(Direction::Call, &CONTEXT, &sealed);
            prop_assert_eq!(opened, Ok(plaintext));
            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1 << bit;
            prop_assert_eq!(key.open(Direction::Call, &CONTEXT, &changed), Err(OpenError));
            let cut = &sealed[..at.index(sealed.len())];
            prop_assert_eq!(key.open(Direction::Call, &CONTEXT, cut), Err(OpenError));
        }
    }

    #[test]
    fn opens_at_its_place_alone() {
        let key = SessionKey::generate();
        let sealed = seal(&key, Direction::Call, b"payload");
        for elsewhere in [
            CallContext {
                deployment: DeploymentId([8; 16]),
                ..CONTEXT
            },
            CallContext {
                from: NodeId(9),
                ..CONTEXT
            },
            CallContext {
                to: NodeId(9),
                ..CONTEXT
            },
            CallContext {
                method: "walk",
                ..CONTEXT
            },
            CallContext {
                index: IndexId(9),
                ..CONTEXT
            },
            CallContext {
                epoch: KeyEpoch(9),
                ..CONTEXT
            },
            CallContext {
                partition: PartitionId(9),
                ..CONTEXT
            },
            CallContext { call: 9, ..CONTEXT },
        ] {
            assert_eq!(key.open(Direction::Call, &elsewhere, &sealed), Err(OpenError));
        }
        assert_eq!(key.open(Direction::Reply, &CONTEXT, &sealed), Err(OpenError));
        let other = SessionKey::generate();
        assert_eq!(other.open(Direction::Call, &CONTEXT, &sealed), Err(OpenError));
    }

    /// Else a proxy between two nodes could send a call back as its own answer.
    #[test]
    fn directions_have_keys_of_their_own() {
        let key = SessionKey::generate();
        let [call, reply] = [Direction::Call, Direction::Reply].map(|way| seal(&key, way, &[0; 64]));
        let (call, reply) = (&call[HEAD_BYTES..], &reply[HEAD_BYTES..]);
        assert!(call.iter().zip(reply).filter(|(a, b)| a == b).count() < 16);
        assert_eq!(key.open(Direction::Call, &CONTEXT, reply), Err(OpenError));
    }
}
