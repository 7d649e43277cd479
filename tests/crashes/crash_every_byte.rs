//! A log cut at any byte yields the state of the last whole commit, or an error if more was proven durable.
//!
//! Everything runs in memory, where cutting a file is cheap; one test does the same with files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::verify::verify_backing;
use tenure::{Durability, FileKind, Options, RecordId, Store};

use crate::common;
use crate::common::{Contents, Rng};

type Files = BTreeMap<String, Vec<u8>>;

/// The state of the store at this length of the log.
#[derive(Debug, Clone, PartialEq)]
struct Moment {
    log_bytes: u64,
    seq: u64,
    contents: Contents,
    marks: BTreeMap<String, u64>,
}

struct Built {
    files: Files,
    log: String,
    moments: Vec<Moment>,
    ever: BTreeSet<RecordId>,
    /// The log position of a snapshot.
    proven_bytes: u64,
}

fn options(durability: Durability) -> Options {
    Options::new().background(false).segment_bytes(1 << 20).durability(durability)
}

fn log_segment(store: &Store) -> Option<(String, u64)> {
    let stats = store.stats();
    let logs = stats.segments.into_iter().filter(|segment| segment.kind == FileKind::Records);
    logs.max_by(|a, b| a.file.cmp(&b.file)).map(|segment| (segment.file, segment.bytes))
}

fn moment(store: &Store) -> Moment {
    Moment {
        log_bytes: log_segment(store).map_or(0, |(_, bytes)| bytes),
        seq: store.last_seq().0,
        contents: common::contents(store).expect("reads"),
        marks: common::marks(store),
    }
}

/// Some 25 commits of every kind, and aborted transactions.
fn build(durability: Durability, snapshot: bool, large: bool) -> Built {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options(durability).open_backing(Arc::clone(&backing)).expect("a new store");
    let mut rng = Rng::new(11);
    let mut moments = vec![moment(&store)];
    let mut ever = BTreeSet::new();
    let mut ids = Vec::new();
    let mut proven_bytes = 0;
    let sets = ["a", "b"].map(|name| {
        let set = store.record_set(name).expect("a set");
        moments.push(moment(&store));
        set
    });
    for round in 0..6 {
        let mut tx = store.begin().expect("begins");
        for number in 0..3 {
            let id = tx.insert(&sets[number % 2], rng.bytes(number * 9 + round)).expect("inserts");
            assert!(ever.insert(id));
            ids.push(id);
        }
        tx.commit_with(durability).expect("commits");
        moments.push(moment(&store));

        let mut vain = store.begin().expect("begins");
        ever.insert(vain.insert(&sets[0], "in vain").expect("inserts"));
        drop(vain);

        store.write(|tx| tx.update(ids[round], rng.bytes(20))).expect("updates");
        moments.push(moment(&store));

        let gone = ids.remove(0);
        store.write(|tx| tx.delete(gone)).expect("deletes");
        moments.push(moment(&store));

        let mut tx = store.begin().expect("begins");
        tx.update(ids[0], rng.bytes(33)).expect("updates");
        tx.delete(ids.remove(1)).expect("deletes");
        let id = tx.insert(&sets[1], "").expect("inserts");
        tx.commit_with(durability).expect("commits");
        assert!(ever.insert(id));
        ids.push(id);
        moments.push(moment(&store));

        if round == 2 {
            store.mark("middle").expect("marks");
            moments.push(moment(&store));
            if snapshot {
                store.save_snapshot().expect("saves");
                proven_bytes = moment(&store).log_bytes;
            }
        }
        if round == 3 && large {
            let id = store.write(|tx| tx.insert(&sets[0], Rng::new(5).bytes(66_000))).expect("inserts");
            assert!(ever.insert(id));
            moments.push(moment(&store));
        }
    }
    let files = common::read_backing(&*backing);
    let log = log_segment(&store).expect("a log").0;
    Built { files, log, moments, ever, proven_bytes }
}

fn cut(files: &Files, name: &str, len: usize) -> Files {
    let mut files = files.clone();
    files.get_mut(name).expect("the file").truncate(len);
    files
}

