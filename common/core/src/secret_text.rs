//! A secret that is a text: a credential, a token, a key as its owner writes it.

use zeroize::Zeroizing;

/// A text that is not printed, compared, cloned or serialised, and overwritten when it is dropped. Whoever is meant to see it says so
/// with [`expose`](Self::expose).
///
/// ```compile_fail
/// println!("{:?}", sealdex_core::SecretText::new("s3cret".to_owned()));
/// ```
/// ```compile_fail
/// println!("{}", sealdex_core::SecretText::new("s3cret".to_owned()));
/// ```
/// ```compile_fail
/// let again = sealdex_core::SecretText::new("s3cret".to_owned()).clone();
/// ```
/// ```compile_fail
/// let text = serde_json::to_string(&sealdex_core::SecretText::new("s3cret".to_owned()));
/// ```
/// ```
/// assert_eq!(sealdex_core::SecretText::new("s3cret".to_owned()).expose(), "s3cret");
/// ```
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over. Copies that were made of it before are its owner's to overwrite.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for whoever it was meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use static_assertions::assert_not_impl_any;

    assert_not_impl_any!(
        SecretText: std::fmt::Debug, std::fmt::Display, Clone, PartialEq, std::ops::Deref, AsRef<str>, serde::Serialize
    );
}
