//! Locks and atomics: real ones, or those of the model checker.
//!
//! Owns: the choice between them. `pins` and `log::group` take theirs from here, so that models run the code itself in
//! every interleaving (`RUSTFLAGS="--cfg loom" cargo test --lib models`, see `docs/testing.md`). Never: adds behaviour.

#[cfg(not(all(test, loom)))]
mod machine;
#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, loom))]
pub(crate) mod planted;

#[cfg(not(all(test, loom)))]
use machine as chosen;
#[cfg(all(test, loom))]
use model as chosen;

pub(crate) use chosen::{AtomicBool, AtomicPtr, Condvar, Mutex, fence};
