//! What a sealed record is bound to. A record that is moved, swapped, replayed elsewhere or cut does not open, because
//! everything that says where it belongs is authenticated with it.

use sealdex_core::{Generation, IndexId, KeyEpoch, PartitionId};

/// The format of everything this crate seals, in its first byte and in what it is bound to.
pub(crate) const FORMAT: u8 = 1;

/// What a record holds. Each kind has its own key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum RecordKind {
    /// An item's original vector.
    Vector = 1,
    /// An item's id and metadata.
    Meta = 2,
    /// An item's contents.
    Contents = 3,
    /// A block of many rows, in parts.
    Page = 4,
    /// A block of few rows, in one piece.
    Delta = 5,
    /// A piece of a generation's model.
    Model = 6,
}

impl RecordKind {
    pub(crate) const ALL: [RecordKind; 6] = [
        RecordKind::Vector,
        RecordKind::Meta,
        RecordKind::Contents,
        RecordKind::Page,
        RecordKind::Delta,
        RecordKind::Model,
    ];
}

/// What a set of data keys is good for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// The items and blocks of one partition.
    Partition(PartitionId),
    /// The index's models.
    Model,
}

impl Scope {
    pub(crate) fn encode(self) -> [u8; 3] {
        match self {
            Scope::Partition(PartitionId(partition)) => {
                let [high, low] = partition.to_be_bytes();
                [1, high, low]
            }
            Scope::Model => [2, 0, 0],
        }
    }
}

/// Where a record belongs, as its caller knows it. [`DataKeys`](crate::DataKeys) adds what it knows itself: format,
/// index, epoch, scope and sub-epoch.
#[derive(Clone, Copy, Debug)]
pub struct Aad<'a> {
    /// What the record holds.
    pub kind: RecordKind,
    /// Which piece of a record that is sealed in several; 0 where there is one.
    pub part: u8,
    /// The item, cluster or blob it belongs to.
    pub label: &'a [u8; 16],
    /// The generation it belongs to; 0 where it belongs to none.
    pub generation: Generation,
    /// The write or the block it belongs to.
    pub op: &'a [u8; 16],
}

/// Everything that a sealed piece is bound to.
pub(crate) struct Binding<'a> {
    /// [`RecordKind`] of a record, 0 for a bundle.
    pub(crate) purpose: u8,
    pub(crate) part: u8,
    pub(crate) index: IndexId,
    pub(crate) epoch: KeyEpoch,
    /// [`Scope::encode`], zeros for a bundle.
    pub(crate) scope: [u8; 3],
    pub(crate) label: &'a [u8; 16],
    pub(crate) generation: Generation,
    pub(crate) op: &'a [u8; 16],
    pub(crate) sub_epoch: &'a [u8; 8],
}

/// Bytes of an encoded [`Binding`].
pub(crate) const BINDING_BYTES: usize = 62;

impl Binding<'_> {
    /// All fields at fixed places, integers big-endian: no two bindings have the same encoding.
    pub(crate) fn encode(&self) -> [u8; BINDING_BYTES] {
        let mut bytes = [0; BINDING_BYTES];
        let mut rest = bytes.as_mut_slice();
        let mut put = |field: &[u8]| {
            rest.split_off_mut(..field.len())
                .expect("the fields fill the encoding")
                .copy_from_slice(field);
        };
        put(&[FORMAT, self.purpose, self.part]);
        put(&self.scope);
        put(&self.index.0.to_be_bytes());
        put(&self.epoch.0.to_be_bytes());
        put(&self.generation.0.to_be_bytes());
        put(self.label);
        put(self.op);
        put(self.sub_epoch);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Fields = ((u8, u8, u64, u32), ([u8; 3], [u8; 16], u32), ([u8; 16], [u8; 8]));

    fn encode(
        ((purpose, part, index, epoch), (scope, label, generation), (op, sub_epoch)): &Fields,
    ) -> [u8; 62] {
        Binding {
            purpose: *purpose,
            part: *part,
            index: IndexId(*index),
            epoch: KeyEpoch(*epoch),
            scope: *scope,
            label,
            generation: Generation(*generation),
            op,
            sub_epoch,
        }
        .encode()
    }

    /// Numbers in which few bits are set, so that fields which overlapped would be equal often.
    fn fields() -> impl Strategy<Value = Fields> {
        let bit = || 0u8..2;
        (
            (bit(), bit(), 0u64..2, 0u32..2),
            (
                prop::array::uniform3(bit()),
                prop::array::uniform16(bit()),
                0u32..2,
            ),
            (prop::array::uniform16(bit()), prop::array::uniform8(bit())),
        )
    }

    proptest! {
        #[test]
        fn every_field_stands_in_full_at_its_own_place(one in fields(), other: Fields) {
            let (a, b, c) = one;
            let (x, y, z) = other;
            let encoded = encode(&one);
            prop_assert_eq!(encode(&one), encoded);
            // Each field of its own replaced by that of the other.
            let changed: [(Fields, bool); 9] = [
                (((x.0, a.1, a.2, a.3), b, c), a.0 == x.0),
                (((a.0, x.1, a.2, a.3), b, c), a.1 == x.1),
                (((a.0, a.1, x.2, a.3), b, c), a.2 == x.2),
                (((a.0, a.1, a.2, x.3), b, c), a.3 == x.3),
                ((a, (y.0, b.1, b.2), c), b.0 == y.0),
                ((a, (b.0, y.1, b.2), c), b.1 == y.1),
                ((a, (b.0, b.1, y.2), c), b.2 == y.2),
                ((a, b, (z.0, c.1)), c.0 == z.0),
                ((a, b, (c.0, z.1)), c.1 == z.1),
            ];
            for (fields, same) in changed {
                prop_assert_eq!(encode(&fields) == encoded, same);
            }
        }

        #[test]
        fn encodings_are_equal_only_if_all_fields_are(one in fields(), other in fields()) {
            prop_assert_eq!(encode(&one) == encode(&other), one == other);
        }
    }

    #[test]
    fn partitions_the_model_and_bundles_are_different_scopes() {
        let partitions = (0..=u16::MAX).map(|partition| Scope::Partition(PartitionId(partition)).encode());
        let scopes: BTreeSet<[u8; 3]> = partitions.chain([Scope::Model.encode(), [0; 3]]).collect();
        assert_eq!(scopes.len(), (1 << 16) + 2);
    }
}
