//! Who may write cannot open.

use sealdex_core::{IndexId, KeyEpoch, PartitionId};

fn main() {
    let cap = sealdex_crypto::Bundle::generate().write_cap();
    let _keys = cap.partition_keys(IndexId(1), KeyEpoch(1), PartitionId(1));
    let _opener = cap.inbox_opener();
}
