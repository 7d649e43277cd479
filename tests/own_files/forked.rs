//! A process forks with a store open. The child has the handle, but none of its threads.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenure::extract::Extractor;
use tenure::{Consumer, Durability, Error, RecordId, Savepoint, Store, Transaction, View};

use crate::process::{Other, how, listen, options, put, say, values};

/// Records of a transaction that needs a segment of its own.
const LARGE: usize = 6_000;

/// Runs `child` in a child process, which ends with it. Returns its process ID.
#[expect(unsafe_code, reason = "there is no safe fork")]
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child runs on the only thread that it has. Locks that others held are what the test is about.
    let number = unsafe { libc::fork() };
    if number != 0 {
        assert!(number > 0, "no fork");
        return number;
    }
    // SAFETY: it ends a child that waits for a lock for ever.
    unsafe { libc::alarm(20) };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
    // SAFETY: nothing of the parent's, such as its test harness, may run here.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

#[expect(unsafe_code, reason = "a child that the standard library has not started")]
fn wait(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the pointer is to a number of our own.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child did not end well: {status:#x}");
}

fn is_parents<T>(what: &str, result: tenure::Result<T>) {
    let owner = std::os::unix::process::parent_id();
    match result.map(drop) {
        Err(Error::OtherProcess { owner: told }) if told == owner => {}
        other => panic!("{what}: {other:?}, instead of the store of {owner}"),
    }
}

/// The parent's objects at the fork.
struct InHand {
    store: Store,
    clone: Store,
    view: View,
    tx: Transaction,
    savepoint: Savepoint,
    consumer: Consumer,
    id: RecordId,
}

/// Everything that a child may try.
fn try_in_a_child(hand: InHand, parent: &mut UnixStream) {
    let InHand { store, clone, view, mut tx, savepoint, consumer, id } = hand;
    let set = store.find_set("a").expect("is there");
    assert_eq!(store.get(id).expect("reads").as_slice(), Some(&b"before"[..]));
    assert_eq!(view.get(id).expect("reads").as_slice(), Some(&b"before"[..]));
    is_parents("insert", tx.insert(&set, "child"));
    is_parents("insert many", tx.insert_many(&set, &["child"]));
    is_parents("update", tx.update(id, "child"));
    is_parents("delete", tx.delete(id));
    is_parents("back to a savepoint", tx.roll_back_to(savepoint));
    is_parents("commit", tx.commit_with(Durability::Sync));
    is_parents("begin", store.begin());
    is_parents("write", store.write(|tx| tx.delete(id)));
    is_parents("sync", store.sync());
    is_parents("set", store.record_set("a"));
    is_parents("new set", store.record_set("new"));
    is_parents("rename", store.rename_set(&set, "new"));
    is_parents("clear", store.clear_set(&set));
    is_parents("drop", store.drop_set(&set));
    is_parents("index", store.index(&set, "new", Extractor::new("new", 1, |record, keys| keys.push(record))));
    is_parents("new consumer", store.add_consumer("new", view.seq()));
    is_parents("acknowledge", consumer.acknowledge(view.seq()));
    is_parents("mark", store.mark("m"));
    is_parents("snapshot", store.save_snapshot());
    is_parents("name", store.save_named_snapshot("n"));
    is_parents("drop of a name", store.drop_snapshot("n"));
    is_parents("collect", store.collect(None));
    is_parents("wait", store.wait_durable(store.durable_seq()));
    is_parents("copy", store.backup_to("/nonexistent/never"));
    is_parents("roll back", clone.roll_back_to(&tenure::Point::Name("n".to_owned())));
    // What the parent appends meanwhile must not be cut off with the room that the child knows of.
    parent.write_all(b"1").expect("the parent listens");
    parent.read_exact(&mut [0]).expect("the parent answers");
    if how("close") {
        is_parents("close", store.close());
    } else {
        drop(store);
    }
    drop(view);
}

/// Transactions that are written and applied ahead of their turn, one after the other, until told to stop.
fn write_large(store: &Store, is_over: &AtomicBool) -> tenure::Result<()> {
    let set = store.record_set("large")?;
    while !is_over.load(Ordering::Relaxed) {
        let ids = store.write(|tx| tx.insert_many(&set, &vec![[7; 20]; LARGE]))?;
        store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id)))?;
    }
    Ok(())
}

