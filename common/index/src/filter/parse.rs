//! From a filter's JSON to its conditions.

use super::condition::{Condition, Kind, Set, Test};
use super::pattern::Pattern;
use super::{CONDITIONS_MAX, FilterError, Node, PATTERNS_MAX, VALUES_MAX};
use crate::metadata::Number;
use sealdex_core::limits;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Characters of a client's key that an error repeats.
const NAME_CHARS_MAX: usize = 64;

/// Compiles a filter; `None` if it is empty.
pub(super) fn parse(filter: &Value) -> Result<Option<Node>, FilterError> {
    check_size(filter, limits::NESTING_MAX, &mut 0)?;
    let members = object(filter, "filters")?;
    if members.is_empty() {
        return Ok(None);
    }
    Parser {
        conditions: 0,
        patterns: 0,
    }
    .filter(members)
    .map(Some)
}

/// What has been taken of a filter's limits.
struct Parser {
    conditions: usize,
    patterns: usize,
}

impl Parser {
    fn filter(&mut self, members: &Map<String, Value>) -> Result<Node, FilterError> {
        let nodes = members.iter().map(|(key, value)| self.member(key, value));
        Ok(all(nodes.collect::<Result<_, _>>()?))
    }

    fn member(&mut self, key: &str, value: &Value) -> Result<Node, FilterError> {
        match key {
            "$and" if value.is_object() => Ok(Node::Any(Vec::new())),
            "$and" => Ok(all(self.list("$and", value)?)),
            "$or" => Ok(Node::Any(self.list("$or", value)?)),
            "$nor" => Ok(not(Node::Any(self.list("$nor", value)?))),
            "$not" => match value {
                Value::Object(members) => Ok(not(self.filter(members)?)),
                _ => Err(FilterError::BadLogic {
                    operator: "$not",
                    needs: "a filter, that is an object",
                }),
            },
            _ if key.starts_with('$') => Err(FilterError::UnknownLogic { operator: name(key) }),
            field => self.field(field, value),
        }
    }

    fn list(&mut self, operator: &'static str, value: &Value) -> Result<Vec<Node>, FilterError> {
        let needs = "a list of filters, each an object";
        let elements = value
            .as_array()
            .ok_or(FilterError::BadLogic { operator, needs })?;
        let filters = elements.iter().map(|element| match element {
            Value::Object(members) => self.filter(members),
            _ => Err(FilterError::BadLogic { operator, needs }),
        });
        filters.collect()
    }

    fn field(&mut self, field: &str, value: &Value) -> Result<Node, FilterError> {
        match value {
            Value::Object(members) if members.keys().any(|key| key.starts_with('$')) => {
                if !members.keys().all(|key| key.starts_with('$')) {
                    return Err(FilterError::Mixed { field: name(field) });
                }
                let conditions = members
                    .iter()
                    .map(|(key, operand)| self.condition(field, key, operand));
                Ok(all(conditions.collect::<Result<_, _>>()?))
            }
            Value::Object(members) if !members.is_empty() => self.node(field, Test::Equals(value.clone())),
            operand => self.condition(field, "$eq", operand),
        }
    }

    fn condition(&mut self, field: &str, operator: &str, operand: &Value) -> Result<Node, FilterError> {
        const LESS: &[Ordering] = &[Ordering::Less];
        const AT_MOST: &[Ordering] = &[Ordering::Less, Ordering::Equal];
        const GREATER: &[Ordering] = &[Ordering::Greater];
        const AT_LEAST: &[Ordering] = &[Ordering::Greater, Ordering::Equal];
        let operand = Operand {
            field,
            value: operand,
        };
        match operator {
            "$eq" => self.node(field, operand.equals("$eq")?),
            "$ne" => self.node(field, operand.differs("$ne")?),
            "$gt" => self.node(field, operand.compares("$gt", GREATER)?),
            "$gte" => self.node(field, operand.compares("$gte", AT_LEAST)?),
            "$lt" => self.node(field, operand.compares("$lt", LESS)?),
            "$lte" => self.node(field, operand.compares("$lte", AT_MOST)?),
            "$in" => self.node(field, operand.one_of("$in")?),
            "$nin" => Ok(not(self.node(field, operand.one_of("$nin")?)?)),
            "$exists" => match operand.exists()? {
                true => self.node(field, Test::Exists),
                false => Ok(not(self.node(field, Test::Exists)?)),
            },
            "$regex" => {
                self.patterns += 1;
                if self.patterns > PATTERNS_MAX {
                    return Err(FilterError::TooManyPatterns);
                }
                self.node(field, operand.finds()?)
            }
            "$type" => self.node(field, operand.is()?),
            "$contains" => self.node(field, operand.contains()?),
            _ => Err(FilterError::UnknownOperator {
                operator: name(operator),
                field: name(field),
            }),
        }
    }

