//! Random operations on a store, compared with a model that is a map.
//!
//! The model knows every ID ever allocated. A deleted ID, or one whose transaction aborted, must stay dead forever, and
//! no insert may return it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::{Durability, Error, Options, RecordId, RecordSet, Seq, Store, Transaction, View};

use crate::common;
use crate::common::Rng;

const SETS: [&str; 3] = ["people", "places", "things"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    set: usize,
    bytes: Arc<Vec<u8>>,
    seq: Seq,
}

type Live = BTreeMap<RecordId, Value>;

/// The plan of one transaction.
#[derive(Debug, Default)]
struct Pending {
    puts: BTreeMap<RecordId, (usize, Arc<Vec<u8>>)>,
    deletes: BTreeSet<RecordId>,
}

enum Place {
    Directory(tempfile::TempDir),
    Memory(Arc<dyn Backing>),
}

impl Place {
    fn open(&self, options: &Options) -> Store {
        match self {
            Self::Directory(dir) => options.open(dir.path().join("store")).expect("opens"),
            Self::Memory(backing) => options.open_backing(Arc::clone(backing)).expect("opens"),
        }
    }

    fn check_files(&self, store: &Store) {
        match self {
            Self::Directory(dir) => common::assert_no_strays_in(store, &dir.path().join("store"), "while it is open"),
            Self::Memory(backing) => {
                common::assert_no_strays(store, || backing.list().expect("a list"), "while it is open");
            }
        }
    }

    fn check_closed_files(&self) {
        match self {
            Self::Directory(dir) => common::assert_no_strays_closed(&dir.path().join("store"), "closed"),
            Self::Memory(backing) => common::assert_no_strays_closed_backing(backing, "closed"),
        }
    }

    /// The files as a crash of the process would leave them.
    fn copy(&self) -> Self {
        match self {
            Self::Directory(dir) => {
                let copy = tempfile::tempdir().expect("a directory");
                common::write_dir(&copy.path().join("store"), &common::read_dir(&dir.path().join("store")));
                Self::Directory(copy)
            }
            Self::Memory(backing) => Self::Memory(common::memory_of(&common::read_backing(&**backing))),
        }
    }
}

struct Run {
    rng: Rng,
    place: Place,
    options: Options,
    store: Store,
    sets: Vec<RecordSet>,
    live: Live,
    ever: BTreeSet<RecordId>,
    dead: Vec<RecordId>,
    views: Vec<(View, Live)>,
    marks: BTreeMap<String, u64>,
    may_crash: bool,
}

impl Run {
    fn new(seed: u64, place: Place, background: bool) -> Self {
        let options = Options::new()
            .segment_bytes(64 << 10)
            .snapshot_log_bytes(300 << 10)
            .durability(Durability::Buffered)
            .background(background);
        let store = place.open(&options);
        let sets = SETS.iter().map(|name| store.record_set(name).expect("a set")).collect();
        let (live, ever, dead, views) = (Live::new(), BTreeSet::new(), Vec::new(), Vec::new());
        let (rng, marks, may_crash) = (Rng::new(seed), BTreeMap::new(), !background);
        Self { rng, place, options, store, sets, live, ever, dead, views, marks, may_crash }
    }

    fn value(&mut self) -> Arc<Vec<u8>> {
        let len = match self.rng.below(400) {
            0 => 65_503 + self.rng.below(4),
            1 => 65_470 + self.rng.below(4),
            2 => 66_000 + self.rng.below(4_000),
            3..=20 => 1_000 + self.rng.below(9_000),
            21..=60 => 0,
            _ => self.rng.below(200),
        };
        Arc::new(self.rng.bytes(len))
    }

    fn some_id(&mut self) -> Option<RecordId> {
        let index = self.rng.below(self.live.len());
        self.live.keys().nth(index).copied()
    }

    fn check_new(&mut self, id: RecordId) {
        assert!(self.ever.insert(id), "{id} was handed out twice");
    }

    /// One change within a transaction.
    fn step(&mut self, tx: &mut Transaction, pending: &mut Pending) {
        match self.rng.below(10) {
            0..=3 => self.insert(tx, pending),
            4..=6 => {
                let (Some(id), bytes) = (self.some_id(), self.value()) else { return };
                if pending.deletes.contains(&id) {
                    assert!(matches!(tx.update(id, &*bytes), Err(Error::Deleted { .. })));
                    return;
                }
                let before = &self.live[&id];
                if !pending.puts.contains_key(&id) && self.rng.one_in(2) {
                    let wrong = tx.update_if(id, before.seq.next(), &*bytes).unwrap_err();
                    assert!(matches!(wrong, Error::VersionMismatch { .. }), "{wrong}");
                    tx.update_if(id, before.seq, &*bytes).expect("the right version");
                } else {
                    tx.update(id, &*bytes).expect("updates");
                }
                pending.puts.insert(id, (before.set, bytes));
            }
            7..=8 => {
                let own = pending.puts.keys().next().copied().filter(|_| self.rng.one_in(3));
                let Some(id) = own.or_else(|| self.some_id()) else { return };
                let result = tx.delete(id);
                if pending.deletes.contains(&id) {
                    assert!(matches!(result, Err(Error::Deleted { .. })));
                } else {
                    result.expect("deletes");
                    pending.puts.remove(&id);
                    pending.deletes.insert(id);
                }
            }
            _ => {
                let Some(id) = self.some_id() else { return };
                let got = tx.get(id).and_then(|record| record.to_vec());
                if pending.deletes.contains(&id) {
                    assert!(matches!(got, Err(Error::Deleted { .. })));
                } else {
                    let expected = pending.puts.get(&id).map_or(&self.live[&id].bytes, |(_, bytes)| bytes);
                    assert!(got.expect("live") == **expected, "{id} within its transaction");
                }
            }
        }
    }

