//! The whole life of a store, compared with a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::backing::Backing;
use tenure::{Durability, Error, Options, RecordId, RecordSet, Result, Store};

use crate::common::Rng;

pub fn options() -> Options {
    Options::new().segment_bytes(64 << 10).durability(Durability::Buffered).background(false)
}

/// The content of the store.
#[derive(Debug)]
pub struct Life {
    rng: Rng,
    values: BTreeMap<RecordId, Vec<u8>>,
    gone: Vec<RecordId>,
}

impl Life {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), values: BTreeMap::new(), gone: Vec::new() }
    }

    pub fn open(backing: &Arc<dyn Backing>) -> (Store, RecordSet) {
        let store = options().open_backing(Arc::clone(backing)).expect("opens");
        let set = store.record_set("x").expect("a set");
        (store, set)
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.rng.below(20) {
            0 => 200_000,
            1..3 => 0,
            _ => 2_000,
        };
        self.rng.bytes(bytes)
    }

    fn any(&mut self) -> Option<RecordId> {
        let number = self.rng.below(self.values.len());
        self.values.keys().nth(number).copied()
    }

    /// Commits of all kinds.
    pub fn write(&mut self, store: &Store, set: &RecordSet, commits: usize) -> Result<()> {
        for _ in 0..commits {
            let value = self.value();
            match (self.rng.below(4), self.any()) {
                (0, Some(id)) => {
                    store.write(|tx| tx.delete(id))?;
                    self.values.remove(&id);
                    self.gone.push(id);
                }
                (1, Some(id)) => {
                    store.write(|tx| tx.update(id, &value))?;
                    self.values.insert(id, value);
                }
                _ => {
                    let id = store.write(|tx| tx.insert(set, &value))?;
                    self.values.insert(id, value);
                }
            }
        }
        Ok(())
    }

    /// Segments of nothing but live records, two records each.
    pub fn fill(&mut self, store: &Store, set: &RecordSet, segments: usize) -> Result<()> {
        for _ in 0..2 * segments {
            let value = self.rng.bytes(30_000);
            self.values.insert(store.write(|tx| tx.insert(set, &value))?, value);
        }
        Ok(())
    }

    /// Reads everything in every way.
    pub fn check(&self, store: &Store, set: &RecordSet) {
        let view = store.view();
        for (id, value) in &self.values {
            assert!(store.get(*id).expect("is there").to_vec().expect("reads") == *value, "{id}");
            assert!(view.get(*id).expect("is there").to_vec().expect("reads") == *value, "{id} in a view");
        }
        for id in &self.gone {
            assert!(matches!(store.get(*id), Err(Error::Deleted { .. })), "{id} was deleted");
        }
        let scanned: Vec<RecordId> = view.scan(set).map(|record| record.expect("reads").id()).collect();
        assert!(scanned.iter().eq(self.values.keys()), "{} of {} scanned", scanned.len(), self.values.len());
    }

    /// The expected content of a view taken in this state.
    pub fn now(&self) -> BTreeMap<RecordId, Vec<u8>> {
        self.values.clone()
    }
}

/// Verifies a closed store.
pub fn verify(backing: &Arc<dyn Backing>) {
    let report = tenure::verify::verify_backing(backing, &mut |_| {}).expect("verifies");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

/// Opening, writing, views over changes, collecting, closing, and opening again.
pub fn live(backing: &Arc<dyn Backing>, seed: u64, commits: usize) {
    let mut life = Life::new(seed);
    let (store, set) = Life::open(backing);
    life.write(&store, &set, commits).expect("writes");
    life.check(&store, &set);
    let (view, before) = (store.view(), life.now());
    life.write(&store, &set, commits).expect("writes");
    store.collect(None).expect("collects");
    life.check(&store, &set);
    for (id, value) in &before {
        assert!(view.get(*id).expect("is there").to_vec().expect("reads") == *value, "{id} in an old view");
    }
    drop(view);
    store.close().expect("closes");
    verify(backing);

    // A process that ends without closing, and its log replayed.
    let (store, set) = Life::open(backing);
    life.check(&store, &set);
    life.write(&store, &set, commits / 4).expect("writes");
    store.sync().expect("syncs");
    drop(store);
    let (store, set) = Life::open(backing);
    life.check(&store, &set);
    store.save_named_snapshot("kept").expect("saves");
    life.write(&store, &set, commits / 4).expect("writes");
    store.collect(None).expect("collects");
    store.drop_snapshot("kept").expect("drops");
    store.collect(None).expect("collects");
    life.check(&store, &set);
    store.close().expect("closes");
    verify(backing);
}
