//! The sealdex binary.
fn main() {}
