//! The binary form of JSON values, written, checked, and read in place without copying.
//!
//! ```text
//! value   = tag, then
//!           NULL FALSE TRUE   nothing
//!           UINT              varint
//!           NEGATIVE          varint of -1 - value
//!           DOUBLE            8 bytes, little-endian, finite
//!           TEXT              length, UTF-8
//!           ARRAY             length in bytes, values
//!           OBJECT            length in bytes, members
//! members = (length, UTF-8 key, value)*
//! ```
//!
//! Members stand in ascending order of their keys, so a value has one binary form. Containers carry their length in
//! bytes, so that a value is stepped over without being looked into.

use super::Number;
use crate::layout::{LayoutError, Reader, put_prefixed, put_varint};
use serde_json::{Map, Value};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const UINT: u8 = 3;
const NEGATIVE: u8 = 4;
const DOUBLE: u8 = 5;
const TEXT: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

const CHECKED: &str = "views are only made of checked bytes";

/// A value in its binary form, read one level deep.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    Null,
    Bool(bool),
    Number(Number),
    /// UTF-8.
    Text(&'a [u8]),
    Array(Elements<'a>),
    Object(Fields<'a>),
}

/// The elements of an array.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a>(&'a [u8]);

/// The members of an object.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// Appends a value.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Value::Number(number) => put_number(out, number),
        Value::String(text) => {
            out.push(TEXT);
            put_prefixed(out, text.as_bytes());
        }
        Value::Array(elements) => put_container(out, ARRAY, |out| {
            for element in elements {
                put_value(out, element);
            }
        }),
        Value::Object(members) => put_container(out, OBJECT, |out| put_members(out, members)),
    }
}

/// Appends the members of an object, without tag and length.
pub(super) fn put_members(out: &mut Vec<u8>, members: &Map<String, Value>) {
    let mut ascending: Vec<_> = members.iter().collect();
    ascending.sort_by_key(|(key, _)| *key);
    for (key, value) in ascending {
        put_prefixed(out, key.as_bytes());
        put_value(out, value);
    }
}

/// The bytes that [`put_members`] would append; `None` if a value nests deeper than `depth` levels.
pub(super) fn members_size(members: &Map<String, Value>, depth: usize) -> Option<usize> {
    members
        .iter()
        .map(|(key, value)| Some(prefixed_size(key.len()) + value_size(value, depth)?))
        .sum()
}

/// Reads one value and everything in it; refuses what nests deeper than `depth` levels.
#[inline(always)]
pub(crate) fn check<'a>(reader: &mut Reader<'a>, depth: usize) -> Result<View<'a>, LayoutError> {
    let view = read(reader)?;
    let is_sound = match view {
        View::Text(text) => is_utf8(text),
        View::Array(elements) => elements.are_sound(depth),
        View::Object(fields) => fields.are_sound(depth),
        View::Null | View::Bool(_) | View::Number(_) => true,
    };
    if is_sound { Ok(view) } else { Err(reader.damaged()) }
}

/// Takes what [`put_members`] wrote; `None` if it did not, or if an object of these members, which is a level by itself,
/// nests deeper than `depth` levels.
pub(super) fn check_members(bytes: &[u8], depth: usize) -> Option<Fields<'_>> {
    Some(Fields(bytes)).filter(|fields| fields.are_sound(depth))
}

impl<'a> View<'a> {
    /// Reads a value that [`check`] or [`put_value`] has been through.
    pub(crate) fn of_checked(bytes: &'a [u8]) -> Self {
        read(&mut Reader::new(bytes, CHECKED)).expect(CHECKED)
    }

    /// The value as a tree.
    pub(crate) fn to_value(self) -> Value {
        match self {
            View::Null => Value::Null,
            View::Bool(value) => Value::Bool(value),
            View::Number(number) => Value::Number(number.to_json()),
            View::Text(text) => Value::String(to_string(text)),
            View::Array(elements) => Value::Array(elements.iter().map(View::to_value).collect()),
            View::Object(fields) => Value::Object(fields.to_map()),
        }
    }
}

impl<'a> Elements<'a> {
    fn are_sound(self, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        let mut reader = Reader::new(self.0, CHECKED);
        while !reader.is_empty() {
            if check(&mut reader, depth).is_err() {
                return false;
            }
        }
        true
    }

