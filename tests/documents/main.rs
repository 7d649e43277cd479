//! What is written down: formats, test vectors, dependencies, counts, examples; and what the format promises of any bytes.
//!
//! Each module is a kind of tests of its own; they share a binary, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../markdown/mod.rs"]
mod markdown;

mod backing_conformance;
mod counts;
mod dependencies;
mod dump;
mod examples;
mod format_document;
mod format_properties;
mod key_properties;
mod key_vectors;
