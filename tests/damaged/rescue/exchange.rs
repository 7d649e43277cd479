//! When a repair replaces a damaged store with a new one, and when not; and openings of the store meanwhile.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use tenure::repair::{RepairStep, repair};
use tenure::verify::{Scope, verify, verify_with};
use tenure::{Durability, Error, Options, Store};

use crate::common;
use crate::rescue::interrupted::{Mounted, beside, damaged, is_damaged_one, succeeds};
use crate::rescue::model::{Files, options};

/// Findings without the lock need not be damage.
#[test]
fn a_store_in_which_nothing_is_found_under_the_lock_stays() {
    let (_, broken) = damaged();
    let (name, _) = broken.iter().rfind(|(name, _)| name.starts_with("log-")).expect("a segment");
    let mut whole = broken.clone();
    whole.get_mut(name).expect("the file")[200] ^= 1;
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("things.tenure");
    common::write_dir(&path, &broken);
    let mut looks = 0;
    let report = repair(&path, &mut |now| {
        looks += u32::from(now.step == RepairStep::Checking && now.bytes == 0);
        if looks == 2 {
            std::fs::write(path.join(name), &whole[name]).expect("writes");
        }
    });
    let report = report.expect("nothing to repair");
    assert!(looks >= 2 && report.is_nothing() && beside(&path).is_empty(), "{looks}: {report:?}");
    assert!(is_damaged_one(&path, &whole));
}

/// A store whose named snapshot shares its leaf pages with the newest state.
fn with_names() -> Files {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("things.tenure");
    let store = options().open(&path).expect("opens");
    let set = store.record_set("things").expect("a set");
    store.write(|tx| (0..1200).try_for_each(|number| tx.insert(&set, format!("{number}")).map(drop))).expect("inserts");
    store.save_named_snapshot("before").expect("saves");
    store.write(|tx| tx.insert(&set, "later")).expect("inserts");
    store.mark("now").expect("marks");
    // All snapshots that are kept share the pages then.
    store.save_snapshot().expect("saves");
    store.close().expect("closes");
    let mut files = common::read_dir(&path);
    files.remove("lock");
    files
}

#[test]
fn a_damaged_page_that_a_named_snapshot_shares_costs_no_names() {
    let files = with_names();
    let mut listed = 0;
    for name in files.keys().filter(|name| name.starts_with("pages-")) {
        for at in (130..files[name].len()).step_by(907) {
            let what = format!("{name} byte {at}");
            let scratch = tempfile::tempdir().expect("a directory");
            let path = scratch.path().join("things.tenure");
            let mut broken = files.clone();
            broken.get_mut(name).expect("the file")[at] ^= 8;
            common::write_dir(&path, &broken);
            for _ in 0..2 {
                let report = repair(&path, &mut |_| {}).expect("repaired");
                assert!(report.set_aside.is_none() && report.is_certain(), "{what}: {report:?}");
                let verified = verify(&path, &mut |_| {}).expect("verifies");
                assert_eq!(verified.is_ok(), report.in_snapshots.is_empty(), "{what}: {:?}", verified.problems);
                assert!(report.in_snapshots.is_empty() || !report.is_nothing());
                listed += u32::from(!report.in_snapshots.is_empty());
                assert!(verify_with(&path, Scope::Newest, &mut |_| {}).expect("verifies").is_ok(), "{what}");
            }
            let store = options().open(&path).expect("opens");
            let snapshots = store.snapshots().expect("lists");
            assert!(
                snapshots.iter().any(|snapshot| snapshot.name.as_deref() == Some("before")),
                "{what}: {snapshots:?}"
            );
            assert_eq!(store.marks().len(), 1, "{what}");
        }
    }
    assert!(listed > 2, "{listed}");
}

