//! Replicated groups: one door, propose and apply.
