//! A panic in a thread of the store, or in the middle of a call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::{Broken, Call, FailFor, FaultBacking};
use tenure::{Durability, Error, Options, Store};

fn put(store: &Store, durability: Durability) -> tenure::Result<tenure::RecordId> {
    let set = store.record_set("a")?;
    let mut tx = store.begin()?;
    let id = tx.insert(&set, [7; 500])?;
    tx.commit_with(durability)?;
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
    let backing = FaultBacking::new();
    let options = Options::new().sync_interval(Some(Duration::from_millis(20)));
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    put(&store, Durability::Buffered).unwrap();
    assert_eq!(store.stats().stopped, None);
    backing.break_calls(Call::Sync, Broken::Panics);
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
    let backing = FaultBacking::new();
    let options = Options::new().segment_bytes(64 << 10).space_ratio(1.1);
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    let ids: Vec<_> = (0..1_500).map(|_| put(&store, Durability::Buffered).unwrap()).collect();
    store.set_collecting(false);
    store.save_snapshot().unwrap();
    store.write(|tx| ids.iter().step_by(2).try_for_each(|id| tx.delete(*id))).unwrap();
    for _ in 0..2 {
        store.save_snapshot().unwrap();
    }
    backing.break_calls(Call::Create, Broken::Panics);
    store.set_collecting(true);
    wait_until("the statistics do not show it", || store.stats().stopped.is_some());
    let why = store.stats().stopped.unwrap();
    assert!(why.contains("a panic"), "{why}");
    is_stopped("a commit", put(&store, Durability::Buffered).map(drop), &why);
    is_stopped("closing", store.close(), &why);
}

#[test]
fn closing_a_store_that_has_stopped_says_so_even_with_nothing_to_save() {
    let backing = FaultBacking::new();
    let store = Options::new().background(false).open_backing(Arc::new(backing.clone())).unwrap();
    backing.break_calls(Call::Create, Broken::Panics);
    let panicked = catch_unwind(AssertUnwindSafe(|| put(&store, Durability::Buffered)));
    assert!(panicked.is_err(), "it is the first commit that makes files");
    is_stopped("closing", store.close(), "a panic");
}

#[test]
fn a_panic_in_the_middle_of_a_call_stops_the_handle_and_nobody_waits() {
    for (fault, why) in [(Call::Append, "in the middle of a commit"), (Call::Sync, "while the log was synced")] {
        let backing = FaultBacking::new();
        let store = Options::new().background(false).open_backing(Arc::new(backing.clone())).unwrap();
        let kept = put(&store, Durability::Sync).unwrap();
        backing.break_calls(fault, Broken::Panics);
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

#[test]
fn a_panic_while_an_opening_copies_the_manifest_leaves_a_store_that_opens() {
    let options = Options::new().background(false);
    // What a process leaves that ends before it can say that its manifest is whole: the last thing that closing does.
    let closed = |fails_at: Option<u64>| {
        let backing = FaultBacking::new();
        let store = options.open_backing(Arc::new(backing.clone())).unwrap();
        let id = put(&store, Durability::Sync).unwrap();
        if let Some(step) = fails_at {
            backing.fail_at(step, std::io::ErrorKind::Other, FailFor::Once);
        }
        store.close().unwrap();
        (backing, id)
    };
    let steps = closed(None).0.steps();
    // Its append; the last call is its sync.
    let (backing, id) = closed(Some(steps - 2));
    backing.heal();
    backing.break_calls(Call::Append, Broken::Panics);
    let opened = catch_unwind(AssertUnwindSafe(|| options.open_backing(Arc::new(backing.clone())).map(drop)));
    assert!(opened.is_err(), "the manifest is copied: {opened:?}");
    backing.heal();
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    assert!(store.get(id).is_ok() && store.recovery_report().clean, "{}", store.recovery_report());
    put(&store, Durability::Sync).unwrap();
    store.close().unwrap();
}
