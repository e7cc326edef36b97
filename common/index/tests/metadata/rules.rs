//! The contract's rules for filters, one by one.

use crate::json::metadata;
use sealdex_core::ErrorCode;
use sealdex_index::filter::{CONDITIONS_MAX, Filter, FilterError, PATTERNS_MAX, VALUES_MAX};
use serde_json::{Value, json};

/// Which of `documents` match, by position.
fn matching(filter: &Value, documents: &[Value]) -> Vec<usize> {
    let filter = Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    let is_in = |document: &Value| {
        filter
            .as_ref()
            .is_none_or(|f| f.matches(&metadata(document.clone())))
    };
    (0..documents.len())
        .filter(|position| is_in(&documents[*position]))
        .collect()
}

fn error(filter: Value) -> FilterError {
    match Filter::parse(&filter) {
        Err(error) => error,
        Ok(_) => panic!("{filter} is accepted"),
    }
}

#[test]
fn values_match_as_the_contract_says() {
    // What the field f holds, each document on its own; the last one has no f.
    let values = [
        json!(1),                  // 0
        json!(2.5),                // 1
        json!("1"),                // 2
        json!(true),               // 3
        json!([1, "x", {"o": 1}]), // 4
        json!([]),                 // 5
        json!({"o": 1}),           // 6
        json!({"o": 1, "p": [1]}), // 7
        json!(null),               // 8
        json!(""),                 // 9
        json!([null, [1]]),        // 10
        json!("axb"),              // 11
    ];
    let mut documents: Vec<Value> = values.iter().map(|value| json!({"f": value})).collect();
    documents.push(json!({"g": 1})); // 12
    let there = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11];
    let there_but = |left_out: &[usize]| {
        there
            .into_iter()
            .filter(|d| !left_out.contains(d))
            .collect::<Vec<_>>()
    };
    let all_but = |left_out: &[usize]| (0..13).filter(|d| !left_out.contains(d)).collect::<Vec<_>>();
    let rules = [
        (json!(1), vec![0, 4]),
        (json!(1.0), vec![0, 4]),
        (json!("1"), vec![2]),
        (json!(true), vec![3]),
        (json!(""), vec![9]),
        (json!([]), vec![]),
        (json!([1, "x", {"o": 1}]), vec![]),
        (json!({"o": 1}), vec![4, 6]),
        (json!({"o": 1.0}), vec![4, 6]),
        (json!({"o": 2}), vec![]),
        (json!({"$eq": 1}), vec![0, 4]),
        (json!({"$eq": [1]}), vec![]),
        (json!({"$eq": {"o": 1}}), vec![]),
        (json!({"$ne": 1}), there_but(&[0, 4])),
        (json!({"$ne": [1]}), there.to_vec()),
        (json!({"$ne": {"o": 1}}), there.to_vec()),
        (json!({"$in": [1, "axb", true]}), vec![0, 3, 4, 11]),
        (json!({"$in": 1}), vec![0, 4]),
        (json!({"$in": []}), vec![]),
        (json!({"$in": [[1], {"o": 1}]}), vec![]),
        (json!({"$nin": [1, "axb"]}), all_but(&[0, 4, 11])),
        (json!({"$nin": 1}), all_but(&[0, 4])),
        (json!({"$nin": []}), all_but(&[])),
        (json!({"$gt": 1}), vec![1]),
        (json!({"$gte": 1}), vec![0, 1, 4]),
        (json!({"$lt": 2.5}), vec![0, 4]),
        (json!({"$lte": 2.5}), vec![0, 1, 4]),
        (json!({"$gt": 0, "$lt": 2}), vec![0, 4]),
        (json!({"$gt": "0"}), vec![]),
        (json!({"$lte": true}), vec![]),
        (json!({"$gte": [1]}), vec![]),
        (json!({"$gte": {"o": 1}}), vec![]),
        (json!({"$exists": true}), there.to_vec()),
        (json!({"$exists": false}), vec![8, 12]),
        (json!({"$regex": "x"}), vec![11]),
        (json!({"$regex": "^$"}), vec![9]),
        (json!({"$regex": "X"}), vec![]),
        (json!({"$regex": ""}), vec![2, 9, 11]),
        (json!({"$type": "string"}), vec![2, 9, 11]),
        (json!({"$type": "number"}), vec![0, 1]),
        (json!({"$type": "boolean"}), vec![3]),
        (json!({"$type": "array"}), vec![4, 5, 10]),
        (json!({"$type": "object"}), vec![6, 7]),
        (json!({"$contains": "x"}), vec![4, 11]),
        (json!({"$contains": 1}), vec![4]),
        (json!({"$contains": ""}), vec![2, 9, 11]),
    ];
    for (condition, expected) in rules {
        assert_eq!(
            matching(&json!({"f": condition}), &documents),
            expected,
            "{condition}"
        );
    }
}

