//! Views: which exist, and since when.
//!
//! Owns: the register that statistics read. Never: keeps a state alive; the view itself does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;

use crate::id::Seq;

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    held: BTreeMap<u64, (Seq, Instant)>,
}

/// The views of a store.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    inner: Mutex<Inner>,
}

/// One view; forgotten when it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    number: u64,
}

impl Pins {
    /// Registers a view of the state after `seq`.
    pub(crate) fn pin(self: &Arc<Self>, seq: Seq) -> Pin {
        let mut inner = self.inner.lock();
        let number = inner.next;
        inner.next += 1;
        inner.held.insert(number, (seq, Instant::now()));
        Pin { pins: Arc::clone(self), number }
    }

    /// The views that exist, oldest first.
    pub(crate) fn list(&self) -> Vec<(Seq, Duration)> {
        self.inner.lock().held.values().map(|(seq, since)| (*seq, since.elapsed())).collect()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.inner.lock().held.remove(&self.number);
    }
}
