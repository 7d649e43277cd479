//! Scanning and counting sets inside a transaction, its own writes included.
//!
//! Owns: a scan as of the moment it was requested, recording what must be validated. Never: decides whether there is a
//! conflict; validation does.

use std::iter::Peekable;
use std::ops::{Bound, RangeBounds};
use std::slice::Iter;
use std::sync::Arc;

use crate::error::Result;
use crate::heap::{Answer, Found, State};
use crate::history::Topic;
use crate::id::{RecordId, SetNumber};
use crate::txn::own_writes::Own;
use crate::txn::scans::ScanRead;
use crate::txn::{Record, RecordSet, Scan, Transaction};

/// A transaction's own write to a record; `None` if it deleted the record.
type OwnRecord = (RecordId, Option<Found>);

/// The records of a set as a transaction saw them when it called [`Transaction::scan`].
///
/// The scan does not borrow the transaction, so the transaction can write during the walk; the scan does not see those
/// writes. The scan keeps the transaction's state, and a copy of the values that the transaction had already written to
/// the set.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// let notes = store.record_set("notes")?;
/// store.write(|tx| tx.insert_many(&notes, &["a", "b"]))?;
/// store.write(|tx| -> tenure::Result<_> {
///     for note in &tx.scan(&notes)? {
///         let note = note?;
///         tx.update(note.id(), [note.bytes()?.as_ref(), b"!"].concat())?;
///     }
///     assert_eq!(tx.scan(&notes)?.iter().count(), 2);
///     Ok(())
/// })?;
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct TransactionScan {
    state: Arc<State>,
    set: SetNumber,
    bounds: (Bound<RecordId>, Bound<RecordId>),
    /// By ID.
    own: Vec<OwnRecord>,
    /// Holds the chunks of the transaction's own large values, which are newer than the state.
    own_state: Option<Arc<State>>,
}

impl TransactionScan {
    /// The records, in the order of their IDs.
    pub fn iter(&self) -> TransactionRecords<'_> {
        let scan = Scan::new(&self.state, self.set);
        let scan = match self.bounds.0 {
            Bound::Included(id) | Bound::Excluded(id) => scan.from(id),
            Bound::Unbounded => scan,
        };
        let is_all = matches!(self.bounds, (Bound::Unbounded, Bound::Unbounded));
        let is_plain = is_all && self.own.is_empty();
        TransactionRecords { of: self, scan, is_plain, ahead: None, is_over: false, own: self.own.iter().peekable() }
    }
}

impl<'s> IntoIterator for &'s TransactionScan {
    type Item = Result<Record<'s>>;
    type IntoIter = TransactionRecords<'s>;

    fn into_iter(self) -> TransactionRecords<'s> {
        self.iter()
    }
}

/// Iterates over the records of a [`TransactionScan`]. Ends after an error.
#[derive(Debug)]
pub struct TransactionRecords<'s> {
    of: &'s TransactionScan,
    scan: Scan<'s>,
    /// Whether the walk over the state suffices.
    is_plain: bool,
    ahead: Option<Record<'s>>,
    /// Whether the state has no more records.
    is_over: bool,
    own: Peekable<Iter<'s, OwnRecord>>,
}

impl<'s> TransactionRecords<'s> {
    /// The next record of the state within the bounds.
    #[inline]
    fn next_of_state(&mut self) -> Result<Option<Record<'s>>> {
        while !self.is_over {
            let Some(record) = self.scan.next().transpose()? else { break };
            let (id, bounds) = (record.id(), &self.of.bounds);
            if bounds.contains(&id) {
                return Ok(Some(record));
            }
            // Otherwise it lies before the bounds: in the slot of the first ID.
            self.is_over = !(Bound::Unbounded, bounds.1).contains(&id);
        }
        self.is_over = true;
        Ok(None)
    }

    fn merged(&mut self) -> Result<Option<Record<'s>>> {
        loop {
            let ahead = match self.ahead.take() {
                None => self.next_of_state()?,
                ahead => ahead,
            };
            let id = ahead.as_ref().map(Record::id);
            let Some((own, found)) = self.own.next_if(|(own, _)| id.is_none_or(|id| *own <= id)) else {
                return Ok(ahead);
            };
            if id != Some(*own) {
                self.ahead = ahead;
            }
            if let Some(found) = found {
                let state = self.of.own_state.as_ref().unwrap_or(&self.of.state);
                return Record::in_view(state, found.clone()).map(Some);
            }
        }
    }
}

impl<'s> Iterator for TransactionRecords<'s> {
    type Item = Result<Record<'s>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_plain {
            return self.scan.next();
        }
        let found = self.merged();
        if found.is_err() {
            // Own records alone would not be the rest of the scan.
            (self.is_over, self.ahead, self.own) = (true, None, [].iter().peekable());
        }
        found.transpose()
    }
}

