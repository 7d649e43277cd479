//! An interface that keeps its word: nothing is lost at its edges, and what it answers is so.

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
#[path = "word/states.rs"]
mod states;
#[path = "word/unique.rs"]
mod unique;
#[path = "word/writing.rs"]
mod writing;
