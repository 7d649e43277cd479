//! A panic in a thread of the store, or in the middle of a call.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tenure::Durability;
use tenure::Error;
use tenure::Options;
use tenure::Store;

use crate::armed::Armed;
use crate::armed::Fault;

fn put(store: &Store, durability: Durability) -> tenure::Result<tenure::RecordId> {
    let set = store.record_set("a")?;
    let mut tx = store.begin()?;
    let id = tx.insert(&set, [7; 500])?;
    tx.commit(durability)?;
    Ok(id)
}

fn is_stopped(what: &str, result: tenure::Result<()>, why: &str) {
    match result {
        Err(Error::Poisoned { reason }) if reason.contains(why) => {}
        other => panic!("{what}: {other:?}, and not the reason {why:?}"),
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_panic_in_the_thread_of_the_store_is_seen() {
    let backing = Armed::default();
    let options = Options::new().sync_interval(Some(Duration::from_millis(20)));
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    put(&store, Durability::Buffered).unwrap();
    assert_eq!(store.stats().stopped, None);
    backing.arm(Fault::Sync);
    // Something to sync, unless the thread has met the panic by then.
    drop(put(&store, Durability::Buffered));
    wait_until("the statistics do not show it", || store.stats().stopped.is_some());
    let why = "while the log was synced";
    assert!(store.stats().stopped.unwrap().contains(why));
    is_stopped("a commit", put(&store, Durability::Buffered).map(drop), why);
    is_stopped("a sync", store.sync(), why);
    is_stopped("closing", store.close(), why);
}

#[test]
fn a_panic_in_the_thread_of_the_collector_is_seen() {
    let backing = Armed::default();
    let options = Options::new().segment_bytes(64 << 10).space_ratio(1.1);
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    let ids: Vec<_> = (0..1_500).map(|_| put(&store, Durability::Buffered).unwrap()).collect();
    store.set_collecting(false);
    store.save_snapshot().unwrap();
    store.write(|tx| ids.iter().step_by(2).try_for_each(|id| tx.delete(*id))).unwrap();
    for _ in 0..2 {
        store.save_snapshot().unwrap();
    }
    backing.arm(Fault::Create);
    store.set_collecting(true);
    wait_until("the statistics do not show it", || store.stats().stopped.is_some());
    let why = store.stats().stopped.unwrap();
    assert!(why.contains("a panic"), "{why}");
    is_stopped("a commit", put(&store, Durability::Buffered).map(drop), &why);
    is_stopped("closing", store.close(), &why);
}

#[test]
fn closing_a_store_that_has_stopped_says_so_even_with_nothing_to_save() {
    let backing = Armed::default();
    let store = Options::new().background(false).open_backing(Arc::new(backing.clone())).unwrap();
    backing.arm(Fault::Create);
    let panicked = catch_unwind(AssertUnwindSafe(|| put(&store, Durability::Buffered)));
    assert!(panicked.is_err(), "it is the first commit that makes files");
    is_stopped("closing", store.close(), "a panic");
}

#[test]
fn a_panic_in_the_middle_of_a_call_stops_the_handle_and_nobody_waits() {
    for (fault, why) in [(Fault::Append, "in the middle of a commit"), (Fault::Sync, "while the log was synced")] {
        let backing = Armed::default();
        let store = Options::new().background(false).open_backing(Arc::new(backing.clone())).unwrap();
        let kept = put(&store, Durability::Sync).unwrap();
        backing.arm(fault);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let store = store.clone();
                std::thread::spawn(move || put(&store, Durability::Sync).map(drop))
            })
            .collect();
        wait_until("a thread waits for ever", || threads.iter().all(std::thread::JoinHandle::is_finished));
        let mut panics = 0;
        for thread in threads {
            match thread.join() {
                Err(_) => panics += 1,
                Ok(result) => assert!(
                    matches!(&result, Err(Error::Poisoned { .. } | Error::Indeterminate { .. })),
                    "{fault:?}: {result:?}"
                ),
            }
        }
        assert_eq!(panics, 1, "{fault:?}: one meets it, and the others are told");
        assert!(store.get(kept).is_ok(), "reads go on");
        is_stopped("a commit", put(&store, Durability::Sync).map(drop), why);
        assert!(store.stats().stopped.unwrap().contains(why));
        is_stopped("closing", store.close(), why);
    }
}
