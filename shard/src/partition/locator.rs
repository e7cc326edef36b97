//! An item's locator: which of its writes is current, and which clusters hold that write's rows.

use prost::Message;
use sealdex_core::{ClusterLabel, Generation, Op};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;

/// The version of a locator that is in the inbox: who knows only the first must not take it for an item without rows.
const IN_INBOX_VERSION: u32 = 2;

/// What a partition keeps of an item beside its sealed records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Locator {
    /// The current write.
    pub(crate) op: Op,
    /// Where its rows are: at most one cluster per generation.
    pub(crate) rows: Vec<(Generation, ClusterLabel)>,
    /// It waits in the inbox: it has no rows, and no records but the one there.
    pub(crate) in_inbox: bool,
}

impl Locator {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let row = |(generation, cluster): &(Generation, ClusterLabel)| wire::RowPlace {
            generation: generation.0,
            cluster: cluster.0.to_vec().into(),
        };
        let op = self.op.0.to_vec().into();
        wire::Locator {
            version: if self.in_inbox {
                IN_INBOX_VERSION
            } else {
                ENTRY_VERSION
            },
            op,
            rows: self.rows.iter().map(row).collect(),
            in_inbox: self.in_inbox,
        }
        .encode_to_vec()
    }

    /// `None` if the record is damaged or from a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored = wire::Locator::decode(bytes).ok()?;
        let known = if stored.in_inbox {
            IN_INBOX_VERSION
        } else {
            ENTRY_VERSION
        };
        if stored.version != known {
            return None;
        }
        Some(Self {
            op: Op::from_slice(&stored.op)?,
            rows: places(&stored.rows)?,
            in_inbox: stored.in_inbox,
        })
    }
}

/// Reads row places; `None` if a label is not one.
pub(super) fn places(rows: &[wire::RowPlace]) -> Option<Vec<(Generation, ClusterLabel)>> {
    rows.iter()
        .map(|row| {
            Some((
                Generation(row.generation),
                ClusterLabel::from_slice(&row.cluster)?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locator_survives_a_round_trip() {
        let rows = vec![
            (Generation(1), ClusterLabel([2; 16])),
            (Generation(3), ClusterLabel([4; 16])),
        ];
        let locator = Locator {
            op: Op([5; 16]),
            rows,
            in_inbox: false,
        };
        assert_eq!(Locator::decode(&locator.encode()), Some(locator));
        let waiting = Locator {
            op: Op([5; 16]),
            rows: Vec::new(),
            in_inbox: true,
        };
        assert_eq!(Locator::decode(&waiting.encode()), Some(waiting));
    }

    #[test]
    fn damage_is_noticed() {
        let locator = Locator {
            op: Op([5; 16]),
            rows: Vec::new(),
            in_inbox: false,
        };
        let bytes = locator.encode();
        assert_eq!(Locator::decode(&[]), None);
        assert_eq!(Locator::decode(&bytes[..bytes.len() - 1]), None);
        let later = wire::Locator {
            version: ENTRY_VERSION + 1,
            op: vec![5; 16].into(),
            rows: Vec::new(),
            in_inbox: false,
        };
        assert_eq!(Locator::decode(&later.encode_to_vec()), None);
    }
}
