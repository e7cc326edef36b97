//! Sealing and opening of records: which key, which binding, which bytes.

use crate::aad::{Aad, BINDING_BYTES, Binding, FORMAT, RecordKind, Scope};
use crate::aead::{NONCE_BYTES, TAG_BYTES};
use crate::error::OpenError;
use crate::kdf::Kdf;
use crate::kind_keys::{KindKeys, SEALS_PER_SUB_EPOCH, SubEpoch};
use crate::labels;
use crate::random;
use crate::secret::Secret;
use sealdex_core::{IndexId, KeyEpoch};
use zeroize::Zeroizing;

/// How much longer a sealed record is than its plaintext. It reads
/// `[format][sub-epoch 8][nonce 12][ciphertext][tag 16]`.
pub const SEALED_OVERHEAD: usize = 1 + size_of::<SubEpoch>() + NONCE_BYTES + TAG_BYTES;

/// The keys of one scope of one index. Share it in an `Arc` and keep it while it is in use: each one that seals makes
/// records under a sub-epoch of its own, which has to be derived again wherever they are opened.
///
/// It seals under one key epoch. While an index is between two epochs it opens records of the other one too: a record
/// does not say which epoch it is of, so the first of a sub-epoch is tried under both.
pub struct DataKeys {
    sealing: EpochKeys,
    other: Option<EpochKeys>,
}

/// The keys of one scope in one key epoch, one for each kind of record.
struct EpochKeys {
    index: IndexId,
    epoch: KeyEpoch,
    scope: [u8; 3],
    /// What `kinds` are derived from: all that has to be lent for them.
    root: Secret,
    kinds: [KindKeys; RecordKind::ALL.len()],
}

impl DataKeys {
    pub(crate) fn derive(read_root: &Secret, index: IndexId, epoch: KeyEpoch, scope: Scope) -> Self {
        Self::derive_with_budget(read_root, index, epoch, scope, SEALS_PER_SUB_EPOCH)
    }

    fn derive_with_budget(
        read_root: &Secret,
        index: IndexId,
        epoch: KeyEpoch,
        scope: Scope,
        budget: u64,
    ) -> Self {
        let encoded = scope.encode();
        let place: [&[u8]; 3] = [&index.0.to_be_bytes(), &epoch.0.to_be_bytes(), &encoded];
        let root = Kdf::new(read_root).derive(labels::DATA_SCOPE, &place);
        let sealing = EpochKeys::of_root(root, index, epoch, scope, budget);
        Self { sealing, other: None }
    }

    /// The keys below a scope's root, as a lease brings it.
    pub(crate) fn of_root(root: Secret, index: IndexId, epoch: KeyEpoch, scope: Scope) -> Self {
        let sealing = EpochKeys::of_root(root, index, epoch, scope, SEALS_PER_SUB_EPOCH);
        Self { sealing, other: None }
    }

