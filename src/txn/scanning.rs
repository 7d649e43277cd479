//! Scanning and counting sets inside a transaction, its own writes included.
//!
//! Owns: a scan as of the moment it was requested, recording what must be validated. Never: decides whether there is a
//! conflict; validation does.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::error::Result;
use crate::heap::{Answer, Found, State};
use crate::history::Topic;
use crate::id::{RecordId, SetNumber};
use crate::txn::own_runs::Passed;
use crate::txn::own_scans::OwnRecords;
use crate::txn::own_writes::Own;
use crate::txn::scans::ScanRead;
use crate::txn::{Record, RecordSet, Scan, Transaction};

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
    own: OwnRecords,
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
        let own = self.own.next(self.set, self.bounds.0, self.bounds.1);
        let is_plain = is_all && own.is_none();
        TransactionRecords { of: self, scan, is_plain, ahead: None, is_over: false, own }
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
    /// The next own record; `None` in the place of its value if it was deleted.
    own: Option<(RecordId, Option<&'s Found>)>,
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
        let mut passed = Passed::default();
        let found = self.walk(&mut passed);
        self.of.own.learn(passed);
        found
    }

    fn walk(&mut self, passed: &mut Passed<(SetNumber, RecordId)>) -> Result<Option<Record<'s>>> {
        let (set, bounds) = (self.of.set, &self.of.bounds);
        loop {
            let ahead = match self.ahead.take() {
                None => self.next_of_state()?,
                ahead => ahead,
            };
            let id = ahead.as_ref().map(Record::id);
            let Some((own, found)) = self.own.take_if(|(own, _)| id.is_none_or(|id| *own <= id)) else {
                return Ok(ahead);
            };
            // The last own record that this step passes: deleted ones are passed as one run, with all in between.
            let last = found.map_or_else(|| self.of.own.run_behind(set, own), |_| None).unwrap_or(own);
            self.own = self.of.own.next(set, Bound::Excluded(last), bounds.1);
            self.ahead = ahead.filter(|ahead| ahead.id() > last);
            if let Some(found) = found {
                let state = self.of.own_state.as_ref().unwrap_or(&self.of.state);
                return Record::in_view(state, found.clone()).map(Some);
            }
            if last != own && self.ahead.is_none() {
                self.scan.skip_to(last);
                self.ahead = self.next_of_state()?.filter(|ahead| ahead.id() > last);
            }
            passed.add((set, own), (set, last));
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
            (self.is_over, self.ahead, self.own) = (true, None, None);
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
        let state = self.view_for_scans()?;
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        let numbers = self.numbers_of(set, &state)?;
        let number = numbers.0;
        let own = self.own_of(numbers, &state)?;
        // Chunks of a large value that the transaction wrote are newer than its state.
        let own_state = (!self.parts.get().staged.is_empty()).then(|| self.engine.heap.pin());
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
        let state = Arc::clone(self.view()?);
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

    /// Own writes to records of a set.
    fn own_of(&mut self, (seen, written): (SetNumber, SetNumber), state: &State) -> Result<OwnRecords> {
        let parts = self.parts.get();
        parts.own.catch_up(&parts.effects);
        let changed = parts.own.changed().into_iter().map(|id| {
            let written = match self.parts.get().own.get(id) {
                Some(Own::Put { offset, set }) => Some((set, Some(self.own_record(id, offset)?))),
                Some(Own::Deleted) => Some((state.root.set_of_slot(id.slot()), None)),
                None => None,
            };
            Ok((id, written))
        });
        let changed = changed.collect::<Result<_>>()?;
        let mut own = self.parts.get().own.take_changed(changed);
        if seen != written {
            own.join(written, seen);
        }
        Ok(own)
    }

    /// The state that this transaction reads from. From here on, the history keeps commits that change records for it.
    fn view_for_scans(&mut self) -> Result<Arc<State>> {
        if !self.scans.is_in_history() {
            self.engine.history.enter(Topic::Records);
            // The history has no commits between the state and this moment.
            let missed = self.view.is_some().then(|| self.engine.heap.catalogue());
            self.scans.enter(missed);
        }
        self.view().map(Arc::clone)
    }
}
