//! Compares `docs/dump-format.md` with the bytes written.

use crate::dump::full;
use crate::markdown;
use crate::markdown::Table;

const DOCUMENT: &str = include_str!("../../../docs/dump-format.md");

fn table(tables: &[Table], heading: &str) -> Table {
    tables.iter().find(|table| table.heading == heading).unwrap_or_else(|| panic!("no table {heading:?}")).clone()
}

/// Kind, length and payload of each frame.
fn frames(stream: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut all, mut at) = (Vec::new(), 16);
    while at < stream.len() {
        let length = usize::try_from(u32::from_le_bytes(stream[at + 4..at + 8].try_into().unwrap())).unwrap();
        all.push((stream[at], &stream[at + 12..at + 12 + length]));
        at += 12 + length;
    }
    all
}

/// The fixed part of a payload as the table of a heading has it: offsets are those of what stands before them.
fn fixed_bytes(table: &Table) -> usize {
    let mut next = 0;
    for row in &table.rows {
        assert_eq!(row["offset"].parse::<usize>().unwrap(), next, "{row:?}");
        next += if row["size"].is_empty() { 0 } else { row["size"].parse().unwrap() };
    }
    next
}

#[test]
fn the_tables_are_those_of_the_stream() {
    let tables = markdown::tables(DOCUMENT);
    let kinds = table(&tables, "Frame kinds");
    let numbers: Vec<&str> = kinds.cells("kind");
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let store = tenure::Store::in_memory().unwrap();
    let set = store.record_set("things").unwrap();
    full::with_extractors(&store);
    let id = store.write(|tx| tx.insert(&set, "a record")).unwrap();
    let large = store.write(|tx| tx.insert(&set, vec![1; 70_000])).unwrap();
    let stream = full::dump(&store);
    assert_eq!(stream[..8], *b"\x89TDMP\r\n\x1a");
    assert!(DOCUMENT.contains("89 54 44 4d 50 0d 0a 1a") && DOCUMENT.contains("# Dump format, version 1"));
    assert_eq!(stream[8..12], 1_u32.to_le_bytes());
    assert_eq!(stream[12..16], crc32fast::hash(&stream[..12]).to_le_bytes());
    let frames = frames(&stream);
    let of = |kind: u8| frames.iter().find(|(other, _)| *other == kind).map(|(_, payload)| *payload).unwrap();
    let mut names: Vec<u8> = frames.iter().map(|(kind, _)| *kind).collect();
    names.dedup();
    assert_eq!(names, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let text = |payload: &[u8], at: usize| {
        let len = usize::from(u16::from_le_bytes(payload[at..at + 2].try_into().unwrap()));
        String::from_utf8(payload[at + 2..at + 2 + len].to_vec()).unwrap()
    };
    assert!(text(of(1), fixed_bytes(&table(&tables, "Header"))).starts_with("tenure "));
    assert_eq!(text(of(2), fixed_bytes(&table(&tables, "Set"))), "things");
    assert_eq!(text(of(3), fixed_bytes(&table(&tables, "Index"))), "by head");
    assert_eq!(of(9).len(), fixed_bytes(&table(&tables, "End")));
    // The run of all slots but two.
    let runs = fixed_bytes(&table(&tables, "Slots"));
    assert_eq!(of(4)[runs..], [&2_u16.to_le_bytes()[..], &510_u16.to_le_bytes(), &1_u32.to_le_bytes()].concat());
    let record = [&id.as_u64().to_le_bytes()[..], &store.get(id).unwrap().seq().0.to_le_bytes(), &8_u32.to_le_bytes()];
    assert_eq!(of(5), [record.concat(), b"a record".to_vec()].concat());
    assert_eq!(of(6)[..8], large.as_u64().to_le_bytes());
    assert_eq!(of(6)[16..], 70_000_u64.to_le_bytes());
    assert_eq!(of(7).len(), 70_000);
}
