//! The keys of a value that a transaction writes or replaces.
//!
//! Owns: running the extractors of a set on a value, small or large. Never: notes what changes; `changes` does.

use std::borrow::Cow;
use std::sync::Arc;

use crate::engine::SetIndexes;
use crate::error::Result;
use crate::extract::Keys;
use crate::format::item::Kind;
use crate::heap::Found;
use crate::heap::Place;
use crate::heap::State;
use crate::id::RecordId;
use crate::id::Seq;
use crate::txn::Record;

/// The keys of a value, for each index, into the memory of keys that were found before. More of that than there are indexes
/// means nothing. `holding` gives a state that holds the chunks of a large one.
pub(crate) fn fill_keys(
    indexes: &SetIndexes,
    kind: Kind,
    bytes: &[u8],
    keys: &mut Vec<Keys>,
    holding: impl FnOnce() -> Arc<State>,
) -> Result<()> {
    if indexes.all.is_empty() {
        return Ok(());
    }
    if keys.len() < indexes.all.len() {
        keys.resize_with(indexes.all.len(), Keys::default);
    }
    let whole = if kind == Kind::Head {
        let place = Place::Copied(Arc::from(bytes));
        let found = Found { id: RecordId::FIRST, seq: Seq::ZERO, is_head: true, place };
        Cow::Owned(Record::shared(holding(), found)?.to_vec()?)
    } else {
        Cow::Borrowed(bytes)
    };
    for (index, keys) in indexes.all.iter().zip(keys) {
        keys.clear();
        index.extractor.run(&whole, keys)?;
    }
    Ok(())
}
