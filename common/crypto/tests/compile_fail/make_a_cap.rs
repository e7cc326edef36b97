//! A cap comes from a bundle or a grant and from nowhere else.

fn main() {
    let _cap = sealdex_crypto::WriteCap {};
}
