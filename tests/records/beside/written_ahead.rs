//! Large commits are written before their turn: others go on meanwhile, and a crash, an error or a conflict at any point
//! leaves all of one or nothing.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::scope;

use tenure::backing::{Backing, FailFor, FaultBacking, Memory};
use tenure::extract::Extractor;
use tenure::salvage::salvage_backing;
use tenure::verify::verify_backing;
use tenure::{Durability, Error, Index, Options, Point, RecordId, RecordSet, Seq, Store};

use crate::beside::paused::{PATIENCE, Paused};

/// Records of a large transaction: more than a segment.
const MANY: u64 = 6_000;
const PAYLOAD: usize = 100;

fn options() -> Options {
    Options::new().background(false).segment_bytes(64 << 10).durability(Durability::Buffered)
}

fn key() -> Extractor {
    Extractor::new("key", 1, |record, keys| keys.push(&record[..8]))
}

struct Opened {
    store: Store,
    large: RecordSet,
    small: RecordSet,
    index: Index,
}

fn open(backing: Arc<dyn Backing>) -> Opened {
    let store = options().open_backing(backing).expect("opens");
    let (large, small) = (store.record_set("large").unwrap(), store.record_set("small").unwrap());
    let index = store.index(&large, "key", key()).unwrap();
    Opened { store, large, small, index }
}

fn records(first: u64) -> Vec<Vec<u8>> {
    let record = |number: u64| [&number.to_be_bytes()[..], &[7; PAYLOAD]].concat();
    (first..first + MANY).map(record).collect()
}

impl Opened {
    fn commit_large(&self, first: u64) -> Result<(Seq, Vec<RecordId>), Error> {
        let mut tx = self.store.begin()?;
        let ids = tx.insert_many(&self.large, &records(first))?;
        tx.commit().map(|seq| (seq, ids))
    }

    fn commit_small(&self, number: u64) -> RecordId {
        self.store.write(|tx| tx.insert(&self.small, number.to_be_bytes())).expect("commits")
    }

    /// How many large transactions are there: each whole, in its set and in its index.
    fn whole(&self) -> u64 {
        let view = self.store.view();
        let (by_set, by_index) = (view.len(&self.large), self.index.len(&view).unwrap());
        assert_eq!((by_set % MANY, by_index), (0, by_set), "a part of a transaction");
        by_set / MANY
    }
}

