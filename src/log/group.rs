//! Group commit: one thread syncs, and every thread whose commit that covers shares it.
//!
//! Owns: what is known to be durable, and whether a sync is running. Never: syncs by itself, or holds its lock over a
//! sync.
//! Invariants: 1. One sync at a time.
//! 2. The durable commit never goes back, and is what preceded a successful sync.
//! 3. However a sync ends, every waiting thread checks again.

use crate::error::Result;
use crate::id::Seq;
#[cfg(all(test, loom))]
use crate::sync::planted;
use crate::sync::{Condvar, Mutex};

#[derive(Debug)]
struct Durable {
    seq: Seq,
    syncing: bool,
}

/// What is durable, and which threads wait for more.
#[derive(Debug)]
pub(crate) struct GroupSync {
    durable: Mutex<Durable>,
    synced: Condvar,
}

impl GroupSync {
    pub(crate) fn new(seq: Seq) -> Self {
        Self { durable: Mutex::new(Durable { seq, syncing: false }), synced: Condvar::new() }
    }

    /// The last durable commit.
    pub(crate) fn seq(&self) -> Seq {
        self.durable.lock().seq
    }

    /// A writer elsewhere has made this durable.
    pub(crate) fn note(&self, seq: Seq) {
        let mut durable = self.durable.lock();
        durable.seq = durable.seq.max(seq);
    }

    /// Waits until `seq` is durable, without a sync, for this long at most. A sync that ends wakes all who wait.
    #[cfg(not(all(test, loom)))]
    pub(crate) fn wait_for(&self, seq: Seq, timeout: std::time::Duration) {
        let mut durable = self.durable.lock();
        if durable.seq < seq {
            self.synced.wait_for(&mut durable, timeout);
        }
    }

    /// Waits until `seq` is durable. `sync` syncs everything and returns the last commit that it covers; after a
    /// failure, `check` must fail from then on, because waiting threads do not retry.
    pub(crate) fn sync_to(
        &self,
        seq: Seq,
        check: impl Fn() -> Result<()>,
        sync: impl FnOnce() -> Result<Seq>,
    ) -> Result<()> {
        let mut durable = self.durable.lock();
        loop {
            if durable.seq >= seq {
                return Ok(());
            }
            check()?;
            if !durable.syncing {
                break;
            }
            #[cfg(all(test, loom))]
            if planted::is(planted::Fault::AllSync) {
                break;
            }
            self.synced.wait(&mut durable);
        }
        durable.syncing = true;
        drop(durable);
        let mut syncing = Syncing { group: self, has_ended: false };
        let result = sync();
        syncing.has_ended = true;
        let mut durable = self.durable.lock();
        durable.syncing = false;
        if let Ok(reached) = &result {
            durable.seq = durable.seq.max(*reached);
        }
        #[cfg(all(test, loom))]
        if result.is_err() && planted::is(planted::Fault::FailureIsSilent) {
            return result.map(drop);
        }
        self.synced.notify_all();
        result.map(drop)
    }
}

/// A running sync. One that panics counts as failed, and `check` fails by then.
struct Syncing<'g> {
    group: &'g GroupSync,
    has_ended: bool,
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.group.durable.lock().syncing = false;
            self.group.synced.notify_all();
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    //! Threads commit and wait, over a disk that reports what it has; one sync may fail.

    use std::sync::Arc;

    use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::GroupSync;
    use crate::error::{Error, Result};
    use crate::id::Seq;
    use crate::sync::planted;
    use crate::sync::planted::Fault;

    struct World {
        group: GroupSync,
        /// The last commit in the log.
        appended: AtomicU64,
        /// The last durable commit.
        medium: AtomicU64,
        is_syncing: AtomicBool,
        poisoned: AtomicBool,
        /// Successful syncs before one fails.
        good: u64,
        syncs: AtomicU64,
    }

    fn poisoned() -> Error {
        Error::Poisoned { reason: "planned".to_owned() }
    }

    impl World {
        fn new(good: u64) -> Self {
            Self {
                group: GroupSync::new(Seq(0)),
                appended: AtomicU64::new(0),
                medium: AtomicU64::new(0),
                is_syncing: AtomicBool::new(false),
                poisoned: AtomicBool::new(false),
                good,
                syncs: AtomicU64::new(0),
            }
        }

        fn sync(&self) -> Result<Seq> {
            assert!(!self.is_syncing.swap(true, Ordering::AcqRel), "two syncs at once");
            let number = self.syncs.fetch_add(1, Ordering::AcqRel);
            let reached = self.appended.load(Ordering::Acquire);
            let result = if number < self.good {
                self.medium.fetch_max(reached, Ordering::AcqRel);
                let late = planted::is(Fault::ReachedTooFar);
                Ok(Seq(if late { self.appended.load(Ordering::Acquire) } else { reached }))
            } else {
                self.poisoned.store(true, Ordering::Release);
                Err(poisoned())
            };
            self.is_syncing.store(false, Ordering::Release);
            result
        }

        /// Appends a commit and waits for it; acknowledged commits are durable.
        fn commit(&self) {
            let seq = self.appended.fetch_add(1, Ordering::AcqRel) + 1;
            let check = || if self.poisoned.load(Ordering::Acquire) { Err(poisoned()) } else { Ok(()) };
            let result = self.group.sync_to(Seq(seq), check, || self.sync());
            let on_medium = self.medium.load(Ordering::Acquire);
            match result {
                Ok(()) => assert!(on_medium >= seq, "{seq} was acknowledged, {on_medium} is on the medium"),
                Err(_) => assert!(self.poisoned.load(Ordering::Acquire), "an error without a failure"),
            }
            assert!(self.group.seq().0 <= self.medium.load(Ordering::Acquire), "known durable, and it is not");
        }
    }

    fn three_commits(good: u64) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let world = Arc::new(World::new(good));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let world = Arc::clone(&world);
                    loom::thread::spawn(move || world.commit())
                })
                .collect();
            world.commit();
            for thread in threads {
                assert!(thread.join().is_ok(), "a thread that ends");
            }
            let syncs = world.syncs.load(Ordering::Acquire);
            assert!((1..=3).contains(&syncs), "{syncs} syncs for three commits");
            if good >= 3 {
                assert_eq!(world.group.seq(), Seq(3));
            }
        });
    }

    #[test]
    fn what_is_acknowledged_is_on_the_medium_and_one_syncs_at_a_time() {
        three_commits(9);
    }

    #[test]
    fn a_sync_that_fails_wakes_all_and_acknowledges_none() {
        three_commits(0);
        three_commits(1);
    }

    #[test]
    fn waking_one_is_found() {
        planted::must_be_found(Fault::WakesOne, "deadlock", || three_commits(9));
    }

    #[test]
    fn a_failure_that_wakes_nobody_is_found() {
        planted::must_be_found(Fault::FailureIsSilent, "deadlock", || three_commits(0));
    }

    #[test]
    fn counting_what_came_during_a_sync_is_found() {
        planted::must_be_found(Fault::ReachedTooFar, "known durable, and it is not", || three_commits(9));
    }

    #[test]
    fn syncing_beside_a_sync_is_found() {
        planted::must_be_found(Fault::AllSync, "two syncs at once", || three_commits(9));
    }
}
