//! What a running store uses.

pub(crate) use parking_lot::Condvar;
pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::atomic::AtomicBool;
pub(crate) use std::sync::atomic::AtomicPtr;
pub(crate) use std::sync::atomic::fence;
