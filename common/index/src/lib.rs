//! Pure mathematics of the index: no IO, no async, no cryptography.
