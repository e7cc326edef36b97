//! A key cannot be logged.

fn main() {
    let key = sealdex_crypto::IndexKey::from_bytes([0; 32]);
    println!("{key:?}");
}
