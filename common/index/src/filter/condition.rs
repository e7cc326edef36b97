//! One condition on one field, evaluated on a value in its binary form.

use super::pattern::Pattern;
use crate::metadata::{Elements, Fields, Number, View};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// A test of the value at a path. Fails wherever the path leads to nothing or to `null`, so that whatever shall hold
/// for a missing field is a negation.
#[derive(Clone)]
pub(super) struct Condition {
    key: String,
    below: Vec<String>,
    test: Test,
}

/// A test of a value that is there.
#[derive(Clone)]
pub(super) enum Test {
    Exists,
    Never,
    /// The value or an element equals.
    Equals(Value),
    /// The opposite.
    Differs(Value),
    /// The value or an element equals one of these.
    OneOf(Set),
    /// The value or an element is a number whose order relative to this one is among these.
    Compares(Number, &'static [Ordering]),
    Finds(Pattern),
    Is(Kind),
    /// A string with this text in it, or an array with an element that equals it.
    Contains(Value),
}

/// The types that `$type` knows.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    Array,
    Object,
}

/// Scalars to look a value up in.
#[derive(Clone, Default)]
pub(super) struct Set {
    texts: Vec<Box<[u8]>>,
    numbers: Vec<Number>,
    bools: Vec<bool>,
}

impl Condition {
    /// A test of the field that `path` leads to, one key per dot.
    pub(super) fn new(path: &str, test: Test) -> Self {
        let mut keys = path.split('.').map(str::to_owned);
        let key = keys.next().expect("split yields at least one part");
        Self {
            key,
            below: keys.collect(),
            test,
        }
    }

    /// The top-level key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether the condition holds, given the value of its top-level key.
    pub(super) fn holds(&self, mut value: View<'_>) -> bool {
        for key in &self.below {
            let View::Object(fields) = value else { return false };
            let Some(inner) = fields.get(key.as_bytes()) else {
                return false;
            };
            value = inner;
        }
        !matches!(value, View::Null) && self.test.holds(value)
    }
}

impl Test {
    fn holds(&self, value: View<'_>) -> bool {
        match self {
            Test::Exists => true,
            Test::Never => false,
            Test::Equals(operand) => any(value, |value| equal(value, operand)),
            Test::Differs(operand) => !any(value, |value| equal(value, operand)),
            Test::OneOf(set) => any(value, |value| set.has(value)),
            Test::Compares(operand, orders) => any(value, |value| match value {
                View::Number(number) => orders.contains(&number.cmp(operand)),
                _ => false,
            }),
            Test::Finds(pattern) => matches!(value, View::Text(text) if pattern.is_in(text)),
            Test::Is(kind) => Kind::of(value) == Some(*kind),
            Test::Contains(operand) => match (value, operand) {
                (View::Text(text), Value::String(part)) => as_text(text).contains(part.as_str()),
                (View::Array(elements), _) => elements.iter().any(|element| equal(element, operand)),
                _ => false,
            },
        }
    }
}

impl Kind {
    /// The type that a client calls `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Kind::Text,
            "number" => Kind::Number,
            "boolean" => Kind::Bool,
            "array" => Kind::Array,
            "object" => Kind::Object,
            _ => return None,
        })
    }

    fn of(value: View<'_>) -> Option<Self> {
        Some(match value {
            View::Null => return None,
            View::Bool(_) => Kind::Bool,
            View::Number(_) => Kind::Number,
            View::Text(_) => Kind::Text,
            View::Array(_) => Kind::Array,
            View::Object(_) => Kind::Object,
        })
    }
}

impl Set {
    /// The scalars among `values`. Nothing equals an array or an object here.
    pub(super) fn of(values: &[Value]) -> Self {
        let mut set = Self::default();
        for value in values {
            match value {
                Value::Bool(value) => set.bools.push(*value),
                Value::Number(number) => set.numbers.push(Number::from_json(number)),
                Value::String(text) => set.texts.push(text.as_bytes().into()),
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        set.texts.sort_unstable();
        set.numbers.sort_unstable();
        set
    }

    fn has(&self, value: View<'_>) -> bool {
        match value {
            View::Bool(value) => self.bools.contains(&value),
            View::Number(number) => self.numbers.binary_search(&number).is_ok(),
            View::Text(text) => self
                .texts
                .binary_search_by(|known| known.as_ref().cmp(text))
                .is_ok(),
            View::Null | View::Array(_) | View::Object(_) => false,
        }
    }
}

/// Whether `test` holds for the value, or, if it is an array, for an element.
fn any<'a>(value: View<'a>, test: impl Fn(View<'a>) -> bool) -> bool {
    match value {
        View::Array(elements) => elements.iter().any(test),
        value => test(value),
    }
}

/// Equality as JSON means it, except that an operand which is an array has been ruled out before.
fn equal(value: View<'_>, operand: &Value) -> bool {
    match (value, operand) {
        (View::Null, Value::Null) => true,
        (View::Bool(a), Value::Bool(b)) => a == *b,
        (View::Number(a), Value::Number(b)) => a == Number::from_json(b),
        (View::Text(a), Value::String(b)) => a == b.as_bytes(),
        (View::Array(a), Value::Array(b)) => equal_elements(a, b),
        (View::Object(a), Value::Object(b)) => equal_members(a, b),
        _ => false,
    }
}

fn equal_elements(a: Elements<'_>, b: &[Value]) -> bool {
    let mut expected = b.iter();
    a.iter().all(|a| expected.next().is_some_and(|b| equal(a, b))) && expected.next().is_none()
}

fn equal_members(a: Fields<'_>, b: &Map<String, Value>) -> bool {
    let mut members = 0;
    let all = a.iter().all(|(key, value)| {
        members += 1;
        b.get(as_text(key)).is_some_and(|b| equal(value, b))
    });
    all && members == b.len()
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text was checked when its column was parsed")
}
