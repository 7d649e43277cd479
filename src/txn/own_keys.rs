//! The keys of a value that a transaction writes or replaces.
//!
//! Owns: running the extractors of a set on a value, small or large. Never: records changes; `changes` does.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use crate::engine::SetIndexes;
use crate::error::Result;
use crate::extract::{Keys, Reading};
use crate::format::item::Kind;
use crate::heap::{Found, Place, State};
use crate::id::{RecordId, Seq};
use crate::txn::Record;

/// A value to write.
#[derive(Clone, Copy)]
pub(crate) struct NewValue<'v> {
    pub(crate) kind: Kind,
    /// Its bytes, or the head of a chunked value.
    pub(crate) bytes: &'v [u8],
    /// The decoded value, if the caller knows it.
    pub(crate) known: Option<&'v dyn Any>,
}

impl<'v> NewValue<'v> {
    /// A value of which only the bytes are known.
    pub(crate) fn of(kind: Kind, bytes: &'v [u8]) -> Self {
        Self { kind, bytes, known: None }
    }
}

/// Computes the keys of a value for each index, reusing the memory of earlier keys; surplus memory is ignored.
/// `holding` returns a state that holds the chunks of a large value, which are read only if an extractor needs them.
#[inline]
pub(crate) fn fill_keys(
    indexes: &SetIndexes,
    value: NewValue<'_>,
    keys: &mut Vec<Keys>,
    holding: impl FnOnce() -> Arc<State>,
) -> Result<()> {
    if indexes.all.is_empty() { Ok(()) } else { fill_each(indexes, value, keys, holding) }
}

fn fill_each(
    indexes: &SetIndexes,
    value: NewValue<'_>,
    keys: &mut Vec<Keys>,
    holding: impl FnOnce() -> Arc<State>,
) -> Result<()> {
    if keys.len() < indexes.all.len() {
        keys.resize_with(indexes.all.len(), Keys::default);
    }
    let NewValue { kind, bytes, known } = value;
    let is_needed = indexes.all.iter().any(|index| index.extractor.needs_bytes(known));
    let whole = if kind == Kind::Head && is_needed {
        let place = Place::Copied(Arc::from(bytes));
        let found = Found { id: RecordId::FIRST, seq: Seq::ZERO, is_head: true, place };
        Cow::Owned(Record::shared(holding(), found)?.to_vec()?)
    } else {
        Cow::Borrowed(bytes)
    };
    let mut reading = Reading::known(&whole, known);
    for (index, keys) in indexes.all.iter().zip(keys) {
        keys.clear();
        index.extractor.run(&mut reading, keys).map_err(|error| error.of_index(&indexes.name, &index.name))?;
    }
    Ok(())
}