    /// All elements, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = View<'a>> {
        let mut reader = Reader::new(self.0, CHECKED);
        std::iter::from_fn(move || (!reader.is_empty()).then(|| read(&mut reader).expect(CHECKED)))
    }
}

impl<'a> Fields<'a> {
    fn are_sound(self, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        let mut reader = Reader::new(self.0, CHECKED);
        let mut last = None;
        while !reader.is_empty() {
            let key = reader.prefixed().ok().filter(|key| is_utf8(key));
            if last >= key || check(&mut reader, depth).is_err() {
                return false;
            }
            last = key;
        }
        true
    }

    /// All members, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a [u8], View<'a>)> {
        let mut reader = Reader::new(self.0, CHECKED);
        std::iter::from_fn(move || {
            (!reader.is_empty()).then(|| {
                let key = reader.prefixed().expect(CHECKED);
                (key, read(&mut reader).expect(CHECKED))
            })
        })
    }

    /// The value of a key.
    pub(crate) fn get(self, key: &[u8]) -> Option<View<'a>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The members as a map.
    pub(super) fn to_map(self) -> Map<String, Value> {
        self.iter()
            .map(|(key, value)| (to_string(key), value.to_value()))
            .collect()
    }
}

fn value_size(value: &Value, depth: usize) -> Option<usize> {
    Some(match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(number) => match Number::from_json(number) {
            Number::Uint(value) => 1 + varint_size(value),
            Number::Negative(value) => 1 + varint_size(!value as u64),
            Number::Double(_) => 1 + size_of::<f64>(),
        },
        Value::String(text) => 1 + prefixed_size(text.len()),
        Value::Array(elements) => {
            let depth = depth.checked_sub(1)?;
            let content: Option<usize> = elements.iter().map(|element| value_size(element, depth)).sum();
            1 + prefixed_size(content?)
        }
        Value::Object(members) => {
            let depth = depth.checked_sub(1)?;
            1 + prefixed_size(members_size(members, depth)?)
        }
    })
}

fn prefixed_size(len: usize) -> usize {
    varint_size(len as u64) + len
}

fn varint_size(value: u64) -> usize {
    (value | 1).ilog2() as usize / 7 + 1
}

fn put_number(out: &mut Vec<u8>, number: &serde_json::Number) {
    match Number::from_json(number) {
        Number::Uint(value) => {
            out.push(UINT);
            put_varint(out, value);
        }
        Number::Negative(value) => {
            out.push(NEGATIVE);
            put_varint(out, !value as u64);
        }
        Number::Double(value) => {
            out.push(DOUBLE);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends what `put_content` appends, behind its tag and length.
fn put_container(out: &mut Vec<u8>, tag: u8, put_content: impl FnOnce(&mut Vec<u8>)) {
    // Most containers are short, so room for one byte of length is left before the content.
    out.extend([tag, 0]);
    let start = out.len();
    put_content(out);
    match out.len() - start {
        short @ 0..0x80 => out[start - 1] = short as u8,
        long => {
            let mut length = Vec::new();
            put_varint(&mut length, long as u64);
            out.splice(start - 1..start, length);
        }
    }
}

#[inline(always)]
fn read<'a>(reader: &mut Reader<'a>) -> Result<View<'a>, LayoutError> {
    Ok(match reader.u8()? {
        NULL => View::Null,
        FALSE => View::Bool(false),
        TRUE => View::Bool(true),
        UINT => View::Number(Number::Uint(reader.varint()?)),
        NEGATIVE => {
            let value = i64::try_from(reader.varint()?).map_err(|_| reader.damaged())?;
            View::Number(Number::Negative(!value))
        }
        DOUBLE => {
            let value = f64::from_le_bytes(reader.array()?);
            View::Number(Number::Double(
                Some(value)
                    .filter(|value| value.is_finite())
                    .ok_or(reader.damaged())?,
            ))
        }
        TEXT => View::Text(reader.prefixed()?),
        ARRAY => View::Array(Elements(reader.prefixed()?)),
        OBJECT => View::Object(Fields(reader.prefixed()?)),
        _ => return Err(reader.damaged()),
    })
}

/// Most text is ASCII, which is told faster.
#[inline(always)]
fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

fn to_string(text: &[u8]) -> String {
    std::str::from_utf8(text).expect(CHECKED).to_owned()
}