#[test]
fn paths_descend_into_objects_only() {
    let documents = [
        json!({"a": {"b": {"c": 1}}}),
        json!({"a": [{"b": {"c": 1}}]}),
        json!({"a.b.c": 1}),
        json!({"a": {"b.c": 1}}),
        json!({"a": {"b": [1, 2]}}),
        json!({"a": {"b": null}}),
        json!({"": {"": 1}}),
    ];
    assert_eq!(matching(&json!({"a.b.c": 1}), &documents), [0]);
    assert_eq!(matching(&json!({"a.b": 2}), &documents), [4]);
    assert_eq!(matching(&json!({"a.b.1": 2}), &documents), [] as [usize; 0]);
    assert_eq!(matching(&json!({"a.b": {"$exists": true}}), &documents), [0, 4]);
    assert_eq!(matching(&json!({"a.b.c": {"$ne": 2}}), &documents), [0]);
    assert_eq!(
        matching(&json!({"a.b.c": {"$nin": [1]}}), &documents),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(matching(&json!({".": 1}), &documents), [6]);
}

#[test]
fn logic_nests() {
    let documents = [
        json!({"a": 1, "b": 1}),
        json!({"a": 1}),
        json!({"b": 1}),
        json!({}),
    ];
    let none = [] as [usize; 0];
    assert_eq!(matching(&json!({}), &documents), [0, 1, 2, 3]);
    assert_eq!(matching(&json!({"a": 1, "b": 1}), &documents), [0]);
    assert_eq!(matching(&json!({"$and": [{"a": 1}, {"b": 1}]}), &documents), [0]);
    assert_eq!(matching(&json!({"$and": []}), &documents), [0, 1, 2, 3]);
    assert_eq!(matching(&json!({"$and": {"a": 1}}), &documents), none);
    assert_eq!(matching(&json!({"$and": [{}]}), &documents), [0, 1, 2, 3]);
    assert_eq!(
        matching(&json!({"$or": [{"a": 1}, {"b": 1}]}), &documents),
        [0, 1, 2]
    );
    assert_eq!(matching(&json!({"$or": []}), &documents), none);
    assert_eq!(matching(&json!({"$nor": [{"a": 1}, {"b": 1}]}), &documents), [3]);
    assert_eq!(matching(&json!({"$nor": []}), &documents), [0, 1, 2, 3]);
    assert_eq!(matching(&json!({"$not": {"a": 1}}), &documents), [2, 3]);
    assert_eq!(matching(&json!({"$not": {}}), &documents), none);
    assert_eq!(
        matching(
            &json!({"$or": [{"$not": {"a": 1}}, {"$and": [{"b": 1}]}], "b": 1}),
            &documents
        ),
        [0, 2]
    );
}

#[test]
fn numbers_compare_exactly() {
    let documents = [
        json!({"n": 9_007_199_254_740_993_u64}),
        json!({"n": u64::MAX}),
        json!({"n": -0.0}),
    ];
    assert_eq!(
        matching(&json!({"n": 9_007_199_254_740_992.0}), &documents),
        [] as [usize; 0]
    );
    assert_eq!(
        matching(&json!({"n": {"$gt": 9_007_199_254_740_992.0}}), &documents),
        [0, 1]
    );
    assert_eq!(
        matching(&json!({"n": {"$lt": 18_446_744_073_709_551_616.0}}), &documents),
        [0, 1, 2]
    );
    assert_eq!(matching(&json!({"n": 0}), &documents), [2]);
}

#[test]
fn what_is_refused_says_what_to_write_instead() {
    for (filter, text) in [
        (
            json!(null),
            "filters must be an object such as {\"field\": \"value\"}",
        ),
        (
            json!([{"a": 1}]),
            "filters must be an object such as {\"field\": \"value\"}",
        ),
        (
            json!({"$where": 1}),
            "unknown operator $where: use $and, $or, $nor, $not or the name of a field",
        ),
        (
            json!({"a": {"b": 1, "$gt": 1}}),
            "field a has operators and plain keys in one object: use only operators, or the path a.key",
        ),
        (
            json!({"$or": {"a": 1}}),
            "$or needs a list of filters, each an object",
        ),
        (
            json!({"$and": [1]}),
            "$and needs a list of filters, each an object",
        ),
        (
            json!({"$nor": null}),
            "$nor needs a list of filters, each an object",
        ),
        (
            json!({"$not": [{"a": 1}]}),
            "$not needs a filter, that is an object",
        ),
        (
            json!({"a": null}),
            "$eq of field a needs a value other than null; use $exists to ask for what is missing",
        ),
        (json!({"a": {}}), "$eq of field a needs a value other than {}"),
        (
            json!({"a": {"$lt": {}}}),
            "$lt of field a needs a value other than {}",
        ),
        (
            json!({"a": {"$nin": [1, null]}}),
            "$nin of field a needs a value other than null; use $exists to ask for what is missing",
        ),
        (
            json!({"a.b": {"$exists": 1}}),
            "$exists of field a.b needs true or false",
        ),
        (
            json!({"a": {"$regex": 1}}),
            "$regex of field a needs a string, the pattern",
        ),
        (
            json!({"a": {"$regex": "("}}),
            "$regex of field a: the pattern has a group without its closing parenthesis; a literal one is written \\(",
        ),
        (
            json!({"a": {"$regex": "(?=x)"}}),
            "$regex of field a: look-around is not supported; combine several $regex conditions with $and and $not",
        ),
        (
            json!({"a": {"$regex": "(x)\\1"}}),
            "$regex of field a: back-references are not supported; spell the alternatives out",
        ),
        (
            json!({"a": {"$type": "int"}}),
            "$type of field a needs one of \"string\", \"number\", \"boolean\", \"array\", \"object\"",
        ),
        (
            json!({"a": {"$contains": ["x"]}}),
            "$contains of field a needs a string, a number or a boolean",
        ),
    ] {
        let error = error(filter);
        assert_eq!(error.to_string(), text);
        assert_eq!(error.code(), ErrorCode::Invalid);
    }
}

#[test]
fn unknown_operators_are_named_with_their_field() {
    for operator in [
        "$all",
        "$size",
        "$mod",
        "$elemMatch",
        "$like",
        "$between",
        "$options",
        "$not",
        "$and",
        "$",
    ] {
        let text = error(json!({"some.field": {operator: 1}})).to_string();
        assert!(
            text.starts_with(&format!(
                "unknown operator {operator} for field some.field: use $eq,"
            )),
            "{text}"
        );
    }
}

#[test]
fn limits_are_named() {
    let deep = (0..64).fold(json!({"a": 1}), |filter, _| json!({"$not": filter}));
    assert_eq!(error(deep), FilterError::TooDeep);
    let bushy = json!({"$or": (0..=CONDITIONS_MAX).map(|n| json!({"a": n})).collect::<Vec<_>>()});
    assert_eq!(error(bushy), FilterError::TooManyConditions);
    let patterns = json!({"$or": vec![json!({"a": {"$regex": "x"}}); PATTERNS_MAX + 1]});
    assert_eq!(error(patterns), FilterError::TooManyPatterns);
    let long = json!({"a": {"$in": (0..VALUES_MAX).collect::<Vec<_>>()}});
    assert_eq!(error(long), FilterError::TooManyValues);
    let long = json!({"a": {"$in": (0..VALUES_MAX - 3).collect::<Vec<_>>()}});
    assert_eq!(matching(&long, &[json!({"a": 7}), json!({"a": -1})]), [0]);
    let name = error(json!({format!("${}", "x".repeat(10_000)): 1})).to_string();
    assert!(name.len() < 200, "{name}");
}
