//! openraft as it is used here: its types, its settings, and the bytes that stand for its values.

pub(crate) mod config;
pub(crate) mod format;
pub(crate) mod mark;
pub(crate) mod network;
pub(crate) mod types;
pub(crate) mod wire;
