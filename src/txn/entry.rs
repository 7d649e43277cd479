//! Entries of an index, as a user gets them.
//!
//! Never: knows where one is.

use crate::error::{Error, Result};
use crate::id::RecordId;
use crate::key::Key;

/// One entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The key.
    pub key: Key,
    /// The record.
    pub id: RecordId,
}

pub(super) fn entry((key, id): (&[u8], u64)) -> Result<IndexEntry> {
    let id = RecordId::from_u64(id)
        .ok_or_else(|| Error::corrupt("key index", 0, "entry of a key index", "a record ID", id))?;
    Ok(IndexEntry { key: Key::from_bytes(key)?, id })
}
