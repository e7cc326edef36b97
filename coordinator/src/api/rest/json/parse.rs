//! From the bytes of a body to a value of the type that its route takes.
//!
//! A well-formed body is read once, without keeping track of where the reader is. Only when that fails is it read
//! again, to tell what is wrong and where.

use super::{Fault, Malformed, Object, Place};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Error};

/// Reads one JSON object.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::NotUtf8)?;
    if text.is_empty() {
        return Err(Malformed::Mismatch(Fault::Missing, Place::default()));
    }
    match serde_json::from_str(text) {
        Ok(Object(value)) => Ok(value),
        Err(error) => Err(explain::<T>(text, &error)),
    }
}

fn explain<T: DeserializeOwned>(text: &str, error: &Error) -> Malformed {
    if !error.is_data() {
        return ungrammatical::<T>(text, error);
    }
    // That the text is no JSON at all is said first, even if something else is wrong before that place.
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(later) if !is_not_finite(text, &later) => ungrammatical::<T>(text, &later),
        _ => mismatch::<T>(text, error),
    }
}

fn ungrammatical<T: DeserializeOwned>(text: &str, error: &Error) -> Malformed {
    let reason = error.to_string();
    if reason.starts_with("recursion limit exceeded") {
        Malformed::TooDeep
    } else if is_not_finite(text, error) {
        Malformed::NotFinite(place::<T>(text))
    } else {
        Malformed::NotJson {
            at: offset(text, error),
            reason,
        }
    }
}

fn mismatch<T: DeserializeOwned>(text: &str, error: &Error) -> Malformed {
    let message = error.to_string();
    let place = place::<T>(text);
    match Fault::recognise(&message) {
        // The name in the message is the one in our type's definition.
        Some(fault @ (Fault::Missing | Fault::Repeated)) => {
            Malformed::Mismatch(fault, place.then(message.split('`').nth(1).unwrap_or_default()))
        }
        Some(fault) => Malformed::Mismatch(fault, place),
        None => Malformed::Mismatch(Fault::NotAnObject, place),
    }
}

/// Where reading stops.
fn place<T: DeserializeOwned>(text: &str) -> Place {
    let read = serde_path_to_error::deserialize::<_, Object<T>>(&mut Deserializer::from_str(text));
    read.err()
        .map_or_else(Place::default, |error| Place::of(error.path()))
}

/// Python's `json` writes NaN and infinity as bare words, and numbers of any size.
fn is_not_finite(text: &str, error: &Error) -> bool {
    let rest = text.as_bytes().get(offset(text, error)..).unwrap_or_default();
    rest.starts_with(b"NaN")
        || rest.starts_with(b"Infinity")
        || error.to_string().starts_with("number out of range")
}

