//! Commitments are compared in constant time or not at all.

fn main() {
    let key = sealdex_crypto::IndexKey::from_bytes([0; 32]);
    let index = sealdex_core::IndexId(1);
    let _same = key.commitment(index) == key.commitment(index);
}