    fn insert(&mut self, tx: &mut Transaction, pending: &mut Pending) {
        let (set, bytes) = (self.rng.below(3), self.value());
        let id = if self.rng.one_in(4) {
            tx.insert_staged(&self.sets[set], &self.store.stage(&bytes[..]).expect("stages")).expect("inserts")
        } else {
            tx.insert(&self.sets[set], &*bytes).expect("inserts")
        };
        self.check_new(id);
        assert!(tx.get(id).expect("its own").to_vec().expect("readable") == *bytes);
        pending.puts.insert(id, (set, bytes));
    }

    fn apply(&mut self, pending: Pending, seq: Seq) {
        for id in pending.deletes {
            self.live.remove(&id);
            self.dead.push(id);
        }
        for (id, (set, bytes)) in pending.puts {
            self.live.insert(id, Value { set, bytes, seq });
        }
    }

    /// IDs of aborted transactions stay dead.
    fn bury(&mut self, pending: &Pending) {
        let vain = pending.puts.keys().chain(&pending.deletes).filter(|id| !self.live.contains_key(*id));
        self.dead.extend(vain.copied().collect::<Vec<_>>());
    }

    fn transaction(&mut self) {
        let steps = if self.rng.one_in(3) { 1 + self.rng.below(8) } else { 1 };
        let mut tx = self.store.begin().expect("begins");
        let mut pending = Pending::default();
        for _ in 0..steps {
            self.step(&mut tx, &mut pending);
        }
        if self.rng.one_in(8) {
            drop(tx);
            self.bury(&pending);
        } else {
            let durability = if self.rng.one_in(100) { Durability::Sync } else { Durability::Buffered };
            let seq = tx.commit_with(durability).expect("commits");
            self.apply(pending, seq);
        }
    }

    /// Two transactions at once: the second to commit stands only if the first changed nothing that it saw.
    fn interleaved(&mut self) {
        let (Some(first), Some(second)) = (self.some_id(), self.some_id()) else { return };
        let mut early = self.store.begin().expect("begins");
        let mut pending = Pending::default();
        if self.rng.one_in(2) {
            assert!(early.get(first).expect("live").to_vec().expect("readable") == *self.live[&first].bytes);
        } else {
            let bytes = self.value();
            early.update(first, &*bytes).expect("updates");
            pending.puts.insert(first, (self.live[&first].set, bytes));
        }
        self.insert(&mut early, &mut pending);
        let mut late = self.store.begin().expect("begins");
        let bytes = self.value();
        let mut other = Pending::default();
        if self.rng.one_in(3) {
            late.delete(second).expect("deletes");
            other.deletes.insert(second);
        } else {
            late.update(second, &*bytes).expect("updates");
            other.puts.insert(second, (self.live[&second].set, bytes));
        }
        let seq = late.commit_with(Durability::Buffered).expect("the first to commit");
        self.apply(other, seq);
        match early.commit_with(Durability::Buffered) {
            Ok(seq) => {
                assert_ne!(first, second, "a lost update");
                self.apply(pending, seq);
            }
            Err(error) => {
                assert!(error.is_conflict(), "{error}");
                assert_eq!(first, second, "a conflict about nothing");
                self.bury(&pending);
            }
        }
    }

    fn read(&mut self) {
        let id = if self.rng.one_in(3) && !self.dead.is_empty() {
            let index = self.rng.below(self.dead.len());
            self.dead[index]
        } else if self.rng.one_in(20) {
            RecordId::from_parts(1 << 30, 1).expect("an ID")
        } else {
            let Some(id) = self.some_id() else { return };
            id
        };
        let Some(expected) = self.live.get(&id) else {
            assert!(common::is_dead(&self.store, id), "{id} is live");
            return;
        };
        let record = self.store.get(id).expect("live");
        assert!(record.to_vec().expect("readable") == *expected.bytes, "{id}");
        assert_eq!((record.id(), record.seq()), (id, expected.seq));
        let view = self.store.view();
        assert_eq!(view.set_of(id).as_ref(), Some(&self.sets[expected.set]));
        let other = &self.sets[(expected.set + 1) % 3];
        assert!(matches!(view.get_in(other, id), Err(Error::WrongSet { .. })));
        let from: Vec<_> =
            view.scan(&self.sets[expected.set]).from(id).take(3).map(|r| r.expect("reads").id()).collect();
        let ids = self.live.range(id..).filter(|(_, value)| value.set == expected.set).map(|(id, _)| *id);
        assert_eq!(from, ids.take(3).collect::<Vec<_>>());
    }

