//! The guarantees of the typed layer: every accepted value can be read back, and a value that cannot be stored is an
//! error.
#![cfg(feature = "json")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[cfg(test)]
#[path = "typed_word/beginnings.rs"]
mod beginnings;
#[cfg(test)]
#[path = "typed_word/decoding.rs"]
mod decoding;
#[cfg(test)]
#[path = "typed_word/edges.rs"]
mod edges;
#[cfg(test)]
#[path = "typed_word/forms.rs"]
mod forms;
#[cfg(test)]
#[path = "typed_word/keys.rs"]
mod keys;
#[cfg(test)]
#[path = "typed_word/lines.rs"]
mod lines;
#[cfg(test)]
#[path = "typed_word/pages.rs"]
mod pages;
#[cfg(test)]
#[path = "typed_word/streams.rs"]
mod streams;
#[cfg(test)]
#[path = "typed_word/transactions.rs"]
mod transactions;
#[cfg(test)]
#[path = "typed_word/versions.rs"]
mod versions;
