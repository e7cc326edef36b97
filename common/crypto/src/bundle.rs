//! The secrets of one index in one key epoch. Stored sealed under the index key, so that a new index key replaces one
//! small envelope and touches no row.

use crate::aad::{BINDING_BYTES, Binding, FORMAT, Scope};
use crate::aead::{AeadKey, NONCE_BYTES, TAG_BYTES};
use crate::caps::{ReadCap, WriteCap};
use crate::data_keys::DataKeys;
use crate::ed25519::SigningKey;
use crate::error::OpenError;
use crate::index_key::IndexKey;
use crate::kdf::Kdf;
use crate::label_keys::LabelKeys;
use crate::labels;
use crate::random;
use crate::secret::Secret;
use sealdex_core::{Generation, IndexId, KeyEpoch, PartitionId};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Four independent random roots.
pub struct Bundle {
    /// Data keys and the inbox's key pair: who holds it can open rows.
    read_root: Arc<Secret>,
    /// Signing key of batches of writes.
    write_root: Arc<Secret>,
    /// Names of rows in storage.
    label_root: Arc<Secret>,
    /// Signing key of users' grants.
    admin_root: Secret,
}

/// A sealed bundle is `[format][nonce 12][ciphertext][tag 16]`, the plaintext the four roots in their order above.
const ROOTS: usize = 4;

impl Bundle {
    /// Fresh random roots.
    pub fn generate() -> Self {
        Self {
            read_root: Arc::new(Secret::generate()),
            write_root: Arc::new(Secret::generate()),
            label_root: Arc::new(Secret::generate()),
            admin_root: Secret::generate(),
        }
    }

    /// The secrets of the index's next epoch. Only the label root stays: it names rows in storage, and whoever knew it
    /// can go on naming them. The admin root changes too, so that who had the old bundle can make no user of the new epoch.
    pub fn next(&self) -> Self {
        Self {
            label_root: Arc::clone(&self.label_root),
            ..Self::generate()
        }
    }

    /// Seals the bundle for storage. It opens with the same key, index and epoch only. A wrap key seals a bundle when
    /// the index is made and at each rewrap, so that random nonces never come near their limit.
    pub fn seal(&self, key: &IndexKey, index: IndexId, epoch: KeyEpoch) -> Vec<u8> {
        let nonce = random::random();
        let mut plaintext = Zeroizing::new([0; ROOTS * Secret::BYTES]);
        let roots = self.roots();
        for (place, root) in plaintext.as_chunks_mut().0.iter_mut().zip(roots) {
            *place = *root.expose();
        }
        // Sealed in place: from here on it is ciphertext.
        let tag = wrap_key(key, index).seal(&nonce, &binding(index, epoch), plaintext.as_mut_slice());
        [&[FORMAT], nonce.as_slice(), plaintext.as_slice(), tag.as_slice()].concat()
    }

    /// Opens a stored bundle. Whether `key` is the right one is better asked of the commitment before.
    pub fn open(sealed: &[u8], key: &IndexKey, index: IndexId, epoch: KeyEpoch) -> Result<Self, OpenError> {
        let rest = sealed.strip_prefix(&[FORMAT]).ok_or(OpenError)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(OpenError)?;
        let mut plaintext = Zeroizing::new([0; ROOTS * Secret::BYTES]);
        if ciphertext.len() != plaintext.len() {
            return Err(OpenError);
        }
        let wrap_key = wrap_key(key, index);
        wrap_key.open(
            nonce,
            &binding(index, epoch),
            ciphertext,
            tag,
            plaintext.as_mut_slice(),
        )?;
        let mut roots = plaintext.chunks_exact(Secret::BYTES);
        let mut root = || {
            let bytes = roots.next().expect("the plaintext has the length of four roots");
            Secret::fill_with(|out| out.copy_from_slice(bytes))
        };
        Ok(Self {
            read_root: Arc::new(root()),
            write_root: Arc::new(root()),
            label_root: Arc::new(root()),
            admin_root: root(),
        })
    }

    /// In the order in which they are sealed.
    fn roots(&self) -> [&Secret; ROOTS] {
        [
            &self.read_root,
            &self.write_root,
            &self.label_root,
            &self.admin_root,
        ]
    }

    /// The right to read, for services that take it and never a bundle.
    pub fn read_cap(&self) -> ReadCap {
        ReadCap::new(Arc::clone(&self.read_root), Arc::clone(&self.label_root))
    }

    /// The right to write, for services that take it and never a bundle.
    pub fn write_cap(&self) -> WriteCap {
        let inbox = self.read_cap().inbox_opener().public_key();
        WriteCap::new(
            Arc::clone(&self.write_root),
            Arc::clone(&self.label_root),
            Some(inbox),
        )
    }

    /// See [`ReadCap::data_keys`].
    pub fn data_keys(&self, index: IndexId, epoch: KeyEpoch, scope: Scope) -> DataKeys {
        self.read_cap().data_keys(index, epoch, scope)
    }

    /// See [`ReadCap::partition_keys`].
    pub fn partition_keys(&self, index: IndexId, epoch: KeyEpoch, partition: PartitionId) -> DataKeys {
        self.read_cap().partition_keys(index, epoch, partition)
    }

    /// See [`ReadCap::model_keys`].
    pub fn model_keys(&self, index: IndexId, epoch: KeyEpoch) -> DataKeys {
        self.read_cap().model_keys(index, epoch)
    }

