//! What others commit between the application of a large commit ahead of its turn and that turn, compared with a map.

mod meanwhile;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::{check_sizes, page_bytes};
use crate::backing::{Backing, Memory};
use crate::engine::MEANWHILE;
use crate::error::Error;
use crate::extract::Extractor;
use crate::id::{RecordId, to_u64};
use crate::options::Options;
use crate::store::Store;
use crate::txn::{Durability, Index, RecordSet};

type Model = BTreeMap<RecordId, Vec<u8>>;

/// Records of a large commit that are inserted, updated and deleted.
const INSERTS: usize = 3_000;
const UPDATES: usize = 1_500;
const DELETES: usize = 400;

#[derive(Clone)]
struct Opened {
    store: Store,
    set: RecordSet,
    by_key: Index,
    by_number: Index,
}

fn open(memory: &Arc<dyn Backing>) -> Opened {
    let options = Options::new().background(false).segment_bytes(64 << 10).durability(Durability::Buffered);
    let store = options.open_backing(Arc::clone(memory)).unwrap();
    let set = store.record_set("a").unwrap();
    let by_key = store.index(&set, "key", Extractor::new("key", 1, |record, keys| keys.push(&record[..8]))).unwrap();
    let number = Extractor::new("number", 1, |record, keys| keys.push(&record[8..16]));
    let by_number = store.unique_index(&set, "number", number).unwrap();
    Opened { store, set, by_key, by_number }
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// A key that others may have, a number that no other has, and a payload.
    fn record(&mut self, unique: &mut u64) -> Vec<u8> {
        *unique += 1;
        let (key, len) = (to_u64(self.below(5_000)).wrapping_mul(0x9e37_79b9_7f4a_7c15), 16 + self.below(60));
        let mut record = [key.to_be_bytes(), unique.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()].concat();
        record.resize(len, 7);
        record
    }

    fn some(&mut self, model: &Model, count: usize) -> Vec<RecordId> {
        let mut all: Vec<RecordId> = model.keys().copied().collect();
        (0..count.min(all.len())).map(|_| all.swap_remove(self.below(all.len()))).collect()
    }
}

impl Opened {
    /// Small commits of each kind. They leave some records alone.
    fn commit_small(&self, model: &mut Model, alone: &Model, numbers: &mut Numbers, unique: &mut u64) {
        for _ in 0..=numbers.below(40) {
            let record = numbers.record(unique);
            let others: Model =
                model.iter().filter(|(id, _)| !alone.contains_key(id)).map(|(id, _)| (*id, vec![])).collect();
            let some = numbers.some(&others, 1);
            match (numbers.below(3), some.first()) {
                (0, Some(id)) => {
                    self.store.write(|tx| tx.update(*id, &record)).unwrap();
                    model.insert(*id, record);
                }
                (1, Some(id)) => {
                    self.store.write(|tx| tx.delete(*id)).unwrap();
                    model.remove(id);
                }
                _ => drop(model.insert(self.store.write(|tx| tx.insert(&self.set, &record)).unwrap(), record)),
            }
        }
    }

    fn compare(&self, model: &Model) {
        let view = self.store.view();
        for (id, value) in model {
            assert_eq!(&*view.get(*id).unwrap().bytes().unwrap(), value.as_slice(), "{id}");
        }
        assert_eq!(view.len(&self.set), to_u64(model.len()));
        for index in [&self.by_key, &self.by_number] {
            assert_eq!(index.len(&view).unwrap(), to_u64(model.len()));
            let report = self.store.verify_index(index).unwrap();
            assert!(report.is_empty(), "{report:?}");
        }
        check_sizes(&self.store);
    }
}

/// Rounds of a large commit with small ones in between; sometimes one of them contradicts it.
fn rounds(seed: u64, count: usize) -> (usize, usize) {
    let memory: Arc<dyn Backing> = Arc::new(Memory::new());
    let mut opened = open(&memory);
    let (mut model, mut numbers, mut unique) = (Model::new(), Numbers(seed), 0);
    let (mut ahead, mut conflicts) = (0, 0);
    for round in 0..count {
        let mut tx = opened.store.begin().unwrap();
        let records: Vec<Vec<u8>> = (0..INSERTS).map(|_| numbers.record(&mut unique)).collect();
        let ids = tx.insert_many(&opened.set, &records).unwrap();
        let mut touched: Model = ids.into_iter().zip(records).collect();
        let old = numbers.some(&model, UPDATES + DELETES);
        let (updated, deleted) = old.split_at(old.len().min(UPDATES));
        for id in updated {
            let record = numbers.record(&mut unique);
            tx.update(*id, &record).unwrap();
            touched.insert(*id, record);
        }
        for id in deleted {
            tx.delete(*id).unwrap();
            touched.insert(*id, Vec::new());
        }
        let contradicts = updated.first().copied().filter(|_| numbers.below(4) == 0);
        let shared = Rc::new(RefCell::new((model, numbers, unique, 0)));
        let (others, within, alone) = (opened.clone(), Rc::clone(&shared), touched.clone());
        MEANWHILE.set(Some(Box::new(move || {
            let (model, numbers, unique, times) = &mut *within.borrow_mut();
            *times += 1;
            let view = others.store.view();
            let len = view.len(&others.set);
            others.commit_small(model, &alone, numbers, unique);
            if let Some(id) = contradicts {
                let record = numbers.record(unique);
                others.store.write(|tx| tx.update(id, &record)).unwrap();
                model.insert(id, record);
            }
            others.compare(model);
            assert_eq!(view.len(&others.set), len);
        })));
        let result = tx.commit();
        MEANWHILE.set(None);
        let times;
        (model, numbers, unique, times) = Rc::into_inner(shared).unwrap().into_inner();
        ahead += times;
        match result {
            Ok(_) => {
                assert!(contradicts.is_none(), "a conflict");
                model.extend(touched);
                for id in deleted {
                    model.remove(id);
                }
            }
            Err(Error::Conflict(_)) if contradicts.is_some() => conflicts += 1,
            Err(error) => panic!("{error}"),
        }
        opened.compare(&model);
        opened.commit_small(&mut model, &Model::new(), &mut numbers, &mut unique);
        if round % 3 == 1 {
            opened.store.save_snapshot().unwrap();
            let (referred, live) = page_bytes(&opened.store);
            // Those of key indexes are live too.
            assert!(referred <= live, "round {round}");
        }
        if round % 4 == 3 {
            opened.store.collect(None).unwrap();
        }
        opened.compare(&model);
        if round % 5 == 4 {
            // As a killed process leaves it.
            drop(opened);
            opened = open(&memory);
            opened.compare(&model);
        }
    }
    (ahead, conflicts)
}

#[test]
fn nothing_that_others_commit_meanwhile_is_lost_and_a_conflict_leaves_nothing() {
    let (ahead, conflicts) = (0..2).map(|seed| rounds(seed, 8)).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    assert!(ahead >= 14 && conflicts > 0, "{ahead} times ahead, {conflicts} conflicts");
}

#[cfg(feature = "planted")]
#[test]
fn pages_that_others_changed_are_missed_if_they_are_replaced() {
    use crate::planted::{Fault, plant};
    plant(Some(Fault::ChangedPagesAreReplaced));
    let found = std::panic::catch_unwind(|| rounds(0, 4));
    plant(None);
    MEANWHILE.set(None);
    assert!(found.is_err(), "the comparison must find it");
}
