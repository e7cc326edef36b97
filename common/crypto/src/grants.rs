//! What a user may do with an index: the roots it takes, sealed to the user's public key, and the admin root's
//! signature over the whole. Only whoever has opened the bundle can make either; only the user's token opens a grant.
//!
//! ```text
//! read grant   [format][enc 32][ciphertext of: read root 32, label root 32][tag 16]
//! write grant  [format][enc 32][ciphertext of: write root 32, label root 32, public key of the inbox 32][tag 16]
//! ```
//!
//! Who may write and not read has no other way to tell whether the inbox's public key was exchanged: a grant with the
//! right write root and another key takes somebody who may write. Write grants that are older end behind the roots.

use crate::aad::FORMAT;
use crate::bundle::Bundle;
use crate::caps::{ReadCap, WriteCap};
use crate::ed25519::{self, SIGNATURE_BYTES};
use crate::encoding::encode;
use crate::error::{BadSignature, OpenError};
use crate::hybrid::{self, OVERHEAD, PUBLIC_BYTES, PrivateKey};
use crate::labels;
use crate::public_keys::{AdminPublicKey, InboxPublicKey, UserPublicKey};
use crate::secret::Secret;
use crate::token::UserToken;
use sealdex_core::{IndexId, KeyEpoch, UserId};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

macro_rules! grant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Eq, PartialEq)]
        pub struct $name(Box<[u8]>);

        impl $name {
            /// The bytes to store.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Takes stored bytes back. Whether they are a grant is seen when they are opened.
            pub fn from_bytes(bytes: &[u8]) -> Self {
                Self(bytes.into())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }
    };
}

grant!(
    /// The right to read, sealed to one user for one index and key epoch.
    ReadGrant
);
grant!(
    /// The right to write, sealed to one user for one index and key epoch.
    WriteGrant
);

/// All that is stored of a user of an index: what the admin root signs, so that nobody who can only edit what is
/// stored can add a user, a right or a key, or take one away.
#[derive(Clone, Copy, Debug)]
pub struct UserGrants<'a> {
    /// The index.
    pub index: IndexId,
    /// The epoch of the bundle that the grants hand over.
    pub epoch: KeyEpoch,
    /// The user.
    pub user: UserId,
    /// What the grants are sealed to.
    pub public_key: &'a UserPublicKey,
    /// Where the user may read.
    pub read: Option<&'a ReadGrant>,
    /// Where the user may write.
    pub write: Option<&'a WriteGrant>,
}

impl UserGrants<'_> {
    /// What is signed.
    fn message(&self) -> Vec<u8> {
        // No grant is nothing, one is a 1 and its bytes: even an empty grant is told from none.
        let field = |grant: Option<&[u8]>| grant.map_or_else(Vec::new, |bytes| [&[1], bytes].concat());
        encode(
            labels::USER_SIGNATURE,
            &[
                &[FORMAT],
                &self.index.0.to_be_bytes(),
                &self.epoch.0.to_be_bytes(),
                self.user.as_bytes(),
                self.public_key.as_bytes(),
                &field(self.read.map(ReadGrant::as_bytes)),
                &field(self.write.map(WriteGrant::as_bytes)),
            ],
        )
    }
}

/// The admin root's signature over a user's grants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GrantSignature([u8; SIGNATURE_BYTES]);

impl GrantSignature {
    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }

    /// Reads stored bytes back; `None` if they are not 64.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Bundle {
    /// Hands the right to read to a user. `index` and `epoch` are the bundle's own.
    pub fn grant_read(&self, index: IndexId, epoch: KeyEpoch, user: UserId, to: &UserPublicKey) -> ReadGrant {
        let info = info(labels::READ_GRANT, index, epoch, user);
        ReadGrant(seal(self.read_cap().roots(), &[], &info, to))
    }

    /// Hands the right to write to a user. `index` and `epoch` are the bundle's own.
    pub fn grant_write(
        &self,
        index: IndexId,
        epoch: KeyEpoch,
        user: UserId,
        to: &UserPublicKey,
    ) -> WriteGrant {
        let info = info(labels::WRITE_GRANT, index, epoch, user);
        let inbox = self.public_keys().inbox;
        WriteGrant(seal(self.write_cap().roots(), inbox.as_bytes(), &info, to))
    }

    /// Signs what is to be stored of a user.
    pub fn sign_user(&self, grants: &UserGrants<'_>) -> GrantSignature {
        GrantSignature(self.admin_key().sign(&grants.message()))
    }
}

