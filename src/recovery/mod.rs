//! Opening a store: the newest usable snapshot, the log after it, and a new timeline if one is needed.
//!
//! Owns: choosing the snapshot, replay, cleaning up after a crash. Reports what it did. Never: cuts anything proven
//! durable, or writes when the store is opened read-only.
//! Invariants: 1. Nothing is acknowledged, deleted or appended before every retained commit, and every manifest entry
//! that was read, is durable.
//! 2. Recovering twice gives the same state.

mod attempt;
mod bounds;
mod copying;
mod creation;
mod decoding;
mod files;
mod finishing;
mod followed;
mod following;
mod headless;
mod leftovers;
mod opening;
mod point;
mod remains;
mod replay;
mod replayed;
mod report;
mod settings;
mod settle;

pub(crate) use files::{Files, list};
pub(crate) use following::{Step, advance};
pub(crate) use leftovers::{Keeper, is_ours, oldest_mark, slowest};
pub(crate) use opening::{make, open_beside_a_writer, open_with_reserve};
pub use point::Point;
pub(crate) use point::{open_at, open_to_copy, roll_back};
pub(crate) use remains::{Remains, remains};
pub use report::{CutReport, LogEnd, RecoveryReport};
pub(crate) use settings::{LOCK, Settings};
