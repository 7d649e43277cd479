//! What one thread has committed, and what its transactions and views have to show of three indexes that it shares with
//! others.

use std::collections::HashSet;
use std::ops::{Bound, RangeBounds};

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};
use tenure::extract::Extractor;
use tenure::key::{Key, KeyValue};
use tenure::{
    Durability, Error, Index, IndexEntry, Isolation, RecordId, RecordSet, Savepoint, Store, Transaction, View,
};

use crate::common::Rng;

/// Numbers of a thread's records.
const NUMBERS: usize = 9_000;
const LOADED: usize = 4_500;
const INDEXES: usize = 3;
/// A node that was copied takes this on the heap, and changes beside an image take less.
const NODE_BYTES: u64 = 4_096;

/// A value: number, owner, group, words.
fn value(number: u64, owner: u64, group: u16, words: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.push(u8::try_from(owner).unwrap());
    bytes.extend_from_slice(&group.to_be_bytes());
    bytes.extend_from_slice(words);
    bytes
}

fn number_of(value: &[u8]) -> u64 {
    u64::from_be_bytes(value[..8].try_into().unwrap())
}

/// One of each number and owner: some short, some with a long beginning that is alike.
fn unique_key(value: &[u8]) -> Vec<u8> {
    let number = number_of(value);
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = match mixed % 5 {
        0 => b"a rather long beginning, which most leaves in the middle of the tree have as their prefix/".to_vec(),
        1 => vec![b'n'; 1 + usize::try_from(mixed >> 9).unwrap() % 40],
        _ => Vec::new(),
    };
    key.extend_from_slice(&mixed.to_be_bytes());
    key.push(value[8]);
    key
}

/// Many records each.
fn group_key(value: &[u8]) -> Vec<u8> {
    value[9..11].to_vec()
}

