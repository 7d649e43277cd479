//! The loss of the end of a file, or of a file, is reported as far as the other files show it.

use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::{Error, Point, Store};

use crate::common;
use crate::told_from_a_tear::craft::{Files, options};

/// A store that was killed with its newest snapshot in the middle of its newest segment. Commits of which no frame tells stand
/// behind it.
fn killed() -> Files {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    let set = store.record_set("a").unwrap();
    let put = |text: &str| store.write(|tx| tx.insert(&set, text)).unwrap();
    put("early");
    store.save_snapshot().unwrap();
    put("later");
    store.save_snapshot().unwrap();
    put("last");
    common::read_backing(&*backing)
}

fn newest_log(files: &Files) -> String {
    files.keys().rfind(|name| name.starts_with("log-")).unwrap().clone()
}

fn open(files: &Files) -> tenure::Result<Store> {
    options().read_only(true).open_backing(common::memory_of(files))
}

#[test]
fn the_end_of_a_log_that_was_not_closed_says_what_it_does_not_know() {
    let files = killed();
    let store = open(&files).unwrap();
    let report = store.recovery_report();
    let end = report.end.clone().unwrap();
    let (name, last) = (newest_log(&files), store.last_seq());
    let at = usize::try_from(end.offset).unwrap();
    assert_eq!((&end.file, end.last, files[&name].len()), (&name, last, at));
    assert!(end.proven < last && end.proven > tenure::Seq::ZERO, "{end:?}");
    let line = format!("whether there was anything behind {last} nothing tells");
    assert!(report.to_string().contains(&line), "{report}");
    // The last frame is gone whole.
    let mut cut = files.clone();
    let mut found = false;
    for len in (at - 400..at).rev().step_by(16).map(|len| len / 16 * 16) {
        cut.get_mut(&name).unwrap().truncate(len);
        let store = match open(&cut) {
            Ok(store) => store,
            Err(error) => {
                assert!(found, "{len} of {at}: {error}");
                break;
            }
        };
        let report = store.recovery_report();
        assert!(report.cut.is_some() || report.end.is_some(), "{report}");
        found |= report.end.as_ref().is_some_and(|end| end.last < last);
    }
    assert!(found, "no frame ends there");
    let closed = options().open_backing(common::memory_of(&files)).unwrap();
    let backing = common::memory_of(&files);
    drop(closed);
    options().open_backing(Arc::clone(&backing)).unwrap().close().unwrap();
    let store = options().open_backing(backing).unwrap();
    assert_eq!((&store.recovery_report().end, store.recovery_report().clean), (&None, true));
}

#[test]
fn a_newest_segment_that_is_missing_is_damage_when_a_snapshot_stands_in_it() {
    let mut files = killed();
    let name = newest_log(&files);
    files.remove(&name);
    let error = open(&files).unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains(&name), "{error}");
    let error = options().open_backing(common::memory_of(&files)).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    let report = tenure::verify::verify_backing(&common::memory_of(&files), &mut |_| {}).unwrap();
    assert!(!report.is_ok());
}

/// The records of the log's newest segment were all deleted, so that nothing lives in it.
#[test]
fn a_missing_segment_in_which_nothing_lives_is_damage_as_well() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    let set = store.record_set("a").unwrap();
    store.write(|tx| tx.insert(&set, "kept")).unwrap();
    store.close().unwrap();
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    let id = store.write(|tx| tx.insert(&set, "deleted")).unwrap();
    store.write(|tx| tx.delete(id)).unwrap();
    store.save_snapshot().unwrap();
    store.save_snapshot().unwrap();
    let id = store.write(|tx| tx.insert(&set, "acknowledged")).unwrap();
    let mut files = common::read_backing(&*backing);
    assert!(open(&files).unwrap().get(id).is_ok());
    files.remove(&newest_log(&files));
    let error = open(&files).unwrap_err();
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn what_only_a_named_snapshot_needs_is_damage_and_no_reason_to_choose_another_point() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    let set = store.record_set("a").unwrap();
    let ids: Vec<_> = (0..50).map(|n| store.write(|tx| tx.insert(&set, format!("{n}"))).unwrap()).collect();
    store.save_named_snapshot("old").unwrap();
    store.close().unwrap();
    let first = common::read_backing(&*backing);
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    for id in &ids {
        store.write(|tx| tx.update(*id, vec![1; 2_000])).unwrap();
    }
    store.collect(None).unwrap();
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
    store.close().unwrap();
    let files = common::read_backing(&*backing);
    let point = Point::Name("old".to_owned());
    let at = |files: &Files| options().open_backing_at(common::memory_of(files), &point);
    assert_eq!(common::contents(&at(&files).unwrap()).unwrap()["a"].len(), 50);
    let mut told = 0;
    for name in first
        .keys()
        .filter(|name| (name.starts_with("log-") || name.starts_with("pages-")) && files.contains_key(*name))
    {
        let mut gone = files.clone();
        gone.remove(name);
        let mut zeroed = files.clone();
        zeroed.get_mut(name).unwrap().fill(0);
        for damaged in [gone, zeroed] {
            match at(&damaged) {
                // Not needed by it.
                Ok(store) => assert_eq!(common::contents(&store).unwrap()["a"].len(), 50),
                Err(error) => {
                    assert!(error.is_corruption(), "{name}: {error}");
                    told += 1;
                    assert!(!matches!(error, Error::PointGone { .. }));
                }
            }
        }
    }
    assert!(told >= 2, "{told}");
    let nowhere = options().open_backing_at(common::memory_of(&files), &Point::Name("none".to_owned())).unwrap_err();
    assert!(matches!(nowhere, Error::PointGone { .. }), "{nowhere}");
}
