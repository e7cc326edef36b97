//! A key has one place in memory, which is zeroised.

fn main() {
    let bundle = sealdex_crypto::Bundle::generate();
    let _copy = bundle.clone();
}