    fn check_view(&self, view: &View, live: &Live) {
        for (number, set) in self.sets.iter().enumerate() {
            let mut expected = live.iter().filter(|(_, value)| value.set == number);
            let mut count = 0;
            for record in view.scan(set) {
                let record = record.expect("reads");
                let (id, value) = expected.next().unwrap_or_else(|| panic!("{} is one too many", record.id()));
                assert_eq!((record.id(), record.seq()), (*id, value.seq));
                assert!(*record.bytes().expect("readable") == **value.bytes, "{id} in a view");
                count += 1;
            }
            assert_eq!(expected.next(), None, "a scan ended early");
            assert_eq!(view.len(set), count);
        }
    }

    fn check_all(&self) {
        self.place.check_files(&self.store);
        self.check_view(&self.store.view(), &self.live);
        assert_eq!(common::marks(&self.store), self.marks);
        for id in &self.dead {
            assert!(common::is_dead(&self.store, *id), "{id} is live again");
        }
    }

    fn reopen(&mut self) {
        let kept = self.views.pop().filter(|_| self.rng.one_in(2));
        self.views.clear();
        let crash = self.may_crash && self.rng.one_in(2);
        let copy = crash.then(|| self.place.copy());
        let store = self.store.clone();
        drop(std::mem::replace(&mut self.store, Store::in_memory().expect("a store")));
        store.close().expect("closes");
        if let Some((view, live)) = &kept {
            self.check_view(view, live);
        }
        if kept.is_none() {
            // Space retained by a view is reclaimed at the next opening.
            self.place.check_closed_files();
        }
        drop(kept);
        if let Some(copy) = copy {
            self.place = copy;
        }
        self.store = self.place.open(&self.options);
        // A crash right after a close is clean, too.
        assert!(crash || self.store.recovery_report().clean, "{}", self.store.recovery_report());
        self.check_all();
    }

    fn run(mut self, operations: usize) {
        for _ in 0..operations {
            match self.rng.below(1000) {
                0..=4 => self.reopen(),
                5..=9 => {
                    self.store.save_snapshot().expect("saves");
                }
                10..=14 => {
                    let name = format!("mark {}", self.rng.below(5));
                    if self.marks.remove(&name).is_some() && self.rng.one_in(2) {
                        self.store.drop_mark(&name).expect("drops");
                        let gone = self.store.drop_mark(&name).expect_err("it is gone");
                        assert!(matches!(gone, Error::PointGone { .. }), "{gone}");
                        continue;
                    }
                    let seq = self.store.mark(&name).expect("marks");
                    self.marks.insert(name, seq.0);
                }
                15..=29 => {
                    if self.views.len() > 3 {
                        let index = self.rng.below(self.views.len());
                        let (view, live) = self.views.remove(index);
                        self.check_view(&view, &live);
                    }
                    self.views.push((self.store.view(), self.live.clone()));
                }
                30..=32 => self.check_all(),
                33..=90 => self.interleaved(),
                91..=590 => self.transaction(),
                _ => self.read(),
            }
            // The model stays small, so that slots are used again and again.
            if self.live.len() > 250 {
                self.thin();
            }
        }
        self.reopen();
    }

    fn thin(&mut self) {
        let mut tx = self.store.begin().expect("begins");
        let mut pending = Pending::default();
        for id in self.live.keys().copied().collect::<Vec<_>>() {
            if self.rng.one_in(2) {
                tx.delete(id).expect("deletes");
                pending.deletes.insert(id);
            }
        }
        let seq = tx.commit_with(Durability::Buffered).expect("commits");
        self.apply(pending, seq);
    }
}

fn directory() -> Place {
    Place::Directory(tempfile::tempdir().expect("a directory"))
}

#[test]
fn a_store_in_files_does_what_a_map_does() {
    Run::new(1, directory(), false).run(6_000);
}

#[test]
fn a_store_in_files_with_a_background_thread_does_what_a_map_does() {
    Run::new(2, directory(), true).run(6_000);
}

#[test]
fn a_store_in_memory_does_what_a_map_does() {
    for seed in 3..5 {
        Run::new(seed, Place::Memory(Arc::new(Memory::new())), false).run(5_000);
    }
}

#[test]
fn a_store_in_memory_with_a_background_thread_does_what_a_map_does() {
    Run::new(5, Place::Memory(Arc::new(Memory::new())), true).run(6_000);
}
