//! Power cuts, kills and failing calls while changes of key indexes lie beside the images of their leaves.
//!
//! `TENURE_POWER_CUT_BESIDE` is the number of rounds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync as Map;
use tenure::backing::{Backing, BackingFile, BackingLock, FailFor, FaultBacking, Map as Bytes};
use tenure::extract::Extractor;
use tenure::{Durability, Error, Index, Options, RecordId, RecordSet, Store};

use crate::common::Rng;

const ROUNDS: u64 = 6;
const RECORDS: usize = 6_000;
const COMMITS: usize = 60;

/// Gives maps of the files that were there when the store was opened: only over a map are changes kept beside an image.
#[derive(Debug)]
struct Mapped(FaultBacking);

#[derive(Debug)]
struct MappedFile(Arc<dyn BackingFile>);

impl Backing for Mapped {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(Arc::new(MappedFile(self.0.open(name)?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.0.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.0.lock()
    }

    fn location(&self) -> String {
        self.0.location()
    }
}

impl BackingFile for MappedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn map(&self, _capacity: u64) -> io::Result<Option<Bytes>> {
        let mut bytes = vec![0; usize::try_from(self.0.len()?).expect("64 bits")];
        self.0.read_at(0, &mut bytes)?;
        Ok(Some(Bytes::from_bytes(bytes.into())))
    }
}

type State = Map<RecordId, Vec<u8>>;

fn options() -> Options {
    let options = Options::new().background(false).segment_bytes(256 << 10).dirty_bytes_max(1 << 20);
    options.durability(Durability::Buffered).snapshot_log_bytes(1 << 40)
}

fn open(backing: &FaultBacking) -> Result<Store, Error> {
    options().open_backing(Arc::new(Mapped(backing.clone())))
}

fn indexes(store: &Store) -> (RecordSet, [Index; 2]) {
    let set = store.record_set("records").expect("a set");
    let unique = Extractor::new("unique", 1, |record, keys| keys.push(&record[..12]));
    let plain = Extractor::new("plain", 1, |record, keys| keys.push(&record[12..]));
    let unique = store.unique_index(&set, "unique", unique).expect("an index");
    let plain = store.index(&set, "plain", plain).expect("an index");
    (set, [unique, plain])
}

/// A closed store, all of it durable, and its records.
fn base(rng: &mut Rng) -> (FaultBacking, State) {
    let backing = FaultBacking::new();
    let store = open(&backing).expect("opens");
    let (set, _) = indexes(&store);
    let values: Vec<Vec<u8>> = (0..RECORDS).map(|_| rng.bytes(24)).collect();
    let ids = store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
    store.close().expect("closes");
    (backing.crash_image_lose_all(), ids.into_iter().zip(values).collect())
}

fn change(store: &Store, set: &RecordSet, state: &State, rng: &mut Rng) -> (State, Result<(), Error>) {
    let mut next = state.clone();
    let changed = (|| {
        let mut tx = store.begin()?;
        for _ in 0..=rng.below(12) {
            let (value, from) = (rng.bytes(24), RecordId::from_parts(rng.number() % RECORDS as u64, 1).expect("an ID"));
            let there = next.range(from..).next().map(|(id, _)| *id);
            match (there, rng.below(4)) {
                (Some(id), 0) => {
                    tx.delete(id)?;
                    next.remove_mut(&id);
                }
                (Some(id), 1 | 2) => {
                    tx.update(id, &value)?;
                    next.insert_mut(id, value);
                }
                _ => next.insert_mut(tx.insert(set, &value)?, value),
            }
        }
        tx.commit().map(drop)
    })();
    (next, changed)
}

/// Which of the states a store is in, with both indexes.
fn state_of(store: &Store, states: &[State]) -> Option<usize> {
    let (set, all) = indexes(store);
    let view = store.view();
    let read = |record: Result<tenure::Record<'_>, Error>| {
        let record = record.expect("readable");
        (record.id(), record.to_vec().expect("readable"))
    };
    let found: BTreeMap<RecordId, Vec<u8>> = view.scan(&set).map(read).collect();
    for index in &all {
        assert_eq!(store.verify_index(index).expect("verifies"), Vec::<String>::new());
        assert_eq!(index.all(&view).expect("a range").count(), found.len());
    }
    let is_this = |state: &State| state.size() == found.len() && state.iter().eq(&found);
    states.iter().position(is_this)
}