fn assert_intact(backing: &FaultBacking) {
    let backing: Arc<dyn Backing> = Arc::new(backing.clone());
    let report = verify_backing(&backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{report}");
}

/// Records, and their commit, as another opening finds them.
fn reopened(image: &FaultBacking) -> (u64, u64) {
    assert_intact(image);
    let opened = open(Arc::new(image.clone()));
    (opened.whole(), opened.store.view().len(&opened.small))
}

#[test]
fn commits_marks_and_snapshots_go_on_while_a_large_commit_is_written() {
    let backing = Paused::new();
    let opened = open(Arc::new(backing.clone()));
    let before = opened.commit_small(0);
    let pause = backing.pause();
    scope(|scope| {
        let large = scope.spawn(|| opened.commit_large(0));
        pause.wait();
        let (tell, told) = channel();
        let others = &opened;
        scope.spawn(move || {
            let small = others.commit_small(1);
            others.store.save_snapshot().unwrap();
            others.store.mark("meanwhile").unwrap();
            others.store.save_named_snapshot("named").unwrap();
            others.store.write(|tx| tx.update(small, [9; 8])).unwrap();
            others.store.collect(None).unwrap();
            tell.send(small).expect("somebody waits");
        });
        let small = told.recv_timeout(PATIENCE).expect("others go on while the large commit is written");
        assert_eq!(opened.whole(), 0, "nothing of it is seen");
        assert_eq!(reopened(&backing.inner.kill_image()), (0, 2), "nor after a crash");
        pause.go_on();
        let (seq, ids) = large.join().unwrap().expect("commits");
        assert_eq!(opened.whole(), 1);
        assert!(opened.store.get(ids[3]).unwrap().seq() == seq, "the version of a record is its commit");
        assert!(opened.store.get(small).unwrap().seq() < seq);
        assert_eq!(opened.store.last_seq(), seq);
    });
    let last = opened.store.last_seq();
    let after = opened.commit_small(2);
    assert_eq!(opened.store.get(after).unwrap().seq(), Seq(last.0 + 1));
    assert_eq!(reopened(&backing.inner.kill_image()), (1, 3));
    opened.store.sync().unwrap();
    assert_eq!(reopened(&backing.inner.crash_image_lose_all()), (1, 3));
    let image: Arc<dyn Backing> = Arc::new(backing.inner.kill_image());
    for point in [Point::Mark("meanwhile".to_owned()), Point::Name("named".to_owned()), Point::Seq(Seq(last.0 - 1))] {
        let past = options().open_backing_at(Arc::clone(&image), &point).expect("a point in time");
        assert_eq!(past.view().len(&past.find_set("large").unwrap()), 0, "{point}");
        assert!(past.get(before).is_ok());
    }
    let past = options().open_backing_at(image, &Point::Seq(last)).expect("a point in time");
    assert_eq!(past.view().len(&past.find_set("large").unwrap()), MANY);
    opened.store.close().expect("closes");
    assert_eq!(reopened(&backing.inner), (1, 3));
}

/// A kill, or a power cut, before and within each step of large commits with others between.
#[test]
fn a_crash_at_any_step_leaves_all_or_nothing() {
    let backing = FaultBacking::new();
    let opened = open(Arc::new(backing.clone()));
    opened.commit_small(0);
    opened.store.sync().unwrap();
    backing.record();
    opened.commit_large(0).unwrap();
    opened.commit_small(1);
    let synced = {
        let mut tx = opened.store.begin().unwrap();
        tx.insert_many(&opened.large, &records(MANY)).unwrap();
        tx.commit_with(Durability::Sync).unwrap();
        backing.kill_image().crash_image_lose_all()
    };
    assert_eq!(reopened(&synced), (2, 2), "what was acknowledged as durable is");
    let images = backing.take_recorded();
    assert!(images.len() > 10, "{} steps", images.len());
    let mut seen = [false; 3];
    for image in &images {
        let (large, small) = reopened(&image.kill_image());
        assert!(matches!((large, small), (0, 1) | (1, 1 | 2) | (2, 2)), "{large} large and {small} small ones");
        seen[usize::try_from(large).unwrap()] = true;
        for cut in [image.crash_image_lose_all(), image.crash_image(7), image.crash_image(8)] {
            let (large, small) = reopened(&cut);
            assert!(matches!((large, small), (0, 1) | (1, 1 | 2) | (2, 2)), "{large} large and {small} small ones");
        }
    }
    assert_eq!(seen, [true; 3]);
}

/// What was not durable is copied by the next opening, and that of its copies by the one after it.
#[test]
fn what_an_opening_copies_leads_to_the_same() {
    let backing = FaultBacking::new();
    let opened = open(Arc::new(backing.clone()));
    opened.commit_small(0);
    opened.commit_large(0).unwrap();
    opened.commit_small(1);
    let image = backing.kill_image();
    let again = open(Arc::new(image.clone()));
    assert!(again.store.recovery_report().bytes_copied > MANY * 100);
    assert_eq!((again.whole(), again.store.view().len(&again.small)), (1, 2));
    again.commit_large(MANY).unwrap();
    let killed = image.kill_image();
    drop(again);
    assert_eq!(reopened(&killed.kill_image()), (2, 2));
    assert_eq!(reopened(&killed.crash_image_lose_all()), (1, 2));
}

fn log_files(backing: &FaultBacking) -> Vec<String> {
    backing.names().into_iter().filter(|name| name.starts_with("log-")).collect()
}

#[test]
fn a_full_disk_in_the_middle_leaves_nothing_and_the_store_goes_on() {
    let backing = FaultBacking::new();
    let opened = open(Arc::new(backing.clone()));
    opened.commit_small(0);
    let files = log_files(&backing);
    backing.disk_bytes_max(Some(backing.disk_bytes() + 400_000));
    assert!(matches!(opened.commit_large(0), Err(Error::NoSpace { .. })));
    assert_eq!(log_files(&backing), files, "its segment is deleted");
    opened.commit_small(1);
    backing.disk_bytes_max(None);
    opened.commit_large(0).expect("there is room again");
    assert_eq!(reopened(&backing.kill_image()), (1, 2));
}

#[test]
fn an_error_at_any_step_leaves_all_or_nothing() {
    for after in 0..12 {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let backing = FaultBacking::new();
            let opened = open(Arc::new(backing.clone()));
            opened.commit_small(0);
            backing.fail_at(backing.steps() + after, kind, FailFor::Once);
            let result = opened.commit_large(0);
            backing.heal();
            let there = opened.whole();
            assert_eq!(there, u64::from(result.is_ok()), "step {after}: {result:?}");
            assert_eq!(reopened(&backing.kill_image()), (there, 1), "step {after}: {result:?}");
        }
    }
}

