//! Round trips, bytes that must never change, and bytes that nobody wrote.

use crate::json::{self, metadata, segment};
use proptest::prelude::*;
use sealdex_core::{Dimension, ItemLabel, Op, limits};
use sealdex_index::block::{BlockBuilder, Identities};
use sealdex_index::columns::{Columns, ROWS_MAX};
use sealdex_index::filter::Filter;
use sealdex_index::metadata::{Metadata, MetadataError};
use sealdex_index::quantiser::Codec;
use sealdex_index::record::{decode_meta, encode_meta};
use serde_json::{Value, json};

/// Equal as text too: -0.0 is not 0.0, and 1 not 1.0.
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    a == b && serde_json::to_string(a.as_map()).unwrap() == serde_json::to_string(b.as_map()).unwrap()
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, level| {
        if level % 2 == 0 {
            json!({"a": inner})
        } else {
            json!([inner])
        }
    })
}

proptest! {
    #[test]
    fn metadata_survives(object in json::wild_object()) {
        let metadata = metadata(object);
        prop_assert!(is_same(&Metadata::decode(&metadata.encode()).unwrap(), &metadata));
    }

    #[test]
    fn records_survive(id: String, object in json::wild_object()) {
        let metadata = metadata(object);
        let (read_id, read) = decode_meta(&encode_meta(&id, &metadata)).unwrap();
        prop_assert_eq!(read_id, id);
        prop_assert!(is_same(&read, &metadata));
    }

    #[test]
    fn columns_survive(rows in prop::collection::vec(prop_oneof![json::object(), json::wild_object()], 0..300)) {
        let rows: Vec<_> = rows.into_iter().map(metadata).collect();
        let segment = segment(&rows);
        let columns = Columns::parse(&segment).unwrap();
        prop_assert_eq!(columns.rows() as usize, rows.len());
        for (number, row) in (0..).zip(&rows) {
            prop_assert!(is_same(&columns.get(number).unwrap(), row));
        }
    }

    #[test]
    fn blocks_survive(rows in prop::collection::vec((any::<[u8; 16]>(), any::<[u8; 16]>(), json::object()), 0..40)) {
        let dimension = Dimension::new(2).unwrap();
        let mut builder = BlockBuilder::new(Codec::Flat, dimension);
        for (label, op, object) in &rows {
            builder.push(ItemLabel(*label), Op(*op), &[0; 8], &metadata(object.clone()));
        }
        let block = builder.finish();
        prop_assert_eq!(block.rows as usize, rows.len());
        let identities = Identities::parse(&block.identities).unwrap();
        prop_assert_eq!(identities.len(), rows.len());
        let columns = Columns::parse(&block.metadata).unwrap();
        for (number, (label, op, object)) in (0..).zip(rows) {
            prop_assert_eq!(identities.get(number), Some((ItemLabel(label), Op(op))));
            prop_assert!(is_same(&columns.get(number).unwrap(), &metadata(object)));
        }
        prop_assert_eq!(identities.get(block.rows), None);
    }

    #[test]
    fn foreign_bytes_are_refused_quietly(bytes: Vec<u8>, versioned in prop::collection::vec(0..12_u8, 0..60)) {
        for bytes in [bytes, [vec![1], versioned].concat()] {
            read_everything(&bytes);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_quietly(
        rows in prop::collection::vec(json::object(), 1..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let rows: Vec<_> = rows.into_iter().map(metadata).collect();
        for mut bytes in [segment(&rows), rows[0].encode(), encode_meta("id", &rows[0])] {
            read_everything(&bytes[..end.index(bytes.len())]);
            for (position, byte) in &damage {
                let position = position.index(bytes.len());
                bytes[position] = *byte;
            }
            read_everything(&bytes);
        }
    }
}

/// Whatever parses must be readable to the end.
fn read_everything(bytes: &[u8]) {
    let filter = json!({"$or": [{"a.b": 1}, {"b": {"$regex": "a"}}, {"c": {"$gt": 0}}, {"d": {"$ne": 2}}]});
    let filter = Filter::parse(&filter).unwrap().unwrap();
    if let Ok(metadata) = Metadata::decode(bytes) {
        assert!(is_same(&Metadata::decode(&metadata.encode()).unwrap(), &metadata));
    }
    if let Ok((_, metadata)) = decode_meta(bytes) {
        filter.matches(&metadata);
    }
    if let Ok(columns) = Columns::parse(bytes) {
        let selected = filter.select(&columns);
        // A damaged count of rows without columns is still a sound, if long, block.
        for row in 0..columns.rows().min(1_000) {
            if let (Ok(selected), Ok(metadata)) = (&selected, columns.get(row)) {
                assert_eq!(filter.matches(&metadata), selected.contains(row));
            }
        }
    }
    if let Ok(identities) = Identities::parse(bytes) {
        assert_eq!(identities.iter().count(), bytes.len() / 32);
    }
}

#[test]
fn bytes_stay_as_they_are() {
    let first = metadata(json!({"a": [null, true, false, -1, 300, 1.5], "b": {"é": "x"}}));
    assert_eq!(
        hex(&first.encode()),
        "01016107110002010400 03ac02 05000000000000f83f 0162 0806 02c3a9 060178".replace(' ', "")
    );
    assert_eq!(
        hex(&encode_meta("id", &metadata(json!({"k": ""})))),
        "01 026964 01 016b0600".replace(' ', "")
    );
    let rows = [
        json!({"a": 1}),
        json!({"a": 1, "z": "s"}),
        json!({}),
        json!({"a": 2}),
        json!({}),
    ];
    let expected = "01 05 02  0161 02 04 0204 0301 0302 00 0101000200  017a 01 03 03 060173 01 01 01 01"
        .replace(' ', "");
    assert_eq!(hex(&segment(&rows.map(metadata))), expected);
}

/// One byte each of the columns in `bytes_stay_as_they_are`, none of which may go unnoticed.
#[test]
fn damage_to_columns_is_found() {
    let rows = [
        json!({"a": 1}),
        json!({"a": 1, "z": "s"}),
        json!({}),
        json!({"a": 2}),
        json!({}),
    ];
    let segment = segment(&rows.map(metadata));
    let filter = Filter::parse(&json!({"$or": [{"a": 1}, {"z": "s"}]}))
        .unwrap()
        .unwrap();
    let is_damaged = |segment: &[u8]| match Columns::parse(segment) {
        Ok(columns) => filter.select(&columns).is_err() && (0..5).any(|row| columns.get(row).is_err()),
        Err(_) => true,
    };
    assert!(!is_damaged(&segment));
    for (what, position, byte) in [
        ("version", 0, 2),
        ("rows", 1, 6),
        ("columns", 2, 1),
        ("order of keys", 4, b'z'),
        ("distinct values", 5, 6),
        ("length of the values", 6, 3),
        ("end of a value", 7, 3),
        ("end of a value", 7, 4),
        ("end of the values", 8, 3),
        ("tag of a value", 9, 9),
        ("shape", 13, 2),
        ("code of a row", 14, 3),
        ("text that is not UTF-8", 26, 0xff),
        ("row that does not exist", 29, 5),
        ("code of a sparse row", 30, 2),
    ] {
        let mut segment = segment.clone();
        segment[position] = byte;
        assert!(is_damaged(&segment), "{what}");
    }
    assert!((0..segment.len()).all(|end| is_damaged(&segment[..end])));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn empty_metadata_takes_no_space() {
    assert_eq!(segment(&vec![Metadata::empty(); 300]).len(), 4);
    assert!(
        Metadata::empty().is_empty() && Metadata::decode(&Metadata::empty().encode()).unwrap().is_empty()
    );
}

#[test]
fn keys_that_rows_do_not_share_cost_what_they_hold() {
    let rows: Vec<_> = (0..1_000)
        .map(|row| metadata(json!({format!("key-{row}"): row})))
        .collect();
    assert!(segment(&rows).len() < 1_000 * 25);
}

#[test]
fn limits_hold_when_metadata_is_made() {
    let take =
        |object: Value| Metadata::new(object.as_object().unwrap().clone()).map(|metadata| metadata.encode());
    // nested(odd) ends in an object.
    let deepest = take(nested(limits::NESTING_MAX - 1)).unwrap();
    assert!(Metadata::decode(&deepest).is_ok());
    assert_eq!(
        take(json!({"a": nested(limits::NESTING_MAX)})),
        Err(MetadataError::TooDeep)
    );
    // Version, key with its length, tag, and a length of three bytes.
    let text = "x".repeat(limits::METADATA_BYTES_MAX - 7);
    assert_eq!(
        take(json!({"a": text})).unwrap().len(),
        limits::METADATA_BYTES_MAX
    );
    assert_eq!(take(json!({"a": text + "x"})), Err(MetadataError::TooLarge));
}

#[test]
fn integers_of_twenty_digits_are_exact() {
    let read = |text: &str| {
        let object = serde_json::from_str(text).unwrap();
        serde_json::to_string(Metadata::decode(&metadata(object).encode()).unwrap().as_map()).unwrap()
    };
    for text in [
        r#"{"n":18446744073709551615}"#,
        r#"{"n":-9223372036854775808}"#,
        r#"{"n":12345678901234567890}"#,
    ] {
        assert_eq!(read(text), text);
    }
    assert_eq!(read(r#"{"n":99999999999999999999}"#), r#"{"n":1e+20}"#);
}

#[test]
fn a_block_cannot_claim_rows_without_end() {
    let mut segment = vec![1];
    let mut rows = ROWS_MAX + 1;
    while rows >= 0x80 {
        segment.push(rows as u8 | 0x80);
        rows >>= 7;
    }
    segment.extend([rows as u8, 0]);
    assert!(Columns::parse(&segment).is_err());
}
