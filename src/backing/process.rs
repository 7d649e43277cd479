//! Whether this is still the process that opened a store, or a child forked from it.
//!
//! Owns: the answer. Never: takes a lock; a child may hold forever locks that other threads had at the fork.

use crate::backing::map::WipedByFork;

/// The process that created this.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    /// Answers without a system call, if supported.
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

    /// Whether the calling process is this one.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        match &self.mark {
            Some(mark) => !mark.is_wiped(),
            None => std::process::id() == self.id,
        }
    }
}
