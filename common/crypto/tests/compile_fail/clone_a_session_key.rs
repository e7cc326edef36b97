//! The key of a session ends with its lease: there is no second one to outlive it.

fn main() {
    let key = sealdex_crypto::SessionKey::generate();
    let _copy = key.clone();
}
