//! What a transaction sees of its own changes, beside a model: ranges from both ends, scans, counts of sets, with savepoints, and
//! with deletions in long runs, which walks pass in one step.

use std::collections::BTreeMap;
use std::ops::Bound;

use tenure::extract::Extractor;
use tenure::{Index, RecordId, RecordSet, Savepoint, Store, Transaction};

const KEYS: u64 = 600;
const STEPS: usize = 400;

/// Which records there are: set, and key.
type Records = BTreeMap<RecordId, (usize, u64)>;

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }
}

struct World {
    sets: [RecordSet; 2],
    index: Index,
    tx: Transaction,
    records: Records,
    savepoints: Vec<(Savepoint, Records)>,
    /// Ranges taken earlier, and what they have to show.
    held: Vec<(tenure::TransactionRange, Vec<(u64, RecordId)>)>,
    numbers: Numbers,
}

impl World {
    /// Entries of the index between two keys, by key and ID.
    fn entries(&self, lower: Bound<u64>, upper: Bound<u64>) -> Vec<(u64, RecordId)> {
        let of_set = self.records.iter().filter(|(_, (set, _))| *set == 0);
        let mut all: Vec<_> = of_set.map(|(id, (_, key))| (*key, *id)).collect();
        all.retain(|(key, _)| std::ops::RangeBounds::contains(&(lower, upper), key));
        all.sort_unstable();
        all
    }

    fn insert(&mut self) {
        let (set, key) = (self.numbers.index(2), self.numbers.below(KEYS));
        let id = self.tx.insert(&self.sets[set], key.to_be_bytes()).unwrap();
        self.records.insert(id, (set, key));
    }

    fn update(&mut self) {
        let place = self.numbers.index(self.records.len().max(1));
        let Some((id, set)) = self.records.iter().nth(place).map(|(id, (set, _))| (*id, *set)) else { return };
        let key = self.numbers.below(KEYS);
        self.tx.update(id, key.to_be_bytes()).unwrap();
        self.records.insert(id, (set, key));
    }

    /// Takes entries from one end, as a queue does, or from the middle.
    fn delete_run(&mut self) {
        let from = if self.numbers.below(2) == 0 { 0 } else { self.numbers.below(KEYS) };
        let is_back = self.numbers.below(2) == 0;
        for _ in 0..self.numbers.below(60) {
            let key = from.to_be_bytes();
            let mut range = self.tx.range(&self.index, &key[..]..).unwrap();
            let found = if is_back { range.next_back() } else { range.next() };
            let expected = self.entries(Bound::Included(from), Bound::Unbounded);
            let expected = if is_back { expected.last() } else { expected.first() };
            let found = found.map(|entry| entry.unwrap().id);
            assert_eq!(found, expected.map(|(_, id)| *id));
            let Some(id) = found else { return };
            self.tx.delete(id).unwrap();
            self.records.remove(&id);
        }
    }

    /// Takes the first record of a set, or of a part of it, again and again.
    fn delete_scanned(&mut self) {
        let which = self.numbers.index(2);
        let of_set: Vec<RecordId> =
            self.records.iter().filter(|(_, (set, _))| *set == which).map(|(id, _)| *id).collect();
        if of_set.is_empty() {
            return;
        }
        let from = if self.numbers.below(2) == 0 { of_set[0] } else { of_set[self.numbers.index(of_set.len())] };
        let end = of_set[self.numbers.index(of_set.len())].max(from);
        for _ in 0..self.numbers.below(60) {
            let scan = self.tx.scan_range(&self.sets[which], from..=end).unwrap();
            let found = scan.iter().next().map(|record| record.unwrap().id());
            let mut there = self.records.range(from..=end).filter(|(_, (set, _))| *set == which);
            assert_eq!(found, there.next().map(|(id, _)| *id));
            let Some(id) = found else { return };
            self.tx.delete(id).unwrap();
            self.records.remove(&id);
        }
    }

    fn delete_of_other_set(&mut self) {
        if let Some(id) = self.records.iter().find(|(_, (set, _))| *set == 1).map(|(id, _)| *id) {
            self.tx.delete(id).unwrap();
            self.records.remove(&id);
        }
    }

    fn roll_back(&mut self) {
        let place = self.numbers.index(self.savepoints.len().max(1));
        self.savepoints.truncate(place + 1);
        if let Some((savepoint, records)) = self.savepoints.last() {
            self.tx.roll_back_to(*savepoint).unwrap();
            self.records = records.clone();
        }
    }

    fn walk(&mut self) {
        let (one, other) = (self.numbers.below(KEYS), self.numbers.below(KEYS));
        let (lower, upper) = (one.min(other), one.max(other));
        let keys = (lower.to_be_bytes(), upper.to_be_bytes());
        let (bounds, model) = match self.numbers.below(3) {
            0 => ((Bound::Unbounded, Bound::Unbounded), (Bound::Unbounded, Bound::Unbounded)),
            1 => (
                (Bound::Included(&keys.0[..]), Bound::Included(&keys.1[..])),
                (Bound::Included(lower), Bound::Included(upper)),
            ),
            _ => (
                (Bound::Excluded(&keys.0[..]), Bound::Included(&keys.1[..])),
                (Bound::Excluded(lower), Bound::Included(upper)),
            ),
        };
        let range = self.tx.range::<&[u8]>(&self.index, bounds).unwrap();
        let expected = self.entries(model.0, model.1);
        self.held.push((range, expected));
    }

