//! The changes that a transaction makes to key indexes.
//!
//! Owns: gathering them, their net effect in key order, and checking them against unique indexes. Never: reads records,
//! or applies changes. Invariant: the last change of an entry counts.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::engine::{Engine, SetIndex};
use crate::error::{Corruption, Error, Result};
use crate::extract::Keys;
use crate::format::frame::FrameBuilder;
use crate::format::index::{CHANGE_HEADER_BYTES, Change};
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX};
use crate::heap::{Effect, Indexes, ToProbe};
use crate::id::{IndexNumber, NumberHash, RecordId, to_u64};
use crate::key::Key;
use crate::key_index::{Changes, Gathered, Probed};
use crate::txn::own_changes::{OwnChanges, OwnRange};
use crate::txn::touched::Touched;

/// Number of indexes for which memory is kept.
const SPARE_MAX: usize = 16;
/// Up to so many indexes, one is found faster without a map.
const FEW: usize = 16;

/// The changes of one index, in the order in which they were made until they are sealed.
#[derive(Debug)]
struct IndexChanges {
    number: IndexNumber,
    name: Arc<str>,
    is_unique: bool,
    changes: Gathered,
    own: OwnChanges,
    touched: Touched,
    clear: Clear,
}

/// What is known about other records having any of the new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clear {
    /// There are no new keys.
    Nothing,
    /// No other record has any of them in this version of the tree.
    At(u64),
    Unknown,
}

impl Clear {
    /// One more new key. `clear_at` is the version in which no other record has it, if known.
    fn and(self, clear_at: Option<u64>) -> Self {
        match (self, clear_at) {
            (Self::Nothing, Some(at)) => Self::At(at),
            (Self::At(before), Some(at)) if before == at => self,
            _ => Self::Unknown,
        }
    }

    fn is_at(self, version: Option<u64>) -> bool {
        matches!(self, Self::At(at) if version == Some(at))
    }
}

/// How many changes there were, to roll back to.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    lens: SmallVec<[(usize, usize); 4]>,
    bytes: u64,
}

/// The changes of a transaction.
#[derive(Debug, Default)]
pub(crate) struct KeyChanges {
    indexes: Vec<IndexChanges>,
    /// Where each of them is, if they are not few.
    places: HashMap<IndexNumber, usize, NumberHash>,
    bytes: u64,
    /// Emptied buffers of earlier changes.
    spare: Vec<(Gathered, Touched)>,
}

