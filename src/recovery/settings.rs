//! How to open a store, and what its directory has besides the files of the store.
//!
//! Never: opens anything.

use crate::backing::Backing;
use crate::catalogue::Lineage;
use crate::error::{Error, Result};

/// How to open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) check_pages: bool,
    /// Whether to accept an index without a directory, and records without a file.
    pub(crate) repairs: bool,
    pub(crate) check_every_read: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) transaction_bytes_max: u64,
    pub(crate) old_values: bool,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) dirty_bytes_max: u64,
    pub(crate) lineage: Lineage,
}

/// The marker of an incomplete copy of a store.
pub(crate) const UNFINISHED: &str = "unfinished";
/// The file that carries the writer's lock.
pub(crate) const LOCK: &str = "lock";

/// `NotAStore` if this is an incomplete copy.
pub(crate) fn refuse_unfinished(backing: &dyn Backing) -> Result<()> {
    let names = backing.list().map_err(|source| Error::io("list", backing.location(), source))?;
    if names.iter().any(|name| name == UNFINISHED) {
        // A copy leaves the file empty; a load notes which dump it loads.
        let is_load = backing.open(UNFINISHED).and_then(|file| file.len()).is_ok_and(|len| len > 0);
        let why = if is_load {
            "a load into it was interrupted: run it again with the same dump, or delete the directory"
        } else {
            "it is an incomplete copy: delete it and copy again"
        };
        return Err(Error::NotAStore { path: backing.location(), why: why.to_owned() });
    }
    Ok(())
}
