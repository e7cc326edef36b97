//! A lease cannot be logged, and neither can what opens it.

fn main() {
    let node = sealdex_crypto::LeaseKeyPair::generate();
    println!("{node:?}");
}
