//! The commit lock: a mutex that one waiting thread spins on for a while before it sleeps.
//!
//! Owns: how long it spins. Never: decides who is next; fairness is the mutex's. A commit holds the lock for a few
//! microseconds, less than it takes to put a thread to sleep and wake it. Only one thread spins at a time: with few
//! processors, more would take them from the holder of the lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// How often a waiting thread checks, and the pauses between two checks: 2 to 25 microseconds in all, depending on how
/// long a pause takes on the processor.
const LOOKS: u32 = 64;
const PAUSES: u32 = 8;

/// Excludes commits. On its own cache lines, so that spinning on it does not slow down writers of neighbouring data.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CommitLock {
    mutex: Mutex<()>,
    is_watched: AtomicBool,
    looks: u32,
}

impl CommitLock {
    pub(crate) fn new() -> Self {
        // Counting the processors reads system files, so it is not done for each opening.
        static LOOKS_HERE: OnceLock<u32> = OnceLock::new();
        let looks = *LOOKS_HERE.get_or_init(|| {
            let is_alone = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
            if is_alone { 0 } else { LOOKS }
        });
        Self { mutex: Mutex::new(()), is_watched: AtomicBool::new(false), looks }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        if let Some(guard) = self.mutex.try_lock() { guard } else { self.wait() }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, ()>> {
        self.mutex.try_lock()
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, ()> {
        if !self.is_watched.swap(true, Ordering::Relaxed) {
            let guard = self.watch();
            self.is_watched.store(false, Ordering::Relaxed);
            if let Some(guard) = guard {
                return guard;
            }
        }
        self.mutex.lock()
    }

    fn watch(&self) -> Option<MutexGuard<'_, ()>> {
        for _ in 0..self.looks {
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
            let guard = self.mutex.try_lock();
            if guard.is_some() {
                return guard;
            }
        }
        None
    }
}
