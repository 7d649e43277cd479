//! How far back the log goes, and what is said where it does not.

use tenure::{Durability, Error, Options, Point, Seq, Store};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(256 << 10).background(false)
}

fn churn(store: &Store, rounds: u8) {
    let set = store.record_set("churn").unwrap();
    let ids = store.write(|tx| tx.insert_many(&set, &vec![vec![0; 500]; 200])).unwrap();
    for round in 0..rounds {
        let changes: Vec<_> = ids.iter().map(|id| (*id, vec![round; 500])).collect();
        store.write_with(Durability::Buffered, |tx| tx.update_many(&changes)).unwrap();
    }
    store.sync().unwrap();
    store.save_snapshot().unwrap();
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
}

#[test]
fn changes_that_were_collected_are_gone_and_not_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("store")).unwrap();
    churn(&store, 20);
    let error = store.changes(Seq::ZERO).unwrap().try_next().unwrap_err();
    let Error::Gone { since: Seq(0), oldest } = error else { panic!("{error}") };
    assert!(oldest > Seq(1), "{oldest}");
    let mut feed = store.changes(oldest).unwrap();
    while feed.try_next().unwrap().is_some() {}
    assert_eq!(feed.passed(), store.last_seq());
    // A reader that falls behind learns it as well.
    let mut slow = store.changes(store.last_seq()).unwrap();
    assert!(slow.try_next().unwrap().is_none());
    churn(&store, 40);
    churn(&store, 40);
    let error = loop {
        match slow.try_next() {
            Ok(commit) => assert!(commit.is_some(), "commits are missing"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert!(matches!(store.changes(Seq(store.last_seq().0 + 1)), Err(Error::PointGone { .. })));
}

#[test]
fn a_rollback_is_an_error_of_every_feed_from_before_it() {
    for has_more in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = options().open(dir.path().join("store")).unwrap();
        let set = store.record_set("a").unwrap();
        store.write(|tx| tx.insert(&set, "1")).unwrap();
        let mark = store.mark("here").unwrap();
        store.add_consumer("reader", mark).unwrap();
        store.write(|tx| tx.insert(&set, "2")).unwrap();
        let last = store.last_seq();
        let store = store.roll_back_to(&Point::Mark("here".to_owned())).unwrap();
        let resumed = store.last_seq();
        if has_more {
            store.write(|tx| tx.insert(&set, "3")).unwrap();
        }
        let mut feed = store.changes(mark).unwrap();
        let error = loop {
            match feed.try_next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the feed says nothing of the rollback"),
                Err(error) => break error,
            }
        };
        match error {
            Error::RolledBack { since, resumed: at } => {
                assert!(since >= mark && since <= last && at == resumed, "{since} {at}");
            }
            // What it rolled back was deleted.
            Error::Gone { oldest, .. } => assert!(oldest >= resumed, "{oldest}"),
            error => panic!("{error}"),
        }
        assert!(feed.try_next().is_err(), "it fails again");
        assert_eq!(store.changes(resumed).unwrap().count(), usize::from(has_more));
    }
}

#[test]
fn damage_is_an_error_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    for number in 0..20_u8 {
        store.write(|tx| tx.insert(&set, [number; 300])).unwrap();
    }
    store.save_snapshot().unwrap();
    store.save_snapshot().unwrap();
    let mut file = String::new();
    tenure::inspect::log(&path, |line| {
        file.clone_from(&line.file);
        false
    })
    .unwrap();
    let name = path.join(&file);
    let mut bytes = std::fs::read(&name).unwrap();
    let at = bytes.windows(300).position(|part| part == [9; 300]).unwrap();
    bytes[at + 100] ^= 1;
    // Written in place: the store has the file mapped.
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::OpenOptions::new().write(true).open(&name).unwrap(),
        &bytes[at + 100..=at + 100],
        (at + 100) as u64,
    )
    .unwrap();
    let mut feed = store.changes(Seq::ZERO).unwrap();
    let mut commits = 0;
    let error = loop {
        match feed.try_next() {
            Ok(Some(_)) => commits += 1,
            Ok(None) => panic!("damage was passed over"),
            Err(error) => break error,
        }
    };
    let Error::Corrupt(damage) = &error else { panic!("{error}") };
    assert_eq!((commits, &damage.file), (10, &file), "{error}");
    assert!(damage.offset > 0 && damage.offset < at as u64 + 100, "{error}");
}

#[test]
fn a_handle_that_shows_the_past_has_no_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    store.save_named_snapshot("then").unwrap();
    let past = Options::new().open_at(&path, &Point::Name("then".to_owned())).unwrap();
    assert!(matches!(past.changes(Seq::ZERO), Err(Error::PointGone { .. })));
}
