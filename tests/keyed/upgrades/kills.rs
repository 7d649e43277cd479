//! Indexes are upgraded, rebuilt and downgraded beside four writers and four readers, and some rounds end with a kill.
//!
//! `TENURE_UPGRADES` sets the total number of upgrades, a quarter of which are killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tenure::backing::FaultBacking;
use tenure::extract::Extractor;
use tenure::{Error, Index, Options, RecordId, RecordSet, Store, View};

const NAMES: u64 = 200;

/// Keys of all versions differ, and mean the same: no two records may have the same name.
fn name(version: u32) -> Extractor {
    Extractor::new("name", version, move |record, keys| {
        let name = String::from_utf8_lossy(record).into_owned();
        keys.push(&(name.split(' ').next().unwrap_or_default(), version));
    })
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A name leads to one record at every moment, and each record is found, whatever the version in this view is.
fn check(view: &View, index: &Index, names: &RecordSet) -> u64 {
    let entries: Vec<_> = index.all(view).expect("the index is there").map(|entry| entry.expect("whole")).collect();
    let mut held: BTreeMap<String, RecordId> = BTreeMap::new();
    for record in view.scan(names) {
        let record = record.unwrap();
        let text = String::from_utf8_lossy(record.as_slice().unwrap()).into_owned();
        let name = text.split(' ').next().unwrap().to_owned();
        assert_eq!(held.insert(name.clone(), record.id()), None, "two records are named {name}");
    }
    assert_eq!(entries.len(), held.len());
    let of_index: Vec<RecordId> = entries.iter().map(|entry| entry.id).collect();
    let of_records: Vec<RecordId> = held.values().copied().collect();
    assert_eq!(of_index, of_records, "by names");
    held.len() as u64
}

fn write(store: &Store, names: &RecordSet, state: &mut u64) -> Result<(), Error> {
    let (name, choice, with) = (format!("n{:03}", random(state) % NAMES), random(state) % 4, random(state));
    let page = random(state) % NAMES;
    let done = store.write(|tx| match choice {
        0 | 1 => tx.insert(names, format!("{name} {with}")).map(drop),
        _ => {
            // Some record, as of this view.
            let view = store.view();
            let Some(id) = view.scan(names).nth(page as usize).transpose()?.map(|record| record.id()) else {
                return Ok(());
            };
            if choice == 2 { tx.update(id, format!("{name} {with}")) } else { tx.delete(id) }
        }
    });
    match done {
        Err(Error::UniqueViolation { .. } | Error::Deleted { .. } | Error::Conflict { .. }) => Ok(()),
        other => other,
    }
}

#[test]
fn upgrades_beside_writers_and_readers_keep_the_constraint_and_are_never_missed() {
    let rounds: u32 = std::env::var("TENURE_UPGRADES").map_or(12, |text| text.parse().unwrap());
    let options = Options::new();
    let mut backing = Arc::new(FaultBacking::new());
    let (mut version, mut upgrades, mut kills, mut seed) = (1, 0, 0, 0x9e37_79b9_7f4a_7c15_u64);
    let looks = AtomicU64::new(0);
    while upgrades < rounds {
        let store = options.open_backing(backing.clone()).unwrap();
        let names = store.record_set("names").unwrap();
        // A kill leaves the previous version, or the next one.
        let there = store.indexes(&names).first().map_or(version, |info| info.version);
        assert!(there == version || there + 1 == version, "{there} of {version}");
        version = there;
        let first = store.unique_index(&names, "name", name(version)).unwrap();
        let stop = AtomicBool::new(false);
        let image = std::thread::scope(|scope| {
            for thread in 1..=4_u64 {
                let (store, names, stop) = (&store, &names, &stop);
                let mut state = seed.wrapping_mul(2 * thread + 1) | 1;
                scope.spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        write(store, names, &mut state).unwrap();
                    }
                });
            }
            for _ in 0..4 {
                let (store, names, first, stop, looks) = (&store, &names, &first, &stop, &looks);
                scope.spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        let found = store.find_index(names, "name").expect("found by name");
                        let view = store.view();
                        let held = check(&view, first, names);
                        assert_eq!(found.len(&view).expect("the index is there"), held);
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut image = None;
            for _ in 0..8 {
                upgrades += 1;
                let is_rebuilt = upgrades.is_multiple_of(3);
                version += u32::from(!is_rebuilt);
                let (store, names, next) = (&store, &names, name(version));
                let upgrade = scope.spawn(move || match store.find_index(names, "name") {
                    Some(index) if is_rebuilt => store.rebuild_index(&index).unwrap(),
                    _ => store.unique_index(names, "name", next).unwrap(),
                });
                if random(&mut seed).is_multiple_of(4) {
                    // Somewhere in the middle.
                    std::thread::sleep(std::time::Duration::from_micros(random(&mut seed) % 4_000));
                    image = Some(backing.kill_image());
                }
                upgrade.join().unwrap();
                if image.is_some() || upgrades >= rounds {
                    break;
                }
            }
            stop.store(true, Ordering::Release);
            image
        });
        let index = store.find_index(&names, "name").unwrap();
        assert_eq!(store.verify_index(&index).unwrap(), Vec::<String>::new());
        check(&store.view(), &index, &names);
        kills += u32::from(image.is_some());
        drop(store);
        if let Some(image) = image {
            backing = Arc::new(image);
        }
    }
    println!("{upgrades} upgrades, {kills} kills, {} looks", looks.into_inner());
}

/// An acknowledged `drop_index` is durable, like every other change of indexes.
#[test]
fn an_index_that_was_dropped_does_not_come_back() {
    let backing = FaultBacking::new();
    let options = Options::new().background(false);
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    let set = store.record_set("people").unwrap();
    store.write(|tx| tx.insert(&set, "ada 1")).unwrap();
    let index = store.unique_index(&set, "name", name(1)).unwrap();
    store.drop_index(&index).unwrap();
    let after = options.open_backing(Arc::new(backing.crash_image_lose_all())).unwrap();
    let set = after.find_set("people").unwrap();
    assert!(after.indexes(&set).is_empty(), "{:?}", after.indexes(&set));
}

#[test]
fn an_index_that_was_made_on_an_empty_set_is_there_after_a_power_cut() {
    let backing = FaultBacking::new();
    let options = Options::new().background(false).durability(tenure::Durability::Buffered);
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    let set = store.record_set("people").unwrap();
    store.unique_index(&set, "name", name(1)).unwrap();
    let after = options.open_backing(Arc::new(backing.crash_image_lose_all())).unwrap();
    let set = after.find_set("people").unwrap();
    assert_eq!(after.indexes(&set).len(), 1);
}
