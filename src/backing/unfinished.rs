//! The mark of a copy of a store that is not complete.
//!
//! Owns: its name. Never: says when a copy is complete; who makes it does.

use crate::backing::Backing;
use crate::error::{Error, Result};

/// The file.
pub(crate) const UNFINISHED: &str = "unfinished";

/// A copy begins here.
pub(crate) fn mark_unfinished(backing: &dyn Backing) -> Result<()> {
    backing.create(UNFINISHED).map(drop).map_err(|source| Error::io("create", UNFINISHED, source))
}

/// The copy is complete.
pub(crate) fn mark_finished(backing: &dyn Backing) -> Result<()> {
    backing.delete(UNFINISHED).map_err(|source| {
        // The deletion may not be durable, and the copy must not be used before a power cut restores the marker.
        drop(backing.create(UNFINISHED));
        Error::io("delete", UNFINISHED, source)
    })
}

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
