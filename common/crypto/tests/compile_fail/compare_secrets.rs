//! No secret can be compared byte by byte.

use sealdex_crypto::*;

fn of<T: PartialEq>() {}

fn main() {
    of::<BatchSigner>();
    of::<Bundle>();
    of::<Credential>();
    of::<DataKeys>();
    of::<Fingerprints>();
    of::<InboxOpener>();
    of::<IndexKey>();
    of::<LabelKeys>();
    of::<Lease>();
    of::<LeaseKeyPair>();
    of::<LocalWrapKey>();
    of::<ReadCap>();
    of::<SessionKey>();
    of::<TokenAuthority>();
    of::<UserToken>();
    of::<WriteCap>();
}
