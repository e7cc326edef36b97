//! Random JSON from a small vocabulary, so that documents and filters meet.

use proptest::prelude::*;
use sealdex_index::columns::ColumnsBuilder;
use sealdex_index::metadata::Metadata;
use serde_json::{Map, Value, json};

/// A JSON object as metadata.
pub(crate) fn metadata(object: Value) -> Metadata {
    let Value::Object(members) = object else {
        panic!("not an object")
    };
    Metadata::new(members).unwrap()
}

/// The metadata segment of a block of these rows.
pub(crate) fn segment(rows: &[Metadata]) -> Vec<u8> {
    let mut builder = ColumnsBuilder::default();
    rows.iter().for_each(|row| builder.push(row));
    builder.finish()
}

/// Keys, some of which look like paths or operators.
pub(crate) fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "d"]),
        1 => prop::sample::select(vec!["", "a.b", "0", "é", "$eq"]),
    ]
    .prop_map(str::to_owned)
}

/// Strings, numbers and booleans, with every pair in it that is easily confused.
pub(crate) fn scalar() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(true),
        json!(false),
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(-1),
        json!(-2.5),
        json!(9_007_199_254_740_992.0),
        json!(9_007_199_254_740_993_u64),
        json!(u64::MAX),
        json!(18_446_744_073_709_551_616.0),
        json!(i64::MIN),
        json!(1e300),
        json!(""),
        json!("a"),
        json!("1"),
        json!("true"),
        json!("abc"),
        json!("Abc"),
        json!("aé\u{2028}b"),
    ])
}

/// Any value: scalars, null, arrays and objects of them.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![6 => scalar(), 1 => Just(Value::Null)];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// What an item may have as metadata.
pub(crate) fn object() -> impl Strategy<Value = Value> {
    let members = prop::collection::vec((key(), value()), 0..5);
    members.prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

/// Values that are not from the small vocabulary.
pub(crate) fn wild_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    });
    prop::collection::vec((any::<String>(), value), 0..6).prop_map(|members| members.into_iter().collect())
}
