//! What a filter means, sentence by sentence from the REST contract, over JSON trees and without regard to speed.
//!
//! Shares nothing with the implementation. Only for filters that are accepted.

use serde_json::Value;
use std::cmp::Ordering;

/// Whether `document` matches `filter`.
pub(crate) fn matches(filter: &Value, document: &Value) -> bool {
    let keys = filter.as_object().expect("a filter is an object");
    keys.iter().all(|(key, operand)| match key.as_str() {
        "$and" if operand.is_object() => false,
        "$and" => operand
            .as_array()
            .unwrap()
            .iter()
            .all(|filter| matches(filter, document)),
        "$or" => operand
            .as_array()
            .unwrap()
            .iter()
            .any(|filter| matches(filter, document)),
        "$nor" => !operand
            .as_array()
            .unwrap()
            .iter()
            .any(|filter| matches(filter, document)),
        "$not" => !matches(operand, document),
        path => field_matches(field(document, path), operand),
    })
}

/// Dotted paths descend objects only; a field that holds null does not exist.
fn field<'d>(document: &'d Value, path: &str) -> Option<&'d Value> {
    let mut at = document;
    for key in path.split('.') {
        at = at.as_object()?.get(key)?;
    }
    Some(at).filter(|value| !value.is_null())
}

fn field_matches(field: Option<&Value>, operand: &Value) -> bool {
    match operand.as_object() {
        Some(members) if members.keys().next().unwrap().starts_with('$') => members
            .iter()
            .all(|(operator, operand)| condition(field, operator, operand)),
        // Whole-object equality, also with an element of an array.
        Some(_) => field.is_some_and(|value| itself_or_element(value, |value| same(value, operand))),
        None => condition(field, "$eq", operand),
    }
}

fn condition(field: Option<&Value>, operator: &str, operand: &Value) -> bool {
    let number = |test: fn(Ordering) -> bool| {
        field.is_some_and(|value| {
            itself_or_element(value, |value| {
                value.is_number() && operand.is_number() && test(compare(value, operand))
            })
        })
    };
    let text = field.and_then(Value::as_str);
    match operator {
        "$eq" => field.is_some_and(|value| equals(value, operand)),
        "$ne" => field.is_some_and(|value| !equals(value, operand)),
        "$in" => field.is_some_and(|value| list(operand).iter().any(|operand| equals(value, operand))),
        "$nin" => !field.is_some_and(|value| list(operand).iter().any(|operand| equals(value, operand))),
        "$gt" => number(Ordering::is_gt),
        "$gte" => number(Ordering::is_ge),
        "$lt" => number(Ordering::is_lt),
        "$lte" => number(Ordering::is_le),
        "$exists" => field.is_some() == operand.as_bool().unwrap(),
        "$regex" => text.is_some_and(|text| {
            regress::Regex::new(operand.as_str().unwrap())
                .unwrap()
                .find(text)
                .is_some()
        }),
        "$type" => field.is_some_and(|value| {
            let name = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            operand == name
        }),
        "$contains" => match field {
            Some(Value::String(text)) => operand.as_str().is_some_and(|part| text.contains(part)),
            Some(Value::Array(elements)) => elements.iter().any(|element| same(element, operand)),
            _ => false,
        },
        _ => panic!("{operator} is not for the oracle"),
    }
}

/// Typed equality with a scalar, of the value or of an element; an array or object operand never equals.
fn equals(value: &Value, operand: &Value) -> bool {
    !operand.is_array() && !operand.is_object() && itself_or_element(value, |value| same(value, operand))
}

/// A scalar instead of a list is tolerated.
fn list(operand: &Value) -> Vec<Value> {
    operand
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![operand.clone()])
}

fn itself_or_element(value: &Value, test: impl Fn(&Value) -> bool) -> bool {
    value
        .as_array()
        .map_or_else(|| test(value), |elements| elements.iter().any(&test))
}

/// Deep equality in which 1 is 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => compare(a, b).is_eq(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Compares by all decimal digits: sign, digits before the point without leading zeros, 40 digits behind it.
fn compare(a: &Value, b: &Value) -> Ordering {
    fn digits(number: &Value) -> (bool, String, String) {
        let text = match (number.as_i64(), number.as_u64()) {
            (None, None) => format!("{:.40}", number.as_f64().unwrap()),
            (Some(whole), _) => format!("{whole}.{:040}", 0),
            (_, Some(whole)) => format!("{whole}.{:040}", 0),
        };
        let negative = text.starts_with('-');
        let (whole, fraction) = text.trim_start_matches('-').split_once('.').unwrap();
        let whole = whole.trim_start_matches('0').to_owned();
        let is_zero = whole.is_empty() && fraction.bytes().all(|digit| digit == b'0');
        (negative && !is_zero, whole, fraction.to_owned())
    }
    let ((a_negative, a_whole, a_fraction), (b_negative, b_whole, b_fraction)) = (digits(a), digits(b));
    let size = (a_whole.len(), a_whole, a_fraction).cmp(&(b_whole.len(), b_whole, b_fraction));
    match (a_negative, b_negative) {
        (true, true) => size.reverse(),
        (false, false) => size,
        (a_negative, _) => {
            if a_negative {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
}
