//! A store that is opened, written and closed again and again: its content bounds the files and the cost of a cycle.
//!
//! `TENURE_CYCLES` sets the number of cycles in memory, `TENURE_KILLS` that of kills, `TENURE_CYCLES_IN_FILES` that of
//! cycles with files, in the directory `TENURE_CYCLES_IN`; from 10,000 of these on their times are compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::{Backing, Memory};
use tenure::{Durability, Options, RecordId, Store};

use crate::bounded::counted::{Counted, Figures};
use crate::bounded::rounds;
use crate::common;
use crate::common::Rng;

/// The maximum number of a store's files.
const FILES_MAX: usize = 64;
/// Bytes of a record.
const RECORD_BYTES: usize = 100;

/// The work of a program that runs repeatedly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// It adds a record.
    Adds,
    /// It changes one of eight thousand records.
    Changes,
    /// It adds a record and deletes an old one.
    Queues,
    /// It adds a record, and marks the state.
    Marks,
    /// It adds as many records as it likes.
    AddsMany,
}

const HABITS: [Habit; 5] = [Habit::Adds, Habit::Changes, Habit::Queues, Habit::Marks, Habit::AddsMany];

fn options() -> Options {
    Options::new().background(false)
}

/// The expected content of the store.
type Model = BTreeMap<RecordId, Vec<u8>>;

fn work(store: &Store, habit: Habit, rng: &mut Rng, model: &mut Model) {
    let set = store.record_set("a").expect("a set");
    let count = match habit {
        Habit::Changes if model.is_empty() => 8_000,
        Habit::Changes => 0,
        Habit::AddsMany => 1 << rng.below(9),
        _ => 1,
    };
    let mut tx = store.begin().expect("begins");
    for _ in 0..count {
        let value = rng.bytes(RECORD_BYTES);
        let id = tx.insert(&set, &value[..]).expect("inserts");
        model.insert(id, value);
    }
    let some = model.keys().nth(rng.below(model.len())).copied();
    match (habit, some) {
        (Habit::Changes, Some(id)) => {
            let value = rng.bytes(RECORD_BYTES);
            tx.update(id, &value[..]).expect("updates");
            model.insert(id, value);
        }
        (Habit::Queues, Some(id)) if model.len() > 300 => {
            tx.delete(id).expect("deletes");
            model.remove(&id);
        }
        _ => {}
    }
    tx.commit_with(Durability::Buffered).expect("commits");
    if habit == Habit::Marks {
        store.mark("here").expect("marks");
    }
}

/// Names of a store's files, without the lock.
fn files(backing: &dyn Backing) -> Vec<String> {
    let mut names = backing.list().expect("lists");
    names.retain(|name| name != "lock");
    names.sort_unstable();
    names
}

fn assert_few_files(backing: &dyn Backing, what: &str) -> usize {
    let names = files(backing);
    assert!(names.len() <= FILES_MAX, "{what}: {} files: {}", names.len(), names.join(" "));
    names.len()
}

fn assert_holds(store: &Store, model: &Model, what: &str) {
    let found: Model = common::contents(store).expect("reads").into_values().flatten().collect();
    assert!(found == *model, "{what}: other contents");
}

