//! Transactions compared with a model of their state: every statement returns what the model predicts, uniqueness
//! included.
//!
//! Owns: the model, a map of records; its savepoints are copies of it. Other transactions commit meanwhile and stay
//! invisible.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use tenure::extract::Extractor;
use tenure::{Error, Index, Isolation, RecordId, RecordSet, Savepoint, Store, Transaction, Upserted};

use crate::common::Rng;

type Records = BTreeMap<RecordId, Vec<u8>>;

/// Keys that there are: few, so that they are often taken.
const KEYS: usize = 12;

/// Each byte of a record is a unique key; the first one, halved, is a key of an index that is not unique.
struct World {
    store: Store,
    set: RecordSet,
    target: RecordSet,
    byte: Index,
    half: Index,
}

fn world() -> World {
    let store = Store::in_memory().unwrap();
    let (set, target) = (store.record_set("a").unwrap(), store.record_set("b").unwrap());
    let bytes = Extractor::new("bytes", 1, |record, keys| record.iter().for_each(|byte| keys.push(byte)));
    let half = Extractor::new("half", 1, |record, keys| record.iter().take(1).for_each(|byte| keys.push(&(byte / 2))));
    let (byte, half) = (store.unique_index(&set, "byte", bytes).unwrap(), store.index(&set, "half", half).unwrap());
    World { store, set, target, byte, half }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    (0..rng.below(4)).map(|_| u8::try_from(rng.below(KEYS)).unwrap()).collect()
}

/// A record other than `id` that has one of the keys.
fn holder(records: &Records, id: Option<RecordId>, value: &[u8]) -> Option<RecordId> {
    let others = records.iter().filter(|(other, _)| Some(**other) != id);
    others.filter(|(_, held)| held.iter().any(|byte| value.contains(byte))).map(|(id, _)| *id).next()
}

fn is_unique(records: &Records) -> bool {
    records.iter().all(|(id, value)| holder(records, Some(*id), value).is_none())
}

fn of_key(records: &Records, byte: u8) -> Option<RecordId> {
    records.iter().find(|(_, value)| value.contains(&byte)).map(|(id, _)| *id)
}

/// A transaction, and the state that it must see.
struct Run<'w> {
    world: &'w World,
    tx: Transaction,
    records: Records,
    points: Vec<(Savepoint, Records)>,
}

