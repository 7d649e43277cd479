//! Pins: what readers hold.
//!
//! Owns: the register of views, and the cell of the newest state with its momentary readers. Never: knows what a state
//! is.

mod barrier;
mod current;
#[cfg(all(test, loom))]
mod models;
mod views;

pub(crate) use current::{Current, Held};
pub(crate) use views::{Parts, Pin, Pins};