/// The byte at which the reader stumbled. Lines and columns are counted from one, and columns in bytes.
fn offset(text: &str, error: &Error) -> usize {
    let lines_before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines_before.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rest::json::{Int, Vector};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde::Deserialize;
    use serde_json::{Map, Value, json};

    #[derive(Deserialize)]
    struct Request {
        #[allow(dead_code)]
        index_name: String,
        #[serde(default)]
        #[allow(dead_code)]
        top_k: Option<Int>,
        #[serde(default)]
        items: Vec<Object<Item>>,
    }

    #[derive(Deserialize)]
    struct Item {
        #[allow(dead_code)]
        vector: Vector,
        #[serde(default)]
        metadata: Map<String, Value>,
    }

    fn refusal(body: &[u8]) -> Malformed {
        parse::<Request>(body).err().unwrap()
    }

    fn loc(malformed: &Malformed) -> Value {
        match malformed {
            Malformed::Mismatch(_, place) | Malformed::NotFinite(place) => {
                serde_json::to_value(place).unwrap()
            }
            _ => Value::Null,
        }
    }

    #[test]
    fn what_is_wrong_and_where() {
        let cases = [
            (r#"{}"#, Fault::Missing, json!(["body", "index_name"])),
            (r#""#, Fault::Missing, json!(["body"])),
            (r#"[]"#, Fault::NotAnObject, json!(["body"])),
            (r#"["a", 3, []]"#, Fault::NotAnObject, json!(["body"])),
            (r#"null"#, Fault::NotAnObject, json!(["body"])),
            (
                r#"{"index_name":null}"#,
                Fault::NotAString,
                json!(["body", "index_name"]),
            ),
            (
                r#"{"index_name":"a","index_name":"b"}"#,
                Fault::Repeated,
                json!(["body", "index_name"]),
            ),
            (
                r#"{"index_name":"a","top_k":2.5}"#,
                Fault::Fraction,
                json!(["body", "top_k"]),
            ),
            (
                r#"{"index_name":"a","items":{}}"#,
                Fault::NotAList,
                json!(["body", "items"]),
            ),
            (
                r#"{"index_name":"a","items":[[[1],{}]]}"#,
                Fault::NotAnObject,
                json!(["body", "items", 0]),
            ),
            (
                r#"{"index_name":"a","items":[{}]}"#,
                Fault::Missing,
                json!(["body", "items", 0, "vector"]),
            ),
            (
                r#"{"index_name":"a","items":[{"vector":[1]},{"vector":[1,[]]}]}"#,
                Fault::NotANumber,
                json!(["body", "items", 1, "vector", 1]),
            ),
            (
                r#"{"index_name":"a","items":[{"vector":[1],"metadata":"secret"}]}"#,
                Fault::NotADict,
                json!(["body", "items", 0, "metadata"]),
            ),
        ];
        for (body, fault, expected) in cases {
            let malformed = refusal(body.as_bytes());
            assert_eq!(loc(&malformed), expected, "{body}");
            assert!(
                matches!(malformed, Malformed::Mismatch(found, _) if found == fault),
                "{body}: {malformed:?}"
            );
        }
    }

    #[test]
    fn grammar_comes_first() {
        for (body, expected) in [
            (r#"{"index_name":3,}"#, 16),
            (r#"{"index_name":"a""#, 16),
            ("{\"top_k\":\n\"x\"} {", 15),
            ("\u{feff}{}", 0),
            ("{\"index_name\":\"a\n\"}", 17),
        ] {
            match refusal(body.as_bytes()) {
                Malformed::NotJson { at, .. } => assert_eq!(at, expected, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        assert_eq!(refusal(b"{\"index_name\":\"\xff\"}"), Malformed::NotUtf8);
    }

    #[test]
    fn numbers_that_are_none_have_a_place() {
        let vector = |number: &str| format!(r#"{{"index_name":"a","items":[{{"vector":[1,{number}]}}]}}"#);
        for number in ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"] {
            let malformed = refusal(vector(number).as_bytes());
            assert!(
                matches!(malformed, Malformed::NotFinite(_)),
                "{number}: {malformed:?}"
            );
            assert_eq!(loc(&malformed), json!(["body", "items", 0, "vector", 1]));
        }
        assert!(matches!(
            parse::<Request>(vector("Nan").as_bytes()),
            Err(Malformed::NotJson { .. })
        ));
    }

    #[test]
    fn no_key_of_the_clients_own_comes_back() {
        let body = r#"{"index_name":"a","items":[{"vector":[1],"metadata":{"secret":[{"id":NaN}]}}]}"#;
        let malformed = refusal(body.as_bytes());
        assert_eq!(loc(&malformed), json!(["body", "items", 0, "metadata"]));
        let malformed = refusal(br#"{"index_name":"a","secret":{"id":NaN}}"#);
        assert_eq!(loc(&malformed), json!(["body"]));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let body = format!(
            r#"{{"index_name":"a","items":[{{"vector":[1],"metadata":{{"a":{}}}}}]}}"#,
            deep(100_000)
        );
        assert_eq!(refusal(body.as_bytes()), Malformed::TooDeep);
        let body = format!(r#"{{"index_name":"a","ignored":{}}}"#, deep(100_000));
        assert!(parse::<Request>(body.as_bytes()).is_ok());
    }

    #[test]
    fn doubles_are_read_exactly() {
        let mut bits = 1u64;
        for _ in 0..10_000 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let body = json!({"index_name": "a", "items": [{"vector": [], "metadata": {"x": value}}]})
                    .to_string();
                let request = parse::<Request>(body.as_bytes()).unwrap();
                assert_eq!(request.items[0].0.metadata["x"].as_f64(), Some(value));
            }
        }
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange(body in prop_oneof![vec(any::<u8>(), 0..64), near_json()]) {
            if let Err(Malformed::NotJson { at, .. }) = parse::<Request>(&body) {
                prop_assert!(at <= body.len());
            }
        }
    }

    /// Pieces of bodies in any order.
    fn near_json() -> impl Strategy<Value = Vec<u8>> {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\n",
            "\"index_name\":\"a\"",
            "\"items\":",
            "\"vector\":",
            "\"top_k\":",
            "1e999",
            "NaN",
            "-Infinity",
            "\"\\ud800\"",
            "null",
            "7",
            "\"é",
        ];
        vec(select(pieces.to_vec()), 0..16).prop_map(|chosen| chosen.concat().into_bytes())
    }
}
