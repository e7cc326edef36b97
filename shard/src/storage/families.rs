//! The registry of column families: which there are, what each holds, and how it is laid out on disk.
//!
//! Names and keys are the stored format. A family that is given up stays here, so that its name is never used again.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, Options};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Every column family, in the order in which they are created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// `NODE_KEY`: the format and the number of partitions. Partition: its applied log index. Partition, index: its
    /// `IndexState`.
    State,
    /// Partition, index, item label: the item's `Locator`, which says which write is current and where its rows are.
    Locators,
    /// Partition, index, item label: current op, then the sealed vector.
    Vectors,
    /// Partition, index, item label: current op, then the sealed id and metadata.
    Meta,
    /// Partition, index, item label: current op, then the sealed contents. Absent where an item has none.
    Contents,
    /// Partition, index, generation, cluster label, block id: a sealed block of rows.
    Blocks,
    /// The same keys as `Blocks`: rows and bytes of the block, so that a node opens without reading blocks.
    Directory,
    /// Partition, index, generation, blob label: a sealed piece of a generation's model.
    Blobs,
    /// Partition, index, item label: an `InboxRecord`, in the place of the item's other records while it has no rows.
    Inbox,
}

impl Family {
    /// All of them. Snapshots, drops and tests go through this list, so that none is forgotten.
    pub(crate) const ALL: [Family; 9] = [
        Family::State,
        Family::Locators,
        Family::Vectors,
        Family::Meta,
        Family::Contents,
        Family::Blocks,
        Family::Directory,
        Family::Blobs,
        Family::Inbox,
    ];

    /// Those whose keys begin with partition and index, and that hold nothing but records of that index.
    pub(crate) const OF_AN_INDEX: [Family; 8] = [
        Family::Locators,
        Family::Vectors,
        Family::Meta,
        Family::Contents,
        Family::Blocks,
        Family::Directory,
        Family::Blobs,
        Family::Inbox,
    ];

    /// Those whose keys go on with a generation.
    pub(crate) const OF_A_GENERATION: [Family; 3] = [Family::Blocks, Family::Directory, Family::Blobs];

    /// Its name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::State => "state",
            Family::Locators => "locators",
            Family::Vectors => "vectors",
            Family::Meta => "meta",
            Family::Contents => "contents",
            Family::Blocks => "blocks",
            Family::Directory => "directory",
            Family::Blobs => "blobs",
            Family::Inbox => "inbox",
        }
    }

    /// `memtable_bytes_min` makes memtables larger than they would be.
    pub(super) fn descriptor(self, cache: &Cache, memtable_bytes_min: usize) -> ColumnFamilyDescriptor {
        let layout = self.layout();
        let mut options = Options::default();
        // Ciphertext does not compress.
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(layout.memtable_bytes.max(memtable_bytes_min));
        // One memtable fills while another is flushed, and a third absorbs a burst.
        options.set_max_write_buffer_number(3);
        // Nearly every look-up finds nothing in the memtable: let a filter say so instead of a skip list.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.02);
        options.set_optimize_filters_for_hits(layout.mostly_found);
        options.set_block_based_table_factory(&layout.table(cache));
        ColumnFamilyDescriptor::new(self.name(), options)
    }

    /// Small blocks where records are fetched one by one (measured: 4 KiB blocks 2.0 µs per 1.5 KB record, 16 KiB
    /// 2.7); memtables as large as a bulk load wants where the bytes go, small elsewhere.
    fn layout(self) -> Layout {
        let (memtable_bytes, block_bytes, mostly_found) = match self {
            Family::State => (MIB, 4 * KIB, false),
            // Looked up once per committed item, most of which are new: the filter of the last level earns its memory.
            Family::Locators => (16 * MIB, 4 * KIB, false),
            Family::Vectors => (64 * MIB, 4 * KIB, true),
            Family::Meta => (32 * MIB, 4 * KIB, true),
            Family::Contents => (32 * MIB, 16 * KIB, false),
            // A record larger than a block has one to itself; large sealed blocks are then read without neighbours.
            Family::Blocks => (32 * MIB, 4 * KIB, true),
            Family::Directory => (4 * MIB, 16 * KIB, true),
            Family::Blobs => (8 * MIB, 16 * KIB, true),
            // Empty but for a while: each record is looked up once, when it is opened or promoted.
            Family::Inbox => (8 * MIB, 4 * KIB, true),
        };
        Layout {
            memtable_bytes,
            block_bytes,
            mostly_found,
        }
    }
}

struct Layout {
    memtable_bytes: usize,
    block_bytes: usize,
    /// Whether look-ups nearly always find their key, so that a filter of the last level would be memory for nothing.
    mostly_found: bool,
}

impl Layout {
    fn table(&self, cache: &Cache) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        table.set_block_size(self.block_bytes);
        table.set_bloom_filter(10.0, false);
        table.set_optimize_filters_for_memory(true);
        // Index and filter blocks live beside the cache, not in it: some 25 bytes per vector, and no look-up in the
        // cache to find out where to look in the cache.
        table.set_cache_index_and_filter_blocks(false);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_agree() {
        for family in Family::OF_A_GENERATION {
            assert!(Family::OF_AN_INDEX.contains(&family));
        }
        for family in Family::ALL {
            assert_eq!(Family::OF_AN_INDEX.contains(&family), family != Family::State);
        }
    }
}
