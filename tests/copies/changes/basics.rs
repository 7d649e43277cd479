//! What a commit shows.

use std::time::{Duration, SystemTime};

use tenure::{ChangeKind, Durability, Options, RecordId, Seq, Store};

use crate::changes::mirror::{Mirror, records_of};

type Seen = Vec<(ChangeKind, Option<RecordId>, Option<Vec<u8>>)>;

fn seen(store: &Store, since: Seq) -> Vec<Seen> {
    let commits = store.changes(since).unwrap().map(|commit| {
        let commit = commit.unwrap();
        let changes = commit.changes().map(|change| {
            let change = change.unwrap();
            (change.kind(), change.id(), change.value().unwrap().into_bytes().map(std::borrow::Cow::into_owned))
        });
        changes.collect()
    });
    commits.collect()
}

#[test]
fn inserts_updates_and_deletes_come_in_order_with_their_values() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let since = store.last_seq();
    let id = store.write(|tx| tx.insert(&set, "one")).unwrap();
    store.write(|tx| tx.update(id, "two")).unwrap();
    store.write(|tx| tx.delete(id)).unwrap();
    let value = |text: &str| Some(text.as_bytes().to_vec());
    let expected = [
        vec![(ChangeKind::Insert, Some(id), value("one"))],
        vec![(ChangeKind::Update, Some(id), value("two"))],
        vec![(ChangeKind::Delete, Some(id), None)],
    ];
    assert_eq!(seen(&store, since), expected);
    assert_eq!(seen(&store, Seq(since.0 + 1)), expected[1..]);
    assert_eq!(seen(&store, Seq::ZERO).len(), 4, "the set was created");
    assert_eq!(seen(&store, store.last_seq()), [] as [Seen; 0]);
}

#[test]
fn a_record_that_a_transaction_changes_often_comes_once() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let old = store.write(|tx| tx.insert_many(&set, &["1", "2", "3", "4"])).unwrap();
    let since = store.last_seq();
    let (kept, gone) = store
        .write(|tx| {
            let (kept, gone) = (tx.insert(&set, "new")?, tx.insert(&set, "gone")?);
            tx.update(kept, "newer")?;
            tx.delete(gone)?;
            tx.update(old[0], "1a")?;
            tx.update(old[0], "1b")?;
            tx.update(old[1], "2a")?;
            tx.delete(old[1])?;
            tx.delete(old[2])?;
            tx.update(old[3], "4a")?;
            Ok::<_, tenure::Error>((kept, gone))
        })
        .unwrap();
    let value = |text: &str| Some(text.as_bytes().to_vec());
    let commits = seen(&store, since);
    assert_eq!(commits.len(), 1);
    let mut changes = commits[0].clone();
    assert!(changes.iter().all(|(_, id, _)| *id != Some(gone)), "{changes:?}");
    changes.sort_by_key(|(_, id, _)| *id);
    let mut expected = vec![
        (ChangeKind::Insert, Some(kept), value("newer")),
        (ChangeKind::Update, Some(old[0]), value("1b")),
        (ChangeKind::Delete, Some(old[1]), None),
        (ChangeKind::Delete, Some(old[2]), None),
        (ChangeKind::Update, Some(old[3]), value("4a")),
    ];
    expected.sort_by_key(|(_, id, _)| *id);
    assert_eq!(changes, expected);
}

#[test]
fn a_commit_has_its_number_time_and_note() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let before = SystemTime::now();
    let mut tx = store.begin().unwrap();
    tx.note("first").unwrap();
    tx.insert(&set, "one").unwrap();
    tx.note("by hand").unwrap();
    let seq = tx.commit().unwrap();
    let mut tx = store.begin().unwrap();
    assert!(matches!(tx.note(vec![0; 70_000]), Err(tenure::Error::TooLarge { what: "note", .. })));
    tx.note("nothing else").unwrap();
    assert_eq!(tx.commit().unwrap(), seq, "a note alone is no commit");
    let commit = store.changes(Seq(seq.0 - 1)).unwrap().next().unwrap().unwrap();
    assert_eq!((commit.seq(), commit.note().unwrap().as_deref()), (seq, Some(&b"by hand"[..])));
    assert!(commit.time() + Duration::from_secs(1) >= before && commit.time() <= SystemTime::now());
    assert!(commit.bytes() > 0);
}