/// Lengths to cut at: all, but within a large value only some.
fn lengths(built: &Built) -> Vec<usize> {
    let mut lengths = Vec::new();
    let ends: Vec<u64> = built.moments.iter().map(|moment| moment.log_bytes).collect();
    for pair in ends.windows(2) {
        let sparse = pair[1] - pair[0] > 4_000;
        lengths.extend((pair[0]..pair[1]).filter(|len| !sparse || (len - pair[0]) % 397 < 2 || pair[1] - len < 150));
    }
    lengths.extend(ends.last());
    lengths.into_iter().map(|len| usize::try_from(len).expect("64 bits")).collect()
}

fn check_open(files: &Files, expected: &Moment, built: &Built, len: usize) {
    let options = options(Durability::Buffered);
    let backing = common::memory_of(files);
    let report = verify_backing(&backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "cut at {len}: {:?}", report.problems);
    let check = |store: &Store, when: &str| {
        let found = moment(store);
        assert!(found.seq >= expected.seq, "cut at {len}, {when}: commit {} of {}", found.seq, expected.seq);
        assert_eq!(found.contents, expected.contents, "cut at {len}, {when}");
        assert_eq!(found.marks, expected.marks, "cut at {len}, {when}");
    };
    let readonly = options.clone().read_only(true).open_backing(Arc::clone(&backing)).expect("opens");
    check(&readonly, "for reading only");
    assert_eq!(&common::read_backing(&*backing), files, "cut at {len}: a reader wrote");
    drop(readonly);

    let store = options.open_backing(Arc::clone(&backing)).unwrap_or_else(|error| panic!("cut at {len}: {error}"));
    check(&store, "at first");
    let crashed = common::memory_of(&common::read_backing(&*backing));
    store.close().expect("closes");

    let again = options.open_backing(crashed).expect("opens after a crash of the recovery's owner");
    check(&again, "after a second crash");
    insert_more(&again, built, len);

    let again = options.open_backing(backing).expect("opens");
    assert!(again.recovery_report().clean, "{}", again.recovery_report());
    check(&again, "after it was closed");
    insert_more(&again, built, len);
}

/// New IDs differ from any that a lost commit may have returned.
fn insert_more(store: &Store, built: &Built, len: usize) {
    let before = common::contents(store).expect("reads");
    let live: BTreeSet<RecordId> = before.values().flat_map(BTreeMap::keys).copied().collect();
    let mut tx = store.begin().expect("begins");
    for set in ["a", "b"] {
        let set = store.record_set(set).expect("a set");
        for _ in 0..30 {
            let id = tx.insert(&set, "new").expect("inserts");
            assert!(!built.ever.contains(&id), "cut at {len}: {id} was handed out before");
        }
    }
    tx.commit_with(Durability::Buffered).expect("commits");
    for id in built.ever.difference(&live) {
        assert!(common::is_dead(store, *id), "cut at {len}: {id} is live");
    }
}

fn cut_everywhere(built: &Built) {
    for len in lengths(built) {
        let bytes = u64::try_from(len).expect("64 bits");
        let files = cut(&built.files, &built.log, len);
        if bytes < built.proven_bytes {
            let result = options(Durability::Buffered).open_backing(common::memory_of(&files));
            let error = result.err().unwrap_or_else(|| panic!("cut at {len}: commits of a snapshot were lost"));
            assert!(error.is_corruption(), "cut at {len}: {error}");
            continue;
        }
        let expected = built.moments.iter().rev().find(|moment| moment.log_bytes <= bytes).expect("a moment");
        check_open(&files, expected, built, len);
    }
}

#[test]
fn a_log_cut_at_any_byte_ends_with_the_last_whole_commit() {
    cut_everywhere(&build(Durability::Buffered, false, false));
}

#[test]
fn a_log_cut_within_a_large_value_ends_before_it() {
    let built = build(Durability::Buffered, false, true);
    let large = built.moments.windows(2).position(|pair| pair[1].log_bytes - pair[0].log_bytes > 4_000).expect("one");
    let moments = built.moments[large..=large + 2].to_vec();
    cut_everywhere(&Built { moments, ..built });
}

#[test]
fn a_log_cut_below_a_snapshot_is_damage_and_above_it_a_tear() {
    cut_everywhere(&build(Durability::Buffered, true, false));
}

