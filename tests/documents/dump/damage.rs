//! Damaged and forged dumps.

use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::dump::LoadOptions;
use tenure::{Error, Lookup};

use crate::common::Rng;
use crate::dump::full;

/// Where frames begin.
fn frames(stream: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 16;
    while at < stream.len() {
        places.push(at);
        let length = u32::from_le_bytes(stream[at + 4..at + 8].try_into().unwrap());
        at += 12 + usize::try_from(length).unwrap();
    }
    places
}

fn stream() -> (tenure::Store, Vec<u8>) {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = full::full(&backing, 9);
    let stream = full::dump(&store);
    (store, stream)
}

fn offset_of(error: &Error) -> u64 {
    match error {
        Error::Corrupt(damage) => damage.offset,
        other => panic!("not damage: {other}"),
    }
}

#[test]
fn every_damage_is_told_with_the_offset_of_its_frame() {
    let (_store, stream) = stream();
    let places = frames(&stream);
    let check = |bytes: &[u8]| tenure::dump::check(&mut &bytes[..], "things.dump", &mut |_| {});
    check(&stream).unwrap();
    let mut rng = Rng::new(3);
    for round in 0..400 {
        let at = if round < 100 { round } else { rng.below(stream.len()) };
        let mut damaged = stream.clone();
        damaged[at] ^= 1 << rng.below(8);
        let error = check(&damaged).unwrap_err();
        let frame = places.iter().rev().find(|place| **place <= at).copied().unwrap_or_default();
        // A wrong length is reported at its own offset, or where the next frame should be.
        assert_eq!(offset_of(&error), u64::try_from(frame).unwrap(), "byte {at}: {error}");
        assert!(error.to_string().contains("things.dump at byte"), "{error}");
    }
    for round in 0..200 {
        let len = if round < 50 { round } else { rng.below(stream.len()) };
        let error = check(&stream[..len]).unwrap_err();
        assert!(offset_of(&error) <= u64::try_from(len).unwrap(), "{error}");
    }
    // Frames that are lost, doubled or changed for each other.
    for (first, pair) in places.windows(2).enumerate().step_by(7) {
        let (before, frame, behind) = (&stream[..pair[0]], &stream[pair[0]..pair[1]], &stream[pair[1]..]);
        offset_of(&check(&[before, behind].concat()).unwrap_err());
        offset_of(&check(&[before, frame, frame, behind].concat()).unwrap_err());
        if let Some(end) = places.get(first + 2) {
            let (next, rest) = (&stream[pair[1]..*end], &stream[*end..]);
            offset_of(&check(&[before, next, frame, rest].concat()).unwrap_err());
        }
    }
    let error = check(&[&stream[..], b"x"].concat()).unwrap_err();
    assert_eq!(offset_of(&error), u64::try_from(stream.len()).unwrap());
}

#[test]
fn what_stands_before_the_damage_is_loaded_where_that_is_wanted() {
    let (store, stream) = stream();
    let mut rng = Rng::new(4);
    let places = frames(&stream);
    // Behind sets and indexes.
    let first = places.iter().find(|at| stream[**at] == 4).copied().unwrap();
    for round in 0..20 {
        let at = first + rng.below(stream.len() - first);
        let mut damaged = stream.clone();
        damaged[at] ^= 0x40;
        let (_, refused) = full::load(&damaged, &LoadOptions::new());
        assert!(refused.unwrap_err().is_corruption());
        let (to, report) = full::load(&damaged, &LoadOptions::new().until_damage(true));
        let report = report.unwrap();
        assert!(report.damage.is_some(), "round {round}");
        full::assert_verified(&to);
        let loaded = full::options().open_backing(Arc::clone(&to)).unwrap();
        full::with_extractors(&loaded);
        let mut there = 0;
        let (view, whole) = (loaded.view(), store.view());
        for set in loaded.record_sets() {
            for record in view.scan(&set) {
                let record = record.unwrap();
                let same = whole.get(record.id()).unwrap();
                assert_eq!((same.seq(), same.to_vec().unwrap()), (record.seq(), record.to_vec().unwrap()));
                there += 1;
            }
        }
        assert_eq!(there, report.dump.records, "round {round}");
        // An unknown ID is never allocated.
        for set in loaded.record_sets() {
            for number in 0..600 {
                let value = format!("{{\"name\":\"new {number}\"}}");
                let id = loaded.write(|tx| tx.insert(&set, &value)).unwrap();
                assert!(matches!(store.lookup(id).unwrap(), Lookup::NeverAllocated), "{id} was given before");
            }
        }
        loaded.close().unwrap();
        full::assert_verified(&to);
    }
}

#[test]
fn a_dump_of_a_later_version_is_refused_and_not_called_damaged() {
    let (_store, mut stream) = stream();
    stream[8] = 2;
    let check = crc32fast::hash(&stream[..12]);
    stream[12..16].copy_from_slice(&check.to_le_bytes());
    let error = tenure::dump::check(&mut &stream[..], "d", &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("dump version 2"), "{error}");
}

/// Mends the checks of a stream whose payloads were changed.
fn sealed(mut stream: Vec<u8>) -> Vec<u8> {
    let mut before = crc32fast::hash(&stream[..12]);
    for at in frames(&stream) {
        let length = usize::try_from(u32::from_le_bytes(stream[at + 4..at + 8].try_into().unwrap())).unwrap();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&before.to_le_bytes());
        hasher.update(&u64::try_from(at).unwrap().to_le_bytes());
        hasher.update(&stream[at..at + 8]);
        hasher.update(&stream[at + 12..at + 12 + length]);
        before = hasher.finalize();
        stream[at + 8..at + 12].copy_from_slice(&before.to_le_bytes());
    }
    stream
}

#[test]
fn forged_payloads_never_panic_and_a_load_of_them_is_a_store_or_nothing() {
    let store = tenure::Store::in_memory().unwrap();
    let set = store.record_set("things").unwrap();
    full::with_extractors(&store);
    let ids = store
        .write(|tx| (0..80).map(|number| tx.insert(&set, format!("value {number}"))).collect::<Result<Vec<_>, _>>())
        .unwrap();
    store.write(|tx| ids.iter().step_by(3).try_for_each(|id| tx.delete(*id))).unwrap();
    store.write(|tx| tx.insert(&set, vec![3; 70_000])).unwrap();
    let stream = full::dump(&store);
    assert_eq!(sealed(stream.clone()), stream);
    let (mut rng, mut loaded) = (Rng::new(8), 0);
    let places = frames(&stream);
    for _ in 0..1500 {
        let mut forged = stream.clone();
        let at = places[rng.below(places.len())] + 12;
        let end = places.iter().find(|place| **place > at).copied().unwrap_or(stream.len());
        for _ in 0..=rng.below(3) {
            let byte = at + rng.below((end - at).min(64));
            // What claims a high page takes room for the directory of all pages below it.
            let is_high = matches!(byte - at, 3..8 | 55..60) && matches!(stream[at - 12], 1 | 4);
            if byte < end && !is_high {
                forged[byte] = u8::try_from(rng.below(256)).unwrap();
            }
        }
        let (to, result) = full::load(&sealed(forged), &LoadOptions::new());
        match result {
            Ok(_) => {
                full::assert_verified(&to);
                loaded += 1;
            }
            Err(Error::Corrupt(_) | Error::Unsupported { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(loaded > 10, "only {loaded} forged dumps were loaded");
}
