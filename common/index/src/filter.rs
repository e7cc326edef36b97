//! Filters over metadata: parsed once into a tree of conditions, then evaluated row by row or column by column.
//!
//! Knows nothing of vectors, blocks or where metadata is stored. The rules are the REST contract's; where that leaves
//! room, the rule here is the one written down.
//!
//! # Structure
//!
//! - `{}` matches everything, also as an element of a list or under `$not`. Several keys, and several operators of one
//!   field, mean AND.
//! - `$and`, `$or`, `$nor` take a list of filters, `$not` takes one filter. `$and: []` matches everything, `$or: []`
//!   nothing, `$nor: []` everything. `$and` with an object in place of the list matches nothing, as in the contract;
//!   any other operand is refused.
//! - Any other key is a field. A dot descends into an object, never into an array; so a key that itself has a dot is out
//!   of reach. `null` counts as missing, at the end of a path as well as on its way.
//!
//! # Conditions
//!
//! | condition | holds for |
//! |---|---|
//! | `f: v`, `$eq: v` | a value that equals `v`, or an array with such an element |
//! | `$ne: v` | a field that is there, and for which `$eq: v` does not hold |
//! | `$in: [v, …]`, `$nin` | `$eq` for one of them; `$nin` for all other items, missing fields included. One scalar stands for a list of one |
//! | `$gt $gte $lt $lte: n` | a number, or an array with a number, on that side of `n` |
//! | `$exists: b` | `true`: a field that is there; `false`: one that is missing |
//! | `$regex: s` | a string in which the pattern is found; elements of arrays are not looked at |
//! | `$type: s` | a value of type `string`, `number`, `boolean`, `array` or `object`; elements are not looked at |
//! | `$contains: v` | a string that has the string `v` in it, or an array with an element that equals `v` |
//!
//! - Equality looks at the type: `1` equals `1.0`, but neither `"1"` nor `true`; `""` is a string like any other. Numbers
//!   compare exactly, also beyond 2^53.
//! - An array as operand equals nothing, not even an equal array, and neither does an array inside `$in`.
//! - An object as operand compares whole, and only in the bare form `f: {…}` (also with the elements of an array). Under
//!   `$eq`, `$in` or a comparison it equals nothing, hence under `$ne` it matches every item that has the field.
//! - `$gt` and its like hold for no item if the operand is a string, a boolean, an array or an object.
//! - `null` and `{}` are no operand of any condition, and no element of `$in`: `$exists` asks for what is missing. An
//!   operand of a wrong type is refused for `$exists`, `$regex`, `$type` and `$contains` (string, number or boolean).
//! - An object operand is either operators or, without a single `$` key, a value; a mixture is refused. Keys further
//!   inside a value mean nothing: `{"a": {"b": {"$gt": 1}}}` asks for an equal object, `{"a.b": {"$gt": 1}}` compares.
//! - Patterns are ECMAScript's without flags, over code points: case-sensitive, found anywhere, `^` and `$` the ends of the
//!   text. Look-around, back-references and Unicode properties are refused, so that a search takes time linear in the text.

mod condition;
mod ecmascript;
mod parse;
mod pattern;

use crate::columns::{Columns, RowSet};
use crate::layout::{LayoutError, Reader};
use crate::metadata::{Metadata, View, check, put_value};
use condition::Condition;
use sealdex_core::{ErrorCode, limits};
use serde_json::Value;
use std::sync::Arc;

/// Conditions in one filter: bounds what a filter costs for each block.
pub const CONDITIONS_MAX: usize = 1_024;

/// Values in one filter, elements of `$in` included: bounds what is kept of a request.
pub const VALUES_MAX: usize = 65_536;

/// Patterns in one filter: each is compiled and keeps an automaton.
pub const PATTERNS_MAX: usize = 64;

/// Bytes of one pattern.
pub const PATTERN_BYTES_MAX: usize = 1_024;

const LAYOUT: &str = "a filter";
const VERSION: u8 = 1;

/// A filter, compiled. Holds the client's operands, so it has no `Debug`.
#[derive(Clone)]
pub struct Filter {
    root: Node,
    /// As it was asked: automata and sets are made anew where it travels to.
    source: Arc<Value>,
}

#[derive(Clone)]
enum Node {
    Condition(Condition),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

/// A filter that is refused. The text names operator and field, never an operand.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// Not an object where a filter belongs.
    #[error("{place} must be an object such as {{\"field\": \"value\"}}")]
    NotAFilter {
        /// What should have been one.
        place: String,
    },
    /// A key with `$` that is not a logical operator, where only those and fields may stand.
    #[error("unknown operator {operator}: use $and, $or, $nor, $not or the name of a field")]
    UnknownLogic {
        /// The key.
        operator: String,
    },
    /// An operator that does not exist.
    #[error(
        "unknown operator {operator} for field {field}: use $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $regex, $type or $contains"
    )]
    UnknownOperator {
        /// The operator.
        operator: String,
        /// The field.
        field: String,
    },
    /// Operators and plain keys in one object.
    #[error(
        "field {field} has operators and plain keys in one object: use only operators, or the path {field}.key"
    )]
    Mixed {
        /// The field.
        field: String,
    },
    /// A logical operator's operand is not what it needs.
    #[error("{operator} needs {needs}")]
    BadLogic {
        /// The operator.
        operator: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// An operator's operand is not what it needs.
    #[error("{operator} of field {field} needs {needs}")]
    BadOperand {
        /// The operator.
        operator: &'static str,
        /// The field.
        field: String,
        /// What it needs.
        needs: &'static str,
    },
    /// A pattern that is not one, or that is beyond what can be evaluated in bounded time.
    #[error("$regex of field {field}: {reason}")]
    BadPattern {
        /// The field.
        field: String,
        /// What is wrong, and what to write instead.
        reason: &'static str,
    },
    /// Nested beyond [`limits::NESTING_MAX`].
    #[error("a filter may be nested at most {max} levels deep", max = limits::NESTING_MAX)]
    TooDeep,
    /// More than [`CONDITIONS_MAX`] conditions.
    #[error(
        "a filter may have at most {CONDITIONS_MAX} conditions: replace alternatives for one field by $in"
    )]
    TooManyConditions,
    /// More than [`PATTERNS_MAX`] patterns.
    #[error("a filter may have at most {PATTERNS_MAX} patterns: join them by | into fewer $regex")]
    TooManyPatterns,
    /// More than [`VALUES_MAX`] values.
    #[error("a filter may hold at most {VALUES_MAX} values: split the request")]
    TooManyValues,
}

