//! The guarantees of the interface: nothing is lost at its edges, and its answers are correct.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

#[path = "word/against_model.rs"]
mod against_model;
#[path = "word/complete.rs"]
mod complete;
#[path = "word/documented.rs"]
mod documented;
#[path = "word/handles.rs"]
mod handles;
#[path = "word/lineages.rs"]
mod lineages;
#[path = "word/states.rs"]
mod states;
#[path = "word/unique.rs"]
mod unique;
#[path = "word/writing.rs"]
mod writing;
