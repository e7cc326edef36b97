//! Zone K: index keys and what is derived from them, sealing and opening. The only crate that may name a cipher, a
//! KDF or a signature.
//!
//! It composes AES-256-GCM, HKDF-SHA256 and HMAC-SHA256 from known libraries and adds no cryptography of its own:
//! which key a record is sealed under, what it is bound to, how often a key may be used.
//!
//! It must never know what is inside a record (layouts are the index crate's), nor storage, networks or clocks, and
//! it depends on nothing of ours but the vocabulary. It logs nothing. The coordinator and the shard may depend on it;
//! consensus, wire formats and placement must not: they carry sealed bytes only.
//!
//! ```text
//! IndexKey ─┬─ Commitment                     stored in the clear; tells a wrong key before anything is unwrapped
//!           └─ wrap key ── Bundle             four random roots, stored sealed
//!                            ├─ read root ─── DataKeys per (index, epoch, scope) ── key per kind ── key per sub-epoch
//!                            ├─ label root ── LabelKeys
//!                            ├─ write root    kept for signing keys
//!                            └─ admin root    kept for grants
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
mod commitment;
mod data_keys;
mod error;
mod index_key;
mod kdf;
mod kind_keys;
mod label_keys;
mod labels;
mod random;
mod secret;
mod size_class;

pub use aad::{Aad, RecordKind, Scope};
pub use block::{BlockAddress, BlockReader, PAGE_ROWS_MIN, Segment, seal_block};
pub use bundle::Bundle;
pub use commitment::Commitment;
pub use data_keys::{DataKeys, SEALED_OVERHEAD};
pub use error::{KeyError, OpenError};
pub use index_key::IndexKey;
pub use label_keys::LabelKeys;
pub use random::{random_16, random_u64};
