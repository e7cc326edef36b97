//! A key's bytes cannot be had.

fn main() {
    let key = sealdex_crypto::IndexKey::from_bytes([0; 32]);
    let _bytes = key.0;
}