#[test]
fn a_cut_log_in_files_is_recovered_and_verified() {
    let built = build(Durability::Buffered, true, true);
    let above = lengths(&built).into_iter().filter(|len| u64::try_from(*len).expect("64 bits") >= built.proven_bytes);
    for len in above.step_by(53) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        common::write_dir(&path, &cut(&built.files, &built.log, len));
        let bytes = u64::try_from(len).expect("64 bits");
        let expected = built.moments.iter().rev().find(|moment| moment.log_bytes <= bytes).expect("a moment");
        for _ in 0..2 {
            let store = options(Durability::Buffered).open(&path).expect("opens");
            assert_eq!(common::contents(&store).expect("reads"), expected.contents, "cut at {len}");
            common::assert_no_strays_in(&store, &path, "opened after a cut");
            store.close().expect("closes");
            common::assert_no_strays_closed(&path, "closed after a cut");
            let report = tenure::verify::verify(&path, &mut |_| {}).expect("verifies");
            assert!(report.is_ok(), "cut at {len}: {:?}", report.problems);
        }
    }
}

#[test]
fn damage_below_a_durable_watermark_is_never_cut_away() {
    let built = build(Durability::Sync, false, false);
    let step = 3;
    // A later commit proves that an earlier one was durable; nothing later proves the last two.
    let last_proven = built.moments[built.moments.len() - 2].log_bytes;
    let end = usize::try_from(last_proven).expect("64 bits");
    for at in (128..end).step_by(step) {
        let mut files = built.files.clone();
        files.get_mut(&built.log).expect("the log")[at] ^= 0x10;
        match options(Durability::Sync).open_backing(common::memory_of(&files)) {
            Err(error) => assert!(error.is_corruption(), "byte {at}: {error}"),
            // Padding is empty.
            Ok(store) => {
                let last = built.moments.last().expect("a moment");
                assert_eq!(common::contents(&store).expect("reads"), last.contents, "byte {at}");
            }
        }
    }
}

#[test]
fn an_earlier_segment_cut_below_the_watermark_is_damage() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let options = options(Durability::Sync).segment_bytes(64 << 10);
    let store = options.open_backing(Arc::clone(&backing)).expect("a new store");
    let set = store.record_set("a").expect("a set");
    for number in 0..40_u8 {
        store.write(|tx| tx.insert(&set, [number; 4_000])).expect("inserts");
    }
    let files = common::read_backing(&*backing);
    let logs: Vec<&String> = files.keys().filter(|name| name.starts_with("log-")).collect();
    assert!(logs.len() > 2, "{logs:?}");
    for name in &logs[..logs.len() - 1] {
        // The seal, the last 64 bytes, may be lost: the next segment proves that it existed.
        for len in (0..files[*name].len() - 64).step_by(301) {
            let result = options.open_backing(common::memory_of(&cut(&files, name, len)));
            let error = result.err().unwrap_or_else(|| panic!("{name} cut at {len}: durable commits were lost"));
            assert!(error.is_corruption(), "{name} cut at {len}: {error}");
        }
        let mut missing = files.clone();
        missing.remove(*name);
        let error = options.open_backing(common::memory_of(&missing)).expect_err("a missing segment");
        assert!(error.is_corruption(), "{name} missing: {error}");
    }
}

#[test]
fn copies_that_a_recovery_has_declared_are_proven() {
    let built = build(Durability::Buffered, false, false);
    let options = options(Durability::Buffered);
    let backing = common::memory_of(&built.files);
    let store = options.open_backing(Arc::clone(&backing)).expect("recovers");
    let report = store.recovery_report();
    assert!(report.bytes_copied > 0, "{report}");
    let files = common::read_backing(&*backing);
    let copy = files.keys().rfind(|name| name.starts_with("log-")).expect("a log").clone();
    assert_ne!(copy, built.log);
    for len in (0..files[&copy].len()).step_by(7) {
        let result = options.open_backing(common::memory_of(&cut(&files, &copy, len)));
        let error = result.err().unwrap_or_else(|| panic!("{copy} cut at {len}: declared commits were lost"));
        assert!(error.is_corruption(), "{copy} cut at {len}: {error}");
    }
}
