//! Existing views, their ages, and what they see.
//!
//! Owns: the register that statistics read. Never: keeps a state alive; the view itself does.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::backing::Process;
use crate::sync::Mutex;

#[derive(Debug)]
struct Held<S> {
    state: Weak<S>,
    since: Instant,
}

#[derive(Debug)]
struct Inner<S> {
    next: u64,
    held: BTreeMap<u64, Held<S>>,
}

/// The views of a store, each of a state.
#[derive(Debug)]
pub(crate) struct Pins<S> {
    inner: Mutex<Inner<S>>,
    process: Process,
}

impl<S> Default for Pins<S> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { next: 0, held: BTreeMap::new() }), process: Process::this() }
    }
}

/// One view; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Pin<S> {
    pins: Arc<Pins<S>>,
    number: u64,
}

impl<S> Pins<S> {
    /// Registers a view of a state.
    pub(crate) fn pin(self: &Arc<Self>, state: &Arc<S>) -> Pin<S> {
        let held = Held { state: Arc::downgrade(state), since: Instant::now() };
        let mut inner = self.inner.lock();
        let number = inner.next;
        inner.next += 1;
        inner.held.insert(number, held);
        Pin { pins: Arc::clone(self), number }
    }

    /// The existing views, oldest first: what they see, and how long they have existed.
    pub(crate) fn list(&self) -> Vec<(Arc<S>, Duration)> {
        let inner = self.inner.lock();
        inner.held.values().filter_map(|held| Some((held.state.upgrade()?, held.since.elapsed()))).collect()
    }
}

impl<S> Drop for Pin<S> {
    fn drop(&mut self) {
        #[cfg(all(test, loom))]
        if std::thread::panicking() {
            return;
        }
        // A forked child has a copy of the register that is not read, and possibly no thread to release its lock.
        if self.pins.process.is_current() {
            self.pins.inner.lock().held.remove(&self.number);
        }
    }
}
