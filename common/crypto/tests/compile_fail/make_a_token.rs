//! A token comes from its authority, which has checked it.

fn main() {
    let _token = sealdex_crypto::UserToken::parse("cdbk_1_");
}
