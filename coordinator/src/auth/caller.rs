//! The identity behind a request, and the one place that makes it.

/// Whoever sent a request, as far as it has been established.
///
/// There is no public constructor: a value proves that an [`Authenticator`] has looked at the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    role: Role,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Role {
    /// The server asks for no credentials: whoever reaches it may do everything that the keys they send allow.
    Open,
}

impl Caller {
    /// A name for the request log: says what kind of caller it is, never which credential was shown.
    pub fn kind(&self) -> &'static str {
        match self.role {
            Role::Open => "open",
        }
    }
}

/// Decides who a caller is from the credential in the `X-API-Key` header.
#[derive(Clone, Debug, Default)]
pub struct Authenticator {}

impl Authenticator {
    /// A server without credentials of its own, which is only ever bound to loopback unless told otherwise.
    pub fn open() -> Self {
        Self {}
    }

    /// Establishes the caller. An open server ignores what was sent.
    pub fn authenticate(&self, _api_key: Option<&str>) -> Caller {
        Caller { role: Role::Open }
    }
}
