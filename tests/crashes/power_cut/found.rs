//! Bugs that these tests have found, each reduced.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use tenure::backing::{FailFor, FaultBacking};
use tenure::{Durability, Point, RecordId, RecordSet, Store};

use crate::common::Rng;
use crate::power_cut::world::options;

fn open(backing: &FaultBacking) -> Store {
    options(Durability::Sync).open_backing(Arc::new(backing.clone())).expect("opens")
}

fn new_store() -> (FaultBacking, Store, RecordSet) {
    let backing = FaultBacking::new();
    let store = open(&backing);
    let set = store.record_set("x").expect("a set");
    (backing, store, set)
}

fn insert(store: &Store, set: &RecordSet, durability: Durability) -> RecordId {
    let mut tx = store.begin().expect("begins");
    let id = tx.insert(set, "1").expect("inserts");
    tx.commit_with(durability).expect("commits");
    id
}

/// A log segment that was never synced, and whose commits were all copied, is no part of a later snapshot. Once two such
/// snapshots are saved there is no older one to fall back to.
#[test]
fn a_kill_and_a_later_power_cut_do_not_need_the_segment_that_was_never_synced() {
    let (backing, store, set) = new_store();
    let id = insert(&store, &set, Durability::Buffered);
    let killed = backing.kill_image();
    let store = open(&killed);
    assert!(store.recovery_report().bytes_copied > 0);
    store.save_snapshot().expect("saves");
    let store = open(&killed.crash_image_lose_all());
    assert!(store.recovery_report().fell_back.is_empty(), "{}", store.recovery_report());
    assert_eq!(store.get(id).expect("was durable").as_slice(), Some(&b"1"[..]));
}

#[test]
fn a_failed_sync_and_a_later_power_cut_do_not_need_the_segment_that_was_never_synced() {
    let (backing, store, set) = new_store();
    insert(&store, &set, Durability::Sync);
    store.close().expect("closes");
    let store = open(&backing);
    let mut tx = store.begin().expect("begins");
    let id = tx.insert(&set, "2").expect("inserts");
    // A segment is created, gets its header and the frame, and is synced.
    backing.fail_at(backing.steps() + 3, ErrorKind::Other, FailFor::Once);
    assert!(matches!(tx.commit_with(Durability::Sync), Err(tenure::Error::Indeterminate { .. })));
    drop(store);
    let store = open(&backing);
    assert_eq!(store.get(id).expect("the page cache has it").as_slice(), Some(&b"2"[..]));
    store.save_snapshot().expect("saves");
    let store = open(&backing.crash_image_lose_all());
    assert!(store.recovery_report().fell_back.is_empty(), "{}", store.recovery_report());
    assert_eq!(store.get(id).expect("was durable").as_slice(), Some(&b"2"[..]));
}

/// A file whose creation failed may be there: the next attempt takes another number.
#[test]
fn a_manifest_whose_creation_failed_half_way_does_not_stand_in_the_way_of_the_next() {
    for seed in 0..8 {
        let (backing, store, set) = new_store();
        store.close().expect("closes");
        let backing = backing.crash_image(seed);
        let store = open(&backing);
        // So that the reserve is looked at.
        store.record_set("other").expect("a set");
        backing.fail_at(backing.steps(), ErrorKind::Other, FailFor::Once);
        let mut tx = store.begin().expect("begins");
        assert!(tx.insert(&set, "1").is_err(), "a reservation begins a manifest");
        drop(tx);
        let mut tx = store.begin().expect("nothing was lost: the handle goes on");
        let id = tx.insert(&set, "1").unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        tx.commit_with(Durability::Sync).expect("commits");
        let store = open(&backing.crash_image_lose_all());
        assert_eq!(store.get(id).expect("was durable").as_slice(), Some(&b"1"[..]));
    }
}

/// Going back to an old state, and then to a younger one, or to one in which a slot is free whose record was live in the last:
/// what was given in between is known in neither.
#[test]
fn no_id_comes_back_when_a_store_goes_back_and_forth() {
    for seed in 0..12 {
        let (mut rng, backing) = (Rng::new(seed), FaultBacking::new());
        let mut store = open(&backing);
        let (mut ever, mut names) = (BTreeSet::new(), Vec::new());
        for round in 0..60 {
            match rng.below(8) {
                0 if names.len() < 5 => {
                    names.push(format!("name {round}"));
                    store.save_named_snapshot(&names[names.len() - 1]).expect("saves");
                }
                1 if !names.is_empty() => {
                    let point = Point::Name(names[rng.below(names.len())].clone());
                    let last = store.last_seq();
                    store = store.roll_back_to(&point).expect("goes back");
                    assert!(store.last_seq() > last, "seed {seed}, round {round}");
                }
                2 => {
                    store.close().expect("closes");
                    store = open(&backing);
                }
                _ => {
                    let set = store.record_set(&format!("set {}", rng.below(4))).expect("a set");
                    let live: Vec<RecordId> = store.view().scan(&set).map(|one| one.expect("reads").id()).collect();
                    let gone: Vec<RecordId> = live.into_iter().filter(|_| rng.one_in(2)).collect();
                    store.write(|tx| gone.iter().try_for_each(|id| tx.delete(*id))).expect("deletes");
                    for _ in 0..rng.below(12) {
                        let id = insert(&store, &set, Durability::Sync);
                        assert!(ever.insert(id), "seed {seed}, round {round}: {id} again");
                    }
                }
            }
        }
    }
}