    /// The keys that name rows in storage.
    pub fn labels(&self) -> LabelKeys {
        LabelKeys::derive(&self.label_root)
    }

    /// What signs users' grants.
    pub(crate) fn admin_key(&self) -> SigningKey {
        SigningKey::of_seed(&Kdf::new(&self.admin_root).derive(labels::ADMIN_SIGNING_KEY, &[]))
    }
}

fn wrap_key(key: &IndexKey, index: IndexId) -> AeadKey {
    AeadKey::for_envelopes(&key.derive(labels::WRAP, index))
}

fn binding(index: IndexId, epoch: KeyEpoch) -> [u8; BINDING_BYTES] {
    Binding {
        purpose: 0,
        part: 0,
        index,
        epoch,
        scope: [0; 3],
        label: &[0; 16],
        generation: Generation(0),
        op: &[0; 16],
        sub_epoch: &[0; 8],
    }
    .encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aad::{Aad, RecordKind};
    use crate::signature::BatchContext;
    use crate::token::TokenAuthority;

    const INDEX: IndexId = IndexId(7);
    const EPOCH: KeyEpoch = KeyEpoch(3);

    fn key(byte: u8) -> IndexKey {
        IndexKey::from_bytes([byte; 32])
    }

    fn roots(bundle: &Bundle) -> [[u8; 32]; 4] {
        bundle.roots().map(|root| *root.expose())
    }

    #[test]
    fn opens_as_it_was_sealed() {
        let bundle = Bundle::generate();
        let sealed = bundle.seal(&key(1), INDEX, EPOCH);
        let opened = Bundle::open(&sealed, &key(1), INDEX, EPOCH).unwrap();
        assert_eq!(roots(&opened), roots(&bundle));
    }

    #[test]
    fn opens_with_its_key_at_its_place_only() {
        let sealed = Bundle::generate().seal(&key(1), INDEX, EPOCH);
        assert!(Bundle::open(&sealed, &key(2), INDEX, EPOCH).is_err());
        assert!(Bundle::open(&sealed, &key(1), IndexId(8), EPOCH).is_err());
        assert!(Bundle::open(&sealed, &key(1), INDEX, KeyEpoch(4)).is_err());
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let sealed = Bundle::generate().seal(&key(1), INDEX, EPOCH);
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 0x40;
            assert!(
                Bundle::open(&damaged, &key(1), INDEX, EPOCH).is_err(),
                "byte {place}"
            );
            assert!(
                Bundle::open(&sealed[..place], &key(1), INDEX, EPOCH).is_err(),
                "{place} bytes"
            );
        }
        assert!(Bundle::open(&[sealed.as_slice(), &[0]].concat(), &key(1), INDEX, EPOCH).is_err());
    }

    /// A rewrap: what was sealed, named, granted and signed before is as good after.
    #[test]
    fn sealed_again_it_opens_under_the_new_key_only_and_is_the_same() {
        let aad = Aad {
            kind: RecordKind::Vector,
            part: 0,
            label: &[1; 16],
            generation: Generation(0),
            op: &[2; 16],
        };
        let partition = PartitionId(5);
        let context = BatchContext {
            index: INDEX,
            epoch: EPOCH,
            partition,
        };
        let sealed = Bundle::generate().seal(&key(1), INDEX, EPOCH);
        let before = Bundle::open(&sealed, &key(1), INDEX, EPOCH).unwrap();
        let record = before
            .partition_keys(INDEX, EPOCH, partition)
            .seal(&aad, b"vector");
        let (user, token) = TokenAuthority::new("root key").mint();
        let grant = before.grant_read(INDEX, EPOCH, user, &token.public_key());

        let sealed = before.seal(&key(2), INDEX, EPOCH);
        assert!(Bundle::open(&sealed, &key(1), INDEX, EPOCH).is_err());
        let after = Bundle::open(&sealed, &key(2), INDEX, EPOCH).unwrap();
        let granted = token.open_read(&grant, INDEX, EPOCH).unwrap();
        assert_eq!(after.public_keys(), before.public_keys());
        for cap in [after.read_cap(), granted] {
            let keys = cap.partition_keys(INDEX, EPOCH, partition);
            assert_eq!(keys.open(&aad, &record).unwrap(), b"vector");
            assert_eq!(cap.labels().item("id"), before.labels().item("id"));
        }
        let write_cap = after.write_cap();
        assert_eq!(write_cap.labels().item("id"), before.labels().item("id"));
        let signature = write_cap.signer().sign(&context, b"batch");
        assert_eq!(
            before.public_keys().write.verify(&context, b"batch", &signature),
            Ok(())
        );
    }

    #[test]
    fn of_the_next_epoch_only_the_label_root_is_the_same() {
        let bundle = Bundle::generate();
        let (old, new) = (roots(&bundle), roots(&bundle.next()));
        let same: Vec<bool> = old.iter().zip(&new).map(|(old, new)| old == new).collect();
        assert_eq!(same, [false, false, true, false]);
        assert_eq!(bundle.next().labels().item("id"), bundle.labels().item("id"));
    }

    #[test]
    fn all_roots_are_random() {
        let (one, other) = (Bundle::generate(), Bundle::generate());
        let mut all = [roots(&one), roots(&other)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