impl AdminPublicKey {
    /// Whether exactly these grants were signed by whoever had opened the bundle.
    pub fn verify(&self, grants: &UserGrants<'_>, signature: &GrantSignature) -> Result<(), BadSignature> {
        ed25519::verify(self.as_bytes(), &grants.message(), &signature.0)
    }
}

impl UserToken {
    /// Opens this user's right to read `index`.
    pub fn open_read(
        &self,
        grant: &ReadGrant,
        index: IndexId,
        epoch: KeyEpoch,
    ) -> Result<ReadCap, OpenError> {
        let info = info(labels::READ_GRANT, index, epoch, self.user_id());
        match open(&self.private_key(), &info, grant.as_bytes())? {
            ([read_root, label_root], None) => Ok(ReadCap::new(read_root, label_root)),
            _ => Err(OpenError),
        }
    }

    /// Opens this user's right to write to `index`.
    pub fn open_write(
        &self,
        grant: &WriteGrant,
        index: IndexId,
        epoch: KeyEpoch,
    ) -> Result<WriteCap, OpenError> {
        let info = info(labels::WRITE_GRANT, index, epoch, self.user_id());
        let ([write_root, label_root], inbox) = open(&self.private_key(), &info, grant.as_bytes())?;
        Ok(WriteCap::new(write_root, label_root, inbox))
    }
}

/// RFC 9180, section 8.1: what a single shot is bound to enters by `info`.
fn info(label: &[u8], index: IndexId, epoch: KeyEpoch, user: UserId) -> Vec<u8> {
    let place: [&[u8]; 4] = [
        &[FORMAT],
        &index.0.to_be_bytes(),
        &epoch.0.to_be_bytes(),
        user.as_bytes(),
    ];
    encode(label, &place)
}

const ROOTS_BYTES: usize = 2 * Secret::BYTES;

/// Seals the roots, and what comes behind them: nothing, or a public key.
fn seal(roots: [&Secret; 2], behind: &[u8], info: &[u8], to: &UserPublicKey) -> Box<[u8]> {
    let mut plaintext = Zeroizing::new(vec![0; ROOTS_BYTES + behind.len()]);
    let (places, rest) = plaintext.split_at_mut(ROOTS_BYTES);
    for (place, root) in places.as_chunks_mut().0.iter_mut().zip(roots) {
        *place = *root.expose();
    }
    rest.copy_from_slice(behind);
    hybrid::seal(to.as_bytes(), info, &[], &plaintext).into()
}

type Opened = ([Arc<Secret>; 2], Option<InboxPublicKey>);

fn open(key: &PrivateKey, info: &[u8], sealed: &[u8]) -> Result<Opened, OpenError> {
    let length = sealed.len().checked_sub(OVERHEAD).ok_or(OpenError)?;
    let behind = length.checked_sub(ROOTS_BYTES).ok_or(OpenError)?;
    if ![0, PUBLIC_BYTES].contains(&behind) {
        return Err(OpenError);
    }
    let mut plaintext = Zeroizing::new(vec![0; length]);
    key.open(info, &[], sealed, &mut plaintext)?;
    let (roots, behind) = plaintext.split_at(ROOTS_BYTES);
    let (first, second) = roots.split_at(Secret::BYTES);
    let roots = [first, second].map(|root| Arc::new(Secret::fill_with(|out| out.copy_from_slice(root))));
    let inbox = match behind {
        [] => None,
        key => Some(InboxPublicKey::from_slice(key).ok_or(OpenError)?),
    };
    Ok((roots, inbox))
}

#[cfg(test)]
mod tests;
