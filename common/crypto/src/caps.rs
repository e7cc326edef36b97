//! What reading and writing take. A value of these types can only be had by opening a bundle or the matching grant, so
//! that an operation which asks for one cannot be reached without the right.

use crate::aad::Scope;
use crate::data_keys::DataKeys;
use crate::ed25519::SigningKey;
use crate::hybrid::PrivateKey;
use crate::inbox::InboxOpener;
use crate::kdf::Kdf;
use crate::label_keys::LabelKeys;
use crate::labels;
use crate::public_keys::InboxPublicKey;
use crate::secret::Secret;
use crate::signature::BatchSigner;
use sealdex_core::{IndexId, KeyEpoch, PartitionId};
use std::sync::Arc;

/// The right to read one index in one key epoch. Opens rows; cannot sign.
pub struct ReadCap {
    read_root: Arc<Secret>,
    label_root: Arc<Secret>,
}

/// The right to write to one index in one key epoch. Signs; cannot open rows.
pub struct WriteCap {
    write_root: Arc<Secret>,
    label_root: Arc<Secret>,
    inbox: Option<InboxPublicKey>,
}

impl ReadCap {
    pub(crate) fn new(read_root: Arc<Secret>, label_root: Arc<Secret>) -> Self {
        Self {
            read_root,
            label_root,
        }
    }

    /// What a read grant hands over, in its order.
    pub(crate) fn roots(&self) -> [&Secret; 2] {
        [&self.read_root, &self.label_root]
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

    /// What opens the records of write-only users.
    pub fn inbox_opener(&self) -> InboxOpener {
        let secret = Kdf::new(&self.read_root).derive(labels::INBOX_KEY_PAIR, &[]);
        InboxOpener::new(PrivateKey::derive(&secret))
    }
}

impl WriteCap {
    pub(crate) fn new(
        write_root: Arc<Secret>,
        label_root: Arc<Secret>,
        inbox: Option<InboxPublicKey>,
    ) -> Self {
        Self {
            write_root,
            label_root,
            inbox,
        }
    }

    /// What a write grant hands over, in its order.
    pub(crate) fn roots(&self) -> [&Secret; 2] {
        [&self.write_root, &self.label_root]
    }

    /// The keys that name rows in storage.
    pub fn labels(&self) -> LabelKeys {
        LabelKeys::derive(&self.label_root)
    }

    /// What to seal to where the right to read is wanting. None if the right to write was granted before it came with
    /// this key.
    pub fn inbox(&self) -> Option<InboxPublicKey> {
        self.inbox
    }

    /// What signs batches of writes.
    pub fn signer(&self) -> BatchSigner {
        let seed = Kdf::new(&self.write_root).derive(labels::WRITE_SIGNING_KEY, &[]);
        BatchSigner::new(SigningKey::of_seed(&seed))
    }
}
