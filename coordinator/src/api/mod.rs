//! The edges over which requests come in. An edge parses, calls one use case of [`crate::service`] and encodes what it
//! answers; it never touches storage, ciphers or consensus.

pub mod grpc;
pub mod rest;
