//! `${NAME}` and `${NAME:-default}` in values of the configuration file. Works on values that are parsed already, so that no
//! variable can change the structure of the file.

use super::Variables;
use regex_lite::{Captures, Regex};
use std::sync::LazyLock;

/// A variable that is not set and has no default.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Unset(pub(super) String);

/// `text` with its variables replaced. Names are of upper-case letters, digits and underscores; anything else stays as it is. An
/// empty variable counts as unset.
pub(super) fn expand(text: &str, variables: Variables<'_>) -> Result<String, Unset> {
    let mut unset = None;
    let expanded = REFERENCE.replace_all(text, |found: &Captures<'_>| {
        let name = &found[1];
        let set = variables(name).filter(|value| !value.is_empty());
        set.or_else(|| found.get(2).map(|default| default.as_str().to_owned()))
            .unwrap_or_else(|| {
                unset.get_or_insert(Unset(name.to_owned()));
                String::new()
            })
    });
    let expanded = expanded.into_owned();
    unset.map_or(Ok(expanded), Err)
}

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$\{([A-Z_][A-Z0-9_]*)(?::-([^}]*))?\}").expect("a constant that the tests compile")
});

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Unset> {
        expand(text, &|name| match name {
            "REGION" => Some("eu-west-1".to_owned()),
            "EMPTY" => Some(String::new()),
            "ODD" => Some("${REGION}: $1".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_defaults() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${REGION}", "eu-west-1"),
            ("a/${REGION}/b/${REGION:-x}", "a/eu-west-1/b/eu-west-1"),
            ("${ABSENT:-us-east-1}", "us-east-1"),
            ("${EMPTY:-us-east-1}", "us-east-1"),
            ("${ABSENT:-}", ""),
            ("${lower} $REGION ${1A} $", "${lower} $REGION ${1A} $"),
            // What a variable holds is not looked at again.
            ("${ODD}", "${REGION}: $1"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_first_variable_that_is_unset_is_named() {
        for text in ["${ABSENT}", "${EMPTY}", "${REGION}${ABSENT}${OTHER}"] {
            let name = if text.contains("EMPTY") { "EMPTY" } else { "ABSENT" };
            assert_eq!(expanded(text), Err(Unset(name.to_owned())), "{text}");
        }
    }
}
