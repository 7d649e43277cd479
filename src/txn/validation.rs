//! Whether everything a transaction has seen still holds when it commits.
//!
//! Owns: comparing it with the newest state and with the changes of commits since. Never: decides what must hold; the
//! transaction does, by its isolation. What may take long is compared before the commit lock is taken; under it, only what
//! was committed since.

use std::ops::Bound;

use smallvec::SmallVec;

use crate::engine::{Engine, Validate};
use crate::error::{Contended, Error, Result};
use crate::heap::Answer;
use crate::history::{Bounds, Found, Topic};
use crate::id::{RecordId, Seq, SetNumber};
use crate::key::Key;
use crate::key_index::KeyList;
use crate::txn::Isolation;
use crate::txn::changes::KeyChanges;
use crate::txn::own_writes::{OwnWrites, Seen};
use crate::txn::ranges::{Ranges, as_bytes};
use crate::txn::scans::Scans;
use crate::txn::watches::Watches;

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

/// From so many versions on, most are compared before the commit lock is taken.
const VERSIONS_AHEAD_MIN: usize = 128;
/// From so many commits on, those since the state that was read are searched before.
const COMMITS_AHEAD_MIN: u64 = 64;
/// From so many changes on, they are searched before however few commits made them.
const CHANGES_AHEAD_MIN: usize = 512;
/// How often what others commit meanwhile is compared without the lock.
const ROUNDS: u32 = 4;

/// The sets that a transaction has written to, ascending, with the index epoch that it knew.
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
    pub(crate) watches: &'t Watches,
    /// Keys whose absence counts under any isolation.
    pub(crate) not_found: &'t Ranges,
    pub(crate) scans: &'t Scans,
    pub(crate) keys: &'t KeyChanges,
    /// A validation step to leave out.
    pub(crate) planted: Option<Part>,
}

/// A claim, and what of it was compared before the commit lock was taken.
#[derive(Debug)]
pub(crate) struct Checked<'t> {
    engine: &'t Engine,
    claim: &'t Claim<'t>,
    /// Versions are compared with the commits up to this one; the history has the records changed by later ones.
    versions: Option<Seq>,
    /// Ranges and scans likewise.
    ranges: Seq,
    scans: Seq,
}

impl<'t> Checked<'t> {
    pub(crate) fn new(engine: &'t Engine, claim: &'t Claim<'t>) -> Self {
        Self { engine, claim, versions: None, ranges: Seq::ZERO, scans: Seq::ZERO }
    }

    /// Compares the versions of many records. What is left to `check` are those that later commits have changed.
    fn look_at_versions(&mut self) -> Result<()> {
        let (engine, claim) = (self.engine, self.claim);
        let mut up_to = match self.versions {
            Some(up_to) => up_to,
            None => {
                engine.history.enter(Topic::Records);
                let up_to = engine.heap.seq();
                self.versions = Some(up_to);
                claim.check_versions(engine)?;
                up_to
            }
        };
        for _ in 0..ROUNDS {
            let Some((next, changes)) = claim.check_changed(engine, up_to)? else { break };
            (up_to, self.versions) = (next, Some(next));
            if changes < VERSIONS_AHEAD_MIN {
                break;
            }
        }
        Ok(())
    }
}

impl Validate for Checked<'_> {
    fn look_again(&mut self) -> Result<()> {
        let (engine, claim) = (self.engine, self.claim);
        if claim.first_seq == Some(engine.heap.seq()) {
            return Ok(());
        }
        if claim.seen.len() >= VERSIONS_AHEAD_MIN && claim.planted != Some(Part::Versions) {
            self.look_at_versions()?;
        }
        let Some(read_at) = claim.read_at else { return Ok(()) };
        for _ in 0..ROUNDS {
            if claim.planted == Some(Part::Ranges) || !claim.is_far(engine, read_at, self.ranges, Claim::has_many_keys)
            {
                break;
            }
            let searched = claim.check_ranges(engine, read_at, self.ranges)?;
            if std::mem::replace(&mut self.ranges, searched) == searched {
                break;
            }
        }
        for _ in 0..ROUNDS {
            let is_checked = claim.is_serializable() && claim.planted != Some(Part::Scans);
            if !is_checked || !claim.is_far(engine, read_at, self.scans, Claim::has_many_records) {
                break;
            }
            let searched = claim.scans.check(engine, read_at, self.scans)?;
            if std::mem::replace(&mut self.scans, searched) == searched {
                break;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.claim.check(self)
    }
}

impl Drop for Checked<'_> {
    fn drop(&mut self) {
        if self.versions.is_some() {
            self.engine.history.leave(Topic::Records);
        }
    }
}

