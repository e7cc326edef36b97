//! `sealdex bench`: loads a server over REST as any client would, and measures ingest, recall, speed, disk and memory.
//!
//! It knows the public contract and nothing of our own server: no header, route or file format of ours, none of the
//! engine's code, so that the same figures can be taken of any server that speaks the contract, and so that the
//! ground truth cannot share a fault with what it judges.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod args;
mod ask;
mod axis;
mod change;
mod compare;
mod data;
mod error;
mod fields;
mod format;
mod fvecs;
mod generate;
mod ingest;
mod load;
mod machine;
mod mixed;
mod npy;
mod plot;
mod query;
mod report;
mod rng;
mod rows;
mod run;
mod score;
mod setting;
mod stats;
mod table;
mod task;
mod truth;
mod tuning;
mod upsert;

pub(crate) use args::BenchArgs;
pub(crate) use run::start;
