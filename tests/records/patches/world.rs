//! A store with two key indexes, and what must be in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::extract::Extractor;
use tenure::key::Key;
use tenure::{Durability, Error, Index, Options, RecordId, RecordSet, Store, View};

use crate::common;
use crate::common::Rng;

/// Bytes of a key: the first of a record.
const KEY_BYTES: usize = 16;
/// Classes by which the second index sorts.
const CLASSES: u8 = 40;

pub type Model = BTreeMap<RecordId, Vec<u8>>;

pub fn options() -> Options {
    let options = Options::new().background(false).collector(false).check_pages(true);
    options.segment_bytes(256 << 10).dirty_bytes_max(1 << 20).durability(Durability::Buffered)
}

pub fn record(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.bytes(KEY_BYTES + 12);
    bytes[KEY_BYTES] %= CLASSES;
    bytes
}

pub struct World {
    pub backing: Arc<dyn Backing>,
    pub store: Store,
    pub set: RecordSet,
    pub unique: Index,
    pub classes: Index,
    pub model: Model,
}

fn handles(store: &Store) -> (RecordSet, Index, Index) {
    let set = store.record_set("things").unwrap();
    let key = Extractor::new("key", 1, |record, keys| keys.push(record.get(..KEY_BYTES).unwrap_or_default()));
    let class = Extractor::new("class", 1, |record, keys| {
        keys.push(&u64::from(record.get(KEY_BYTES).copied().unwrap_or_default()));
    });
    let unique = store.unique_index(&set, "key", key).unwrap();
    let classes = store.index(&set, "class", class).unwrap();
    (set, unique, classes)
}

impl World {
    /// With so many records.
    pub fn new(rng: &mut Rng, records: usize) -> Self {
        Self::over(Arc::new(Memory::new()), rng, records)
    }

    /// The same on a backing.
    pub fn over(backing: Arc<dyn Backing>, rng: &mut Rng, records: usize) -> Self {
        let mut world = Self::open(backing, Model::new());
        for _ in 0..records / 500 {
            world.insert(rng, 500);
        }
        world
    }

    /// Opens a store that must have these records.
    pub fn open(backing: Arc<dyn Backing>, model: Model) -> Self {
        let store = options().open_backing(Arc::clone(&backing)).unwrap();
        let (set, unique, classes) = handles(&store);
        Self { backing, store, set, unique, classes, model }
    }

    /// Another opening: after closing the store, or as if the process had been killed.
    pub fn reopened(self, closes: bool) -> Self {
        let Self { backing, store, model, .. } = self;
        let backing = if closes {
            store.close().unwrap();
            backing
        } else {
            let mut files = common::read_backing(&*backing);
            files.remove("lock");
            drop(store);
            common::memory_of(&files)
        };
        Self::open(backing, model)
    }

    pub fn insert(&mut self, rng: &mut Rng, count: usize) {
        let records: Vec<Vec<u8>> = (0..count).map(|_| record(rng)).collect();
        let ids = self.store.write(|tx| tx.insert_many(&self.set, &records)).unwrap();
        self.model.extend(ids.into_iter().zip(records));
    }

    fn any(&self, rng: &mut Rng) -> Option<RecordId> {
        let ids = self.model.keys();
        let at = rng.below(self.model.len());
        ids.copied().nth(at)
    }

    /// Changes a few records: their keys, only their payloads, or some are deleted.
    pub fn change(&mut self, rng: &mut Rng, count: usize, deletes: bool) {
        for _ in 0..count {
            let Some(id) = self.any(rng) else { return };
            if deletes && rng.one_in(3) {
                self.store.write(|tx| tx.delete(id)).unwrap();
                self.model.remove(&id);
                continue;
            }
            let mut bytes = record(rng);
            if rng.one_in(3) {
                bytes[..=KEY_BYTES].copy_from_slice(&self.model[&id][..=KEY_BYTES]);
            }
            self.store.write(|tx| tx.update(id, &bytes)).unwrap();
            self.model.insert(id, bytes);
        }
    }

