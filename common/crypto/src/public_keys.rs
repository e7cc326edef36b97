//! The public halves of users' and indexes' keys. Not secret: stored in the clear. Each type is checked where it is
//! read, so that nothing can be sealed to, or verified under, what is no key.

use crate::bundle::Bundle;
use crate::{ed25519, hybrid};

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident, $is_public_key:path) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Of a private key, so that it needs no check.
            pub(crate) fn of_private(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes to store.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Reads stored bytes back; `None` if they are not 32 bytes that can be a public key.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                let bytes = bytes.try_into().ok()?;
                $is_public_key(&bytes).then_some(Self(bytes))
            }
        }
    };
}

public_key!(
    /// What a user's grants are sealed to: X25519.
    UserPublicKey,
    hybrid::is_public_key
);
public_key!(
    /// What verifies the signatures of an index's users: Ed25519.
    AdminPublicKey,
    ed25519::is_public_key
);
public_key!(
    /// What verifies the signatures of batches of writes: Ed25519.
    WritePublicKey,
    ed25519::is_public_key
);
public_key!(
    /// What write-only users seal to: X25519.
    InboxPublicKey,
    hybrid::is_public_key
);
public_key!(
    /// What leases for a shard node are sealed to, for one run of the node: X25519.
    LeasePublicKey,
    hybrid::is_public_key
);

/// The public keys of one index in one key epoch. Whoever opens the bundle can tell whether the stored ones are its.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IndexPublicKeys {
    /// Of the key that signs users.
    pub admin: AdminPublicKey,
    /// Of the key that signs batches of writes.
    pub write: WritePublicKey,
    /// Of the key that opens what write-only users sealed.
    pub inbox: InboxPublicKey,
}

impl Bundle {
    /// The public keys that belong to this bundle.
    pub fn public_keys(&self) -> IndexPublicKeys {
        IndexPublicKeys {
            admin: AdminPublicKey::of_private(self.admin_key().public()),
            write: self.write_cap().signer().public_key(),
            inbox: self.read_cap().inbox_opener().public_key(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_read_as_they_are_stored() {
        let keys = Bundle::generate().public_keys();
        assert_eq!(
            AdminPublicKey::from_slice(keys.admin.as_bytes()),
            Some(keys.admin)
        );
        assert_eq!(
            WritePublicKey::from_slice(keys.write.as_bytes()),
            Some(keys.write)
        );
        assert_eq!(
            InboxPublicKey::from_slice(keys.inbox.as_bytes()),
            Some(keys.inbox)
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bytes in [&[][..], &[9; 31], &[9; 33], &[0; 32]] {
            assert!(AdminPublicKey::from_slice(bytes).is_none());
            assert!(WritePublicKey::from_slice(bytes).is_none());
            assert!(InboxPublicKey::from_slice(bytes).is_none());
            assert!(UserPublicKey::from_slice(bytes).is_none());
        }
    }

    #[test]
    fn of_every_bundle_are_others() {
        let (one, other) = (Bundle::generate().public_keys(), Bundle::generate().public_keys());
        assert_ne!(one.admin, other.admin);
        assert_ne!(one.write, other.write);
        assert_ne!(one.inbox, other.inbox);
    }
}