#[test]
fn dropping_and_clearing_a_set_are_one_commit_each() {
    let store =
        Options::new().background(false).open_backing(std::sync::Arc::new(tenure::backing::Memory::new())).unwrap();
    let (a, b) = (store.record_set("a").unwrap(), store.record_set("b").unwrap());
    for set in [&a, &b] {
        store.write(|tx| tx.insert_many(set, &vec!["x"; 2_000])).unwrap();
    }
    let since = store.last_seq();
    let new = store.clear_set(&a).unwrap();
    store.drop_set(&b).unwrap();
    let id = store.write(|tx| tx.insert(&new, "y")).unwrap();
    store.rename_set(&new, "c").unwrap();
    let kinds: Vec<Vec<ChangeKind>> =
        seen(&store, since).iter().map(|commit| commit.iter().map(|change| change.0).collect()).collect();
    let expected = [
        vec![ChangeKind::DropSet, ChangeKind::CreateSet],
        vec![ChangeKind::DropSet],
        vec![ChangeKind::Insert],
        vec![ChangeKind::RenameSet],
    ];
    assert_eq!(kinds, expected);
    // A feed of the set follows it when it is cleared.
    let of_a = store.changes(since).unwrap().of_sets([&a]);
    let names: Vec<(ChangeKind, String, Option<RecordId>)> = of_a
        .flat_map(|commit| {
            let commit = commit.unwrap();
            let changes = commit.changes().map(|change| {
                let change = change.unwrap();
                (change.kind(), change.set_name().to_owned(), change.id())
            });
            changes.collect::<Vec<_>>()
        })
        .collect();
    let (of_sets, kinds): (Vec<_>, Vec<_>) = names.iter().map(|(kind, name, _)| (name.as_str(), *kind)).unzip();
    assert_eq!(kinds, [ChangeKind::DropSet, ChangeKind::CreateSet, ChangeKind::Insert, ChangeKind::RenameSet]);
    assert_eq!(of_sets, ["a", "a", "a", "c"]);
    let mut mirror = Mirror::default();
    mirror.follow(&mut store.changes(Seq::ZERO).unwrap()).unwrap();
    assert_eq!(mirror.records, records_of(&store, &store.view()));
    assert!(mirror.records[&new.number()].contains_key(&id));
}

#[test]
fn a_feed_of_some_sets_shows_these_only() {
    let store = Store::in_memory().unwrap();
    let (a, b) = (store.record_set("a").unwrap(), store.record_set("b").unwrap());
    let since = store.last_seq();
    let in_a = store.write(|tx| tx.insert(&a, "1")).unwrap();
    let in_b = store.write(|tx| tx.insert(&b, "2")).unwrap();
    let both = store.write(|tx| {
        tx.delete(in_a)?;
        tx.update(in_b, "3")
    });
    both.unwrap();
    let cleared = store.clear_set(&a).unwrap();
    let later = store.write(|tx| tx.insert(&cleared, "4")).unwrap();
    let last = store.write(|tx| tx.delete(in_b)).map(|()| store.last_seq()).unwrap();
    // Opened for the set as it was, before it is cleared.
    let mut feed = store.changes(since).unwrap().of_sets([&a]);
    let ids: Vec<_> = feed
        .by_ref()
        .flat_map(|commit| commit.unwrap().changes().map(|change| change.unwrap().id()).collect::<Vec<_>>())
        .collect();
    // The handle leads to the set that has taken its place.
    assert!(ids.contains(&Some(later)), "{ids:?}");
    assert!(!ids.contains(&Some(in_b)), "{ids:?}");
    assert_eq!(feed.passed(), last, "what is not shown is passed");
}

#[test]
fn large_values_come_whole_and_their_parts_are_not_shown() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let since = store.last_seq();
    let (first, second) = (vec![1; 300_000], vec![2; 400_000]);
    let id = store.write(|tx| tx.insert(&set, &first)).unwrap();
    let commits = seen(&store, since);
    assert_eq!(commits, [vec![(ChangeKind::Insert, Some(id), Some(first.clone()))]]);
    store.write(|tx| tx.update(id, &second)).unwrap();
    let commits = seen(&store, since);
    assert_eq!(commits[0], [(ChangeKind::Insert, Some(id), Some(first))], "its parts are still there");
    assert_eq!(commits[1], [(ChangeKind::Update, Some(id), Some(second))]);
    store.write(|tx| tx.delete(id)).unwrap();
    assert_eq!(seen(&store, since)[2], [(ChangeKind::Delete, Some(id), None)]);
}

#[test]
fn only_durable_commits_are_shown_unless_others_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().background(false).open(dir.path().join("store")).unwrap();
    let set = store.record_set("a").unwrap();
    store.sync().unwrap();
    let since = store.last_seq();
    store.write_with(Durability::Buffered, |tx| tx.insert(&set, "1")).unwrap();
    let mut feed = store.changes(since).unwrap();
    assert!(feed.try_next().unwrap().is_none());
    assert!(feed.next_timeout(Duration::from_millis(5)).unwrap().is_none());
    assert_eq!(store.changes(since).unwrap().early().count(), 1);
    store.sync().unwrap();
    assert!(feed.try_next().unwrap().is_some());
}

#[test]
fn a_waiting_thread_gets_the_next_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let set = store.record_set("a").unwrap();
    let mut feed = store.changes(store.last_seq()).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || feed.next_timeout(Duration::from_mins(1)).unwrap().map(|commit| commit.seq()));
        let (_, seq) = store.write_with(Durability::Sync, |tx| tx.insert(&set, "1")).unwrap();
        assert_eq!(waiter.join().unwrap(), Some(seq));
    });
}

#[test]
fn a_feed_of_a_closed_store_gives_what_is_left_and_then_says_so() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let mut feed = store.changes(store.last_seq()).unwrap();
    store.write(|tx| tx.insert(&set, "1")).unwrap();
    store.close().unwrap();
    assert!(feed.try_next().unwrap().is_some());
    assert!(matches!(feed.try_next(), Err(tenure::Error::Closed)));
}