/// A transaction that meets a conflict after it was written; returns the backing store and the store.
fn conflict(backing: &Paused) -> Opened {
    let opened = open(Arc::new(backing.clone()));
    let id = opened.commit_small(0);
    let mut tx = opened.store.begin().unwrap();
    tx.update(id, [1; 8]).unwrap();
    tx.insert_many(&opened.large, &records(0)).unwrap();
    let pause = backing.pause();
    scope(|scope| {
        let large = scope.spawn(|| tx.commit());
        pause.wait();
        opened.store.write(|tx| tx.update(id, [2; 8])).unwrap();
        pause.go_on();
        assert!(matches!(large.join().unwrap(), Err(Error::Conflict { .. })));
    });
    assert_eq!(opened.whole(), 0);
    opened
}

#[test]
fn a_conflict_after_it_was_written_leaves_nothing() {
    let backing = Paused::new();
    let opened = conflict(&backing);
    assert_eq!(log_files(&backing.inner).len(), 1, "its segment is deleted");
    opened.commit_large(0).unwrap();
    assert_eq!(reopened(&backing.inner.kill_image()), (1, 1));
    opened.store.close().unwrap();
    assert_eq!(reopened(&backing.inner), (1, 1));
}

#[test]
fn closing_the_store_in_the_middle_leaves_nothing() {
    let backing = Paused::new();
    let opened = open(Arc::new(backing.clone()));
    opened.commit_small(0);
    let mut tx = opened.store.begin().unwrap();
    tx.insert_many(&opened.large, &records(0)).unwrap();
    let pause = backing.pause();
    scope(|scope| {
        let large = scope.spawn(|| tx.commit());
        pause.wait();
        opened.store.close().expect("closes");
        let again = open(Arc::new(backing.clone()));
        again.commit_small(1);
        pause.go_on();
        assert!(large.join().unwrap().is_err(), "the handle is closed");
        assert_eq!((again.whole(), again.store.view().len(&again.small)), (0, 2));
        again.commit_large(0).unwrap();
        again.store.close().expect("closes");
    });
    assert_eq!(reopened(&backing.inner), (1, 2));
}

