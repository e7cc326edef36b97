//! Zone K: the only crate that may name a cipher, a KDF or a signature.
