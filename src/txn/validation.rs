//! Whether everything a transaction has seen still holds when it commits.
//!
//! Owns: comparing it with the newest state and with the changes of commits since. Never: decides what must hold; the
//! transaction does, by its isolation. The caller excludes commits.

use std::ops::Bound;

use smallvec::SmallVec;

use crate::engine::Engine;
use crate::error::{Contended, Error, Result};
use crate::heap::Answer;
use crate::history::Found;
use crate::id::{RecordId, Seq, SetNumber};
use crate::key::Key;
use crate::txn::Isolation;
use crate::txn::changes::KeyChanges;
use crate::txn::own_writes::{OwnWrites, Seen};
use crate::txn::ranges::Ranges;
use crate::txn::scans::Scans;

/// A validation step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Versions of records that were read or replaced.
    Versions,
    /// Index ranges that were read.
    Ranges,
    /// Sets that were scanned or counted.
    Scans,
}

/// The sets that a transaction has written to, with the index epoch that it knew.
pub(crate) type Epochs = SmallVec<[(SetNumber, u64); 2]>;

/// Everything that must hold for a commit.
#[derive(Debug)]
pub(crate) struct Claim<'t> {
    pub(crate) isolation: Isolation,
    pub(crate) epochs: &'t Epochs,
    pub(crate) first_seq: Option<Seq>,
    /// The commit of the state that all reads not in `seen` came from, if there were any.
    pub(crate) read_at: Option<Seq>,
    pub(crate) seen: &'t Seen,
    pub(crate) own: &'t OwnWrites,
    pub(crate) ranges: &'t Ranges,
    /// Keys whose absence counts under any isolation.
    pub(crate) not_found: &'t Ranges,
    pub(crate) scans: &'t Scans,
    pub(crate) keys: &'t KeyChanges,
    /// A validation step to leave out.
    pub(crate) planted: Option<Part>,
}

impl Claim<'_> {
    /// The last commit that the transaction has seen.
    fn seen_up_to(&self) -> Seq {
        self.read_at.or(self.first_seq).unwrap_or(Seq::ZERO)
    }

    /// Fails if a commit since contradicts it. The caller excludes commits.
    pub(crate) fn check(&self, engine: &Engine) -> Result<()> {
        if let Some((set, _)) = self.epochs.iter().find(|(set, epoch)| !engine.is_index_epoch(*set, *epoch)) {
            let on = Contended::Indexes { set: engine.heap.catalogue().name_of(*set).to_owned() };
            return Err(Error::conflict(on, self.seen_up_to(), engine.heap.seq()));
        }
        let serializable = self.isolation == Isolation::Serializable;
        if self.planted != Some(Part::Versions) {
            check_versions(engine, self.first_seq, self.seen, |id| serializable || self.own.contains(*id))?;
        }
        if let Some(seq) = self.read_at.filter(|_| self.planted != Some(Part::Ranges)) {
            check_ranges(engine, seq, if serializable { self.ranges } else { self.not_found })?;
        }
        if let Some(seq) = self.read_at.filter(|_| serializable && self.planted != Some(Part::Scans)) {
            self.scans.check(engine, seq)?;
        }
        self.keys.check_unique(engine)
    }
}

/// Whether every version that was seen is still the newest.
fn check_versions(
    engine: &Engine,
    first_seq: Option<Seq>,
    seen: &Seen,
    counts: impl Fn(&RecordId) -> bool,
) -> Result<()> {
    if seen.is_empty() || first_seq == Some(engine.heap.seq()) {
        return Ok(());
    }
    // The newest state, not a pinned one: nothing changes while the commit lock is held, and the commit being validated
    // would have to copy what is pinned.
    for (id, seq) in seen.iter().filter(|(id, _)| counts(id)) {
        let now = match engine.heap.lookup_now(*id)?.1 {
            Answer::Live(found) => Some(found.seq),
            Answer::Deleted | Answer::NeverAllocated => None,
        };
        if now != *seq {
            let (read_at, last) = (first_seq.unwrap_or(Seq::ZERO), engine.heap.seq());
            return Err(Error::conflict(Contended::Record(*id), read_at, now.unwrap_or(last)));
        }
    }
    Ok(())
}

/// Whether nothing has changed in the ranges since the state that they were read from.
fn check_ranges(engine: &Engine, read_at: Seq, ranges: &Ranges) -> Result<()> {
    let catalogue = engine.heap.catalogue();
    for read in ranges.by_index() {
        let contended = |(from, to): (Bound<Key>, Bound<Key>)| {
            let (set, index) = (catalogue.name_of(read.set()).to_owned(), read.name().to_owned());
            Contended::Range { set, index, from, to }
        };
        let all = (Bound::Unbounded, Bound::Unbounded);
        if catalogue.index(read.number()).is_none() {
            // It was dropped or rebuilt: the history does not tell which of its keys changed since.
            return Err(Error::conflict(contended(all), read_at, engine.heap.seq()));
        }
        let mut met = None;
        let mut concerns = |key: &[u8]| {
            met = read.find(key);
            met.is_some()
        };
        let with = match engine.history.find(read_at, read.number(), &mut concerns) {
            Found::Nothing => continue,
            Found::Change(seq) => seq,
            Found::TooOld => engine.heap.seq(),
        };
        return Err(Error::conflict(contended(met.cloned().unwrap_or(all)), read_at, with));
    }
    Ok(())
}