/// Opens the store, forks, and continues.
pub fn fork_and_go_on(path: &Path) {
    let is_alone = how("alone");
    let store = options().background(!is_alone).open(path).expect("opens");
    let mut ids = vec![put(&store, b"before", Durability::Sync).expect("commits")];
    // A second durable commit makes room ahead.
    ids.push(put(&store, b"room", Durability::Sync).expect("commits"));
    let (mut here, mut there) = UnixStream::pair().expect("a pair");
    here.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let (clone, view) = (store.clone(), store.view());
    let mut tx = store.begin().expect("begins");
    tx.insert(&store.record_set("a").expect("a set"), "never").expect("inserts");
    let savepoint = tx.savepoint();
    tx.update(ids[0], "never").expect("updates");
    let consumer = store.add_consumer("kept", store.durable_seq()).expect("a consumer");
    let hand = InHand { store: store.clone(), clone, view, tx, savepoint, consumer, id: ids[0] };
    let mut of_child = Some((hand, store));
    let is_over = Arc::new(AtomicBool::new(false));
    let large = how("large").then(|| {
        let (is_over, store) = (Arc::clone(&is_over), of_child.as_ref().expect("is there").1.clone());
        std::thread::spawn(move || write_large(&store, &is_over))
    });
    if large.is_some() {
        std::thread::sleep(Duration::from_millis(30));
    }
    let child = fork(|| {
        let (hand, store) = of_child.take().expect("once");
        drop(store);
        if how("large") {
            // Locks that the other thread held stay held, so nothing is read here.
            there.write_all(b"1").expect("the parent listens");
            there.read_exact(&mut [0]).expect("the parent answers");
            drop(hand);
        } else {
            try_in_a_child(hand, &mut there);
        }
    });
    let (hand, store) = of_child.expect("the child has another");
    drop(hand);
    here.read_exact(&mut [0]).expect("the child speaks");
    for _ in 0..20 {
        ids.push(put(&store, b"meanwhile", Durability::Sync).expect("commits"));
    }
    here.write_all(b"1").expect("the child listens");
    wait(child);
    is_over.store(true, Ordering::Relaxed);
    if let Some(large) = large {
        large.join().expect("no panic").expect("commits");
        let set = store.find_set("large").expect("is there");
        assert_eq!(store.view().len(&set), 0);
    }
    ids.push(put(&store, b"after", Durability::Sync).expect("commits"));
    say(&ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    assert_eq!(listen().as_deref(), Some("go on"));
    ids.push(put(&store, b"last", Durability::Sync).expect("commits"));
    say(&ids.last().expect("is there").to_string());
    store.close().expect("closes");
    say("closed");
}

fn a_child_leaves_its_parents_store_alone(how: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut parent = Other::start("forks", &path, how);
    let mut ids: Vec<String> = parent.answer().split(' ').map(str::to_owned).collect();
    assert!(matches!(Store::open(&path), Err(Error::Locked { .. })), "{how}: the child has released the lock");
    ids.push(parent.tell("go on"));
    assert_eq!(parent.answer(), "closed");
    parent.end();
    let mut expected = vec!["before", "room"];
    expected.extend(["meanwhile"; 20]);
    expected.extend(["after", "last"]);
    assert_eq!(values(&path, &ids), expected, "{how}");
    Store::open(&path).unwrap().close().unwrap();
}

#[test]
fn a_child_drops_the_handle_of_a_store_with_threads() {
    a_child_leaves_its_parents_store_alone("");
}

#[test]
fn a_child_closes_the_handle_of_a_store_with_threads() {
    a_child_leaves_its_parents_store_alone("close");
}

#[test]
fn a_child_drops_the_handle_of_a_store_without_threads() {
    a_child_leaves_its_parents_store_alone("alone");
}

#[test]
fn a_child_closes_the_handle_of_a_store_without_threads() {
    a_child_leaves_its_parents_store_alone("alone close");
}

#[test]
fn a_child_leaves_a_store_alone_whose_parent_is_committing_much() {
    for _ in 0..4 {
        a_child_leaves_its_parents_store_alone("large");
    }
}
