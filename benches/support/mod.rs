//! What the benchmarks share: the data they use, an allocator that counts, and files as a crash or a cold start finds them.
//!
//! Owns: records, keys and questions, which are the same in every program. Never: looks behind the public API.
#![allow(dead_code, reason = "each program uses a part")]

pub mod allocator;
pub mod files;
pub mod records;
