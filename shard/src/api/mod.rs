//! How other processes reach a node. Transport alone: every method is one of [`Node`](crate::Node).

pub mod grpc;
