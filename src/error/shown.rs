//! What an error is about: the origin of a key, a record.
//!
//! Owns: how it is shown. Never: says what to do.

use crate::id::RecordId;

/// The index that a key was meant for, and the record that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyOrigin {
    /// The set.
    pub set: String,
    /// The index.
    pub index: String,
    /// The record; `None` for one that was being written.
    pub record: Option<RecordId>,
}

/// What a key was meant for, before what is wrong with it.
pub(super) fn shown_origin(of: Option<&KeyOrigin>) -> String {
    let record = |of: &KeyOrigin| of.record.map(|id| format!(", record {id}")).unwrap_or_default();
    of.map(|of| format!("index {:?} of set {:?}{}: ", of.index, of.set, record(of))).unwrap_or_default()
}

/// The article of a noun.
pub(super) fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// A record, which may not have an ID yet.
pub(super) fn shown_record(record: Option<RecordId>) -> String {
    record.map_or_else(|| "a new record".to_owned(), |id| format!("record {id}"))
}
