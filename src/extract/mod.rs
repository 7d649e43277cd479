//! Extractors that are told in a line of text, so that an index can be kept by programs that do not know the records.
//!
//! Owns: reading keys out of JSON, and the line that says which. Never: knows indexes or stores; never fails on a record that
//! does not have the shape that the line expects.
//! Invariants: 1. What an extractor finds depends on the record and its line alone. 2. A record gives each key once.

mod json;
mod walk;

pub use json::JsonExtractor;
