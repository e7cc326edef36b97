//! The mathematics of the index: distances, codes, clusters, filters, and the plaintext layout of what gets sealed.
//!
//! No IO, no async, no cryptography, no clock. Everything here is a function of its arguments.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agreement;
pub mod block;
pub mod codes;
pub mod columns;
pub mod dataplane;
pub mod distance;
pub mod filter;
pub mod kernel;
pub mod kmeans;
pub mod layout;
pub mod metadata;
pub mod model;
pub mod quantiser;
pub mod record;
mod rng;
