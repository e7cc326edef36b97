//! Coordinator and shard node as two processes would meet: over mutual TLS on loopback, with sealed payloads. What comes back is compared
//! with what the node says when it is asked directly; who is no node of the deployment is refused; what is recorded is of no use.
//!
//! Both ends are in this process, because the tests look at what a process never shows: sealed calls, sessions, the node itself.
#![allow(clippy::unwrap_used)]

mod deployment;
mod flow;
mod peers;
mod refusals;
mod sealed;
mod twin;
