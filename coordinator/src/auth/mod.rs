//! Who sends a request. A [`Caller`] can only be made here, and every use case takes one.

mod attempts;
mod authenticator;
mod caller;

pub use authenticator::{AuthError, Authenticator};
pub use caller::{Caller, Forbidden};
