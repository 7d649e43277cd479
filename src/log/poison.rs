//! Poison: the end of a handle after a failed write or sync, after a panic in the middle of one, and in a process
//! forked from the one that opened it.
//!
//! Owns: the first failure, and which process owns the handle. Never: forgets either; only opening the store again
//! helps.

use std::sync::OnceLock;

use crate::backing::Process;
use crate::error::{Error, Result};

/// Set once, by the first failure that leaves the state of the disk in doubt.
#[derive(Debug)]
pub(crate) struct Poison {
    reason: OnceLock<Ended>,
    process: Process,
}

/// How a handle ended.
#[derive(Debug)]
enum Ended {
    /// It was closed, and nothing is in doubt.
    Closed,
    Failed(String),
}

impl Default for Poison {
    fn default() -> Self {
        Self { reason: OnceLock::new(), process: Process::this() }
    }
}

impl Poison {
    /// Fails if the handle is dead or belongs to another process.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.check_process()?;
        self.check_alive()
    }

    /// Fails if the handle is dead. For callers that have checked the process, which does not change during a call.
    #[inline]
    pub(crate) fn check_alive(&self) -> Result<()> {
        match self.reason.get() {
            None => Ok(()),
            Some(Ended::Closed) => Err(Error::Closed),
            Some(Ended::Failed(reason)) => Err(Error::Poisoned { reason: reason.clone() }),
        }
    }

    /// Fails in a child of the process that opened the handle.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.is_ours() { Ok(()) } else { Err(Error::OtherProcess { owner: self.process.id() }) }
    }

    /// Whether this process opened the handle. If not, locks may be held forever by threads that do not exist here.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.process.is_current()
    }

    /// Ends the handle. The first reason stays.
    pub(crate) fn set(&self, reason: &Error) {
        self.reason.get_or_init(|| match reason {
            Error::Closed => Ended::Closed,
            Error::Poisoned { reason } => Ended::Failed(reason.clone()),
            other => Ended::Failed(other.to_string()),
        });
    }

    /// What ended the handle, if anything.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.get().map(|ended| match ended {
            Ended::Closed => "it was closed",
            Ended::Failed(reason) => reason,
        })
    }

    /// A panic before this is dropped ends the handle: nothing may build on what it left half done.
    pub(crate) fn ends_with_panic(&self, when: &'static str) -> EndsWithPanic<'_> {
        EndsWithPanic { poison: self, when, was_panicking: std::thread::panicking() }
    }
}

/// Ends the handle if it is dropped by a panic.
#[derive(Debug)]
pub(crate) struct EndsWithPanic<'p> {
    poison: &'p Poison,
    when: &'static str,
    was_panicking: bool,
}

impl Drop for EndsWithPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.poison.set(&Error::Poisoned { reason: format!("a panic {}", self.when) });
        }
    }
}
