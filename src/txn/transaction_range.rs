//! Ranges of an index as a transaction sees them: entries of its state, and its own changes over them.
//!
//! Owns: merging both, from either end. Never: changes an index, or records what was read. Invariant: both ends walk alike; what differs
//! is in `Side`.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use crate::error::Result;
use crate::format::index::IndexDefinition;
use crate::format::node::KeyEntry;
use crate::key::{Key, ToKey};
use crate::key_index::{KeyRoot, Position, Range};
use crate::txn::entry::entry;
use crate::txn::own_changes::{Entry, OwnRange};
use crate::txn::own_runs::Passed;
use crate::txn::{Index, IndexEntry};

/// The end of a range that a step is taken from.
#[derive(Debug, Clone, Copy)]
enum Side {
    Front,
    Back,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }

    /// Which of two entries a walk from this end meets first: that is the lesser one.
    fn order(self, there: &IndexEntry, (key, id): &Entry) -> Ordering {
        let order = (there.key.as_bytes(), there.id.as_u64()).cmp(&(key, *id));
        match self {
            Self::Front => order,
            Self::Back => order.reverse(),
        }
    }
}

/// Entries of the range that were read ahead, one from each end.
#[derive(Debug, Default)]
struct Ahead {
    front: Option<IndexEntry>,
    back: Option<IndexEntry>,
}

impl Ahead {
    fn at(&mut self, side: Side) -> &mut Option<IndexEntry> {
        match side {
            Side::Front => &mut self.front,
            Side::Back => &mut self.back,
        }
    }
}

/// Iterates over entries of an index as a transaction sees them, from either end. Ends after an error.
#[derive(Debug)]
pub struct TransactionRange {
    range: Range,
    ahead: Ahead,
    /// The transaction's own changes, with `false` for a removed entry.
    own: Option<OwnRange>,
    /// The set's name and the index, for errors.
    of: (Arc<str>, Arc<IndexDefinition>),
}

impl TransactionRange {
    pub(crate) fn new(
        index: &Index,
        (definition, root): (&Arc<IndexDefinition>, &KeyRoot),
        bounds: &(Bound<Key>, Bound<Key>),
        own: Option<OwnRange>,
    ) -> Result<Self> {
        let (lower, upper) = (bounds.0.as_ref().map(Key::as_bytes), bounds.1.as_ref().map(Key::as_bytes));
        let of = (Arc::clone(&index.of), Arc::clone(definition));
        Ok(Self { range: Range::new(root, lower, upper)?, ahead: Ahead::default(), own, of })
    }

    /// Moves forward to a key, or to the first one after it, like [`IndexRange::seek`](crate::IndexRange::seek). The whole range
    /// still counts as read by the transaction.
    ///
    /// # Errors
    /// As `IndexRange::seek`.
    pub fn seek<K: ToKey + ?Sized>(&mut self, key: &K) -> Result<()> {
        let key = Key::new(key)?;
        for side in [Side::Front, Side::Back] {
            self.ahead.at(side).take_if(|entry| entry.key < key);
        }
        if let Some(own) = &mut self.own {
            own.seek(key.as_bytes());
        }
        let result = self.range.seek(key.as_bytes(), false);
        result.map_err(|error| error.in_index(&self.of.0, &self.of.1.name))
    }

    /// A step. An error ends the iteration: own entries alone would not be the rest of the range.
    fn step(&mut self, side: Side) -> Option<Result<IndexEntry>> {
        let mut passed = Passed::default();
        let found = self.walk(side, &mut passed);
        if let Some(own) = &self.own {
            own.learn(passed);
        }
        if found.is_err() {
            self.range.end();
            (self.ahead, self.own) = (Ahead::default(), None);
        }
        found.map_err(|error| error.in_index(&self.of.0, &self.of.1.name)).transpose()
    }

    fn walk(&mut self, side: Side, passed: &mut Passed<Entry>) -> Result<Option<IndexEntry>> {
        loop {
            if self.ahead.at(side).is_none() {
                let next = match side {
                    Side::Front => self.range.next()?,
                    Side::Back => self.range.next_back()?,
                };
                let next = next.map(entry).transpose()?;
                *self.ahead.at(side) = next.or_else(|| self.ahead.at(side.other()).take());
            }
            let there = self.ahead.at(side);
            let own = self.own.as_ref().and_then(|own| match side {
                Side::Front => own.front(),
                Side::Back => own.back(),
            });
            let Some((own, put)) = own else { return Ok(there.take()) };
            match there.as_ref().map(|there| side.order(there, own)) {
                Some(Ordering::Less) => return Ok(there.take()),
                Some(Ordering::Equal) => *there = None,
                Some(Ordering::Greater) | None => {}
            }
            let own = own.clone();
            let found = put.then(|| entry((&own.0, own.1)));
            let last = if put { own } else { self.pass_deleted(side, own, passed)? };
            match (side, &mut self.own) {
                (Side::Front, Some(range)) => range.pass(last),
                (Side::Back, Some(range)) => range.pass_back(last),
                (_, None) => {}
            }
            if found.is_some() {
                return found.transpose();
            }
        }
    }

    /// Passes a deleted entry, with the rest of its run if it is known, and returns the last one passed.
    fn pass_deleted(&mut self, side: Side, own: Entry, passed: &mut Passed<Entry>) -> Result<Entry> {
        let known = self.own.as_ref().and_then(|range| range.run_around(&own));
        let last = known.map(|(first, last)| match side {
            Side::Front => last,
            Side::Back => first,
        });
        let Some(last) = last.filter(|last| *last != own) else {
            passed.add(own.clone(), own.clone());
            return Ok(own);
        };
        let is_within = |there: &mut IndexEntry| side.order(there, &last) != Ordering::Greater;
        let there = self.ahead.at(side);
        let is_beyond = there.is_some() && there.take_if(is_within).is_none();
        self.ahead.at(side.other()).take_if(is_within);
        let to = KeyEntry { key: &last.0, id: last.1 };
        match side {
            _ if is_beyond => {}
            Side::Front => self.range.seek_to(&Position { entry: to, behind: true })?,
            Side::Back => self.range.seek_back_to(&Position { entry: to, behind: false })?,
        }
        match side {
            Side::Front => passed.add(own, last.clone()),
            Side::Back => passed.add(last.clone(), own),
        }
        Ok(last)
    }
}

impl Iterator for TransactionRange {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(Side::Front)
    }
}

impl DoubleEndedIterator for TransactionRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(Side::Back)
    }
}
