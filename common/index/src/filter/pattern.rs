//! Patterns of `$regex`: ECMAScript, case-sensitive, found anywhere in the text.

use std::sync::Arc;

/// A pattern, compiled.
#[derive(Clone)]
pub(super) struct Pattern(Arc<regress::Regex>);

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn parse(pattern: &str) -> Result<Self, &'static str> {
        let regex =
            regress::Regex::new(pattern).map_err(|_| "the pattern is not a valid regular expression")?;
        Ok(Self(Arc::new(regex)))
    }

    /// Whether the pattern is found in `text`, which is UTF-8.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|text| self.0.find(text).is_some())
    }
}