    /// Compares the newest state with what must be in it, and the indexes with the records.
    pub fn check(&self, what: &str) {
        compare(&self.store.view(), self, &self.model, what);
        for index in [&self.unique, &self.classes] {
            assert_eq!(self.store.verify_index(index).unwrap(), Vec::<String>::new(), "{what}: {}", index.name());
        }
    }

    /// Reads everything, and panics at a wrong answer. Returns how many reads told damage.
    pub fn damage(&self, what: &str) -> usize {
        let (view, mut told) = (self.store.view(), 0);
        let mut tells = |error: &Error| {
            assert!(error.is_corruption(), "{what}: {error}");
            told += 1;
        };
        for (id, bytes) in &self.model {
            match view.get(*id).and_then(|record| record.to_vec()) {
                Ok(found) => assert_eq!(&found, bytes, "{what}: {id}"),
                Err(error) => tells(&error),
            }
            match self.unique.get(&view, &bytes[..KEY_BYTES]) {
                Ok(found) => assert_eq!(found, Some(*id), "{what}: the key of {id}"),
                Err(error) => tells(&error),
            }
        }
        let mut left: BTreeSet<(u8, RecordId)> = self.model.iter().map(|(id, of)| (of[KEY_BYTES], *id)).collect();
        let mut is_whole = true;
        match self.classes.all(&view) {
            Ok(entries) => {
                for entry in entries {
                    match entry {
                        Ok(entry) => {
                            let class = self.model.get(&entry.id).map(|bytes| bytes[KEY_BYTES]);
                            let class = class.unwrap_or_else(|| panic!("{what}: {} is of no record", entry.id));
                            assert_eq!(entry.key, Key::new(&u64::from(class)).unwrap(), "{what}: {}", entry.id);
                            assert!(left.remove(&(class, entry.id)), "{what}: {} twice", entry.id);
                        }
                        Err(error) => {
                            is_whole = false;
                            tells(&error);
                        }
                    }
                }
            }
            Err(error) => {
                is_whole = false;
                tells(&error);
            }
        }
        assert!(!is_whole || left.is_empty(), "{what}: {} entries are gone", left.len());
        told
    }
}

/// Compares a state with what must be in it, in every way to read.
pub fn compare(view: &View, world: &World, model: &Model, what: &str) {
    let found: Model = view
        .scan(&world.set)
        .map(|record| record.and_then(|record| Ok((record.id(), record.to_vec()?))).unwrap())
        .collect();
    assert!(&found == model, "{what}: {} records, {} expected", found.len(), model.len());
    assert_eq!(world.unique.len(view).unwrap(), u64::try_from(model.len()).unwrap(), "{what}");
    let mut by_key: Vec<(&[u8], RecordId)> = model.iter().map(|(id, bytes)| (&bytes[..KEY_BYTES], *id)).collect();
    by_key.sort_unstable();
    let entries = world.unique.all(view).unwrap().map(|entry| entry.unwrap().id);
    assert!(entries.eq(by_key.iter().map(|(_, id)| *id)), "{what}: the order of keys");
    let backwards = world.unique.all(view).unwrap().rev().map(|entry| entry.unwrap().id);
    assert!(backwards.eq(by_key.iter().rev().map(|(_, id)| *id)), "{what}: the order of keys, backwards");
    for (key, id) in by_key.iter().step_by(7) {
        assert_eq!(world.unique.get(view, *key).unwrap(), Some(*id), "{what}: a key");
        let mut other = key.to_vec();
        other[KEY_BYTES - 1] ^= 1;
        assert_eq!(world.unique.get(view, other.as_slice()).unwrap(), None, "{what}: no key");
    }
    for class in 0..CLASSES {
        let ids: Vec<RecordId> =
            model.iter().filter(|(_, bytes)| bytes[KEY_BYTES] == class).map(|(id, _)| *id).collect();
        let key = u64::from(class);
        let found: Vec<RecordId> = world.classes.find(view, &key).unwrap().map(|entry| entry.unwrap().id).collect();
        assert_eq!(found, ids, "{what}: class {class}");
        assert_eq!(world.classes.count(view, key..=key).unwrap(), u64::try_from(ids.len()).unwrap(), "{what}");
    }
}
