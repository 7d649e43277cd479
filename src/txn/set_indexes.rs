//! The indexes of the sets that a transaction writes to.
//!
//! Owns: looking them up once a set, and the epochs that the commit compares. Never: changes an index.

use std::sync::Arc;

use crate::engine::{Engine, SetIndexes};
use crate::error::{Error, Result};
use crate::id::SetNumber;
use crate::txn::validation::Epochs;

/// The indexes that a write to a set must maintain.
#[inline]
pub(super) fn find_indexes<'i>(
    engine: &Engine,
    known: &'i mut Option<Arc<SetIndexes>>,
    epochs: &mut Epochs,
    set: SetNumber,
) -> Result<&'i SetIndexes> {
    // The first answer has to hold until the commit in any case.
    if known.as_ref().is_none_or(|indexes| indexes.set != set) {
        *known = Some(find_other_indexes(engine, epochs, set)?);
    }
    known.as_deref().ok_or_else(|| Error::NoSuchSet { name: String::new() })
}

#[inline(never)]
fn find_other_indexes(engine: &Engine, epochs: &mut Epochs, set: SetNumber) -> Result<Arc<SetIndexes>> {
    let indexes = engine.indexes_of(set)?;
    if let Err(place) = epochs.binary_search_by_key(&set, |(known, _)| *known) {
        epochs.insert(place, (set, indexes.epoch));
    }
    Ok(indexes)
}
