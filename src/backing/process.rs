//! Whether this is still the process that opened a store, or a child that was forked from it.
//!
//! Owns: the answer. Never: takes a lock; a child may hold locks for ever that other threads had when it was forked.

use crate::backing::map::WipedByFork;

/// The process that this was made in.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    /// Answers without a system call, where there is such a thing.
    mark: Option<WipedByFork>,
}

impl Process {
    /// This process.
    pub(crate) fn this() -> Self {
        Self { id: std::process::id(), mark: WipedByFork::new() }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether it is the one that asks.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        match &self.mark {
            Some(mark) => !mark.is_wiped(),
            None => std::process::id() == self.id,
        }
    }
}
