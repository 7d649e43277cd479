//! Shared by the benchmarks: their data, a counting allocator, counts of instructions, and files as a crash or a cold start finds them.
//!
//! Owns: records, keys and queries, which are the same in every program. Never: uses anything but the public API.
#![allow(dead_code, reason = "each program uses a part")]

pub mod allocator;
pub mod callgrind;
pub mod files;
pub mod records;