/// The segment of an abandoned commit cannot be deleted, and the next large commit even has the same number.
#[test]
fn a_segment_written_in_vain_counts_for_nothing_though_it_stays() {
    for others in [0, 3, 900] {
        let backing = Paused::new();
        backing.keep_files();
        let opened = conflict(&backing);
        for number in 0..others {
            opened.commit_small(number);
        }
        let there = others + 1;
        assert_eq!(reopened(&backing.inner.kill_image()), (0, there));
        let copy: Arc<dyn Backing> = Arc::new(Memory::new());
        let image: Arc<dyn Backing> = Arc::new(backing.inner.kill_image());
        salvage_backing(&image, &copy, &mut |_| {}).expect("salvages");
        let salvaged = options().open_backing(copy).unwrap();
        let kept = salvaged.find_set("large").map_or(0, |set| salvaged.view().len(&set));
        assert_eq!(kept, 0, "salvage finds no record of a commit that never was");
        opened.commit_large(0).unwrap();
        opened.commit_small(0);
        assert_eq!(reopened(&backing.inner.kill_image()), (1, there + 1));
        opened.store.save_snapshot().unwrap();
        opened.store.save_snapshot().unwrap();
        assert_eq!(reopened(&backing.inner.kill_image()), (1, there + 1));
        opened.store.close().unwrap();
        assert_eq!(reopened(&backing.inner.kill_image()), (1, there + 1));
    }
}

/// Large and small ones that salvage finds.
fn salvaged(image: FaultBacking) -> (u64, u64) {
    let copy: Arc<dyn Backing> = Arc::new(Memory::new());
    let image: Arc<dyn Backing> = Arc::new(image);
    let report = salvage_backing(&image, &copy, &mut |_| {}).expect("salvages");
    assert_eq!(report.missing_commits, []);
    let store = options().open_backing(copy).unwrap();
    let count = |name| store.find_set(name).map_or(0, |set| store.view().len(&set));
    (count("large"), count("small"))
}

/// It stays, and the numbers of others pass its own: with small commits before it, with some in segments after it, or with none.
#[test]
fn salvage_finds_nothing_of_a_commit_that_others_have_passed() {
    for others in [0, 3, 900] {
        let backing = Paused::new();
        backing.keep_files();
        let opened = conflict(&backing);
        for number in 0..others {
            opened.commit_small(number);
        }
        for large in 1..=3 {
            opened.commit_large(large * MANY).unwrap();
            assert_eq!(salvaged(backing.inner.kill_image()), (large * MANY, others + large), "{others} others");
            opened.commit_small(0);
            assert_eq!(salvaged(backing.inner.kill_image()), (large * MANY, others + large + 1), "{others} others");
        }
    }
}

/// The segment that was prepared before is of no use any more, and its file may stay, empty.
#[test]
fn salvage_finds_a_large_commit_behind_an_empty_segment() {
    let backing = Paused::new();
    backing.keep_files();
    let opened = open(Arc::new(backing.clone()));
    for number in 0..300 {
        opened.commit_small(number);
    }
    opened.commit_large(0).unwrap();
    assert_eq!(salvaged(backing.inner.kill_image()), (MANY, 300));
}

#[test]
fn salvage_finds_a_large_commit() {
    let backing = FaultBacking::new();
    let opened = open(Arc::new(backing.clone()));
    opened.commit_small(0);
    opened.commit_large(0).unwrap();
    let copy: Arc<dyn Backing> = Arc::new(Memory::new());
    let image: Arc<dyn Backing> = Arc::new(backing.kill_image());
    let report = salvage_backing(&image, &copy, &mut |_| {}).expect("salvages");
    assert_eq!(report.missing_commits, []);
    let salvaged = options().open_backing(copy).unwrap();
    assert_eq!(salvaged.view().len(&salvaged.find_set("large").unwrap()), MANY);
}

/// Two large commits at a time, and so many others that the log fills segments meanwhile.
#[test]
fn many_at_once_are_all_there() {
    let backing = FaultBacking::new();
    let opened = open(Arc::new(backing.clone()));
    scope(|scope| {
        for thread in 0..2 {
            let opened = &opened;
            scope.spawn(move || {
                for round in 0..4 {
                    opened.commit_large((thread * 4 + round) * MANY).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for number in 0..4_000 {
                opened.commit_small(number);
            }
        });
    });
    assert_eq!((opened.whole(), opened.store.view().len(&opened.small)), (8, 4_000));
    assert_eq!(reopened(&backing.kill_image()), (8, 4_000));
}