fn assert_sound(backing: &Arc<dyn Backing>, model: &Model, what: &str) {
    assert_holds(&options().open_backing(Arc::clone(backing)).expect("opens"), model, what);
    let report = tenure::verify::verify_backing(backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{what}: {:?}", report.problems);
}

fn cycles(habit: Habit, count: u64) {
    let counted = Counted::new(Arc::new(Memory::new()));
    let backing: Arc<dyn Backing> = Arc::new(counted.clone());
    let (mut rng, mut model, mut costs) = (Rng::new(7), Model::new(), Vec::new());
    for cycle in 0..count {
        let before = counted.figures();
        let store = options().open_backing(Arc::clone(&backing)).expect("opens");
        assert!(cycle == 0 || store.recovery_report().clean, "{habit:?}: {}", store.recovery_report());
        work(&store, habit, &mut rng, &mut model);
        store.close().expect("closes");
        costs.push(counted.figures().since(before));
        assert_few_files(&*backing, &format!("{habit:?}, cycle {cycle}"));
    }
    // A quarter of them is enough for every size of segment to have come about, when there are a few hundred.
    let (calls, quarter) = (|all: &[Figures]| all.iter().map(|each| each.calls).sum::<u64>(), costs.len() / 4);
    let (first, last) = (calls(&costs[quarter..2 * quarter]), calls(&costs[costs.len() - quarter..]));
    assert!(last <= first * 3 / 2, "{habit:?}: {first} calls in {quarter} cycles, {last} in the last of them");
    assert_sound(&backing, &model, &format!("{habit:?}"));
}

#[test]
fn files_are_few_however_often_a_store_was_opened() {
    for habit in HABITS {
        cycles(habit, rounds("TENURE_CYCLES", 400));
    }
}

/// A store whose process is killed again and again, after this many records in each life. The image of its files is what the
/// next one finds.
fn kills(per_life: usize, count: u64) {
    let (mut rng, mut model, mut image) = (Rng::new(11), Model::new(), BTreeMap::new());
    let (mut copied, mut replayed_max) = (0, 0);
    for kill in 0..count {
        let what = format!("{per_life} records a life, kill {kill}");
        let backing = common::memory_of(&image);
        let store = options().open_backing(Arc::clone(&backing)).expect("opens");
        let report = store.recovery_report();
        copied += report.bytes_copied;
        replayed_max = replayed_max.max(report.bytes_replayed);
        assert!(report.frames_replayed <= 60 && report.bytes_replayed <= 600_000, "{what}: {report}");
        if per_life > 0 || kill == 0 {
            let set = store.record_set("a").expect("a set");
            let mut tx = store.begin().expect("begins");
            for _ in 0..per_life.max(1) {
                let value = rng.bytes(RECORD_BYTES);
                model.insert(tx.insert(&set, &value[..]).expect("inserts"), value);
            }
            tx.commit_with(Durability::Sync).expect("commits");
        }
        image = common::read_backing(&*backing);
        assert_few_files(&*backing, &what);
        let manifests = image.iter().filter(|(name, _)| name.starts_with("manifest-")).map(|(_, bytes)| bytes.len());
        let manifest: usize = manifests.sum();
        assert!(manifest <= 64 << 10, "{what}: {manifest} bytes of manifest");
    }
    assert!(per_life == 0 || replayed_max > 0, "nothing was ever replayed");
    // A commit is copied once at most, until its copy is proven.
    let written: usize = model.values().map(Vec::len).sum();
    assert!(copied <= 2 * u64::try_from(written).expect("fits") + 200 * count, "{per_life}: {copied} bytes copied");
    assert_sound(&common::memory_of(&image), &model, &format!("{per_life} records a life"));
}

#[test]
fn what_an_opening_replays_is_bounded_however_often_the_process_was_killed() {
    for per_life in [0, 1, 300] {
        kills(per_life, rounds("TENURE_KILLS", 120));
    }
}

/// Cycles with real files, with threads, as a program that runs again and again has them.
#[test]
fn cycles_in_files_are_cheap_and_leave_few() {
    let count = rounds("TENURE_CYCLES_IN_FILES", 30);
    let dir = match std::env::var("TENURE_CYCLES_IN") {
        Ok(dir) => tempfile::tempdir_in(dir).expect("a directory"),
        Err(_) => tempfile::tempdir().expect("a directory"),
    };
    let path = dir.path().join("store");
    let (mut times, mut most) = (Vec::new(), 0);
    let mut last = None;
    for cycle in 0..count {
        let begun = Instant::now();
        let store = Store::open(&path).expect("opens");
        let set = store.record_set("a").expect("a set");
        last = Some(store.write(|tx| tx.insert(&set, [7; RECORD_BYTES])).expect("inserts"));
        store.close().expect("closes");
        times.push(begun.elapsed());
        let files = std::fs::read_dir(&path).expect("a directory").count();
        assert!(files <= FILES_MAX, "cycle {cycle}: {files} files");
        most = most.max(files);
    }
    let part = times.len().min(2_000) / 2;
    let median = |of: &[Duration]| {
        let mut of = of.to_vec();
        of.sort_unstable();
        of[of.len() / 2]
    };
    let (first, end) = (median(&times[..part]), median(&times[times.len() - part..]));
    println!("{count} cycles: median of the first {part} {first:?}, of the last {end:?}; at most {most} files");
    // Few cycles prove nothing, and times measured beside other tests are unreliable.
    assert!(count < 10_000 || end <= first * 3 / 2, "{first:?} at the beginning, {end:?} at the end");
    let store = Store::open(&path).expect("opens");
    assert_eq!(store.stats().records, count);
    let found = store.get(last.expect("a record")).expect("reads");
    assert_eq!(found.as_slice(), Some(&[7; RECORD_BYTES][..]));
    drop(found);
    store.close().expect("closes");
    assert!(tenure::verify::verify(&path, &mut |_| {}).expect("verifies").is_ok());
}

#[test]
fn what_others_hold_of_a_store_stays_as_it_was_while_it_is_merged() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    let (mut rng, mut model) = (Rng::new(3), Model::new());
    let mut cycle = |model: &mut Model| {
        let store = options().open(&path).expect("opens");
        work(&store, Habit::Queues, &mut rng, model);
        store.close().expect("closes");
    };
    (0..15).for_each(|_| cycle(&mut model));
    let store = options().open(&path).expect("opens");
    store.save_named_snapshot("then").expect("saves");
    store.backup_to(&copy).expect("copies");
    let view = store.view();
    store.close().expect("closes");
    let follower = options().read_only(true).open(&path).expect("opens");
    let (then, copied) = (model.clone(), common::read_dir(&copy));
    // Each of them merges; the segments of before are listed by the name, and those that come are not.
    (0..60).for_each(|_| cycle(&mut model));
    for (id, value) in &then {
        assert_eq!(view.get(*id).expect("reads").as_slice(), Some(&value[..]));
    }
    assert_holds(&follower, &then, "a follower");
    let point = tenure::Point::Name("then".to_owned());
    assert_holds(&options().open_at(&path, &point).expect("opens"), &then, "the named snapshot");
    assert!(common::read_dir(&copy) == copied, "a file of the backup has changed");
    assert_holds(&options().open(&copy).expect("opens"), &then, "the backup");
    let count = || std::fs::read_dir(&path).expect("a directory").count();
    let named = count();
    let store = options().open(&path).expect("opens");
    store.drop_snapshot("then").expect("drops");
    store.close().expect("closes");
    drop((view, follower));
    (0..4).for_each(|_| cycle(&mut model));
    assert!(count() + 8 < named, "{named} files with the name, {} without", count());
    assert_holds(&options().open(&path).expect("opens"), &model, "the store");
    assert!(tenure::verify::verify(&path, &mut |_| {}).expect("verifies").is_ok());
}
