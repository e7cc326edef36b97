//! A right to write opens as nothing else.

use sealdex_core::{IndexId, KeyEpoch};
use sealdex_crypto::{Bundle, TokenAuthority};

fn main() {
    let (index, epoch) = (IndexId(1), KeyEpoch(1));
    let (user, token) = TokenAuthority::new("root key").mint();
    let grant = Bundle::generate().grant_write(index, epoch, user, &token.public_key());
    let _cap = token.open_read(&grant, index, epoch);
}
