//! Compares `docs/keys.md` with the code: the test vectors, the tags, the limits.
//!
//! The document is the expectation. Another program made its vectors, so the encoder is not checked against itself.

use std::collections::BTreeSet;

use tenure::key::{DEPTH_MAX, KEY_BYTES_MAX, Key, KeyKind, KeyValue, decode, prefix_range};

use crate::markdown;

const DOCUMENT: &str = include_str!("../../docs/keys.md");

fn plain(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or(cell)
}

fn bytes(cell: &str) -> Vec<u8> {
    plain(cell).split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two digits")).collect()
}

/// Text and bytes of all vectors.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let table = markdown::table(DOCUMENT, "Test vectors");
    let rows = table.cells("key").into_iter().zip(table.cells("bytes"));
    rows.map(|(key, cell)| (plain(key).to_owned(), bytes(cell))).collect()
}

#[test]
fn vectors_encode_decode_and_print() {
    let vectors = vectors();
    assert!(vectors.len() >= 40, "only {} vectors", vectors.len());
    for (text, bytes) in &vectors {
        let key: Key = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(key.as_bytes(), bytes, "{text}");
        assert_eq!(Key::from_bytes(bytes).unwrap().to_string(), *text);
        assert_eq!(Key::new(&decode(bytes).unwrap()).unwrap().as_bytes(), bytes, "{text}");
    }
}

#[test]
fn vectors_stand_in_the_order_of_bytes_and_of_values() {
    for pair in vectors().windows(2) {
        let [(first, first_bytes), (second, second_bytes)] = pair else { unreachable!("windows of two") };
        assert!(first_bytes < second_bytes, "{first} before {second}");
        assert!(decode(first_bytes).unwrap() < decode(second_bytes).unwrap(), "{first} before {second}");
    }
}

/// The tags of a cell: one, or the ends of a span.
fn tags(cell: &str) -> std::ops::RangeInclusive<u8> {
    let ends: Vec<u8> = cell.split('–').flat_map(bytes).collect();
    ends[0]..=ends[ends.len() - 1]
}

#[test]
fn tags_are_those_of_the_table() {
    let name = |value: &KeyValue| match value {
        KeyValue::Null => "null",
        KeyValue::Bool(false) => "false",
        KeyValue::Bool(true) => "true",
        KeyValue::Integer(number) if number.is_negative() => "negative integer",
        KeyValue::Integer(number) if number.to_u128() < Some(32) => "integer from 0 to 31: tag − `20`",
        KeyValue::Integer(_) => "integer from 32 on",
        KeyValue::Float(_) => "float",
        KeyValue::Timestamp(_) => "timestamp",
        KeyValue::String(_) => "string",
        KeyValue::Bytes(_) => "byte string",
        KeyValue::Tuple(_) => "tuple",
        KeyValue::Desc(_) => unreachable!("unwrapped by the caller"),
    };
    let table = markdown::table(DOCUMENT, "Tags");
    let mut wanted = BTreeSet::new();
    for row in &table.rows {
        let (up, down) = (tags(&row["tag"]), tags(&row["descending"]));
        assert_eq!((!down.end(), !down.start()), (*up.start(), *up.end()), "the complement of {}", row["tag"]);
        wanted.insert((row["component"].clone(), false));
        wanted.insert((row["component"].clone(), true));
    }
    for (text, bytes) in vectors() {
        let Some(first) = decode(&bytes).unwrap().into_iter().next() else { continue };
        let (value, descends) = match &first {
            KeyValue::Desc(inner) => (&**inner, true),
            value => (value, false),
        };
        let row = table.rows.iter().find(|row| row["component"] == name(value)).expect("a row for each type");
        let cell = if descends { "descending" } else { "tag" };
        assert!(tags(&row[cell]).contains(&bytes[0]), "{text}: tag {:02x}", bytes[0]);
        wanted.remove(&(row["component"].clone(), descends));
    }
    // Each direction of false is the same rule as that of true.
    wanted.retain(|(component, descends)| !(*descends && component == "false"));
    assert!(wanted.is_empty(), "no vector for {wanted:?}");
    // All other tags are refused, whatever follows.
    let known = |tag: u8| {
        table.rows.iter().any(|row| tags(&row["tag"]).contains(&tag) || tags(&row["descending"]).contains(&tag))
    };
    for tag in (0..=255).filter(|tag| !known(*tag)) {
        for behind in 0..=255 {
            let mut key = vec![tag];
            key.extend([behind; 20]);
            assert!(decode(&key).is_err(), "tag {tag:02x} is not in the table");
        }
    }
}

#[test]
fn limits_and_names_are_those_of_the_text() {
    let says = |text: &str| DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ").contains(text);
    assert!(says("at most 1,024 bytes") && KEY_BYTES_MAX == 1024);
    assert!(says("at most 16 deep") && DEPTH_MAX == 16);
    for kind in KeyKind::ALL {
        assert!(says(&format!("`{kind}`")), "{kind}");
    }
}

#[test]
fn a_byte_00_behind_a_key_sorts_before_its_longer_companions() {
    let vectors = vectors();
    for (text, bytes) in &vectors {
        let mut bound = bytes.clone();
        bound.push(0);
        bound.extend([0xff; 8]);
        let range = prefix_range(&Key::from_bytes(bytes).unwrap());
        for (other, longer) in vectors.iter().filter(|(_, other)| other.len() > bytes.len() && other.starts_with(bytes))
        {
            assert!(bound < *longer, "{text} and {other}");
            assert!(std::ops::RangeBounds::contains(&range, &Key::from_bytes(longer).unwrap()), "{text} and {other}");
        }
    }
}