impl Run<'_> {
    fn some(&self, rng: &mut Rng) -> Option<RecordId> {
        self.records.keys().nth(rng.below(self.records.len())).copied()
    }

    /// Whether a statement that gives records their values was refused, as it has to be.
    fn expect<T: std::fmt::Debug>(&self, result: Result<T, Error>, taken: bool) -> Option<T> {
        match result {
            Ok(done) if !taken => Some(done),
            Err(Error::UniqueViolation { key, id, .. }) if taken => {
                let byte = |value: &Vec<u8>| value.iter().any(|byte| tenure::key::Key::new(byte).unwrap() == key);
                assert!(self.records.get(&id).is_some_and(byte), "{id} does not have {key}");
                None
            }
            other => panic!("taken: {taken}, got {other:?}, records {:?}", self.records),
        }
    }

    fn write(&mut self, rng: &mut Rng) {
        let (value, some) = (value(rng), self.some(rng));
        let World { store, set, byte, half, .. } = self.world;
        match (rng.below(9), some) {
            (0, _) | (_, None) => {
                let taken = holder(&self.records, None, &value).is_some();
                let result = self.tx.insert(set, &value);
                if let Some(id) = self.expect(result, taken) {
                    self.records.insert(id, value);
                }
            }
            (1, Some(id)) => {
                let taken = holder(&self.records, Some(id), &value).is_some();
                let result = self.tx.update_with(id, |_| value.clone());
                if self.expect(result, taken).is_some() {
                    self.records.insert(id, value);
                }
            }
            (2, Some(id)) => {
                self.tx.delete(id).unwrap();
                self.records.remove(&id);
            }
            (3, Some(id)) => {
                let staged = store.stage(&value[..]).unwrap();
                let taken = holder(&self.records, Some(id), &value).is_some();
                let result = self.tx.update_staged(id, &staged);
                if self.expect(result, taken).is_some() {
                    self.records.insert(id, value);
                }
            }
            (4, Some(_)) => self.update_many(rng),
            (5 | 6, Some(_)) => {
                let found = value.iter().find_map(|byte| of_key(&self.records, *byte));
                let replaces = rng.one_in(2);
                let taken = replaces && found.is_some() && holder(&self.records, found, &value).is_some();
                let result = if replaces { self.tx.upsert(byte, &value) } else { self.tx.insert_or_get(byte, &value) };
                let Some(upserted) = self.expect(result, taken) else { return };
                assert_eq!(found.map_or(Upserted::Inserted(upserted.id()), Upserted::Existing), upserted);
                if replaces || found.is_none() {
                    self.records.insert(upserted.id(), value);
                }
            }
            (7, Some(_)) => {
                let from = u8::try_from(rng.below(KEYS / 2)).unwrap();
                let is_in = |value: &Vec<u8>| value.first().is_some_and(|byte| (from..from + 2).contains(&(byte / 2)));
                let before = self.records.len();
                self.records.retain(|_, value| !is_in(value));
                let deleted = self.tx.delete_range(half, from..from + 2).unwrap();
                assert_eq!(usize::try_from(deleted).unwrap(), before - self.records.len());
            }
            _ => self.tx.insert(&self.world.target, "beside").map(drop).unwrap(),
        }
    }

    /// Exchanges keys, in a statement that is taken back if it is refused.
    fn update_many(&mut self, rng: &mut Rng) {
        let changes: Vec<(RecordId, Vec<u8>)> =
            (0..=rng.below(4)).filter_map(|_| Some((self.some(rng)?, value(rng)))).collect();
        let before = self.tx.savepoint();
        let mut after = self.records.clone();
        after.extend(changes.iter().cloned());
        let result = self.tx.update_many(&changes);
        if is_unique(&after) {
            result.unwrap();
            self.records = after;
        } else {
            assert!(matches!(result, Err(Error::UniqueViolation { .. })), "{changes:?}: {result:?}");
            self.tx.roll_back_to(before).unwrap();
        }
        self.tx.release(before).unwrap();
    }

    fn read(&mut self, rng: &mut Rng) {
        let World { set, byte, half, .. } = self.world;
        let expected: Vec<(RecordId, Vec<u8>)> = self.records.clone().into_iter().collect();
        let bound = |rng: &mut Rng, id: Option<RecordId>| match (id, rng.below(3)) {
            (Some(id), 0) => Bound::Included(id),
            (Some(id), 1) => Bound::Excluded(id),
            _ => Bound::Unbounded,
        };
        let bounds = match (self.some(rng), self.some(rng)) {
            (Some(a), Some(b)) if a != b => (bound(rng, Some(a.min(b))), bound(rng, Some(a.max(b)))),
            _ => (Bound::Unbounded, Bound::Unbounded),
        };
        let scan = self.tx.scan_range(set, bounds).unwrap();
        let scanned = scan.iter().map(|record| record.map(|record| (record.id(), record.to_vec().unwrap())));
        let within = expected.iter().filter(|(id, _)| std::ops::RangeBounds::contains(&bounds, id));
        assert_eq!(scanned.collect::<Result<Vec<_>, _>>().unwrap(), within.cloned().collect::<Vec<_>>());
        assert_eq!(self.tx.len(set).unwrap(), expected.len() as u64);
        let ids: Vec<RecordId> = self.records.keys().copied().collect();
        let many = self.tx.get_many(&ids).into_iter().map(|record| record.unwrap().to_vec().unwrap());
        assert!(many.eq(self.records.values().cloned()));

        let key = u8::try_from(rng.below(KEYS)).unwrap();
        assert_eq!(self.tx.find(byte, &key).unwrap(), of_key(&self.records, key));
        let entries = self.tx.range(half, key / 2..).unwrap();
        let entries: BTreeSet<RecordId> = entries.map(|entry| entry.unwrap().id).collect();
        let wanted = self.records.iter().filter(|(_, value)| value.first().is_some_and(|first| first / 2 >= key / 2));
        assert_eq!(entries, wanted.map(|(id, _)| *id).collect());
    }

    fn savepoints(&mut self, rng: &mut Rng) {
        if self.points.is_empty() || rng.one_in(2) {
            self.points.push((self.tx.savepoint(), self.records.clone()));
            return;
        }
        self.points.truncate(1 + rng.below(self.points.len()));
        let (point, records) = self.points.last().cloned().unwrap();
        if rng.one_in(2) {
            self.tx.roll_back_to(point).unwrap();
            self.records = records;
        } else {
            self.tx.release(point).unwrap();
            self.points.pop();
        }
    }
}

