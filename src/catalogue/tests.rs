//! What fits into the catalogue, and what a name leads to.

use std::sync::Arc;

use crate::catalogue::consumers::consumer_bytes;
use crate::catalogue::indexes::index_bytes;
use crate::catalogue::marks::mark_bytes;
use crate::catalogue::room::CATALOGUE_BYTES_MAX;
use crate::catalogue::sets::set_bytes;
use crate::catalogue::streams::{CHUNK_ROW_BYTES, STREAM_BYTES};
use crate::catalogue::{Added, Catalogue};
use crate::error::Error;
use crate::format::index::IndexDefinition;
use crate::id::{IndexNumber, RecordId, Seq, SetNumber, to_u64};

fn names(bytes: u64) -> Catalogue {
    Catalogue { bytes, ..Catalogue::default() }
}

fn rows(catalogue: &Catalogue) -> u64 {
    let sets: u64 = catalogue.sets.values().map(|set| set_bytes(&set.name)).sum();
    let marks: u64 = catalogue.marks().map(|(name, _)| mark_bytes(name)).sum();
    let indexes: u64 = catalogue.indexes().map(|index| index_bytes(&index.definition)).sum();
    let chunks = |stream| STREAM_BYTES + CHUNK_ROW_BYTES * to_u64(catalogue.chunks(stream).count());
    let consumers: u64 = catalogue.consumers().map(|(name, _)| consumer_bytes(name)).sum();
    sets + marks + consumers + indexes + catalogue.streams().map(chunks).sum::<u64>()
}

#[test]
fn what_no_snapshot_can_hold_is_refused_and_there_is_a_way_out() {
    let room = |catalogue: &Catalogue, name| catalogue.check_room([Added::Mark(name)].into_iter());
    let needed = mark_bytes("mark");
    room(&names(CATALOGUE_BYTES_MAX - needed - 1), "mark").unwrap();
    room(&names(CATALOGUE_BYTES_MAX - needed), "mark").unwrap();
    let mut full = names(CATALOGUE_BYTES_MAX - needed + 1);
    let error = room(&full, "mark").unwrap_err();
    assert!(matches!(error, Error::Exhausted { what: "room in the catalogue", .. }), "{error}");
    assert!(error.advice().contains("drop key indexes"), "{}", error.advice());
    // Dropping an index frees room, and setting an existing mark moves it.
    let definition = Arc::new(IndexDefinition {
        number: IndexNumber(1),
        set: SetNumber(16),
        unique: false,
        name: "index".to_owned(),
        extractor: "code".to_owned(),
        version: 1,
        spec: String::new(),
        key_type: String::new(),
        replaces: None,
    });
    full.bytes -= 2 * index_bytes(&definition);
    full.create_index(&definition, true);
    full.mark("mark", Seq(1));
    full.bytes = CATALOGUE_BYTES_MAX;
    room(&full, "mark").unwrap();
    room(&full, "other").unwrap_err();
    full.drop_index(IndexNumber(1));
    room(&full, "other").unwrap();
}

#[test]
fn a_name_leads_to_the_set_that_has_it_and_a_copy_stays_as_it_was() {
    let found = |catalogue: &Catalogue, name| catalogue.find(name).map(|(number, _)| number.0);
    let mut catalogue = Catalogue::default();
    catalogue.create(SetNumber(16), "a");
    catalogue.create(SetNumber(17), "b");
    let before = catalogue.clone();
    catalogue.rename_set(SetNumber(17), "c");
    // As when a set is cleared, and the other way round.
    catalogue.create(SetNumber(18), "a");
    assert_eq!(found(&catalogue, "a"), Some(16));
    catalogue.drop_set(SetNumber(16));
    assert_eq!(found(&catalogue, "a"), Some(18));
    catalogue.drop_set(SetNumber(17));
    catalogue.rename_set(SetNumber(17), "d");
    catalogue.count(SetNumber(18), 3, 30, Seq(7));
    catalogue.end_set(SetNumber(16));
    let all = ["", "a", "b", "c", "d"].map(|name| found(&catalogue, name));
    assert_eq!(all, [None, Some(18), None, None, None]);
    assert_eq!((found(&before, "a"), found(&before, "b")), (Some(16), Some(17)));
    assert_eq!(catalogue.set(SetNumber(18)).map(|set| (set.records, set.changed)), Some((3, Seq(7))));
    assert_eq!(before.numbers().count(), 3, "with the hidden one");
}

#[test]
fn the_bytes_are_those_of_the_rows() {
    let mut catalogue = Catalogue::default();
    let id = |slot| RecordId::from_parts(slot, 1).unwrap();
    for number in 16..40 {
        catalogue.create(SetNumber(number), &format!("set {number}"));
        catalogue.mark(&format!("mark {}", number % 7), Seq(number.into()));
        (0..5000).for_each(|slot| catalogue.stream(u64::from(number % 5), id(slot)));
        if number % 3 == 0 {
            catalogue.end_stream(u64::from(number % 5));
        }
        assert_eq!(catalogue.bytes, rows(&catalogue));
    }
    assert_eq!(catalogue.oldest_mark_from(Seq(0)), Some(Seq(33)));
    assert_eq!(catalogue.oldest_mark_from(Seq(36)), Some(Seq(36)));
    assert_eq!(catalogue.oldest_mark_from(Seq(40)), None);
}
