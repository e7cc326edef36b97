//! What is true of indexes, as pure state: no IO, no clock, no randomness, no async.

mod catalog;

pub use catalog::{Catalog, Command, GenerationRecord, IndexRecord, KeyEnvelope, ModelRef, Rejection};
