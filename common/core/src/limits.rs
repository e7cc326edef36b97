//! Every limit of the system, with its unit in its name and its reason beside it. What exceeds one is refused at
//! the edge, by name.

/// Numbers per vector. Larger embeddings are not seen in practice, and a row should fit in one record.
pub const DIMENSION_MAX: u32 = 16_384;

/// Characters in an index name, as in the contract.
pub const INDEX_NAME_CHARS_MAX: usize = 255;

/// Users of one index. Their grants are part of the index's record, which every coordinator holds in memory.
pub const USERS_PER_INDEX_MAX: usize = 10_000;

/// Bytes in an item's id. The contract names no limit; ids of 2,000 characters are known to be in use.
pub const ID_BYTES_MAX: usize = 16 * 1024;

/// Items in one upsert, get or delete: bounds the memory and the log entry that one request may ask for.
pub const ITEMS_PER_REQUEST_MAX: usize = 100_000;

/// Items that wait in an index's inbox for somebody who may read and write. Every reader's query looks at all of them.
pub const INBOX_ITEMS_MAX: usize = 20_000;

/// Sealed bytes of what waits in an index's inbox: while a reader uses the index, they are held opened in memory.
pub const INBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Vectors in one query request.
pub const QUERIES_PER_REQUEST_MAX: usize = 10_000;

/// Neighbours asked for per query.
pub const TOP_K_MAX: usize = 100_000;

/// Results of one request, all its queries together (`top_k` times the number of queries).
pub const RESULTS_PER_REQUEST_MAX: usize = 2_000_000;

/// Bytes of the answer to one query or get, about, as JSON. A client needs several times that to read it.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of items that are asked of one partition at a time, about.
pub const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Candidates from which on a query no longer looks at more of them because they tie: each costs a look-up, and an index
/// of many copies of one vector is not to be slower than it must.
pub const TIED_CANDIDATES_MAX: usize = 4 * 1024;

/// Bytes of one item's metadata in its stored form.
pub const METADATA_BYTES_MAX: usize = 1024 * 1024;

/// Levels of nesting in metadata and in filters; deeper JSON is refused while it is parsed.
pub const NESTING_MAX: usize = 64;

/// Bytes of one item's contents.
pub const CONTENTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one request body, unless configured otherwise.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes a second that a request body has to come at, after a while of grace: what is slower holds a connection for
/// nothing.
pub const BODY_RATE_MIN: usize = 16 * 1024;

/// Connections at a time, unless configured otherwise.
pub const CONNECTIONS_MAX: usize = 1024;

/// Connections of one remote address at a time, unless configured otherwise: half of all, so that a proxy in front or
/// a machine with many clients has enough, and no single one can take all.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;

/// Centroids of one generation.
pub const CLUSTERS_MAX: usize = 65_536;

/// Bytes of one sealed piece of a generation's model.
pub const BLOB_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one message between nodes: above what a request body of the usual limit, or a page of items, becomes when it is sealed.
pub const PEER_MESSAGE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Calls of one coordinator that may be under way at one shard node; further ones wait.
pub const CALLS_PER_PEER_MAX: usize = 256;

/// Calls of one coordinator that may wait until a partition has a leader again; further ones are refused as busy.
pub const CALLS_WAITING_MAX: usize = 2048;

/// Requests and changes of one coordinator that may wait until the metadata group has a leader again.
pub const METADATA_CALLS_WAITING_MAX: usize = 1024;

/// Nodes of one deployment. Every coordinator holds their records in memory, and each of them reports once a second.
pub const NODES_MAX: usize = 128;

/// Records of nodes that are gone which are kept, so that they can be told why they are refused.
pub const GONE_NODES_MAX: usize = 256;

/// Characters in a node's name: one label of a DNS name, which certificates carry.
pub const NODE_NAME_CHARS_MAX: usize = 63;

/// Bytes in a node's address, zone or software version.
pub const NODE_TEXT_BYTES_MAX: usize = 255;

/// Partitions of one deployment. Each is a Raft group with timers and heartbeats of its own.
pub const PARTITIONS_MAX: u16 = 256;

/// Replicas of one partition that may be asked for.
pub const REPLICAS_MAX: u8 = 7;

/// Coordinators that vote in the metadata group. More would make each change slower and hardly anything safer.
pub const METADATA_VOTERS_MAX: usize = 5;

/// Log entries that a replica may be behind its leader and still count as caught up.
pub const CAUGHT_UP_ENTRIES: u64 = 64;

/// Nodes or partitions in one answer about the deployment, unless the request asks for fewer or more.
pub const DEPLOYMENT_PAGE_DEFAULT: usize = 100;

/// The most that a request may ask for: an answer of some 100 KiB.
pub const DEPLOYMENT_PAGE_MAX: usize = 256;

/// Background jobs that are told one by one; of the rest the number.
pub const JOBS_TOLD_MAX: usize = 100;