    /// Goes through a range that was taken some time ago.
    fn go_through(&mut self) {
        let place = self.numbers.index(self.held.len().max(1));
        if place >= self.held.len() {
            return;
        }
        let (mut range, expected) = self.held.swap_remove(place);
        let mut expected = std::collections::VecDeque::from(expected);
        let one_way = self.numbers.below(4);
        loop {
            let is_front = if one_way < 2 { one_way == 0 } else { self.numbers.below(2) == 0 };
            let found = if is_front { range.next() } else { range.next_back() };
            let wanted = if is_front { expected.pop_front() } else { expected.pop_back() };
            let found = found.map(|entry| entry.unwrap().id);
            assert_eq!(found, wanted.map(|(_, id)| id));
            if found.is_none() {
                return;
            }
        }
    }

    fn count(&mut self) {
        let which = self.numbers.index(2);
        let expected = self.records.values().filter(|(set, _)| *set == which).count();
        assert_eq!(self.tx.len(&self.sets[which]).unwrap(), expected as u64);
    }

    fn scan(&mut self) {
        let which = self.numbers.index(2);
        let of_set = self.records.iter().filter(|(_, (set, _))| *set == which);
        let mut expected: Vec<(RecordId, u64)> = of_set.map(|(id, (_, key))| (*id, *key)).collect();
        let scan = if self.numbers.below(2) == 0 || expected.is_empty() {
            self.tx.scan(&self.sets[which]).unwrap()
        } else {
            let from = expected[self.numbers.index(expected.len())].0;
            let end = expected[self.numbers.index(expected.len())].0;
            expected.retain(|(id, _)| *id > from && *id < end);
            let bounds = (Bound::Excluded(from), Bound::Excluded(end));
            self.tx.scan_range(&self.sets[which], bounds).unwrap()
        };
        let key = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
        let found = scan.iter().map(|record| record.map(|record| (record.id(), key(&record.bytes().unwrap()))));
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), expected);
    }

    fn step(&mut self) {
        match self.numbers.below(28) {
            0..=4 => self.insert(),
            5..=6 => self.update(),
            7..=10 => self.delete_run(),
            11..=12 => self.delete_of_other_set(),
            13 => {
                let savepoint = self.tx.savepoint();
                self.savepoints.push((savepoint, self.records.clone()));
            }
            14 => self.roll_back(),
            15..=17 => self.walk(),
            18..=19 => self.go_through(),
            20..=21 => self.count(),
            22..=23 => self.delete_scanned(),
            _ => self.scan(),
        }
    }
}

fn run(seed: u64) {
    let store = Store::in_memory().unwrap();
    let sets = ["a", "b"].map(|name| store.record_set(name).unwrap());
    let whole = Extractor::new("whole", 1, |record, keys| keys.push(record));
    let index = store.index(&sets[0], "whole", whole).unwrap();
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut records = Records::new();
    store
        .write(|tx| -> tenure::Result<_> {
            for _ in 0..KEYS {
                let (set, key) = (numbers.index(2), numbers.below(KEYS));
                records.insert(tx.insert(&sets[set], key.to_be_bytes())?, (set, key));
            }
            Ok(())
        })
        .unwrap();
    let (tx, savepoints, held) = (store.begin().unwrap(), Vec::new(), Vec::new());
    let mut world = World { sets, index, tx, records, savepoints, held, numbers };
    for _ in 0..STEPS {
        world.step();
    }
    let World { tx, records, sets, .. } = world;
    tx.commit().unwrap();
    let view = store.view();
    for (which, set) in sets.iter().enumerate() {
        let expected = records.values().filter(|(of, _)| *of == which).count();
        assert_eq!(view.len(set), expected as u64);
    }
}

#[test]
fn a_set_that_is_cleared_meanwhile_shows_what_was_there_and_what_was_written_since() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &["one", "two"])).unwrap();
    let mut tx = store.begin().unwrap();
    tx.delete(ids[0]).unwrap();
    assert_eq!((tx.len(&set).unwrap(), tx.scan(&set).unwrap().iter().count()), (1, 1));
    let cleared = store.clear_set(&set).unwrap();
    for more in 1..4_u64 {
        tx.insert(&cleared, "new").unwrap();
        let found = tx.scan(&cleared).unwrap().iter().collect::<Result<Vec<_>, _>>().unwrap().len() as u64;
        assert_eq!((tx.len(&cleared).unwrap(), found), (1 + more, 1 + more));
    }
}

#[test]
fn a_transaction_sees_its_own_changes_as_a_model_does() {
    let rounds = std::env::var("TENURE_OWN_CHANGES_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60);
    for seed in 1..=rounds {
        run(seed);
    }
}
