//! How rows, clusters and model pieces are named in storage: by a PRF, so that a name tells nothing but equality.

use crate::kdf::Kdf;
use crate::labels;
use crate::prf::Prf;
use crate::secret::Secret;
use sealdex_core::{BlobLabel, ClusterLabel, ClusterNo, Generation, ItemLabel};

/// The naming keys of one index. One key per type of label, so that no label of one type is ever one of another.
pub struct LabelKeys {
    item: Prf,
    cluster: Prf,
    blob: Prf,
}

impl LabelKeys {
    pub(crate) fn derive(label_root: &Secret) -> Self {
        let kdf = Kdf::new(label_root);
        let prf = |label| Prf::new(&kdf.derive(label, &[]));
        Self {
            item: prf(labels::ITEM_LABEL),
            cluster: prf(labels::CLUSTER_LABEL),
            blob: prf(labels::BLOB_LABEL),
        }
    }

    /// The name of the item with this id.
    pub fn item(&self, id: &str) -> ItemLabel {
        ItemLabel(self.item.of(&[id.as_bytes()]))
    }

    /// The name of a cluster of a generation.
    pub fn cluster(&self, generation: Generation, cluster: ClusterNo) -> ClusterLabel {
        ClusterLabel(
            self.cluster
                .of(&[&generation.0.to_be_bytes(), &cluster.0.to_be_bytes()]),
        )
    }

    /// The name of piece number `piece` of a generation's model.
    pub fn blob(&self, generation: Generation, model_id: &[u8; 16], piece: u32) -> BlobLabel {
        BlobLabel(
            self.blob
                .of(&[&generation.0.to_be_bytes(), model_id, &piece.to_be_bytes()]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn keys(byte: u8) -> LabelKeys {
        LabelKeys::derive(&Secret::fill_with(|out| out.fill(byte)))
    }

    proptest! {
        #[test]
        fn items_have_the_same_label_only_if_they_have_the_same_id(a in ".{0,40}", b in ".{0,40}") {
            prop_assert_eq!(keys(1).item(&a), keys(1).item(&a));
            prop_assert_eq!(keys(1).item(&a) == keys(1).item(&b), a == b);
            prop_assert_ne!(keys(1).item(&a), keys(2).item(&a));
        }
    }

    #[test]
    fn every_argument_counts() {
        let keys = keys(1);
        let mut labels = BTreeSet::new();
        let numbers = [0, 1, 0x100, 0x1_0000, 0x100_0000, u32::MAX];
        for a in numbers {
            for b in numbers {
                labels.insert(keys.cluster(Generation(a), ClusterNo(b)).0);
                labels.insert(keys.blob(Generation(a), &[0; 16], b).0);
                labels.insert(keys.blob(Generation(a), &[1; 16], b).0);
            }
        }
        assert_eq!(labels.len(), 3 * numbers.len() * numbers.len());
    }

    #[test]
    fn types_of_label_are_apart() {
        let keys = keys(1);
        // The same eight bytes go into both.
        let cluster = keys.cluster(Generation(0x3131_3131), ClusterNo(0x3131_3131));
        assert_ne!(keys.item("11111111").0, cluster.0);
    }
}