    fn node(&mut self, field: &str, test: Test) -> Result<Node, FilterError> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            return Err(FilterError::TooManyConditions);
        }
        Ok(Node::Condition(Condition::new(field, test)))
    }
}

/// What stands behind an operator, and the field it is for.
#[derive(Clone, Copy)]
struct Operand<'a> {
    field: &'a str,
    value: &'a Value,
}

impl Operand<'_> {
    fn equals(self, operator: &'static str) -> Result<Test, FilterError> {
        self.something(operator)?;
        Ok(if is_scalar(self.value) {
            Test::Equals(self.value.clone())
        } else {
            Test::Never
        })
    }

    fn differs(self, operator: &'static str) -> Result<Test, FilterError> {
        self.something(operator)?;
        Ok(if is_scalar(self.value) {
            Test::Differs(self.value.clone())
        } else {
            Test::Exists
        })
    }

    fn compares(self, operator: &'static str, orders: &'static [Ordering]) -> Result<Test, FilterError> {
        self.something(operator)?;
        Ok(match self.value {
            Value::Number(number) => Test::Compares(Number::from_json(number), orders),
            _ => Test::Never,
        })
    }

    fn one_of(self, operator: &'static str) -> Result<Test, FilterError> {
        let values = self
            .value
            .as_array()
            .map_or(std::slice::from_ref(self.value), Vec::as_slice);
        for value in values {
            Operand { value, ..self }.something(operator)?;
        }
        Ok(Test::OneOf(Set::of(values)))
    }

    fn exists(self) -> Result<bool, FilterError> {
        self.value
            .as_bool()
            .ok_or_else(|| self.bad("$exists", "true or false"))
    }

    fn finds(self) -> Result<Test, FilterError> {
        let pattern = self
            .value
            .as_str()
            .ok_or_else(|| self.bad("$regex", "a string, the pattern"))?;
        let pattern = Pattern::parse(pattern);
        Ok(Test::Finds(pattern.map_err(|reason| {
            FilterError::BadPattern {
                field: name(self.field),
                reason,
            }
        })?))
    }

    fn is(self) -> Result<Test, FilterError> {
        let kind = self.value.as_str().and_then(Kind::named);
        kind.map(Test::Is).ok_or_else(|| {
            self.bad(
                "$type",
                "one of \"string\", \"number\", \"boolean\", \"array\", \"object\"",
            )
        })
    }

    fn contains(self) -> Result<Test, FilterError> {
        if is_scalar(self.value) {
            Ok(Test::Contains(self.value.clone()))
        } else {
            Err(self.bad("$contains", "a string, a number or a boolean"))
        }
    }

    /// `null` and `{}` compare with nothing, not even with themselves.
    fn something(self, operator: &'static str) -> Result<(), FilterError> {
        match self.value {
            Value::Null => Err(self.bad(
                operator,
                "a value other than null; use $exists to ask for what is missing",
            )),
            Value::Object(members) if members.is_empty() => Err(self.bad(operator, "a value other than {}")),
            _ => Ok(()),
        }
    }

    fn bad(self, operator: &'static str, needs: &'static str) -> FilterError {
        FilterError::BadOperand {
            operator,
            field: name(self.field),
            needs,
        }
    }
}

/// Counts values and refuses what is nested deeper than `depth` levels.
fn check_size(value: &Value, depth: usize, values: &mut usize) -> Result<(), FilterError> {
    *values += 1;
    if *values > VALUES_MAX {
        return Err(FilterError::TooManyValues);
    }
    let inner: Vec<&Value> = match value {
        Value::Array(elements) => elements.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => return Ok(()),
    };
    let depth = depth.checked_sub(1).ok_or(FilterError::TooDeep)?;
    inner
        .into_iter()
        .try_for_each(|value| check_size(value, depth, values))
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, FilterError> {
    value.as_object().ok_or_else(|| FilterError::NotAFilter {
        place: place.to_owned(),
    })
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

fn all(mut nodes: Vec<Node>) -> Node {
    match nodes.len() {
        1 => nodes.swap_remove(0),
        _ => Node::All(nodes),
    }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

/// A client's key as an error repeats it.
fn name(key: &str) -> String {
    key.chars().take(NAME_CHARS_MAX).collect()
}