/// Several for each record.
fn word_keys(value: &[u8]) -> Vec<Vec<u8>> {
    let word = |byte: &u8| vec![*byte; 1 + usize::from(*byte) % 60];
    let mut keys: Vec<Vec<u8>> = value[11..].iter().map(word).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn keys_of(value: &[u8]) -> [Vec<Vec<u8>>; INDEXES] {
    [vec![unique_key(value)], vec![group_key(value)], word_keys(value)]
}

pub struct Handles {
    set: RecordSet,
    indexes: [Index; INDEXES],
}

impl Handles {
    pub fn of(store: &Store) -> Self {
        let set = store.record_set("records").unwrap();
        let unique = Extractor::new("unique", 1, |value, keys| keys.push(&unique_key(value)[..]));
        let group = Extractor::new("group", 1, |value, keys| keys.push(&group_key(value)[..]));
        let words = Extractor::new("words", 1, |value, keys| {
            for key in word_keys(value) {
                keys.push(&key[..]);
            }
        });
        let indexes = [
            store.unique_index(&set, "unique", unique).unwrap(),
            store.index(&set, "group", group).unwrap(),
            store.index(&set, "words", words).unwrap(),
        ];
        Self { set, indexes }
    }

    pub fn verify(&self, store: &Store) {
        for index in &self.indexes {
            assert_eq!(store.verify_index(index).unwrap(), Vec::<String>::new());
        }
    }
}

type Entries = Set<(Vec<u8>, RecordId)>;
/// A range of either kind.
type Entered<'r> = dyn DoubleEndedIterator<Item = Result<IndexEntry, Error>> + 'r;

#[derive(Clone, Default)]
struct State {
    records: Map<RecordId, Vec<u8>>,
    by_number: Map<u64, RecordId>,
    entries: [Entries; INDEXES],
}

impl State {
    fn put(&mut self, id: RecordId, value: Vec<u8>) {
        self.remove(id);
        for (entries, keys) in self.entries.iter_mut().zip(keys_of(&value)) {
            for key in keys {
                entries.insert_mut((key, id));
            }
        }
        self.by_number.insert_mut(number_of(&value), id);
        self.records.insert_mut(id, value);
    }

    fn remove(&mut self, id: RecordId) {
        let Some(value) = self.records.get(&id).cloned() else { return };
        for (entries, keys) in self.entries.iter_mut().zip(keys_of(&value)) {
            for key in keys {
                assert!(entries.remove_mut(&(key, id)));
            }
        }
        self.by_number.remove_mut(&number_of(&value));
        self.records.remove_mut(&id);
    }

    fn range(&self, at: usize, (lower, upper): (&Bound<Vec<u8>>, &Bound<Vec<u8>>)) -> Vec<(Vec<u8>, RecordId)> {
        let least = RecordId::from_parts(0, 1).unwrap();
        let from = match lower {
            Bound::Included(key) | Bound::Excluded(key) => Bound::Included((key.clone(), least)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let behind = (lower.as_ref().map(|key| &key[..]), Bound::Unbounded);
        let before = (Bound::Unbounded, upper.as_ref().map(|key| &key[..]));
        let all = self.entries[at].range((from, Bound::Unbounded));
        let all = all.skip_while(|(key, _)| !RangeBounds::<[u8]>::contains(&behind, &key[..]));
        all.take_while(|(key, _)| RangeBounds::<[u8]>::contains(&before, &key[..])).cloned().collect()
    }
}

pub struct Worker {
    rng: Rng,
    owner: u64,
    has_others: bool,
    state: State,
    /// Every ID that it ever got.
    mine: HashSet<RecordId>,
    views: Vec<(View, State)>,
    pub commits: u64,
    pub conflicts: u64,
    /// Whether it has seen changes beside images.
    pub has_lists: bool,
}

impl Worker {
    pub fn new(seed: u64, owner: u64, has_others: bool) -> Self {
        let (rng, state, mine, views) = (Rng::new(seed), State::default(), HashSet::new(), Vec::new());
        Self { rng, owner, has_others, state, mine, views, commits: 0, conflicts: 0, has_lists: false }
    }

    pub fn drop_views(&mut self) {
        self.views.clear();
    }

    fn words(&mut self) -> Vec<u8> {
        let len = [0, 1, 1, 2, 3, 30][self.rng.below(6)];
        self.rng.bytes(len)
    }

    fn value(&mut self, number: u64) -> Vec<u8> {
        let groups = if self.rng.one_in(3) { 7 } else { 3_000 };
        let group = u16::try_from(self.rng.below(groups)).unwrap();
        let words = self.words();
        value(number, self.owner, group, &words)
    }

    pub fn load(&mut self, store: &Store, handles: &Handles) {
        let mut tx = store.begin().unwrap();
        for number in 0..LOADED as u64 {
            let value = self.value(number * 2);
            let id = tx.insert(&handles.set, &value).unwrap();
            self.mine.insert(id);
            self.state.put(id, value);
        }
        tx.commit().unwrap();
        drop(store.save_snapshot().unwrap());
    }

    fn some_id(&mut self, state: &State) -> Option<RecordId> {
        let number = self.rng.below(NUMBERS) as u64;
        state.by_number.range(number..).next().map(|(_, id)| *id)
    }

    pub fn run(&mut self, store: &Store, handles: &Handles, steps: usize) {
        for _ in 0..steps {
            match self.rng.below(20) {
                0 if self.views.len() < 6 => {
                    let view = store.view();
                    self.views.push((view, self.state.clone()));
                }
                1 if !self.views.is_empty() => {
                    let place = self.rng.below(self.views.len());
                    drop(self.views.swap_remove(place));
                }
                2 => drop(store.save_snapshot().unwrap()),
                3..=5 if !self.views.is_empty() => {
                    let place = self.rng.below(self.views.len());
                    let (view, state) = self.views.swap_remove(place);
                    self.look(&view, &state, handles);
                    self.views.push((view, state));
                }
                6 => {
                    let (view, state) = (store.view(), self.state.clone());
                    self.look(&view, &state, handles);
                }
                _ => self.transaction(store, handles),
            }
        }
    }

    fn transaction(&mut self, store: &Store, handles: &Handles) {
        let isolation = if self.rng.one_in(3) { Isolation::Serializable } else { Isolation::Snapshot };
        let mut tx = store.begin_with(isolation).unwrap();
        let mut state = self.state.clone();
        let count = match self.rng.below(40) {
            0 => 1_500,
            1..=4 => 300,
            5..=20 => 1,
            _ => 1 + self.rng.below(30),
        };
        // All over the keys, or close together.
        let from = self.rng.one_in(3).then(|| self.rng.below(NUMBERS) as u64);
        let mut savepoints: Vec<(Savepoint, State)> = Vec::new();
        for step in 0..count {
            let near = from.map(|from| (from + step as u64 / 2) % NUMBERS as u64);
            self.change(&mut tx, &mut state, handles, near);
            if self.rng.one_in(40) {
                self.look_within(&mut tx, &state, handles);
            }
            if self.rng.one_in(50) {
                savepoints.push((tx.savepoint(), state.clone()));
            }
            if self.rng.one_in(60) && !savepoints.is_empty() {
                let place = self.rng.below(savepoints.len());
                savepoints.truncate(place + 1);
                let (savepoint, before) = savepoints.last().unwrap();
                tx.roll_back_to(*savepoint).unwrap();
                state = before.clone();
            }
        }
        if self.rng.one_in(4) {
            self.look_within(&mut tx, &state, handles);
        }
        if self.rng.one_in(12) {
            return;
        }
        match tx.commit_with(Durability::Buffered) {
            Ok(_) => {
                self.commits += 1;
                self.state = state;
                let heap = store.stats();
                self.has_lists |= heap.dirty_bytes < heap.dirty_nodes * NODE_BYTES;
            }
            Err(Error::Conflict { .. }) if self.has_others => self.conflicts += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn change(&mut self, tx: &mut Transaction, state: &mut State, handles: &Handles, near: Option<u64>) {
        let number = near.unwrap_or_else(|| self.rng.below(NUMBERS) as u64);
        let there = state.by_number.get(&number).copied();
        match (there, self.rng.below(3)) {
            (None, _) => {
                let value = self.value(number);
                let id = tx.insert(&handles.set, &value).unwrap();
                assert!(self.mine.insert(id), "{id} was handed out twice");
                state.put(id, value);
            }
            (Some(id), 0) => {
                tx.delete(id).unwrap();
                state.remove(id);
            }
            (Some(id), 1) => {
                let value = self.value(number);
                tx.update(id, &value).unwrap();
                state.put(id, value);
            }
            (Some(taken), _) => {
                // To a number that may be taken.
                let Some(id) = self.some_id(state).filter(|id| *id != taken) else { return };
                let value = self.value(number);
                let refused = tx.update(id, &value).unwrap_err();
                assert!(matches!(refused, Error::UniqueViolation { id, .. } if id == taken), "{refused}");
                let free = (number + 1..number + 40).find(|number| !state.by_number.contains_key(number));
                let Some(free) = free else { return };
                let value = self.value(free);
                tx.update(id, &value).unwrap();
                state.put(id, value);
            }
        }
    }

    /// A bound at, or near, a key that may exist.
    fn bound(&mut self, at: usize) -> Bound<Vec<u8>> {
        let number = self.rng.below(NUMBERS) as u64;
        let value = self.value(number);
        let key = keys_of(&value)[at].first().cloned().unwrap_or_else(|| vec![self.rng.bytes(1)[0]]);
        match self.rng.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(key),
            _ => Bound::Excluded(key),
        }
    }

    fn bounds(&mut self, at: usize) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let (one, other) = (self.bound(at), self.bound(at));
        if self.rng.one_in(4)
            && let Bound::Included(key) = &one
        {
            return (one.clone(), Bound::Included(key.clone()));
        }
        (one, other)
    }

    /// The next entry of its own.
    fn next_of(&self, range: &mut Entered<'_>, is_front: bool) -> Option<(Vec<u8>, RecordId)> {
        loop {
            let next = if is_front { range.next() } else { range.next_back() };
            let entry = next?.unwrap();
            if self.mine.contains(&entry.id) {
                return Some((decoded(entry.key.as_bytes()), entry.id));
            }
        }
    }

    /// Compares a range from both ends.
    fn compare(&mut self, range: &mut Entered<'_>, expected: Vec<(Vec<u8>, RecordId)>, what: &str) {
        let mut expected = std::collections::VecDeque::from(expected);
        let one_way = self.rng.below(4);
        let steps = if self.rng.one_in(3) { usize::MAX } else { self.rng.below(300) };
        for _ in 0..steps {
            let is_front = if one_way < 2 { one_way == 0 } else { self.rng.one_in(2) };
            let found = self.next_of(range, is_front);
            let wanted = if is_front { expected.pop_front() } else { expected.pop_back() };
            assert_eq!(found, wanted, "{what}, from the front: {is_front}");
            if found.is_none() {
                return;
            }
        }
    }

    fn look_within(&mut self, tx: &mut Transaction, state: &State, handles: &Handles) {
        let at = self.rng.below(INDEXES);
        let bounds = self.bounds(at);
        let range = tx.range::<&[u8]>(&handles.indexes[at], (as_ref(&bounds.0), as_ref(&bounds.1)));
        let mut range = range.unwrap();
        self.compare(&mut range, state.range(at, (&bounds.0, &bounds.1)), "in a transaction");
        if let Some(id) = self.some_id(state) {
            let value = &state.records.get(&id).unwrap()[..];
            assert_eq!(tx.get(id).unwrap().to_vec().unwrap(), value);
            assert_eq!(tx.find(&handles.indexes[0], &unique_key(value)[..]).unwrap(), Some(id));
        }
        let number = self.rng.below(NUMBERS) as u64;
        let key = unique_key(&value(number, self.owner, 0, &[]));
        assert_eq!(tx.find(&handles.indexes[0], &key[..]).unwrap(), state.by_number.get(&number).copied());
    }

    fn look(&mut self, view: &View, state: &State, handles: &Handles) {
        for at in 0..INDEXES {
            let index = &handles.indexes[at];
            let bounds = self.bounds(at);
            let expected = state.range(at, (&bounds.0, &bounds.1));
            let given = (as_ref(&bounds.0), as_ref(&bounds.1));
            let mut range = index.range::<&[u8]>(view, given).unwrap();
            if !self.has_others {
                assert_eq!(range.left(), expected.len() as u64, "left of {bounds:?}");
                assert_eq!(index.len(view).unwrap(), state.entries[at].size() as u64);
                let mut number = expected.len();
                if self.rng.one_in(2) && number > 0 {
                    let place = self.rng.below(number);
                    range.seek(&expected[place].0[..]).unwrap();
                    number -= expected.iter().position(|(key, _)| *key == expected[place].0).unwrap();
                    assert_eq!(range.left(), number as u64);
                    let left = expected[expected.len() - number..].to_vec();
                    self.compare(&mut range, left, "after a seek");
                    continue;
                }
            }
            self.compare(&mut range, expected, "in a view");
        }
        for _ in 0..20 {
            let number = self.rng.below(NUMBERS) as u64;
            let key = unique_key(&value(number, self.owner, 0, &[]));
            let id = state.by_number.get(&number).copied();
            assert_eq!(handles.indexes[0].get(view, &key[..]).unwrap(), id);
            if let Some(id) = id {
                assert_eq!(view.get(id).unwrap().to_vec().unwrap(), state.records.get(&id).unwrap()[..]);
            }
        }
        let group = u16::try_from(self.rng.below(9)).unwrap().to_be_bytes();
        let first = handles.indexes[1].get(view, &group[..]).unwrap();
        if !self.has_others {
            let included = Bound::Included(group.to_vec());
            let expected = state.range(1, (&included, &included)).first().map(|(_, id)| *id);
            assert_eq!(first, expected);
        }
    }

    /// Everything that it has committed is there, and nothing else of it.
    pub fn check_all(&self, view: &View, handles: &Handles) {
        for (at, index) in handles.indexes.iter().enumerate() {
            let all = index.all(view).unwrap().map(|entry| entry.unwrap());
            let found: Vec<_> = all
                .filter(|entry| self.mine.contains(&entry.id))
                .map(|entry| (decoded(entry.key.as_bytes()), entry.id))
                .collect();
            let expected: Vec<_> = self.state.entries[at].iter().cloned().collect();
            assert!(found == expected, "index {at}: {} entries, expected {}", found.len(), expected.len());
        }
        let records = view.scan(&handles.set).map(|record| record.unwrap());
        let found = records.filter(|record| self.mine.contains(&record.id()));
        let found: Vec<_> = found.map(|record| (record.id(), record.to_vec().unwrap())).collect();
        let expected: Vec<_> = self.state.records.iter().map(|(id, value)| (*id, value.clone())).collect();
        assert!(found == expected, "{} records, expected {}", found.len(), expected.len());
    }
}

/// The bytes that a key of bytes was encoded from.
fn decoded(key: &[u8]) -> Vec<u8> {
    match &Key::from_bytes(key).unwrap().values().unwrap()[..] {
        [KeyValue::Bytes(bytes)] => bytes.clone(),
        other => panic!("{other:?}"),
    }
}

fn as_ref(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &key[..])
}
