//! A credential that requests are compared with, such as the server's root key.

use crate::prf::Prf;
use crate::secret::Secret;
use subtle::ConstantTimeEq;

/// A text held as its digest under a key of its own, drawn when it is made: what is in memory is neither the text nor
/// a digest that could be looked up elsewhere.
pub struct Credential {
    key: Prf,
    digest: Secret,
}

impl Credential {
    /// Holds `text`.
    pub fn new(text: &str) -> Self {
        let key = Prf::new(&Secret::generate());
        let digest = Secret::fill_with(|out| out.copy_from_slice(&digest(&key, text)));
        Self { key, digest }
    }

    /// Whether `text` is the one held, in a time that depends on the length of `text` alone.
    pub fn matches(&self, text: &str) -> bool {
        digest(&self.key, text).ct_eq(self.digest.expose()).into()
    }
}

fn digest(key: &Prf, text: &str) -> [u8; Secret::BYTES] {
    key.of(&[text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn matches_what_it_was_made_of_and_nothing_else(text in ".{0,80}", other in ".{0,80}") {
            let credential = Credential::new(&text);
            prop_assert!(credential.matches(&text));
            prop_assert_eq!(credential.matches(&other), text == other);
            prop_assert!(!credential.matches(&(text.clone() + " ")));
            prop_assert!(!credential.matches(&(text + "\0")));
        }
    }

    #[test]
    fn digests_of_two_credentials_are_unlike() {
        let (one, other) = (Credential::new("text"), Credential::new("text"));
        assert_ne!(one.digest.expose(), other.digest.expose());
    }
}