impl KeyChanges {
    /// Upper bound of the bytes that they take in the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.indexes.iter().all(|index| index.changes.len() == 0)
    }

    /// Forgets all changes, and keeps at most this much memory per index.
    pub(crate) fn clear(&mut self, bytes_max: usize) {
        self.places.clear();
        for mut index in self.indexes.drain(..) {
            index.changes.clear();
            index.touched.clear();
            if index.changes.capacity_bytes() <= bytes_max && self.spare.len() < SPARE_MAX {
                self.spare.push((index.changes, index.touched));
            }
        }
        self.bytes = 0;
    }

    /// Records that a record's keys have changed. Keys that stay the same are skipped.
    pub(crate) fn replace(&mut self, index: &SetIndex, id: RecordId, old: &Keys, new: &Keys) {
        if old.is_same(new) {
            return;
        }
        let (Ok(gone), Ok(come)) = (old.only(), new.only()) else { return self.replace_several(index, id, old, new) };
        let changed = [(gone, false), (come, true)];
        let changed = changed.into_iter().filter_map(|(key, put)| Some((key?, put)));
        self.note(index, id, changed, new.clear_at);
    }

    fn replace_several(&mut self, index: &SetIndex, id: RecordId, old: &Keys, new: &Keys) {
        let mut before: SmallVec<[&[u8]; 8]> = old.iter().collect();
        let mut after: SmallVec<[&[u8]; 8]> = new.iter().collect();
        for keys in [&mut before, &mut after] {
            keys.sort_unstable();
            keys.dedup();
        }
        let gone = before.iter().filter(|key| after.binary_search(key).is_err());
        let come = after.iter().filter(|key| before.binary_search(key).is_err());
        self.note(index, id, gone.map(|key| (*key, false)).chain(come.map(|key| (*key, true))), new.clear_at);
    }

    fn note<'k>(
        &mut self,
        index: &SetIndex,
        id: RecordId,
        changed: impl Iterator<Item = (&'k [u8], bool)>,
        clear_at: Option<u64>,
    ) {
        let mut changed = changed.peekable();
        if changed.peek().is_none() {
            return;
        }
        let of = self.changes_of(index);
        let mut bytes = 0;
        for (key, put) in changed {
            bytes += to_u64(CHANGE_HEADER_BYTES + key.len());
            of.changes.push(key, id, put);
            if put {
                of.clear = of.clear.and(clear_at);
            }
        }
        self.bytes += bytes;
    }

    /// Records the keys of a new record.
    pub(crate) fn insert(&mut self, index: &SetIndex, id: RecordId, keys: &Keys) {
        match keys.only() {
            Ok(Some(key)) => {
                self.bytes += to_u64(CHANGE_HEADER_BYTES + key.len());
                let of = self.changes_of(index);
                of.changes.push(key, id, true);
                of.clear = of.clear.and(keys.clear_at);
            }
            Ok(None) => {}
            Err(_) => self.replace_several(index, id, &Keys::default(), keys),
        }
    }

    #[inline]
    fn place_of(&self, number: IndexNumber) -> Option<usize> {
        if self.indexes.len() <= FEW {
            return self.indexes.iter().position(|known| known.number == number);
        }
        self.places.get(&number).copied()
    }

    fn find(&mut self, number: IndexNumber) -> Option<&mut IndexChanges> {
        let place = self.place_of(number)?;
        self.indexes.get_mut(place)
    }

    fn changes_of(&mut self, index: &SetIndex) -> &mut IndexChanges {
        let place = self.place_of(index.number).unwrap_or_else(|| self.add(index));
        &mut self.indexes[place]
    }

    fn add(&mut self, index: &SetIndex) -> usize {
        let (number, name, is_unique) = (index.number, Arc::clone(&index.name), index.is_unique);
        let ((changes, touched), own) = (self.spare.pop().unwrap_or_default(), OwnChanges::default());
        self.indexes.push(IndexChanges { number, name, is_unique, changes, own, touched, clear: Clear::Nothing });
        if self.indexes.len() > FEW {
            let known = self.places.len();
            let places = self.indexes.iter().enumerate().skip(known).map(|(place, index)| (index.number, place));
            self.places.extend(places);
        }
        self.indexes.len() - 1
    }

    /// The transaction's own changes to an index between two keys, ascending.
    pub(crate) fn of(&mut self, number: IndexNumber, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Option<OwnRange> {
        let index = self.find(number)?;
        index.own.catch_up(&index.changes);
        Some(index.own.range(bounds))
    }

    /// Whether the transaction may have changed an entry of a key. A wrong yes is rare.
    pub(crate) fn may_concern(&mut self, number: IndexNumber, key: &[u8]) -> bool {
        self.find(number).is_some_and(|index| index.touched.may_have(&index.changes, key))
    }

    /// The last change of each entry of a key.
    pub(crate) fn look(&mut self, number: IndexNumber, key: &[u8], look: &mut dyn FnMut(RecordId, bool)) {
        if !self.may_concern(number, key) {
            return;
        }
        let Some(index) = self.find(number) else { return };
        let map = index.own.catch_up(&index.changes);
        let range = map.range((Box::from(key), 0)..).take_while(|((other, _), _)| **other == *key);
        for ((_, id), last) in range {
            if let Some(id) = RecordId::from_u64(*id) {
                look(id, last.put);
            }
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { lens: self.indexes.iter().map(|index| index.changes.mark()).collect(), bytes: self.bytes }
    }

    pub(crate) fn go_back(&mut self, mark: &Mark) {
        self.indexes.truncate(mark.lens.len());
        self.places.retain(|_, place| *place < mark.lens.len());
        for (index, mark) in self.indexes.iter_mut().zip(&mark.lens) {
            index.own.go_back(&index.changes, mark.0);
            index.touched.go_back(mark.0);
            index.changes.go_back(*mark);
        }
        self.bytes = mark.bytes;
    }

    /// The number of changes.
    pub(crate) fn len(&self) -> u64 {
        self.indexes.iter().map(|index| to_u64(index.changes.len())).sum()
    }

    /// Reads the leaves that the changes will need, so that applying them reads nothing, and looks for keys already
    /// taken in unique indexes. The changes are sealed; the caller holds no lock. The leaves are offered until the
    /// result is dropped.
    pub(crate) fn prepare<'e>(&mut self, engine: &'e Engine) -> Result<Offers<'e>> {
        let mut offers = Offers { engine, numbers: Vec::new() };
        for index in &mut self.indexes {
            // Held the whole time: a node that another commit changes meanwhile is copied.
            let (to_probe, is_known) = engine.heap.look_at_indexes(|trees| {
                let is_known = index.clear.is_at(trees.version(index.number));
                (trees.to_probe(index.number, index.is_unique && !is_known), is_known)
            });
            let Some(ToProbe { root, version, keeps_beside }) = to_probe else {
                if !is_known {
                    check_damage(engine, index)?;
                }
                continue;
            };
            let is_asked = index.is_unique && !is_known;
            let mut changes = Changes::new();
            index.changes.fill(&mut changes);
            let Probed { leaves, is_clear } = match root.probe(&changes, is_asked, keeps_beside) {
                Ok(probed) => probed,
                // Nothing depends on an index that is not unique: it is abandoned, and rebuilt at its owner's request.
                Err(Error::Corrupt(damage)) if !index.is_unique => {
                    engine.heap.with_indexes(|trees| trees.damage(index.number, *damage));
                    continue;
                }
                Err(error) => return Err(named(engine, index, error)),
            };
            drop(root);
            if is_asked {
                index.clear = if is_clear { Clear::At(version) } else { Clear::Unknown };
            }
            if !leaves.is_empty() {
                let numbers = leaves.iter().map(|(number, _)| *number).collect();
                offers.numbers.push((index.number, numbers));
                let mut leaves = leaves.into_iter().peekable();
                while leaves.peek().is_some() {
                    let part = leaves.by_ref().take(OFFERED_AT_ONCE).collect();
                    engine.heap.with_indexes(|trees| trees.offer(index.number, part));
                }
            }
        }
        Ok(offers)
    }

    /// Sorts the changes and drops those that later ones replace. No more are added afterwards.
    pub(crate) fn seal(&mut self) {
        self.indexes.iter_mut().for_each(|index| index.changes.sort());
    }

    /// Puts the net changes into the frame and the effects.
    pub(crate) fn put(&self, frame: &mut FrameBuilder, effects: &mut Vec<Effect>) {
        for index in &self.indexes {
            let begin = index.number.0.to_le_bytes();
            // The last payload is sized exactly, since it is kept until it is applied.
            let mut left: usize = index.changes.iter().map(|change| change.bytes()).sum();
            let new_payload = |left: usize| {
                let mut payload = Vec::with_capacity(begin.len() + left.min(PAYLOAD_BYTES_MAX));
                payload.extend_from_slice(&begin);
                payload
            };
            let mut flush = |payload: Vec<u8>| {
                frame.control(Kind::IndexOps, &payload);
                effects.push(Effect::Index(index.number, payload));
            };
            if left == 0 {
                continue;
            }
            let mut payload = new_payload(left);
            for change in index.changes.iter() {
                if payload.len() + change.bytes() > PAYLOAD_BYTES_MAX {
                    flush(std::mem::replace(&mut payload, new_payload(left)));
                }
                left -= change.bytes();
                change.encode(&mut payload);
            }
            flush(payload);
        }
    }

    /// Refuses a duplicate key of a unique index. The caller excludes commits.
    pub(crate) fn check_unique(&self, engine: &Engine) -> Result<()> {
        for index in self.indexes.iter().filter(|index| index.is_unique) {
            engine
                .heap
                .look_at_indexes(|trees| {
                    let is_clear = index.clear.is_at(trees.version(index.number));
                    if is_clear { Ok(()) } else { check_unique(index, trees) }
                })
                .map_err(|error| named(engine, index, error))?;
        }
        Ok(())
    }
}

