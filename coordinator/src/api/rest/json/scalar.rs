//! Numbers and booleans, read as leniently as pydantic does: `"3"`, `3.0` and `true` are integers too.

use super::Fault;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt::{self, Display};

/// An integer. What does not fit is as good as the nearest that does: it is beyond every limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Int(pub(crate) i64);

/// A number. It may be infinite or NaN, if it was written as a string.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Real(pub(crate) f64);

/// A boolean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match Scalar::read(deserializer, Fault::NotAnInt)? {
            Scalar::Bool(value) => Ok(i64::from(value)),
            Scalar::Int(value) => Ok(saturated(value)),
            Scalar::Real(value) if value.fract() == 0.0 => Ok(value as i64),
            Scalar::Real(_) => Err(Fault::Fraction),
            Scalar::Text(text) => int_of_text(&text).ok_or(Fault::UnreadableInt),
        };
        read.map(Int).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match Scalar::read(deserializer, Fault::NotANumber)? {
            Scalar::Bool(value) => Ok(f64::from(u8::from(value))),
            Scalar::Int(value) => Ok(value as f64),
            Scalar::Real(value) => Ok(value),
            Scalar::Text(text) => text.trim().parse().map_err(|_| Fault::UnreadableNumber),
        };
        read.map(Real).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = match Scalar::read(deserializer, Fault::NotABool)? {
            Scalar::Bool(value) => Ok(value),
            Scalar::Int(0) => Ok(false),
            Scalar::Int(1) => Ok(true),
            Scalar::Real(0.0) => Ok(false),
            Scalar::Real(1.0) => Ok(true),
            Scalar::Text(text) => bool_of_text(&text).ok_or(Fault::UnreadableBool),
            Scalar::Int(_) | Scalar::Real(_) => Err(Fault::UnreadableBool),
        };
        read.map(Flag).map_err(D::Error::custom)
    }
}

fn saturated(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// `" 3 "`, `"-3"` and `"3.0"`, but not `"3.5"` or `"3e0"`.
fn int_of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let limit = if whole.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    Some(whole.parse().unwrap_or(limit))
}

fn bool_of_text(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// A value that is neither null nor a container.
enum Scalar {
    Bool(bool),
    Int(i128),
    Real(f64),
    Text(String),
}

impl Scalar {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, otherwise: Fault) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor { otherwise })
    }
}

struct ScalarVisitor {
    otherwise: Fault,
}

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.otherwise.fmt(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Int(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Int(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Real(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Fault> {
        serde_json::from_str(json).map_err(|e| Fault::recognise(&e.to_string()).unwrap())
    }

    #[test]
    fn integers() {
        let cases = [
            ("3", Ok(3)),
            ("-3", Ok(-3)),
            ("3.0", Ok(3)),
            ("\"3\"", Ok(3)),
            ("\" +3 \"", Ok(3)),
            ("\"3.00\"", Ok(3)),
            ("true", Ok(1)),
            ("1e20", Ok(i64::MAX)),
            ("-1e20", Ok(i64::MIN)),
            ("18446744073709551615", Ok(i64::MAX)),
            ("\"99999999999999999999\"", Ok(i64::MAX)),
            ("\"-99999999999999999999\"", Ok(i64::MIN)),
            ("2.5", Err(Fault::Fraction)),
            ("\"2.5\"", Err(Fault::UnreadableInt)),
            ("\"3.\"", Err(Fault::UnreadableInt)),
            ("\"+-3\"", Err(Fault::UnreadableInt)),
            ("\"\"", Err(Fault::UnreadableInt)),
            ("\"three\"", Err(Fault::UnreadableInt)),
            ("null", Err(Fault::NotAnInt)),
            ("[3]", Err(Fault::NotAnInt)),
            ("{\"3\":3}", Err(Fault::NotAnInt)),
        ];
        for (json, expected) in cases {
            assert_eq!(read::<Int>(json).map(|int| int.0), expected, "{json}");
        }
    }

    #[test]
    fn numbers() {
        let cases = [
            ("1", Ok(1.0)),
            ("1.5", Ok(1.5)),
            ("\" 1.5 \"", Ok(1.5)),
            ("\"1e-6\"", Ok(1e-6)),
            ("false", Ok(0.0)),
            ("\"inf\"", Ok(f64::INFINITY)),
            ("\"x\"", Err(Fault::UnreadableNumber)),
            ("null", Err(Fault::NotANumber)),
            ("[]", Err(Fault::NotANumber)),
        ];
        for (json, expected) in cases {
            assert_eq!(read::<Real>(json).map(|real| real.0), expected, "{json}");
        }
    }

    #[test]
    fn booleans() {
        let cases = [
            ("true", Ok(true)),
            ("0", Ok(false)),
            ("1.0", Ok(true)),
            ("\"Yes\"", Ok(true)),
            ("\"off\"", Ok(false)),
            ("2", Err(Fault::UnreadableBool)),
            ("\"maybe\"", Err(Fault::UnreadableBool)),
            ("null", Err(Fault::NotABool)),
            ("{}", Err(Fault::NotABool)),
        ];
        for (json, expected) in cases {
            assert_eq!(read::<Flag>(json).map(|flag| flag.0), expected, "{json}");
        }
    }
}
