//! A compiled pattern of `$regex`: case-sensitive, found anywhere in the text, in time linear in its length.

use super::{PATTERN_BYTES_MAX, ecmascript};
use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;

/// Bytes of one pattern's automaton: bounds what one character of a text can cost.
const AUTOMATON_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the states that a search may remember.
const CACHE_BYTES: usize = 256 * 1024;

/// A pattern, compiled.
#[derive(Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn parse(pattern: &str) -> Result<Self, &'static str> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err("the pattern may have at most 1,024 bytes; use $in for a list of words");
        }
        let expression = ecmascript::parse(pattern)?;
        let config = Config::new()
            .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES)
            .which_captures(WhichCaptures::None);
        let regex = Regex::builder().configure(config).build_from_hir(&expression);
        regex
            .map(Self)
            .map_err(|_| "the pattern repeats too much; lower the counts in {…}")
    }

    /// Whether the pattern is found in `text`, which is UTF-8.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    #[test]
    fn hostile_patterns_stay_cheap() {
        let text = [b'a'; 10_000];
        let started = Instant::now();
        for pattern in [
            "(a+)+$b",
            "(a|a)*b",
            "(a|aa)+$b",
            "(.*)*x",
            "(.*a){12}b",
            "((a{0,9}){0,9}){0,9}b",
        ] {
            assert!(!Pattern::parse(pattern).unwrap().is_in(&text), "{pattern}");
        }
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_would_grow_is_refused() {
        let started = Instant::now();
        assert!(Pattern::parse("(((a{1000}){1000}){1000}){1000}").is_err());
        assert!(Pattern::parse("a{99999999999999999999}").is_err());
        assert!(Pattern::parse(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn character_sets_are_ecmascripts() {
        for pattern in [
            "^.$", "^\\d$", "^\\D$", "^\\w$", "^\\W$", "^\\s$", "^\\S$", "\\b", "\\B",
        ] {
            let (ours, oracle) = (
                Pattern::parse(pattern).unwrap(),
                regress::Regex::new(pattern).unwrap(),
            );
            for c in ('\0'..'\u{3100}').chain('\u{fe00}'..='\u{ffff}') {
                let text = c.to_string();
                assert_eq!(
                    ours.is_in(text.as_bytes()),
                    oracle.find(&text).is_some(),
                    "{pattern} {c:?}"
                );
            }
        }
    }

    /// Patterns and texts over a small alphabet, so that they meet.
    fn pattern() -> impl Strategy<Value = String> {
        let atom = prop::sample::select(vec![
            "a",
            "b",
            "é",
            "\u{2028}",
            " ",
            ".",
            "^",
            "$",
            "\\b",
            "\\B",
            "\\d",
            "\\D",
            "\\w",
            "\\W",
            "\\s",
            "\\S",
            "[ab]",
            "[^a]",
            "[a-c1]",
            "[]",
            "[^]",
            "[\\w-]",
            "[^\\s\\d]",
            "[\\b]",
            "\\x61",
            "\\u00e9",
            "\\.",
            "\\/",
            "]",
            "}",
            "{",
            "-",
            "\\n",
            "\\0",
            "\\cJ",
        ]);
        let leaf = atom.prop_map(str::to_owned);
        leaf.prop_recursive(4, 24, 4, |inner| {
            let quantifier =
                prop::sample::select(vec!["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?", "{1,2}?"]);
            prop_oneof![
                (inner.clone(), quantifier)
                    .prop_map(|(inner, quantifier)| format!("(?:{inner}){quantifier}")),
                prop::collection::vec(inner.clone(), 0..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| format!("({})", parts.join("|"))),
                prop::collection::vec(inner, 1..3).prop_map(|parts| format!("(?<n>{})", parts.join("|"))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// `regress` is an ECMAScript engine; it backtracks, which is harmless on texts this short.
        #[test]
        fn agrees_with_an_ecmascript_engine(pattern in pattern(), text in "[abcé1_ .\\-\\]{}\n\r\u{b}\u{a0}\u{2028}/]{0,8}") {
            if let Ok(oracle) = regress::Regex::new(&pattern) {
                let ours = Pattern::parse(&pattern);
                prop_assert!(ours.is_ok(), "{:?} refused: {:?}", pattern, ours.err());
                prop_assert_eq!(ours.unwrap().is_in(text.as_bytes()), oracle.find(&text).is_some(), "{:?}", pattern);
            }
        }

        #[test]
        fn never_panics(pattern in "\\PC{0,40}", other in "[(){}\\[\\]|*+?^$.\\\\a-e0-3,<>:=!-]{0,40}") {
            let _ = Pattern::parse(&pattern);
            let _ = Pattern::parse(&other);
        }
    }
}
