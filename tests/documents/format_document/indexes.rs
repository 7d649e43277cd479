//! Key indexes in the log and the manifest: definitions, rows of a snapshot, changes of a commit.

use tenure::format::descriptor::PageRef;
use tenure::format::index::{CHANGE_HEADER_BYTES, Change, IndexDefinition, IndexRow, changes};
use tenure::{IndexNumber, SegmentSeq, SetNumber};

use crate::format_document::{Field, check_layout, field, record_id, walk};

fn definition() -> IndexDefinition {
    IndexDefinition {
        number: IndexNumber(161),
        set: SetNumber(162),
        unique: true,
        name: "by nâme".into(),
        extractor: "json".into(),
        version: 163,
        spec: "json:/name:string".into(),
        key_type: "string".into(),
        replaces: Some(IndexNumber(160)),
    }
}

pub fn row() -> IndexRow {
    let root = PageRef { segment: SegmentSeq(164), offset_granules: 165, bytes: 166, check: 167 };
    IndexRow { definition: definition(), ready: true, root, entries: 168 }
}

/// The fields of `row` as the document has them, where it is the first row of a snapshot.
pub fn row_fields() -> Vec<Field> {
    let name = |field: &str| format!("indexes[0].{field}");
    let number = |field_name: &str, value, size| field(&name(field_name), value, size);
    let text = |field: &str, value: &str| (name(field), value.as_bytes().to_vec());
    vec![
        number("number", 161, 4),
        number("set", 162, 4),
        number("flags", 7, 1),
        number("version", 163, 4),
        text("name", "by nâme"),
        text("extractor", "json"),
        text("spec", "json:/name:string"),
        text("key_type", "string"),
        number("replaces", 160, 4),
        number("ready", 1, 1),
        number("segment", 164, 8),
        number("offset_granules", 165, 4),
        number("bytes", 166, 4),
        number("check", 167, 4),
        number("entries", 168, 8),
    ]
}

#[test]
fn a_definition_is_the_first_fields_of_a_row() {
    let (mut whole, mut bytes) = (Vec::new(), Vec::new());
    row().encode(&mut whole);
    definition().encode(&mut bytes);
    assert!(whole.starts_with(&bytes));
    let (mut rest, mut fields) = (whole.as_slice(), Vec::new());
    walk("Index row", "", &mut rest, &mut fields);
    // The document says that a definition ends with `replaces`.
    let place = fields.iter().position(|(name, _)| name == "replaces").expect("the field");
    let texts = ["name", "extractor", "spec", "key_type"];
    let length = |(name, value): &Field| value.len() + if texts.contains(&name.as_str()) { 2 } else { 0 };
    assert_eq!(fields[..=place].iter().map(length).sum::<usize>(), bytes.len());
    assert_eq!(IndexDefinition::decode(&bytes), Ok(definition()));
    // Fields that only some definitions have do not stand in the others.
    let plain = IndexDefinition { key_type: String::new(), replaces: None, unique: false, ..definition() };
    let mut short = Vec::new();
    plain.encode(&mut short);
    assert_eq!((short.len(), short[8]), (bytes.len() - 2 - "string".len() - 4, 0));
    assert_eq!(IndexDefinition::decode(&short), Ok(plain));
}

#[test]
fn flags_of_an_index_that_are_not_known_are_refused() {
    let mut bytes = Vec::new();
    definition().encode(&mut bytes);
    bytes[8] = 8;
    assert!(IndexDefinition::decode(&bytes).expect_err("refused").unsupported);
}

#[test]
fn a_change_is_as_described() {
    for (put, flag) in [(true, 0x8000_u16), (false, 0)] {
        let change = Change { put, key: b"abcde", id: record_id() };
        let mut bytes = Vec::new();
        change.encode(&mut bytes);
        let id = record_id().as_u64().to_le_bytes();
        let length = (5 | flag).to_le_bytes();
        let fields: [(&str, &[u8]); 3] = [("length", &length), ("key", b"abcde"), ("record_id", &id)];
        check_layout("Change", &bytes, &fields);
        assert_eq!((bytes.len(), bytes.len()), (CHANGE_HEADER_BYTES + 5, change.bytes()));
        let payload = [&77_u32.to_le_bytes(), bytes.as_slice(), bytes.as_slice()].concat();
        let (number, found) = changes(&payload).expect("a number");
        assert_eq!(number, IndexNumber(77));
        assert_eq!(found.collect::<Result<Vec<_>, _>>(), Ok(vec![change, change]));
    }
}
