//! Zone K: index keys and what is derived from them, sealing and opening. The only crate that may name a cipher, a
//! KDF or a signature.
//!
//! It composes AES-256-GCM, HKDF-SHA256, HMAC-SHA256, HPKE and Ed25519 from known libraries and adds no cryptography of
//! its own: which key a record is sealed under, what it is bound to, how often a key may be used.
//!
//! It must never know what is inside a record (layouts are the index crate's), nor storage, networks or clocks, and
//! it depends on nothing of ours but the vocabulary. It logs nothing. The coordinator and the shard may depend on it;
//! consensus, wire formats and placement must not: they carry sealed bytes only.
//!
//! ```text
//! IndexKey ─┬─ Commitment                     stored in the clear; tells a wrong key before anything is unwrapped
//!           └─ wrap key ── Bundle             four random roots, stored sealed
//!                            ├─ read root ─┬─ DataKeys per (index, epoch, scope) ── key per kind ── key per sub-epoch
//!                            │             └─ InboxOpener      opens what write-only users sealed
//!                            ├─ label root ── LabelKeys
//!                            ├─ write root ── BatchSigner      signs batches of writes
//!                            └─ admin root                     signs users' grants
//! UserToken ── key pair ─┬─ ReadGrant  → ReadCap               read root, label root
//!                        └─ WriteGrant → WriteCap              write root, label root
//! LeaseKeyPair ─── Lease                        DataKeys of one partition, and a session's key: lent to a shard node
//! ```
//!
//! Secret types have no `Debug`, `Display`, `Clone`, `PartialEq`, `Deref` or `Serialize` and are zeroised when they
//! are dropped.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aad;
mod aead;
mod block;
mod bundle;
mod caps;
mod commitment;
mod credential;
mod data_keys;
mod ed25519;
mod encoding;
mod error;
mod fingerprint;
mod grants;
mod hybrid;
mod inbox;
mod index_key;
mod kdf;
mod kind_keys;
mod label_keys;
mod labels;
mod lease;
mod local_wrap_key;
mod prf;
mod public_keys;
mod random;
mod secret;
mod session;
mod signature;
mod size_class;
mod token;

pub use aad::{Aad, RecordKind, Scope};
pub use block::{BlockAddress, BlockReader, PAGE_ROWS_MIN, Segment, reseal_block, seal_block};
pub use bundle::Bundle;
pub use caps::{ReadCap, WriteCap};
pub use commitment::Commitment;
pub use credential::Credential;
pub use data_keys::{DataKeys, SEALED_OVERHEAD};
pub use error::{BadSignature, BadToken, KeyError, OpenError};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use grants::{GrantSignature, ReadGrant, UserGrants, WriteGrant};
pub use inbox::{INBOX_OVERHEAD, InboxContext, InboxOpener};
pub use index_key::IndexKey;
pub use label_keys::LabelKeys;
pub use lease::{Lease, LeaseContext, LeaseKeyPair};
pub use local_wrap_key::LocalWrapKey;
pub use public_keys::{
    AdminPublicKey, InboxPublicKey, IndexPublicKeys, LeasePublicKey, UserPublicKey, WritePublicKey,
};
pub use random::{random_16, random_u64};
pub use session::{CALLS_PER_SESSION, CallContext, Direction, SESSION_OVERHEAD, SessionKey};
pub use signature::{BatchContext, BatchSigner};
pub use token::{TokenAuthority, TokenFingerprint, UserToken};