/// A manifest file that is begun by a drop holds neither the snapshot nor, at first, the drop; the file before it holds the
/// snapshot until it is deleted.
#[test]
fn a_dropped_snapshot_does_not_come_back_with_a_manifest_that_was_not_deleted() {
    let (backing, store, _) = new_store();
    store.save_named_snapshot("name").expect("saves");
    store.close().expect("closes");
    let before = backing.names().into_iter().find(|name| name.starts_with("manifest")).expect("a manifest");
    let contents = backing.contents(&before).expect("a file");
    let store = open(&backing);
    store.drop_snapshot("name").expect("drops");
    drop(store);
    assert!(!backing.names().contains(&before));
    let image = backing.crash_image_lose_all();
    image.put(&before, contents);
    for _ in 0..3 {
        let store = open(&image);
        let names: Vec<_> = store.snapshots().expect("lists").into_iter().filter_map(|one| one.name).collect();
        assert!(names.is_empty(), "{names:?}");
        store.save_snapshot().expect("saves");
    }
}

/// Crashes of recoveries, one after the other, leave manifests that were begun and not finished.
#[test]
fn manifests_that_were_begun_by_recoveries_one_after_the_other_are_passed_over() {
    let (backing, store, set) = new_store();
    let id = insert(&store, &set, Durability::Sync);
    store.close().expect("closes");
    let (name, next) = (&backing.names()[1], "manifest-000000000098.man");
    let whole = backing.contents(name).expect("a manifest");
    for first in [&whole[..0], &whole[..50], &whole[..200], &[0; 300][..]] {
        for second in [&whole[..0], &[0; 40][..], &[0; 300][..]] {
            let image = backing.crash_image_keep_all();
            image.put(next, first);
            image.put("manifest-000000000099.man", second);
            let store = open(&image);
            assert_eq!(store.get(id).expect("was durable").as_slice(), Some(&b"1"[..]));
            insert(&store, &set, Durability::Sync);
            assert_eq!(image.names().iter().filter(|name| name.starts_with("manifest-")).count(), 1);
        }
    }
}

/// A deletion that a power cut takes back leaves its slot live, where recovery raises no count. So the slot must not be
/// given to another record before the deletion is durable, or its next ID is handed out twice.
#[test]
fn a_slot_is_not_used_again_before_its_deletion_is_durable() {
    let (backing, store, set) = new_store();
    let old = insert(&store, &set, Durability::Sync);
    store.close().expect("closes");
    let store = open(&backing);
    let mut tx = store.begin().expect("begins");
    tx.delete(old).expect("deletes");
    tx.commit_with(Durability::Buffered).expect("commits");
    let lost = insert(&store, &set, Durability::Buffered);
    let image = backing.crash_image_lose_all();
    let store = open(&image);
    assert!(store.get(lost).is_err(), "the test needs a commit that is lost");
    // The deletion may have been made durable for the sake of the slot.
    drop(store.write(|tx| tx.delete(old)));
    store.close().expect("closes");
    let store = open(&image);
    for _ in 0..4 {
        assert_ne!(insert(&store, &set, Durability::Sync), lost, "this ID was seen before the power cut");
    }
}

/// The watermark in the header of a torn frame is true. What it proves need not be copied; what is copied is synced.
#[test]
fn what_recovery_copies_is_synced_also_when_a_torn_frame_proves_it() {
    let (backing, store, set) = new_store();
    let id = insert(&store, &set, Durability::Sync);
    let mut tx = store.begin().expect("begins");
    tx.insert(&set, [7; 4_000]).expect("inserts");
    tx.commit_with(Durability::Buffered).expect("commits");
    let image = backing.crash_image_keep_all();
    let log = image.names().into_iter().rfind(|name| name.starts_with("log-")).expect("a log");
    let bytes = image.contents(&log).expect("the log").len();
    assert!(image.truncate(&log, u64::try_from(bytes - 1_000).expect("64 bits")));
    open(&image).close().expect("closes");
    let store = open(&image.crash_image_lose_all());
    assert!(store.recovery_report().fell_back.is_empty(), "{}", store.recovery_report());
    assert_eq!(store.get(id).expect("was durable").as_slice(), Some(&b"1"[..]));
}

