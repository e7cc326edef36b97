//! Who may read cannot sign.

fn main() {
    let cap = sealdex_crypto::Bundle::generate().read_cap();
    let _signer = cap.signer();
}
