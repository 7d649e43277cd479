//! Indexes and sets that change while in use: new versions of extractors, records that no longer decode, keys of
//! another type; stores of an older format.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "upgrades/formats.rs"]
mod formats;
#[path = "upgrades/handles.rs"]
mod handles;
#[path = "upgrades/in_use.rs"]
mod in_use;
#[path = "upgrades/key_types.rs"]
mod key_types;
#[path = "upgrades/kills.rs"]
mod kills;
#[path = "upgrades/people.rs"]
mod people;
#[path = "upgrades/sets.rs"]
mod sets;
#[path = "upgrades/unreadable.rs"]
mod unreadable;