/// Leaves offered or withdrawn under the writer's lock at once: views wait for it.
const OFFERED_AT_ONCE: usize = 256;

/// Leaves that were read ahead of a commit.
#[derive(Debug)]
pub(crate) struct Offers<'e> {
    engine: &'e Engine,
    numbers: Vec<(IndexNumber, Vec<u64>)>,
}

impl Drop for Offers<'_> {
    fn drop(&mut self) {
        for (index, numbers) in &self.numbers {
            for part in numbers.chunks(OFFERED_AT_ONCE) {
                drop(self.engine.heap.with_indexes(|trees| trees.withdraw(*index, part)));
            }
        }
    }
}

/// Refuses changes of a unique index that cannot be read or is not being built: whether a key is taken is unknown.
fn check_damage(engine: &Engine, index: &IndexChanges) -> Result<()> {
    if !index.is_unique {
        return Ok(());
    }
    let (damage, is_building) =
        engine.heap.look_at_indexes(|trees| (trees.damage_of(index.number).cloned(), trees.is_building(index.number)));
    match damage {
        Some(damage) => Err(named(engine, index, Error::Corrupt(Box::new(Corruption::clone(&damage))))),
        // If the index was dropped meanwhile, the commit is a conflict.
        None if is_building || engine.heap.catalogue().index(index.number).is_none() => Ok(()),
        None if !index.changes.iter().any(|change| change.put) => Ok(()),
        None => {
            let why = "is unique and incomplete, and is not being built: keys cannot be checked";
            Err(Error::NoSuchIndex { index: index.name.to_string(), why })
        }
    }
}