fn round(seed: u64, backing: &FaultBacking, first: &State) -> bool {
    let mut rng = Rng::new(seed);
    let backing = backing.kill_image();
    let mut store = open(&backing).expect("opens");
    let (mut set, _) = indexes(&store);
    let (mut states, mut floor, mut has_lists) = (vec![first.clone()], 0, false);
    let crash_in = rng.below(COMMITS);
    for commit in 0..COMMITS {
        if commit == crash_in {
            backing.crash_at(backing.steps() + rng.number() % 60);
        }
        let (next, changed) = change(&store, &set, states.last().expect("a state"), &mut rng);
        states.push(next);
        if let Err(error) = changed {
            assert!(error.to_string().contains("power is out"), "round {seed}: {error}");
            break;
        }
        let heap = store.stats();
        has_lists |= heap.dirty_bytes < heap.dirty_nodes * 4_096;
        let is_synced = match rng.below(14) {
            0 => store.save_snapshot().is_ok(),
            1 => store.sync().is_ok(),
            2 if commit < crash_in => {
                store.close().expect("closes");
                store = open(&backing).expect("opens");
                (set, _) = indexes(&store);
                true
            }
            _ => false,
        };
        if is_synced {
            floor = states.len() - 1;
        }
        if store.stats().stopped.is_some() {
            break;
        }
    }
    drop(store);
    let mut images = vec![backing.crash_image_keep_all(), backing.crash_image_lose_all()];
    images.extend((0..3).map(|number| backing.crash_image(seed * 8 + number)));
    for (number, image) in images.iter().enumerate() {
        let what = format!("round {seed}, image {number}");
        let store = open(image).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = state_of(&store, &states).unwrap_or_else(|| panic!("{what}: a state that never was"));
        assert!(found >= floor, "{what}: state {found}, but {floor} was synced");
        // It goes on from there.
        let (set, _) = indexes(&store);
        let (next, changed) = change(&store, &set, &states[found], &mut rng);
        changed.unwrap_or_else(|error| panic!("{what}: {error}"));
        store.save_snapshot().expect("saves");
        assert_eq!(state_of(&store, &[next]), Some(0), "{what}");
    }
    has_lists
}

#[test]
fn changes_beside_images_survive_power_cuts() {
    let rounds = std::env::var("TENURE_POWER_CUT_BESIDE").map_or(ROUNDS, |text| text.parse().expect("a number"));
    let (backing, first) = base(&mut Rng::new(u64::MAX));
    let with_lists = (1..=rounds).filter(|seed| round(*seed, &backing, &first)).count();
    assert!(with_lists > 0, "no leaf was changed beside its image");
}

/// Calls fail for lack of space now and then: snapshots are abandoned, commits refused, and what lies beside images stays.
fn full(seed: u64, backing: &FaultBacking, first: &State) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let backing = backing.kill_image();
    let mut store = open(&backing).expect("opens");
    let (mut set, _) = indexes(&store);
    let (mut state, mut refused, mut abandoned) = (first.clone(), 0, 0);
    for _ in 0..COMMITS {
        let kind = if rng.one_in(3) { io::ErrorKind::Other } else { io::ErrorKind::StorageFull };
        let may_fail = rng.one_in(2);
        if may_fail {
            backing.fail_at(backing.steps() + rng.number() % 12, kind, FailFor::Once);
        }
        let mut possible = vec![state.clone()];
        let (next, changed) = change(&store, &set, &state, &mut rng);
        possible.push(next);
        refused += usize::from(changed.is_err());
        if changed.is_ok() {
            possible.remove(0);
        }
        let saved = if rng.one_in(4) { store.save_snapshot().map(drop) } else { Ok(()) };
        abandoned += usize::from(saved.is_err());
        assert!(may_fail || (changed.is_ok() && saved.is_ok()), "round {seed}: {changed:?}, {saved:?}");
        backing.heal();
        // Whether a commit that failed is there is known at the latest after the next opening.
        if store.stats().stopped.is_some() || rng.one_in(20) {
            drop(store);
            store = open(&backing).expect("opens again");
            (set, _) = indexes(&store);
        } else {
            possible.truncate(1);
        }
        let found = state_of(&store, &possible).unwrap_or_else(|| panic!("round {seed}: a state that never was"));
        state = possible.swap_remove(found);
    }
    store.close().expect("closes");
    assert_eq!(state_of(&open(&backing).expect("opens"), &[state]), Some(0), "round {seed}");
    (refused, abandoned)
}

#[test]
fn changes_beside_images_survive_calls_that_fail() {
    let rounds = std::env::var("TENURE_POWER_CUT_BESIDE").map_or(2, |text| text.parse().expect("a number"));
    let (backing, first) = base(&mut Rng::new(u64::MAX));
    let failed = (1..=rounds).map(|seed| full(seed, &backing, &first));
    let failed = failed.fold((0, 0), |sum, (refused, abandoned)| (sum.0 + refused, sum.1 + abandoned));
    assert!(failed.0 > 0 && failed.1 > 0, "{failed:?} commits and snapshots");
}
