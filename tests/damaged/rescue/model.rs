//! A store with every feature, and its expected content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::extract::Extractor;
use tenure::{Durability, Options, RecordId, Store};

use crate::common;
use crate::common::Rng;

pub type Files = BTreeMap<String, Vec<u8>>;

/// A record as it has to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub set: String,
    pub seq: u64,
    pub bytes: Vec<u8>,
}

/// A store and its content.
#[derive(Debug, Clone)]
pub struct Model {
    pub files: Files,
    pub live: BTreeMap<RecordId, Expected>,
    pub dead: BTreeSet<RecordId>,
    /// The commits that deleted them.
    pub deaths: BTreeMap<RecordId, u64>,
    /// Every version that ever was, by its commit.
    pub versions: BTreeMap<(RecordId, u64), Vec<u8>>,
    pub last_seq: u64,
}

pub fn options() -> Options {
    Options::new().background(false).collector(false).segment_bytes(64 << 10).durability(Durability::Sync)
}

/// The length of a value is its key.
pub fn by_length() -> Extractor {
    Extractor::new("length", 1, |record, keys| keys.push(&i64::try_from(record.len()).unwrap_or_default()))
}

/// All of a value up to its first 40 bytes is its key.
pub fn by_value() -> Extractor {
    Extractor::new("value", 1, |record, keys| keys.push(&record[..record.len().min(40)]))
}

/// How a store is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Closed,
    /// With a tail after the last snapshot.
    Killed,
}

/// A store with two sets, two indexes, replaced and deleted records, reused slots, a large value, survivors of a collection,
/// snapshots, and the log of an earlier recovery.
pub fn build(seed: u64, left: Left) -> Model {
    let mut rng = Rng::new(seed);
    let mut backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let mut model = Model {
        files: Files::new(),
        live: BTreeMap::new(),
        dead: BTreeSet::new(),
        deaths: BTreeMap::new(),
        versions: BTreeMap::new(),
        last_seq: 0,
    };
    for round in 0..4 {
        let store = options().open_backing(Arc::clone(&backing)).expect("opens");
        let sets = ["a", "b"].map(|name| store.record_set(name).expect("a set"));
        store.index(&sets[0], "length", by_length()).expect("an index");
        store.unique_index(&sets[1], "value", by_value()).expect("an index");
        for number in 0..60 {
            change(&store, &mut model, &mut rng, round, number);
        }
        if round == 0 {
            let bytes = rng.bytes(200_000);
            let set = sets[0].clone();
            let id = store.write(|tx| tx.insert(&set, &bytes)).expect("inserts");
            note(&store, &mut model, id, "a", bytes);
        }
        store.mark(&format!("mark {round}")).expect("marks");
        match round {
            0 => store.collect(None).map(drop).expect("collects"),
            1 => {
                store.save_snapshot().expect("saves");
                change(&store, &mut model, &mut rng, round, 61);
            }
            2 => store.save_named_snapshot("named").map(drop).expect("saves"),
            _ => {}
        }
        if round == 1 || (round == 3 && left == Left::Killed) {
            // As if the process were killed.
            backing = common::memory_of(&common::read_backing(&*backing));
            model.last_seq = store.last_seq().0;
        } else {
            model.last_seq = store.last_seq().0;
            store.close().expect("closes");
        }
    }
    model.files = common::read_backing(&*backing);
    model.files.remove("lock");
    model
}

fn note(store: &Store, model: &mut Model, id: RecordId, set: &str, bytes: Vec<u8>) {
    let seq = store.get(id).expect("live").seq().0;
    model.versions.insert((id, seq), bytes.clone());
    model.live.insert(id, Expected { set: set.to_owned(), seq, bytes });
}

fn change(store: &Store, model: &mut Model, rng: &mut Rng, round: usize, number: usize) {
    let sets = ["a", "b"].map(|name| store.record_set(name).expect("a set"));
    let mut bytes = format!("{round} {number} ").into_bytes();
    let len = rng.below(120);
    bytes.extend(rng.bytes(len));
    let ids: Vec<RecordId> = model.live.keys().copied().collect();
    if ids.len() < 20 || rng.one_in(2) {
        let set = &sets[number % 2];
        let id = store.write(|tx| tx.insert(set, &bytes)).expect("inserts");
        note(store, model, id, ["a", "b"][number % 2], bytes);
        return;
    }
    let id = ids[rng.below(ids.len())];
    if rng.one_in(3) {
        store.write(|tx| tx.delete(id)).expect("deletes");
        model.live.remove(&id);
        model.dead.insert(id);
        model.deaths.insert(id, store.last_seq().0);
    } else {
        store.write(|tx| tx.update(id, &bytes)).expect("updates");
        let set = model.live[&id].set.clone();
        note(store, model, id, &set, bytes);
    }
}
