//! Filters against the oracle, over random documents.

use crate::json::{self, metadata, segment};
use crate::oracle;
use proptest::prelude::*;
use sealdex_index::columns::Columns;
use sealdex_index::filter::Filter;
use serde_json::{Map, Value, json};

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => json::key().prop_filter("would be an operator", |key| !key.starts_with('$')),
        3 => (json::key(), json::key())
            .prop_map(|(a, b)| format!("{a}.{b}"))
            .prop_filter("would be an operator", |key| !key.starts_with('$')),
        1 => prop::sample::select(vec!["a.b.c", "a.b.a.b", "a.0", "z", ".", "a..b"]).prop_map(str::to_owned),
    ]
}

fn operand() -> impl Strategy<Value = Value> {
    prop_oneof![4 => json::scalar(), 1 => json::value()]
        .prop_filter("no operand", |value| !value.is_null() && *value != json!({}))
}

fn operator() -> impl Strategy<Value = (String, Value)> {
    let comparison = prop::sample::select(vec!["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"]);
    let list = prop::sample::select(vec!["$in", "$nin"]);
    let patterns = vec![
        "a",
        "^a",
        "c$",
        "A",
        "",
        "^$",
        "[bé]",
        "a.?b",
        "\\d",
        "(?:a|b)c*$",
        "\\bc",
    ];
    let types = vec!["string", "number", "boolean", "array", "object"];
    prop_oneof![
        6 => (comparison, operand()).prop_filter("no list", |(_, operand)| list_is_sound(operand)),
        2 => (list, prop::collection::vec(operand(), 0..4).prop_map(Value::Array)),
        1 => any::<bool>().prop_map(|exists| ("$exists", json!(exists))),
        1 => prop::sample::select(patterns).prop_map(|pattern| ("$regex", json!(pattern))),
        1 => prop::sample::select(types).prop_map(|name| ("$type", json!(name))),
        1 => json::scalar().prop_map(|operand| ("$contains", operand)),
    ]
    .prop_map(|(operator, operand)| (operator.to_owned(), operand))
}

/// As an operand of `$in`, no element may be null or `{}`.
fn list_is_sound(operand: &Value) -> bool {
    operand
        .as_array()
        .is_none_or(|list| list.iter().all(|value| !value.is_null() && *value != json!({})))
}

fn field() -> impl Strategy<Value = (String, Value)> {
    let bare = operand().prop_filter("would be operators", |operand| {
        operand
            .as_object()
            .is_none_or(|members| members.keys().all(|key| !key.starts_with('$')))
    });
    let operators = prop::collection::vec(operator(), 1..3)
        .prop_map(|operators| operators.into_iter().collect::<Map<_, _>>().into());
    (path(), prop_oneof![1 => bare, 3 => operators])
}

fn filter() -> impl Strategy<Value = Value> {
    let fields =
        prop::collection::vec(field(), 0..3).prop_map(|fields| Value::Object(fields.into_iter().collect()));
    fields.prop_recursive(3, 16, 3, |inner| {
        let logic = prop::sample::select(vec!["$and", "$or", "$nor"]);
        prop_oneof![
            (logic, prop::collection::vec(inner.clone(), 0..4))
                .prop_map(|(logic, filters)| json!({logic: filters})),
            inner.clone().prop_map(|filter| json!({"$not": filter})),
            (inner, field())
                .prop_map(|(filter, (path, condition))| json!({"$and": [filter], path: condition})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn rows_are_selected_as_the_contract_says(filter in filter(), rows in prop::collection::vec(json::object(), 0..90)) {
        let expected: Vec<bool> = rows.iter().map(|row| oracle::matches(&filter, row)).collect();
        let rows: Vec<_> = rows.into_iter().map(metadata).collect();
        let Some(compiled) = Filter::parse(&filter).map_err(|error| TestCaseError::fail(error.to_string()))? else {
            prop_assert_eq!(filter, json!({}));
            return Ok(());
        };
        let segment = segment(&rows);
        let columns = Columns::parse(&segment).unwrap();
        let selected = compiled.select(&columns).unwrap();
        prop_assert_eq!(selected.rows() as usize, rows.len());
        for (row, expected) in expected.iter().enumerate() {
            prop_assert_eq!(compiled.matches(&rows[row]), *expected, "matches, row {}", row);
            prop_assert_eq!(selected.contains(row as u32), *expected, "select, row {}", row);
        }
        prop_assert_eq!(selected.count() as usize, expected.iter().filter(|is_in| **is_in).count());
    }

    #[test]
    fn any_json_is_answered(filter in json::wild_object(), row in json::wild_object()) {
        if let Ok(Some(filter)) = Filter::parse(&filter) {
            filter.matches(&metadata(row));
        }
    }
}