/// Pieces of the reserve too: they are made while the new store's indexes are built.
#[test]
fn every_file_that_an_interrupted_repair_may_have_made_is_deleted_by_the_next() {
    let (_, files) = damaged();
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("things.tenure");
    let other = scratch.path().join("things.tenure.repairing");
    let begun = options().open(&other).expect("opens");
    let set = begun.record_set("things").expect("a set");
    begun.write(|tx| tx.insert(&set, "a")).expect("inserts");
    begun.close().expect("closes");
    assert!(other.join("reserve-0").exists() && other.join("reserve-1").exists());
    for name in ["unfinished", "reserve"] {
        std::fs::write(other.join(name), b"").expect("writes");
    }
    std::fs::create_dir(other.join("exchange-2")).expect("a directory");
    common::write_dir(&path, &files);
    let report = repair(&path, &mut |_| {}).expect("repaired");
    assert!(report.left.is_empty(), "{report:?}");
    assert_eq!(beside(&path), [report.set_aside.expect("set aside").damaged]);
}

/// The new store would keep what room there was.
#[test]
fn a_repair_that_finds_no_room_leaves_nothing_of_the_new_store() {
    let (_, files) = damaged();
    let used: usize = files.values().map(|bytes| bytes.len().next_multiple_of(4096)).sum();
    let scratch = tempfile::tempdir().expect("a directory");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={}", used + (8 << 10)), "tmpfs"]).arg(scratch.path());
    if !succeeds(&mut mount) {
        println!("no file system can be mounted here");
        return;
    }
    let mounted = Mounted(scratch.path().to_owned());
    let path = mounted.0.join("things.tenure");
    common::write_dir(&path, &files);
    let error = repair(&path, &mut |_| {}).expect_err("there is no room");
    assert!(matches!(error, Error::NoSpace { .. } | Error::Io { .. }), "{error}");
    assert!(beside(&path).is_empty() && is_damaged_one(&path, &files), "{:?}", beside(&path));
}

/// Exchanges two stores as a repair does: while it has the locks of both.
fn exchange(a: &Path, b: &Path) {
    let lock = |path: &Path| {
        let file = File::options().write(true).create(true).truncate(false).open(path.join("lock")).ok()?;
        file.try_lock().ok().map(|()| file)
    };
    let Some(_locks) = lock(a).zip(lock(b)) else { return };
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, exchange).expect("exchanges");
}

#[test]
fn who_opens_a_store_while_another_takes_its_place_has_the_one_that_is_there() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [path, other] = ["things.tenure", "other.tenure"].map(|name| scratch.path().join(name));
    for path in [&path, &other] {
        Store::open(path).expect("opens").close().expect("closes");
    }
    let (is_over, mut opened) = (AtomicBool::new(false), 0);
    let options = Options::new().durability(Durability::Buffered).background(false).collector(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                exchange(&path, &other);
            }
        });
        let mut wrong = 0;
        for _ in 0..4_000 {
            match options.open(&path) {
                Ok(store) => {
                    opened += 1;
                    let lock = File::options().read(true).open(path.join("lock")).expect("is there");
                    wrong += u32::from(!matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
                    drop(store);
                }
                Err(Error::Locked { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            if opened == 150 {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(wrong, 0, "of {opened}");
    });
    assert!(opened > 20, "{opened}");
}

#[test]
fn a_file_in_which_nothing_holds_is_told_in_a_bounded_number_of_lines() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("things.tenure");
    let store = options().open(&path).expect("opens");
    let set = store.record_set("things").expect("a set");
    store.write(|tx| (0..1500).try_for_each(|number| tx.insert(&set, format!("{number}")).map(drop))).expect("inserts");
    store.close().expect("closes");
    let names = common::read_dir(&path).into_keys().filter(|name| name.starts_with("log-"));
    for name in names {
        let mut bytes = std::fs::read(path.join(&name)).expect("reads");
        bytes[128..].fill(0);
        std::fs::write(path.join(&name), bytes).expect("writes");
    }
    let problems = verify(&path, &mut |_| {}).expect("verifies").problems;
    let more: Vec<_> = problems.iter().filter(|problem| problem.what.contains("500 more problems")).collect();
    assert!((1000..1100).contains(&problems.len()) && more.len() == 1, "{}: {:?}", problems.len(), problems.last());
}
