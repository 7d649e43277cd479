//! Random sequences of operations: after each operation, and after closing, the store refers to every file on disk.
//!
//! `TENURE_LEFTOVERS_SEEDS` sets the number of sequences.

use std::sync::Arc;

use tenure::backing::FaultBacking;
use tenure::extract::Extractor;
use tenure::{Durability, Error, FileNeed, Options, Point, RecordId, RecordSet, Store, View};

use crate::common;
use crate::common::Rng;

const STEPS: usize = 120;

fn options() -> Options {
    let options = Options::new().segment_bytes(64 << 10).snapshot_log_bytes(200 << 10).background(false);
    options.durability(Durability::Buffered)
}

/// Bytes of a record, so that it can have a key.
fn extractor() -> Extractor {
    Extractor::new("length", 1, |record, keys| keys.push(&record.len()))
}

struct Run {
    rng: Rng,
    backing: FaultBacking,
    store: Option<Store>,
    ids: Vec<RecordId>,
    views: Vec<View>,
    names: Vec<String>,
    saved: u64,
    /// The last operation, for a message.
    last: String,
    needs: Vec<FileNeed>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let backing = FaultBacking::with_seed(seed);
        let store = Some(options().open_backing(Arc::new(backing.clone())).unwrap());
        let (rng, ids, views, names) = (Rng::new(seed), Vec::new(), Vec::new(), Vec::new());
        Self { rng, backing, store, ids, views, names, saved: 0, last: String::new(), needs: Vec::new() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn set(&self) -> RecordSet {
        self.store().record_set("a").unwrap()
    }

    /// Which records there are is asked of the store: it may have gone back.
    fn look(&mut self) {
        let set = self.set();
        if self.store().find_index(&set, "length").is_some() {
            self.store().index(&set, "length", extractor()).unwrap();
        }
        let view = self.store().view();
        self.ids = view.scan(&self.set()).map(|record| record.unwrap().id()).collect();
    }

    fn insert(&mut self) {
        let (set, count, len) = (self.set(), 1 + self.rng.below(60), self.rng.below(1_500));
        let insert = |tx: &mut tenure::Transaction| (0..count).map(|_| tx.insert(&set, vec![1; len])).collect();
        let more: Vec<RecordId> = self.store().write(insert).unwrap();
        self.ids.extend(more);
    }

    fn insert_large(&mut self) {
        let (set, len) = (self.set(), 70_000 + self.rng.below(100_000));
        let mut tx = self.store().begin().unwrap();
        let id = tx.insert(&set, vec![3; len]).unwrap();
        if self.rng.one_in(3) {
            return;
        }
        tx.commit_with(Durability::Buffered).unwrap();
        self.ids.push(id);
    }

    fn change(&mut self) {
        let part = self.ids.len() / 2 + self.rng.below(self.ids.len() / 2 + 1);
        let ids: Vec<RecordId> = self.ids.iter().copied().take(part).collect();
        if self.rng.one_in(2) {
            self.store().write(|tx| ids.iter().try_for_each(|id| tx.update(*id, [2; 700]))).unwrap();
        } else {
            self.store().write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).unwrap();
            self.ids.drain(..part);
        }
    }

    fn name(&mut self) {
        if self.rng.one_in(2) && !self.names.is_empty() {
            let name = self.names.remove(self.rng.below(self.names.len()));
            self.store().drop_snapshot(&name).unwrap();
        } else {
            self.saved += 1;
            let name = format!("name {}", self.saved);
            self.store().save_named_snapshot(&name).unwrap();
            self.names.push(name);
        }
    }

    fn mark(&mut self) {
        if self.store().marks().is_empty() || self.rng.one_in(2) {
            self.store().mark("mark").unwrap();
        } else {
            self.store().drop_mark("mark").unwrap();
        }
    }

    fn index(&mut self) {
        match self.store().find_index(&self.set(), "length") {
            Some(index) => self.store().drop_index(&index).unwrap(),
            None => drop(self.store().index(&self.set(), "length", extractor()).unwrap()),
        }
    }

    fn go_back(&mut self) {
        let Some(name) = self.names.last().cloned() else { return };
        let store = self.store.take().unwrap();
        let point = if self.rng.one_in(3) { Point::Mark("mark".to_owned()) } else { Point::Name(name) };
        self.views.clear();
        let back = match store.roll_back_to(&point) {
            Ok(back) => back,
            Err(Error::PointGone { .. }) => options().open_backing(Arc::new(self.backing.clone())).unwrap(),
            Err(error) => panic!("{error}"),
        };
        self.store = Some(back);
        self.look();
    }

    fn reopen(&mut self) {
        self.views.clear();
        let store = self.store.take().unwrap();
        if self.rng.one_in(3) {
            self.backing = if self.rng.one_in(2) { self.backing.kill_image() } else { self.backing.crash_image(7) };
            drop(store);
        } else {
            store.close().unwrap();
            let reader = options().read_only(true).open_backing(Arc::new(self.backing.clone())).unwrap();
            let strays = common::strays(&reader, &|| self.backing.names());
            assert!(strays.is_empty(), "closed: nothing refers to {strays:?}");
        }
        self.store = Some(options().open_backing(Arc::new(self.backing.clone())).unwrap());
        let kept: Vec<String> = self.store().snapshots().unwrap().into_iter().filter_map(|info| info.name).collect();
        self.names = kept;
        self.look();
    }

    fn step(&mut self) {
        let operation = self.rng.below(40);
        self.last = format!("operation {operation}");
        match operation {
            0..=9 => self.insert(),
            10..=17 => self.change(),
            18 => self.insert_large(),
            19..=20 => self.mark(),
            21..=24 => self.name(),
            25..=27 => drop(self.store().save_snapshot().unwrap()),
            28..=29 => drop(self.store().collect(None).unwrap()),
            30 => self.views.push(self.store().view()),
            31 => self.views.clear(),
            32 => self.index(),
            33 => drop(self.store().backup_to_backing(Arc::new(FaultBacking::new())).unwrap()),
            34 => self.go_back(),
            _ => self.reopen(),
        }
    }

    fn check(&mut self, what: &str) {
        let strays = common::strays(self.store(), &|| self.backing.names());
        assert!(strays.is_empty(), "{what}: nothing refers to {strays:?}: {:#?}", self.store().files());
        self.needs.extend(self.store().files().unwrap().iter().map(|file| file.need));
        self.needs.sort_unstable();
        self.needs.dedup();
    }
}

#[test]
fn every_file_is_one_that_the_store_refers_to_after_any_sequence_of_operations() {
    let seeds = std::env::var("TENURE_LEFTOVERS_SEEDS").map_or(12, |text| text.parse().expect("a number"));
    let mut needs = Vec::new();
    for seed in 0..seeds {
        let mut run = Run::new(seed);
        for step in 0..STEPS {
            run.step();
            run.check(&format!("seed {seed}, step {step}, {}", run.last));
        }
        run.reopen();
        needs.extend(run.needs);
    }
    for need in [FileNeed::Newest, FileNeed::Snapshot, FileNeed::Mark, FileNeed::Reader] {
        assert!(needs.contains(&need), "nothing was there for {need:?}: the sequences are too short");
    }
}
