//! Who sends a request. A [`Caller`] can only be made here, and every use case takes one.

mod attempts;
mod authenticator;
mod caller;

pub(crate) use attempts::Attempts;
pub use authenticator::{AuthError, Authenticator};
pub use caller::{Caller, Forbidden};