impl Claim<'_> {
    /// The last commit that the transaction has seen.
    fn seen_up_to(&self) -> Seq {
        self.read_at.or(self.first_seq).unwrap_or(Seq::ZERO)
    }

    fn is_serializable(&self) -> bool {
        self.isolation == Isolation::Serializable
    }

    /// Whether comparing what was committed since may take long. Commits up to `checked` were compared before.
    fn is_far(
        &self,
        engine: &Engine,
        read_at: Seq,
        checked: Seq,
        has_many: fn(&Self, &Engine, Seq, Seq) -> bool,
    ) -> bool {
        let (since, now) = (read_at.max(checked), engine.heap.seq());
        now > since && (now.0 - since.0 >= COMMITS_AHEAD_MIN || has_many(self, engine, read_at, checked))
    }

    /// The ranges that must not have changed.
    fn ranges(&self) -> &Ranges {
        if self.is_serializable() { self.ranges } else { self.not_found }
    }

    fn has_many_keys(&self, engine: &Engine, _: Seq, checked: Seq) -> bool {
        self.ranges().by_index().filter_map(|read| self.watches.of(read.number())).any(|watch| {
            let missed = watch.missed.as_ref().filter(|_| checked == Seq::ZERO).map_or(0, KeyList::len);
            let (topic, since) = (Topic::Keys(watch.index), watch.since.max(checked));
            missed >= CHANGES_AHEAD_MIN || engine.history.has_many_since(topic, since, CHANGES_AHEAD_MIN)
        })
    }

    fn has_many_records(&self, engine: &Engine, read_at: Seq, checked: Seq) -> bool {
        let since = read_at.max(checked);
        self.scans.is_in_history() && engine.history.has_many_since(Topic::Records, since, CHANGES_AHEAD_MIN)
    }

    fn check(&self, ahead: &Checked<'_>) -> Result<()> {
        let engine = ahead.engine;
        if let Some((set, _)) = self.epochs.iter().find(|(set, epoch)| !engine.registry.is_epoch(*set, *epoch)) {
            let on = Contended::Indexes { set: engine.heap.catalogue().name_of(*set).to_owned() };
            return Err(Error::conflict(on, self.seen_up_to(), engine.heap.seq()));
        }
        if self.planted != Some(Part::Versions) {
            let checked = match ahead.versions {
                Some(up_to) => self.check_changed(engine, up_to)?,
                None => None,
            };
            if checked.is_none() {
                self.check_versions(engine)?;
            }
        }
        if let Some(read_at) = self.read_at.filter(|_| self.planted != Some(Part::Ranges)) {
            self.check_ranges(engine, read_at, ahead.ranges)?;
        }
        if let Some(read_at) = self.read_at.filter(|_| self.is_serializable() && self.planted != Some(Part::Scans)) {
            self.scans.check(engine, read_at, ahead.scans)?;
        }
        self.keys.check_unique(engine)
    }

    /// Whether every version that was seen is still the newest.
    fn check_versions(&self, engine: &Engine) -> Result<()> {
        if self.seen.is_empty() || self.first_seq == Some(engine.heap.seq()) {
            return Ok(());
        }
        let counts = |id: &RecordId| self.is_serializable() || self.own.contains(*id);
        self.seen.iter().filter(|(id, _)| counts(id)).try_for_each(|(id, seq)| self.check_version(engine, *id, *seq))
    }

    fn check_version(&self, engine: &Engine, id: RecordId, seq: Option<Seq>) -> Result<()> {
        // The newest state, not a pinned one: the commit being validated would have to copy what is pinned.
        let now = match engine.heap.lookup_now(id)?.1 {
            Answer::Live(found) => Some(found.seq),
            Answer::Deleted | Answer::NeverAllocated => None,
        };
        if now == seq {
            return Ok(());
        }
        let (read_at, last) = (self.first_seq.unwrap_or(Seq::ZERO), engine.heap.seq());
        Err(Error::conflict(Contended::Record(id), read_at, now.unwrap_or(last)))
    }

    /// Whether the versions of records that commits after `since` have changed are as they were seen. Returns the last of these
    /// commits, and the number of changes; `None` if the history does not know them all.
    fn check_changed(&self, engine: &Engine, since: Seq) -> Result<Option<(Seq, usize)>> {
        let (mut changes, mut first) = (0, Ok(()));
        let is_serializable = self.is_serializable();
        let up_to = engine.history.records_since(since, &mut |id| {
            changes += 1;
            if first.is_ok()
                && let Some(seq) = self.seen.get(&id).filter(|_| is_serializable || self.own.contains(id))
            {
                first = self.check_version(engine, id, *seq);
            }
        });
        first?;
        Ok(up_to.map(|up_to| (up_to, changes)))
    }

    /// Whether nothing has changed in the ranges since the state that they were read from. Commits up to `checked` were
    /// searched before. Returns up to which they are now.
    fn check_ranges(&self, engine: &Engine, read_at: Seq, checked: Seq) -> Result<Seq> {
        let catalogue = engine.heap.catalogue();
        let mut searched = Seq(u64::MAX);
        for read in self.ranges().by_index() {
            let conflict = |(from, to): (Bound<Key>, Bound<Key>), with| {
                let (set, index) = (catalogue.name_of(read.set()).to_owned(), read.name().to_owned());
                Error::conflict(Contended::Range { set, index, from, to }, read_at, with)
            };
            let all = (Bound::Unbounded, Bound::Unbounded);
            let watch = self.watches.of(read.number()).filter(|_| catalogue.index(read.number()).is_some());
            let Some((watch, missed)) = watch.and_then(|watch| Some((watch, watch.missed.as_ref()?))) else {
                // It was dropped or rebuilt, cannot be read, or changed too much: it is unknown which of its keys changed since.
                return Err(conflict(all, engine.heap.seq()));
            };
            if checked == Seq::ZERO
                && let Some(met) = missed.iter().find_map(|key| read.find(key))
            {
                return Err(conflict(met.clone(), watch.since));
            }
            let bounds: SmallVec<[Bounds<'_>; 4]> =
                read.bounds().map(|(from, to)| (as_bytes(from), as_bytes(to))).collect();
            let since = watch.since.max(checked);
            match engine.history.find(Topic::Keys(read.number()), since, &bounds, &|_| true) {
                Found::Nothing(up_to) => searched = searched.min(up_to),
                Found::Change(seq, key) => return Err(conflict(read.find(&key).cloned().unwrap_or(all), seq)),
                Found::TooOld => return Err(conflict(all, engine.heap.seq())),
            }
        }
        Ok(if searched == Seq(u64::MAX) { checked } else { searched })
    }
}