/// Adds the names of the index and its set to a damage error.
fn named(engine: &Engine, index: &IndexChanges, error: Error) -> Error {
    let catalogue = engine.heap.catalogue();
    let set = catalogue.index(index.number).map_or("", |known| catalogue.name_of(known.definition.set));
    error.in_index(set, &index.name)
}

fn check_unique(index: &IndexChanges, trees: &Indexes) -> Result<()> {
    let net: Vec<Change<'_>> = index.changes.iter().collect();
    let Some(tree) = trees.now(index.number) else {
        // An index still being built refuses nothing: a key with two records at the end fails the build.
        let damage = trees.damage_of(index.number).filter(|_| net.iter().any(|change| change.put));
        return damage.map_or(Ok(()), |damage| Err(Error::Corrupt(Box::new(damage.as_ref().clone()))));
    };
    let violation = |key: &[u8], id| {
        let (index, key) = (index.name.to_string(), Key::from_bytes(key).unwrap_or_default());
        // The caller that holds the catalogue adds the name.
        Error::UniqueViolation { set: String::new(), index, key, id }
    };
    for same in net.chunk_by(|a, b| a.key == b.key) {
        let mut put = same.iter().filter(|change| change.put);
        let Some(first) = put.next() else { continue };
        if put.next().is_some() {
            return Err(violation(first.key, first.id));
        }
        let Some(holder) = tree.first(first.key)?.and_then(RecordId::from_u64) else { continue };
        let goes = same.iter().any(|change| !change.put && change.id == holder);
        if holder != first.id && !goes {
            return Err(violation(first.key, holder));
        }
    }
    Ok(())
}
