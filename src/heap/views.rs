//! The states that views hold. They decide what the writer may change in place and what it has to copy.
//!
//! Owns: the list of states handed out. Never: keeps a state alive; its readers do.
//! Invariants: 1. A state is in the list as long as anyone holds it. 2. A state that nobody holds stays so: only the writer
//! hands one out again, under its lock and from a reference of its own.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};

use crate::heap::State;
use crate::pins::{Parts, Pins};

/// Up to this many states are kept without looking for those that are gone.
const FEW: usize = 16;

/// The states handed out, oldest first, each with the last epoch of its leaves.
#[derive(Debug, Default)]
pub(super) struct Views {
    all: Vec<(u64, Weak<State>)>,
    /// How many were left when the list was last cleaned up.
    left: usize,
}

impl Views {
    /// A state with leaves of up to this epoch is handed out.
    pub(super) fn note(&mut self, epoch: u64, state: &Arc<State>) {
        if self.all.len() >= 2 * self.left.max(FEW / 2) {
            self.all.retain(|(_, state)| state.strong_count() > 0);
            self.left = self.all.len();
        }
        self.all.push((epoch, Arc::downgrade(state)));
    }

    /// The epoch of the newest state still held; zero if there is none. No state has leaves of later epochs but the newest
    /// tree.
    pub(super) fn newest_held(&mut self) -> u64 {
        while self.all.pop_if(|(_, state)| state.strong_count() == 0).is_some() {}
        // Orders the last reads of a dropped state before the changes that the writer makes from here on.
        fence(Ordering::Acquire);
        self.all.last().map_or(0, |(epoch, _)| *epoch)
    }
}

/// The newest state, as long as nothing has changed since it was handed out.
#[derive(Debug, Default)]
pub(super) struct Handed {
    state: Option<Arc<State>>,
    /// Which parts of the register share it.
    parts: Parts,
    pins: Arc<Pins<State>>,
}

impl Handed {
    pub(super) fn new(pins: &Arc<Pins<State>>) -> Self {
        Self { state: None, parts: Parts::default(), pins: Arc::clone(pins) }
    }

    pub(super) fn get(&self) -> Option<&Arc<State>> {
        self.state.as_ref()
    }

    pub(super) fn set(&mut self, state: &Arc<State>) {
        self.state = Some(Arc::clone(state));
    }

    /// Lets further views of this thread have it without the writer's lock.
    pub(super) fn share(&mut self) {
        if let Some(state) = &self.state {
            self.pins.share(state, &mut self.parts);
        }
    }

    /// Later views get another state.
    pub(super) fn take(&mut self) -> Option<Arc<State>> {
        self.pins.unshare(&mut self.parts);
        self.state.take()
    }
}
