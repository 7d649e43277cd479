//! Faults that a model has to find: each is a step left out, or taken wrongly, in the code that is modelled.

use std::cell::Cell;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A reader goes on without its barrier.
    NoLightBarrier,
    /// The writer looks at names without its barrier.
    NoHeavyBarrier,
    /// A reader does not make sure that what it named is still the newest.
    NotMadeSure,
    /// The writer frees what somebody has named.
    NamesIgnored,
    /// A name is wiped before its value is done with, as a plain store.
    WipedRelaxed,
    /// One waiter is woken, where all have to be.
    WakesOne,
    /// A sync that failed wakes nobody.
    FailureIsSilent,
    /// What was appended during a sync counts as synced.
    ReachedTooFar,
    /// Everybody syncs who finds nothing durable.
    AllSync,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether this fault is there.
pub(crate) fn is(fault: Fault) -> bool {
    PLANTED.with(|planted| planted.get() == Some(fault))
}

/// Runs a model with a fault in it. What is found has to be `what`; a model that finds nothing is the failure.
pub(crate) fn must_be_found(fault: Fault, what: &str, model: impl Fn()) {
    PLANTED.with(|planted| planted.set(Some(fault)));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(model));
    PLANTED.with(|planted| planted.set(None));
    let Err(found) = result else { panic!("{fault:?} was not found") };
    let text = found.downcast_ref::<String>().cloned();
    let text = text.or_else(|| found.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
    assert!(text.contains(what), "{fault:?}: expected {what:?}, found {text:?}");
}