    /// What a lease has to bring: the scope's root in the epoch that is sealed under, and in the other one.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Secret> {
        let other = self.other.as_ref().map(|other| &other.root);
        std::iter::once(&self.sealing.root).chain(other)
    }

    /// These keys, which also open what `other` sealed: the keys of the same scope in another epoch.
    pub fn opening_also(self, other: DataKeys) -> Self {
        Self {
            sealing: self.sealing,
            other: Some(other.sealing),
        }
    }

    /// Seals `plaintext` as the record that `aad` describes.
    pub fn seal(&self, aad: &Aad<'_>, plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.seal_into(aad, plaintext, &mut sealed);
        sealed
    }

    /// Like [`DataKeys::seal`], appending [`SEALED_OVERHEAD`] more bytes than `plaintext` has to `out`.
    pub fn seal_into(&self, aad: &Aad<'_>, plaintext: &[u8], out: &mut Vec<u8>) {
        // All of it at once: a buffer that grew later would leave plaintext behind in freed memory.
        out.reserve(plaintext.len() + SEALED_OVERHEAD);
        let key = self.sealing.of(aad.kind).to_seal();
        let nonce: [u8; NONCE_BYTES] = random::random();
        out.push(FORMAT);
        out.extend_from_slice(&key.sub_epoch);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = key
            .key
            .seal(&nonce, &self.sealing.bind(aad, &key.sub_epoch), &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Opens a record that was sealed as what `aad` describes.
    pub fn open(&self, aad: &Aad<'_>, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut plaintext = Vec::new();
        self.open_into(aad, sealed, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Like [`DataKeys::open`], replacing what `out` holds and keeping its capacity. `out` is empty after an error.
    pub fn open_into(&self, aad: &Aad<'_>, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let opened = self.open_parsed(aad, sealed, out);
        if opened.is_err() {
            out.clear();
        }
        opened.map(drop)
    }

    /// Seals a record of the other epoch again under the one that is sealed under; `None` if it is there already.
    pub fn reseal(&self, aad: &Aad<'_>, sealed: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        let mut plaintext = Zeroizing::new(Vec::new());
        if self.open_parsed(aad, sealed, &mut plaintext)? == Under::Sealing {
            return Ok(None);
        }
        Ok(Some(self.seal(aad, &plaintext)))
    }

    /// Whether a record is sealed under the epoch that is sealed under. Costs an opening only for a sub-epoch that was
    /// not met lately.
    pub(crate) fn is_resealed(&self, aad: &Aad<'_>, sealed: &[u8]) -> Result<bool, OpenError> {
        let (sub_epoch, _) = parse(sealed)?;
        if self.sealing.of(aad.kind).knows(&sub_epoch) {
            return Ok(true);
        }
        let mut plaintext = Zeroizing::new(Vec::new());
        Ok(self.open_parsed(aad, sealed, &mut plaintext)? == Under::Sealing)
    }

    fn open_parsed(&self, aad: &Aad<'_>, sealed: &[u8], out: &mut Vec<u8>) -> Result<Under, OpenError> {
        let (sub_epoch, _) = parse(sealed)?;
        match &self.other {
            Some(other) if other.of(aad.kind).knows(&sub_epoch) => {
                other.open(aad, sealed, out).map(|()| Under::Other)
            }
            Some(other) => self.sealing.open(aad, sealed, out).map_or_else(
                |_| other.open(aad, sealed, out).map(|()| Under::Other),
                |()| Ok(Under::Sealing),
            ),
            None => self.sealing.open(aad, sealed, out).map(|()| Under::Sealing),
        }
    }
}

/// Which of two epochs a record is of.
#[derive(Eq, PartialEq)]
enum Under {
    Sealing,
    Other,
}

/// The sub-epoch of a sealed record, and what follows it.
fn parse(sealed: &[u8]) -> Result<(SubEpoch, &[u8]), OpenError> {
    let rest = sealed.strip_prefix(&[FORMAT]).ok_or(OpenError)?;
    let (sub_epoch, rest) = rest.split_first_chunk().ok_or(OpenError)?;
    Ok((*sub_epoch, rest))
}

impl EpochKeys {
    fn of_root(root: Secret, index: IndexId, epoch: KeyEpoch, scope: Scope, budget: u64) -> Self {
        let kdf = Kdf::new(&root);
        let kinds = RecordKind::ALL
            .map(|kind| KindKeys::new(&kdf.derive(labels::RECORD_KIND, &[&[kind as u8]]), budget));
        Self {
            index,
            epoch,
            scope: scope.encode(),
            root,
            kinds,
        }
    }

    fn open(&self, aad: &Aad<'_>, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let (sub_epoch, rest) = parse(sealed)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(OpenError)?;
        // Not cleared before: bytes that are about to be overwritten need not be zeroed first.
        out.resize(ciphertext.len(), 0);
        let binding = self.bind(aad, &sub_epoch);
        self.of(aad.kind)
            .open_with(&sub_epoch, |key| key.open(nonce, &binding, ciphertext, tag, out))
    }

    fn of(&self, kind: RecordKind) -> &KindKeys {
        &self.kinds[kind as usize - 1]
    }

    fn bind(&self, aad: &Aad<'_>, sub_epoch: &SubEpoch) -> [u8; BINDING_BYTES] {
        Binding {
            purpose: aad.kind as u8,
            part: aad.part,
            index: self.index,
            epoch: self.epoch,
            scope: self.scope,
            label: aad.label,
            generation: aad.generation,
            op: aad.op,
            sub_epoch,
        }
        .encode()
    }
}

#[cfg(test)]
mod tests;