impl Transaction {
    /// The records of a set, own writes included, in the order of their IDs.
    ///
    /// A serializable transaction conflicts with any other that changes, inserts or deletes a record of the set.
    ///
    /// # Errors
    /// `NoSuchSet` if there is no such set, `OtherStore` if it belongs to another store.
    pub fn scan(&mut self, set: &RecordSet) -> Result<TransactionScan> {
        self.scan_range(set, ..)
    }

    /// The records of a set between two IDs, like [`scan`](Self::scan). Changes to records outside the range are no
    /// conflict.
    ///
    /// # Errors
    /// As `scan`.
    pub fn scan_range(&mut self, set: &RecordSet, range: impl RangeBounds<RecordId>) -> Result<TransactionScan> {
        set.check_store(self.engine.store_id())?;
        let state = self.view_for_scans();
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        let numbers = self.numbers_of(set, &state)?;
        let number = numbers.0;
        let own: Vec<(RecordId, Option<u64>)> = self.own_of(numbers, &state, &bounds);
        let own =
            own.into_iter().map(|(id, offset)| Ok((id, offset.map(|offset| self.own_record(id, offset)).transpose()?)));
        let own: Vec<OwnRecord> = own.collect::<Result<_>>()?;
        let has_head = own.iter().any(|(_, found)| found.as_ref().is_some_and(|found| found.is_head));
        let own_state = has_head.then(|| self.engine.heap.pin());
        self.scans.push_scan(ScanRead::new(set, number, bounds));
        Ok(TransactionScan { state, set: number, bounds, own, own_state })
    }

    /// The number of records of a set, own writes included.
    ///
    /// A serializable transaction conflicts with any other that changes the number of records of the set.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn len(&mut self, set: &RecordSet) -> Result<u64> {
        set.check_store(self.engine.store_id())?;
        let state = Arc::clone(self.view());
        let numbers = self.numbers_of(set, &state)?;
        let number = numbers.0;
        let records = state.catalogue.set(number).map_or(0, |set| set.records);
        self.scans.push_len(set, number, records);
        let parts = self.parts.get();
        parts.own.catch_up(&parts.effects);
        let difference = parts.own.difference(numbers, |id, own| {
            let is_there = match own {
                Own::Put { set, .. } if set == numbers.0 || set == numbers.1 => true,
                Own::Deleted if state.root.set_of_slot(id.slot()) == number => false,
                Own::Put { .. } | Own::Deleted => return Ok(0),
            };
            let was_there = matches!(state.lookup(id)?, Answer::Live(_));
            Ok(i64::from(is_there) - i64::from(was_there))
        })?;
        Ok(records.saturating_add_signed(difference))
    }

    /// Whether a set has no records; validated like [`len`](Self::len).
    ///
    /// # Errors
    /// As `len`.
    pub fn is_empty(&mut self, set: &RecordSet) -> Result<bool> {
        self.len(set).map(|len| len == 0)
    }

    /// The number of a set in the state being read, and the number that own writes through the handle go to. They differ if the set
    /// was cleared after that state.
    fn numbers_of(&self, set: &RecordSet, state: &State) -> Result<(SetNumber, SetNumber)> {
        match (set.number_in(state), self.number_of(set)) {
            (Ok(seen), written) => Ok((seen, written.unwrap_or(seen))),
            // It was created after the state: there were no records in it then.
            (Err(_), Ok(made)) if made >= state.catalogue.next_set() => Ok((made, made)),
            (Err(error), _) => Err(error),
        }
    }

    /// Own writes to records of a set, by ID: the value's place in the frame, or `None` if the record was deleted.
    fn own_of(
        &mut self,
        (seen, written): (SetNumber, SetNumber),
        state: &State,
        bounds: &(Bound<RecordId>, Bound<RecordId>),
    ) -> Vec<(RecordId, Option<u64>)> {
        let parts = self.parts.get();
        parts.own.catch_up(&parts.effects);
        let own = parts.own.iter().filter(|(id, _)| bounds.contains(id));
        let own = own.filter_map(|(id, own)| match own {
            Own::Put { offset, set: of } => (of == seen || of == written).then_some((id, Some(offset))),
            Own::Deleted => (state.root.set_of_slot(id.slot()) == seen).then_some((id, None)),
        });
        let mut own: Vec<_> = own.collect();
        own.sort_unstable_by_key(|(id, _)| *id);
        own
    }

    /// The state that this transaction reads from. From here on, the history keeps commits that change records for it.
    fn view_for_scans(&mut self) -> Arc<State> {
        if !self.scans.is_in_history() {
            self.engine.history.enter(Topic::Records);
            // The history has no commits between the state and this moment.
            let missed = self.view.is_some().then(|| self.engine.heap.catalogue());
            self.scans.enter(missed);
        }
        Arc::clone(self.view())
    }
}
