//! The commands, one per file.
//!
//! Owns: each command with its arguments. Never: knows the others; `args` lists them and passes the arguments on.

pub mod backup;
pub mod changes;
pub mod collect;
pub mod compact;
pub mod completions;
pub mod consumer;
pub mod delete;
pub mod demo;
pub mod demo_indexes;
pub mod demo_past;
pub mod dump;
pub mod export;
pub mod faults;
pub mod find;
pub mod follow;
pub mod get;
pub mod import;
pub mod index;
pub mod load;
pub mod log;
pub mod man;
pub mod map;
pub mod mark;
pub mod put;
#[cfg(feature = "remote")]
pub mod remote;
pub mod repair;
pub mod repository;
pub mod restore;
pub mod rollback;
pub mod salvage;
pub mod scan;
pub mod sets;
pub mod snapshot;
pub mod stat;
pub mod story;
pub mod update;
pub mod verify;
pub mod watch;
