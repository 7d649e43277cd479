//! Pins: who holds what.
//!
//! Owns: the register of views, and the cell of the newest state with the readers that look at it for a moment.
//! Never: knows what a state is.

mod barrier;
mod current;
#[cfg(all(test, loom))]
mod models;
mod views;

pub(crate) use current::{Current, Held};
pub(crate) use views::{Pin, Pins};
