//! Metadata from the outside: its layouts, and filters against an oracle of their own.
#![allow(clippy::unwrap_used)]

mod json;
mod layouts;
mod oracle;
mod properties;
mod rules;
