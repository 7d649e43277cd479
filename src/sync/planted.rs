//! Faults that a model must detect: each is a step omitted or done wrongly in the modelled code.

use std::cell::Cell;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A reader proceeds without its barrier.
    NoLightBarrier,
    /// The writer reads announcements without its barrier.
    NoHeavyBarrier,
    /// A reader does not verify that what it announced is still the newest.
    NotMadeSure,
    /// The writer frees an announced value.
    NamesIgnored,
    /// An announcement is cleared before its value is done with, as a plain store.
    WipedRelaxed,
    /// One waiter is woken instead of all.
    WakesOne,
    /// A failed sync wakes no waiter.
    FailureIsSilent,
    /// Bytes appended during a sync count as synced.
    ReachedTooFar,
    /// Every thread that finds nothing durable syncs.
    AllSync,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether this fault is active.
pub(crate) fn is(fault: Fault) -> bool {
    PLANTED.with(|planted| planted.get() == Some(fault))
}

/// Runs a model with a fault in it. It must find `what`; a model that finds nothing fails.
pub(crate) fn must_be_found(fault: Fault, what: &str, model: impl Fn()) {
    PLANTED.with(|planted| planted.set(Some(fault)));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(model));
    PLANTED.with(|planted| planted.set(None));
    let Err(found) = result else { panic!("{fault:?} was not found") };
    let text = found.downcast_ref::<String>().cloned();
    let text = text.or_else(|| found.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
    assert!(text.contains(what), "{fault:?}: expected {what:?}, found {text:?}");
}
