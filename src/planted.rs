//! Faults that tests plant in the collector, and in other parts, to prove that they would be detected. Without the feature `planted` there
//! are none.
//!
//! Owns: which fault is active in the requesting thread, how often a slot is used in the process, and how much a commit frees of a dropped set. Never: does anything itself; each place checks for its own.

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A move takes effect wherever the entry points.
    MovesDoNotCompare,
    /// Only the newest snapshot determines what replay may need.
    OlderSnapshotDoesNotCount,
    /// Files are deleted before the commits that emptied them are synced.
    DeletedBeforeSync,
    /// Files that views still read are deleted.
    DeletedUnderViews,
    /// Files that named snapshots list are deleted.
    DeletedUnderNames,
    /// Segments that survivors are appended to are retired and deleted like others.
    OpenTargetsGo,
    /// Segments are retired before the moves into them are committed.
    RetiredBeforeMoves,
    /// A commit that was applied ahead of its turn replaces pages that others have changed meanwhile.
    ChangedPagesAreReplaced,
    /// The publication of such a commit fails half-way.
    PublicationFails,
    /// Or it panics there.
    PublicationPanics,
    /// Manifests reach a bucket before what they need.
    #[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "only buckets have this fault"))]
    ManifestOvertakes,
    /// A put of a log object that is told of one of its name counts as stored, whoever's that is.
    #[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "only buckets have this fault"))]
    ExistsIsStored,
}

/// The highest reuse count of a process that asked for a narrow one: four bits.
pub const REUSE_MAX_NARROW: u32 = 15;

/// The environment variable with which a process retires slots after [`REUSE_MAX_NARROW`] uses, so that tests reach the end of a slot's
/// life. What it writes is for such processes only.
#[cfg(feature = "planted")]
pub const NARROW_REUSE: &str = "TENURE_NARROW_REUSE";

#[cfg(feature = "planted")]
static IS_REUSE_NARROW: std::sync::LazyLock<bool> =
    std::sync::LazyLock::new(|| std::env::var_os(NARROW_REUSE).is_some());

/// Whether this process has it.
#[cfg(feature = "planted")]
#[inline]
pub(crate) fn is_reuse_narrow() -> bool {
    *IS_REUSE_NARROW
}

/// It has not.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the compiler removes what is false")]
pub(crate) const fn is_reuse_narrow() -> bool {
    false
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
    static FREES: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

/// Sets how many IDs one commit frees that empties a dropped set, in stores that this thread opens from now on.
#[cfg(feature = "planted")]
pub fn plant_frees(frees: Option<usize>) {
    FREES.with(|planted| planted.set(frees));
}

/// How many it frees, where that is `usual` without a test.
#[cfg(feature = "planted")]
pub(crate) fn frees(usual: usize) -> usize {
    FREES.with(|planted| planted.get().unwrap_or(usual))
}

/// No test has asked for another number.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the compiler removes what is the same")]
pub(crate) const fn frees(usual: usize) -> usize {
    usual
}

/// Sets or clears the fault for this thread.
#[cfg(feature = "planted")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.with(|planted| planted.set(fault));
}

/// Whether this fault is active.
#[cfg(feature = "planted")]
pub(crate) fn is(fault: Fault) -> bool {
    PLANTED.with(|planted| planted.get() == Some(fault))
}

/// There are no faults.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the compiler removes what is false")]
pub(crate) const fn is(_fault: Fault) -> bool {
    false
}
