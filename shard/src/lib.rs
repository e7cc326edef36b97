//! Shard node: sealed storage, scan, resolve, maintenance.
