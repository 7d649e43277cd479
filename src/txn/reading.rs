//! A transaction's reads: records by ID and entries of indexes, its own writes included.
//!
//! Owns: overlaying own writes on the transaction's state, recording what was read. Never: writes, or decides whether
//! there is a conflict.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::index::IndexDefinition;
use crate::format::item::Kind;
use crate::heap::{Answer, Found, Place};
use crate::id::{RecordId, Seq};
use crate::key::{Key, ToKey, prefix_range};
use crate::txn::first_read::FirstRead;
use crate::txn::index::key_bounds;
use crate::txn::own_writes::Own;
use crate::txn::ranges::as_bytes;
use crate::txn::transaction::view_of;
use crate::txn::view::is_hidden;
use crate::txn::{Index, Isolation, Lookup, Record, Transaction, TransactionRange};

impl Transaction {
    /// The transaction's own write to a record.
    pub(super) fn own(&mut self, id: RecordId) -> Option<Own> {
        let parts = self.parts.get();
        // A transaction reads every record it changes, unless it inserted it.
        if parts.handed.is_empty() && !parts.seen.contains_key(&id) {
            return None;
        }
        parts.own.catch_up(&parts.effects);
        parts.own.get(id)
    }

    /// The first record with this key, own writes included.
    pub fn find<K: ToKey + ?Sized>(&mut self, index: &Index, key: &K) -> Result<Option<RecordId>> {
        let key = Key::new(key)?;
        self.first_of(index, key)
    }

    pub(super) fn first_of(&mut self, index: &Index, key: Key) -> Result<Option<RecordId>> {
        let bounds = (Bound::Included(key.clone()), Bound::Included(key));
        self.entries(index, bounds)?.next().map(|entry| entry.map(|entry| entry.id)).transpose()
    }

    /// The entries of an index between two keys, ascending, own writes included.
    ///
    /// The range does not borrow the transaction, so the transaction can write during the walk. The range shows the
    /// entries as of this call; later writes do not appear in it.
    ///
    /// A serializable transaction conflicts with any other that changes an entry of the range.
    pub fn range<K: ToKey>(&mut self, index: &Index, range: impl RangeBounds<K>) -> Result<TransactionRange> {
        self.entries(index, key_bounds(&range)?)
    }

    /// The entries of keys that begin with the components of `prefix`, like [`range`](Self::range).
    pub fn prefix<K: ToKey + ?Sized>(&mut self, index: &Index, prefix: &K) -> Result<TransactionRange> {
        self.entries(index, prefix_range(&Key::new(prefix)?))
    }

    pub(crate) fn entries(&mut self, index: &Index, bounds: (Bound<Key>, Bound<Key>)) -> Result<TransactionRange> {
        let view = Arc::clone(self.view()?);
        let (definition, root) = index.found_in(&view)?;
        let own = self.parts.get().keys.of(definition.number, (as_bytes(&bounds.0), as_bytes(&bounds.1)));
        let range = TransactionRange::new(index, (definition, root), &bounds, own);
        let range = range.map_err(|error| index.named(&view, error))?;
        self.note_range(definition, bounds)?;
        Ok(range)
    }

    /// A range counts as read.
    pub(super) fn note_range(&mut self, index: &Arc<IndexDefinition>, bounds: (Bound<Key>, Bound<Key>)) -> Result<()> {
        // No other isolation validates it.
        if self.isolation == Isolation::Serializable {
            self.watch(index)?;
            self.ranges.push(index, bounds);
        }
        Ok(())
    }

    /// From here on, the history keeps changes of the index for this transaction.
    pub(super) fn watch(&mut self, index: &IndexDefinition) -> Result<()> {
        if self.watches.of(index.number).is_none() {
            let view = Arc::clone(self.view()?);
            self.watches.watch(&self.engine, index.number, &view);
        }
        Ok(())
    }

    /// The record as this transaction sees it, its own writes included.
    pub fn get(&mut self, id: RecordId) -> Result<Record<'_>> {
        match self.lookup(id)? {
            Lookup::Live(record) => Ok(record),
            Lookup::Deleted => Err(Error::Deleted { id }),
            Lookup::NeverAllocated => Err(Error::NeverAllocated { id }),
        }
    }

    /// The record as this transaction sees it, or whether its ID was deleted or never assigned.
    pub fn lookup(&mut self, id: RecordId) -> Result<Lookup<'_>> {
        match self.own(id) {
            Some(Own::Deleted) => return Ok(Lookup::Deleted),
            Some(Own::Put { offset, .. }) => {
                return self.own_value(id, offset).map(Lookup::Live);
            }
            None => {}
        }
        let Self { engine, view, first_read, first_seq, parts, .. } = self;
        let seen = &mut parts.get().seen;
        if *first_read == FirstRead::Newest && view.is_none() {
            // Before the read: a commit after this one then counts as made beside the transaction.
            let now = engine.heap.seq();
            first_seq.get_or_insert(now);
            let (state, answer) = engine.heap.lookup_now(id)?;
            // A later version is that of a commit that may still be being applied: a view waits for all of it.
            if let Answer::Live(found) = answer
                && found.seq <= now
                && !found.is_head
                && !is_hidden(&state, id)
            {
                *first_read = FirstRead::Done(id, found.seq);
                seen.entry(id).or_insert(Some(found.seq));
                return Record::moment(state, found).map(Lookup::Live);
            }
        }
        let view = view_of(engine, view, first_read, first_seq)?;
        let answer = view.lookup(id)?;
        let seq = if let Answer::Live(found) = &answer { Some(found.seq) } else { None };
        seen.entry(id).or_insert(seq);
        Ok(match answer {
            Answer::Live(_) if is_hidden(view, id) => Lookup::NeverAllocated,
            Answer::Live(found) => Lookup::Live(Record::in_view(view, found)?),
            Answer::Deleted => Lookup::Deleted,
            Answer::NeverAllocated => Lookup::NeverAllocated,
        })
    }

    /// A record that the transaction has written, for reading.
    pub(super) fn own_value(&mut self, id: RecordId, offset: u64) -> Result<Record<'static>> {
        let found = self.own_record(id, offset)?;
        let state = match &self.view {
            Some(view) if !found.is_head => Arc::clone(view),
            // Chunks of a large value that the transaction wrote are newer than its view.
            _ => self.engine.heap.pin(),
        };
        Record::shared(state, found)
    }

    pub(super) fn own_record(&mut self, id: RecordId, offset: u64) -> Result<Found> {
        let missing = || Error::Poisoned { reason: format!("record {id} is not in its transaction") };
        let item = self.parts.get().frame.item_at(offset).ok_or_else(missing)?;
        let place = Place::Copied(Arc::from(item.payload));
        Ok(Found { id, seq: Seq::ZERO, is_head: item.kind == Kind::Head as u8, place })
    }
}