/// Segments' numbers never go down, also when the highest file was a leftover that recovery has deleted: a cut that was
/// declared with a higher number would void what is committed below it.
#[test]
fn commits_count_after_a_recovery_has_deleted_the_segment_with_the_highest_number() {
    let (backing, store, set) = new_store();
    insert(&store, &set, Durability::Sync);
    // A first recovery, after which nothing remains to copy.
    let backing = backing.crash_image_keep_all();
    let store = open(&backing);
    // A page segment is written, and the power fails before the snapshot is in the manifest.
    let is_leftover = |backing: &FaultBacking| backing.names().iter().any(|name| name.starts_with("pages-"));
    backing.crash_at(backing.steps() + 3);
    store.save_snapshot().expect_err("the power is out");
    let second = backing.crash_image_keep_all();
    assert!(is_leftover(&second));
    let store = open(&second);
    let third = second.crash_image_keep_all();
    assert!(!is_leftover(&third));
    drop(store);
    let store = open(&third);
    let id = insert(&store, &set, Durability::Sync);
    let store = open(&third.crash_image_lose_all());
    assert_eq!(store.get(id).expect("was acknowledged").as_slice(), Some(&b"1"[..]));
}

/// A store that goes back is killed before the entry is synced that says so, or the sync fails. The next process read the entry,
/// took it for a clean close, and deleted what only the state before needed: a power cut then took the entry.
#[test]
fn an_entry_that_was_never_synced_is_not_built_on() {
    for fails in [false, true] {
        for step in 0.. {
            let backing = crate::power_cut::world::base_with_a_past();
            let store = open(&backing);
            let step = backing.steps() + step;
            if fails {
                backing.fail_at(step, ErrorKind::Other, FailFor::Once);
            } else {
                backing.crash_at(step);
            }
            drop(store.roll_back_to(&Point::Name("past".to_owned())));
            if backing.steps() <= step {
                break;
            }
            let killed = backing.kill_image();
            // It is not closed: that would save a snapshot.
            let second = open(&killed);
            let seq = second.mark("after").expect("commits");
            let store = options(Durability::Sync).open_backing(Arc::new(killed.crash_image_lose_all()));
            let store = store.unwrap_or_else(|error| panic!("step {step}, failing {fails}: {error}"));
            assert_eq!(store.last_seq(), seq, "step {step}, failing {fails}");
        }
    }
}

/// The deletion of an older manifest file fails and takes effect all the same, until a power cut brings the file back.
#[test]
fn a_name_that_was_dropped_does_not_return_with_an_older_manifest() {
    let mut returned = 0;
    for seed in 0..16 {
        let backing = FaultBacking::with_seed(seed);
        let store = open(&backing);
        let set = store.record_set("x").expect("a set");
        insert(&store, &set, Durability::Sync);
        store.save_named_snapshot("n").expect("saves");
        store.close().expect("closes");
        let store = open(&backing);
        // A manifest is created, written and synced; then the one before it is deleted.
        backing.fail_at(backing.steps() + 3, ErrorKind::Other, FailFor::Once);
        store.drop_snapshot("n").expect("drops");
        store.close().expect("closes");
        for _ in 0..3 {
            let store = open(&backing);
            insert(&store, &set, Durability::Sync);
            store.close().expect("closes");
        }
        let image = backing.crash_image_lose_all();
        returned += u32::from(image.names().iter().filter(|name| name.starts_with("manifest-")).count() > 1);
        let store = open(&image);
        assert!(store.snapshots().expect("lists").iter().all(|snapshot| snapshot.name.is_none()), "seed {seed}");
        assert!(store.recovery_report().fell_back.is_empty(), "{}", store.recovery_report());
    }
    assert!(returned > 2, "a file came back {returned} times");
}

/// The deletion of the mark of an unfinished copy fails, and takes effect until a power cut brings the mark back: a store that was
/// opened meanwhile would be none any more.
#[test]
fn a_copy_whose_mark_may_return_is_not_opened() {
    for seed in 0..8 {
        let (_, store, set) = new_store();
        insert(&store, &set, Durability::Sync);
        let steps = {
            let copy = FaultBacking::new();
            store.backup_to_backing(Arc::new(copy.clone())).expect("copies");
            copy.steps()
        };
        let copy = FaultBacking::with_seed(seed);
        copy.fail_at(steps - 1, ErrorKind::Other, FailFor::Once);
        assert!(store.backup_to_backing(Arc::new(copy.clone())).is_err());
        let opened = options(Durability::Sync).open_backing(Arc::new(copy.kill_image()));
        assert!(matches!(opened, Err(tenure::Error::NotAStore { .. })), "seed {seed}");
    }
}