impl FilterError {
    /// What it means to a caller.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::Invalid
    }
}

impl Filter {
    /// Compiles a filter; `None` if it is `{}`, which matches everything.
    pub fn parse(filter: &Value) -> Result<Option<Filter>, FilterError> {
        let root = parse::parse(filter)?;
        Ok(root.map(|root| Self {
            root,
            source: Arc::new(filter.clone()),
        }))
    }

    /// The filter in bytes: a version, and its JSON in the binary form of metadata.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_value(&mut out, &self.source);
        out
    }

    /// Takes back what [`Filter::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        reader.version(VERSION)?;
        let source = check(&mut reader, limits::NESTING_MAX)?.to_value();
        reader.finish()?;
        let filter = Self::parse(&source).ok().flatten();
        filter.ok_or(reader.damaged())
    }

    /// Whether the two were compiled as one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// Whether one item's metadata matches.
    pub fn matches(&self, metadata: &Metadata) -> bool {
        self.root.matches(metadata, &mut Vec::new())
    }

    /// The rows of a block that match. Fails if a column that the filter names is damaged.
    pub fn select(&self, columns: &Columns<'_>) -> Result<RowSet, LayoutError> {
        self.root.select(columns)
    }
}

impl Node {
    fn matches(&self, metadata: &Metadata, encoded: &mut Vec<u8>) -> bool {
        match self {
            Node::Condition(condition) => metadata.as_map().get(condition.key()).is_some_and(|value| {
                encoded.clear();
                put_value(encoded, value);
                condition.holds(View::of_checked(encoded))
            }),
            Node::All(nodes) => nodes.iter().all(|node| node.matches(metadata, encoded)),
            Node::Any(nodes) => nodes.iter().any(|node| node.matches(metadata, encoded)),
            Node::Not(node) => !node.matches(metadata, encoded),
        }
    }

    fn select(&self, columns: &Columns<'_>) -> Result<RowSet, LayoutError> {
        let rows = columns.rows();
        match self {
            Node::Condition(condition) => columns.rows_where(condition.key(), |value| condition.holds(value)),
            Node::All(nodes) => nodes.iter().try_fold(RowSet::all(rows), |mut set, node| {
                if !set.is_empty() {
                    set.and(&node.select(columns)?);
                }
                Ok(set)
            }),
            Node::Any(nodes) => nodes.iter().try_fold(RowSet::none(rows), |mut set, node| {
                set.or(&node.select(columns)?);
                Ok(set)
            }),
            Node::Not(node) => Ok(node.select(columns)?.complement()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_filter_means_the_same_where_it_travels_to() {
        let metadata = |value: Value| Metadata::new(value.as_object().unwrap().clone()).ok().unwrap();
        let items = [
            json!({"a": 1, "b": "text", "c": {"d": [1, 2.5]}}),
            json!({"a": 18_446_744_073_709_551_615_u64, "b": "other"}),
            json!({"a": -7, "c": {"d": []}}),
            json!({}),
        ];
        for source in [
            json!({"a": {"$gte": -7.5}}),
            json!({"b": {"$regex": "^t.x"}}),
            json!({"$or": [{"a": {"$in": [1, "x", true]}}, {"c.d": {"$exists": true}}]}),
            json!({"$nor": [{"c": {"d": []}}], "b": {"$ne": "text"}}),
            json!({"$not": {}}),
        ] {
            let filter = Filter::parse(&source).unwrap().unwrap();
            let travelled = Filter::from_bytes(&filter.to_bytes()).unwrap();
            for item in &items {
                let item = metadata(item.clone());
                assert_eq!(travelled.matches(&item), filter.matches(&item), "{source}");
            }
        }
    }

    #[test]
    fn as_deep_as_a_filter_may_be_it_travels() {
        let deep = |levels: usize| (1..levels).fold(json!({"a": 1}), |inner, _| json!({"$not": inner}));
        let deepest = Filter::parse(&deep(limits::NESTING_MAX)).unwrap().unwrap();
        assert!(Filter::from_bytes(&deepest.to_bytes()).is_ok());
        assert!(Filter::parse(&deep(limits::NESTING_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Filter::from_bytes(&bytes);
            let _ = Filter::from_bytes(&[&[VERSION], bytes.as_slice()].concat());
        }
    }
}
