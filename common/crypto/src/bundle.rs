//! The secrets of one index in one key epoch. Stored sealed under the index key, so that a new index key replaces one
//! small envelope and touches no row.

use crate::aad::{BINDING_BYTES, Binding, FORMAT, Scope};
use crate::aead::{AeadKey, NONCE_BYTES, TAG_BYTES};
use crate::data_keys::DataKeys;
use crate::error::OpenError;
use crate::index_key::IndexKey;
use crate::label_keys::LabelKeys;
use crate::labels;
use crate::random;
use crate::secret::Secret;
use sealdex_core::{Generation, IndexId, KeyEpoch, PartitionId};
use zeroize::Zeroizing;

/// Four independent random roots.
pub struct Bundle {
    /// Data keys: who holds it can open rows.
    read_root: Secret,
    /// Signing keys of writes.
    write_root: Secret,
    /// Names of rows in storage.
    label_root: Secret,
    /// Signing keys of grants.
    admin_root: Secret,
}

/// A sealed bundle is `[format][nonce 12][ciphertext][tag 16]`, the plaintext the four roots in their order above.
const ROOTS: usize = 4;

impl Bundle {
    /// Fresh random roots.
    pub fn generate() -> Self {
        Self {
            read_root: Secret::generate(),
            write_root: Secret::generate(),
            label_root: Secret::generate(),
            admin_root: Secret::generate(),
        }
    }

    /// Seals the bundle for storage. It opens with the same key, index and epoch only. A wrap key seals a bundle when
    /// the index is made and at each rewrap, so that random nonces never come near their limit.
    pub fn seal(&self, key: &IndexKey, index: IndexId, epoch: KeyEpoch) -> Vec<u8> {
        let nonce = random::random();
        let mut plaintext = Zeroizing::new([0; ROOTS * Secret::BYTES]);
        let roots = [
            &self.read_root,
            &self.write_root,
            &self.label_root,
            &self.admin_root,
        ];
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
            read_root: root(),
            write_root: root(),
            label_root: root(),
            admin_root: root(),
        })
    }

    /// The keys of one scope of `index`. They open and seal there and nowhere else, and tell nothing of other scopes.
    pub fn data_keys(&self, index: IndexId, epoch: KeyEpoch, scope: Scope) -> DataKeys {
        DataKeys::derive(&self.read_root, index, epoch, scope)
    }

    /// The keys of one partition: what a shard is lent.
    pub fn partition_keys(&self, index: IndexId, epoch: KeyEpoch, partition: PartitionId) -> DataKeys {
        self.data_keys(index, epoch, Scope::Partition(partition))
    }

    /// The keys of the index's models.
    pub fn model_keys(&self, index: IndexId, epoch: KeyEpoch) -> DataKeys {
        self.data_keys(index, epoch, Scope::Model)
    }

    /// The keys that name rows in storage.
    pub fn labels(&self) -> LabelKeys {
        LabelKeys::derive(&self.label_root)
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

    const INDEX: IndexId = IndexId(7);
    const EPOCH: KeyEpoch = KeyEpoch(3);

    fn key(byte: u8) -> IndexKey {
        IndexKey::from_bytes([byte; 32])
    }

    fn roots(bundle: &Bundle) -> [[u8; 32]; 4] {
        [
            &bundle.read_root,
            &bundle.write_root,
            &bundle.label_root,
            &bundle.admin_root,
        ]
        .map(|root| *root.expose())
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

    #[test]
    fn all_roots_are_random() {
        let (one, other) = (Bundle::generate(), Bundle::generate());
        let mut all = [roots(&one), roots(&other)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
