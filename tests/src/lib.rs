//! Everything that crosses a process; nothing here is shipped.
//!
//! The harness starts the real `sealdex` binary on a free loopback port and talks to it as any client would: over HTTP, in the
//! words of the REST contract. It knows nothing of the server's insides, storage or keys; of our crates it may use `sealdex-core`
//! for limits and `sealdex-canary` to look for secrets. What judges the server's answers (`oracle`, `ledger`, `history`, `scanner`) is kept here with the tests that show that
//! it can find fault.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod aws;
pub mod clients;
pub mod command;
pub mod containers;
pub mod crash_disk;
pub mod docker;
pub mod fashion;
pub mod figures;
pub mod folder;
pub mod history;
pub mod http;
pub mod index;
pub mod item;
pub mod ledger;
pub mod life;
pub mod nodes;
pub mod oracle;
pub mod random;
pub mod server;
pub mod small_disk;
pub mod users;
pub mod venv;
pub mod victim;
pub mod welch;
pub mod writer;

/// `sealdex prove` looks with the same eyes.
pub use sealdex_canary as scanner;
