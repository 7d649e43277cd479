//! Faults of the collector that tests plant, to show that they would be found. Without the feature `planted` there are none.
//!
//! Owns: which fault is there, in the thread that asked for it. Never: does anything itself; each place looks for its own.

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A move takes effect wherever the entry points by now.
    MovesDoNotCompare,
    /// Only the newest snapshot counts when it is asked what replay may need.
    OlderSnapshotDoesNotCount,
    /// Files are deleted before the commits are synced that emptied them.
    DeletedBeforeSync,
    /// Files are deleted that views still read.
    DeletedUnderViews,
    /// Files are deleted that named snapshots list.
    DeletedUnderNames,
    /// Segments that survivors are appended to are retired and deleted like others.
    OpenTargetsGo,
    /// Segments are retired before the moves into them are committed.
    RetiredBeforeMoves,
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Puts a fault into what this thread does from now on, or takes it out.
#[cfg(feature = "planted")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.with(|planted| planted.set(fault));
}

/// Whether this fault is there.
#[cfg(feature = "planted")]
pub(crate) fn is(fault: Fault) -> bool {
    PLANTED.with(|planted| planted.get() == Some(fault))
}

/// There is none.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "what is false is left out by the compiler")]
pub(crate) const fn is(_fault: Fault) -> bool {
    false
}
