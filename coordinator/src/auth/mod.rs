//! Who sends a request. A [`Caller`] can only be made here, and every use case takes one.

mod caller;

pub use caller::{Authenticator, Caller};
