//! Groups of several nodes in one process: real logs on real files, a network in memory that fails as it is told, and a state
//! machine whose disk forgets, in a crash, what was not flushed. The clock is paused and advances when nothing else can happen.

mod crashes;
mod deployment;
mod groups;
mod leaving;
mod ledger;
mod net;
mod rng;
mod simulation;
mod suite;