/// Another transaction's work meanwhile: `true` if it was not refused.
fn other(world: &World, rng: &mut Rng, committed: &mut Records) -> bool {
    let value = value(rng);
    let id = committed.keys().nth(rng.below(committed.len() + 1)).copied();
    let written = world.store.write(|tx| match id {
        Some(id) if rng.one_in(2) => tx.delete(id).map(|()| None),
        Some(id) => tx.update(id, &value).map(|()| Some(id)),
        None => tx.insert(&world.set, &value).map(Some),
    });
    match written {
        Ok(Some(id)) => drop(committed.insert(id, value)),
        Ok(None) => drop(committed.remove(&id.unwrap())),
        Err(Error::UniqueViolation { .. }) => {
            assert!(holder(committed, id, &value).is_some());
            return false;
        }
        Err(error) => panic!("{error}"),
    }
    true
}

#[test]
fn every_statement_sees_what_the_model_says() {
    let rounds = std::env::var("TENURE_WORD_ROUNDS").map_or(1_500, |rounds| rounds.parse().unwrap());
    let mut world = world();
    let (mut committed, mut refused, mut stood) = (Records::new(), 0, 0);
    for round in 0..rounds {
        let rng = &mut Rng::new(round);
        if round % 100 == 0 {
            (world, committed) = (self::world(), Records::new());
        }
        let isolation = if rng.one_in(3) { Isolation::Snapshot } else { Isolation::Serializable };
        let mut tx = world.store.begin_with(isolation).unwrap();
        // From here on it has a state.
        tx.len(&world.target).unwrap();
        let before = committed.clone();
        let mut run = Run { world: &world, tx, records: before.clone(), points: Vec::new() };
        let (mut meanwhile, others) = (0, rng.one_in(2));
        for _ in 0..rng.below(24) {
            match rng.below(8) {
                0..=3 => run.write(rng),
                4 => run.read(rng),
                5 | 6 => run.savepoints(rng),
                _ if others => meanwhile += u32::from(other(&world, rng, &mut committed)),
                _ => {}
            }
        }
        run.read(rng);
        if rng.one_in(8) {
            continue;
        }
        let (records, result) = (run.records, run.tx.commit());
        let is_changed = records != before;
        if result.is_ok() && meanwhile == 0 {
            committed = records;
        } else if result.is_ok() && is_changed {
            // A record inserted and deleted meanwhile does not count as a change.
            assert!(isolation == Isolation::Snapshot || committed == before, "it has read everything: round {round}");
            let gone = before.keys().filter(|id| !records.contains_key(id));
            gone.for_each(|id| drop(committed.remove(id)));
            committed.extend(records.into_iter().filter(|(id, value)| before.get(id) != Some(value)));
            stood += 1;
        } else if let Err(error) = result {
            assert!(meanwhile > 0, "round {round}: {error}");
            let is_violation = matches!(error, Error::UniqueViolation { .. });
            assert!(error.is_conflict() || (is_violation && isolation == Isolation::Snapshot), "{error}");
            refused += 1;
        }
        let view = world.store.view();
        let there = view.scan(&world.set).map(|record| record.map(|record| (record.id(), record.to_vec().unwrap())));
        assert_eq!(there.collect::<Result<Records, _>>().unwrap(), committed, "round {round}");
        assert!(is_unique(&committed));
        assert!(world.store.verify_index(&world.byte).unwrap().is_empty(), "round {round}");
        assert!(world.store.verify_index(&world.half).unwrap().is_empty(), "round {round}");
    }
    assert!(refused > rounds / 40 && stood > rounds / 200, "{refused} refused, {stood} stood");
}
