//! The duration of a commit, alone and beside snapshots.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tenure::{Durability, RecordId, Store};

use crate::common::{Numbers, VALUE_BYTES, percentile, to_index, value};

/// The work beside the timed commits.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Beside {
    Nothing,
    /// Snapshots of a store in which part of nearly every index page has changed.
    LargeSnapshots,
    /// Continuous snapshots, each of the little that has changed since the previous one.
    SnapshotsWithoutEnd,
}

/// Times of commits of one update each. Only commits beside the work in question count.
pub(crate) fn commit_times(
    store: &Store,
    ids: &[RecordId],
    count: usize,
    durability: Durability,
    beside: Beside,
) -> Vec<Duration> {
    let mut numbers = Numbers(7);
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        if beside == Beside::LargeSnapshots {
            change_every_page(store, ids);
        }
        let saved = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let thread = (beside != Beside::Nothing).then(|| {
                scope.spawn(|| {
                    let begun = Instant::now();
                    loop {
                        store.save_snapshot().expect("saved");
                        saved.fetch_add(1, Ordering::Relaxed);
                        if beside == Beside::LargeSnapshots || begun.elapsed() > Duration::from_secs(2) {
                            break;
                        }
                    }
                })
            });
            while times.len() < count && !thread.as_ref().is_some_and(std::thread::ScopedJoinHandle::is_finished) {
                times.push(commit_time(store, ids, numbers.next(), durability));
            }
        });
        assert!(beside == Beside::Nothing || saved.into_inner() > 0, "no snapshot was saved meanwhile");
    }
    times
}

pub(crate) fn commit_time(store: &Store, ids: &[RecordId], number: u64, durability: Durability) -> Duration {
    let mut bytes = [0; VALUE_BYTES];
    value(number, &mut bytes);
    let start = Instant::now();
    let mut tx = store.begin().expect("begin");
    tx.update(ids[to_index(number) % ids.len()], bytes).expect("update");
    tx.commit_with(durability).expect("commit");
    start.elapsed()
}

/// Updates one record in a hundred: every index page has some.
pub(crate) fn change_every_page(store: &Store, ids: &[RecordId]) {
    let mut tx = store.begin().expect("begin");
    for id in ids.iter().step_by(100) {
        tx.update(*id, [1; VALUE_BYTES]).expect("update");
    }
    tx.commit_with(Durability::Buffered).expect("commit");
}

/// Commits of each durability, alone and beside snapshots.
pub(crate) fn measure(store: &Store, ids: &[RecordId]) {
    for durability in [Durability::Buffered, Durability::Sync] {
        let commits = if durability == Durability::Sync { 4000 } else { 100_000 };
        let kinds = [
            ("alone", Beside::Nothing),
            ("while a large snapshot is saved", Beside::LargeSnapshots),
            ("beside small snapshots without end", Beside::SnapshotsWithoutEnd),
        ];
        for (what, beside) in kinds {
            let times = commit_times(store, ids, commits, durability, beside);
            let (half, high) = (percentile(times.clone(), 0.5), percentile(times, 0.99));
            println!("commit {durability:?} {what}: p50 {half:?}, p99 {high:?}");
        }
    }
}
