//! What somebody gets who has a user's token and a copy of every disk, or who may edit the catalogue: the steps of each attack, taken
//! with everything that the attacker holds, beside the same steps taken by whoever has the right, which succeed.
//!
//! The attacker needs none of our binaries: the steps call the crates directly, on the files that a real server left behind.
#![allow(clippy::unwrap_used)]

mod catalog;
mod deployment;
mod disk;
mod erasure;
mod files;
mod rotation;
