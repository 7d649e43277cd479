//! The changes that a transaction makes to key indexes.
//!
//! Owns: gathering them, their net effect in order, what unique indexes say to it. Never: reads records, or applies.
//! Invariant: the last change of an entry counts.

use std::collections::VecDeque;
use std::ops::Bound;
use std::ops::RangeBounds;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::engine::Engine;
use crate::engine::SetIndex;
use crate::error::Error;
use crate::error::Result;
use crate::extract::Keys;
use crate::format::frame::FrameBuilder;
use crate::format::index::CHANGE_HEADER_BYTES;
use crate::format::index::Change;
use crate::format::item::Kind;
use crate::format::item::PAYLOAD_BYTES_MAX;
use crate::format::node::KeyEntry;
use crate::heap::Effect;
use crate::heap::Indexes;
use crate::id::IndexNumber;
use crate::id::RecordId;
use crate::id::to_u64;
use crate::key::Key;

#[derive(Debug, Clone, Copy)]
struct Op {
    begin: usize,
    len: usize,
    id: RecordId,
    put: bool,
}

/// The changes of one index, in the order in which they were made.
#[derive(Debug)]
struct IndexChanges {
    number: IndexNumber,
    name: Arc<str>,
    is_unique: bool,
    bytes: Vec<u8>,
    ops: Vec<Op>,
    /// The changes are net, and ascend.
    is_sealed: bool,
}

impl IndexChanges {
    fn key(&self, op: &Op) -> &[u8] {
        self.bytes.get(op.begin..op.begin + op.len).unwrap_or_default()
    }

    fn push(&mut self, key: &[u8], id: RecordId, put: bool) {
        self.ops.push(Op { begin: self.bytes.len(), len: key.len(), id, put });
        self.bytes.extend_from_slice(key);
    }

    fn change(&self, op: &Op) -> Change<'_> {
        Change { put: op.put, key: self.key(op), id: op.id }
    }

    /// Nothing will be added. What was replaced by later changes goes.
    fn seal(&mut self) {
        let mut ops = std::mem::take(&mut self.ops);
        // Stable, so the last of equal entries is the last that was made.
        ops.sort_by(|a, b| (self.key(a), a.id.as_u64()).cmp(&(self.key(b), b.id.as_u64())));
        ops.dedup_by(|next, kept| {
            let same = next.id == kept.id && self.key(next) == self.key(kept);
            if same {
                *kept = *next;
            }
            same
        });
        (self.ops, self.is_sealed) = (ops, true);
    }

    /// The last change of each entry, ascending.
    fn net(&self) -> Vec<Change<'_>> {
        self.net_within((Bound::Unbounded, Bound::Unbounded))
    }

    /// The same of keys within bounds. Only what lies there is sorted.
    fn net_within(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Vec<Change<'_>> {
        let within = |change: &Change<'_>| bounds.contains(change.key);
        let mut all: Vec<Change<'_>> = self.ops.iter().map(|op| self.change(op)).filter(within).collect();
        if self.is_sealed {
            return all;
        }
        // Stable, so the last of equal entries is the last that was made.
        all.sort_by(|a, b| (a.key, a.id.as_u64()).cmp(&(b.key, b.id.as_u64())));
        let mut net: Vec<Change<'_>> = Vec::with_capacity(all.len());
        for change in all {
            match net.last_mut() {
                Some(last) if last.key == change.key && last.id == change.id => *last = change,
                _ => net.push(change),
            }
        }
        net
    }
}

/// How far the changes had come, to go back to.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    lens: SmallVec<[(usize, usize); 4]>,
    bytes: u64,
}

/// The changes of a transaction.
#[derive(Debug, Default)]
pub(crate) struct KeyChanges {
    indexes: SmallVec<[IndexChanges; 4]>,
    bytes: u64,
}

impl KeyChanges {
    /// Bytes that they will take in the log, at most.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.indexes.iter().all(|index| index.ops.is_empty())
    }

    /// A record's keys have changed. Where they are the same, nothing is noted.
    pub(crate) fn replace(&mut self, index: &SetIndex, id: RecordId, old: &Keys, new: &Keys) {
        let mut before: SmallVec<[&[u8]; 8]> = old.iter().collect();
        let mut after: SmallVec<[&[u8]; 8]> = new.iter().collect();
        if before == after {
            return;
        }
        for keys in [&mut before, &mut after] {
            keys.sort_unstable();
            keys.dedup();
        }
        let gone = before.iter().filter(|key| after.binary_search(key).is_err());
        let come = after.iter().filter(|key| before.binary_search(key).is_err());
        let changed: SmallVec<[(&[u8], bool); 16]> =
            gone.map(|key| (*key, false)).chain(come.map(|key| (*key, true))).collect();
        if changed.is_empty() {
            return;
        }
        self.bytes += changed.iter().map(|(key, _)| to_u64(CHANGE_HEADER_BYTES + key.len())).sum::<u64>();
        let place = self.indexes.iter().position(|known| known.number == index.number);
        let place = place.unwrap_or_else(|| {
            let (number, name, is_unique) = (index.number, Arc::clone(&index.name), index.is_unique);
            self.indexes.push(IndexChanges {
                number,
                name,
                is_unique,
                bytes: Vec::new(),
                ops: Vec::new(),
                is_sealed: false,
            });
            self.indexes.len() - 1
        });
        if let Some(changes) = self.indexes.get_mut(place) {
            changed.iter().for_each(|(key, put)| changes.push(key, id, *put));
        }
    }

    /// What the transaction itself has done to an index between two keys, ascending.
    pub(crate) fn of(
        &self,
        number: IndexNumber,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> VecDeque<(Key, RecordId, bool)> {
        let found = self.indexes.iter().find(|index| index.number == number);
        let net = found.map(|index| index.net_within(bounds)).unwrap_or_default();
        net.iter().filter_map(|change| Some((Key::from_bytes(change.key).ok()?, change.id, change.put))).collect()
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            lens: self.indexes.iter().map(|index| (index.ops.len(), index.bytes.len())).collect(),
            bytes: self.bytes,
        }
    }

    pub(crate) fn go_back(&mut self, mark: &Mark) {
        self.indexes.truncate(mark.lens.len());
        for (index, (ops, bytes)) in self.indexes.iter_mut().zip(&mark.lens) {
            index.ops.truncate(*ops);
            index.bytes.truncate(*bytes);
        }
        self.bytes = mark.bytes;
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> u64 {
        self.indexes.iter().map(|index| to_u64(index.ops.len())).sum()
    }

    /// Reads the leaves that the changes will need, so that applying them reads nothing. The caller holds no lock. What is
    /// read is offered until the result is dropped.
    pub(crate) fn prepare<'e>(&self, engine: &'e Engine) -> Result<Offers<'e>> {
        let mut offers = Offers { engine, numbers: SmallVec::new() };
        for index in &self.indexes {
            // Held for as long as it takes: a node that others change meanwhile is copied.
            let Some(root) = engine.heap.with_indexes(|trees| trees.to_prepare(index.number)) else { continue };
            let entry = |op: &Op| KeyEntry { key: index.key(op), id: op.id.as_u64() };
            let prepared = root.prepare(index.ops.iter().map(entry), index.is_unique)?;
            drop(root);
            if !prepared.is_empty() {
                let numbers = prepared.iter().map(|(number, _)| *number).collect();
                engine.heap.with_indexes(|trees| trees.offer(index.number, prepared));
                offers.numbers.push((index.number, numbers));
            }
        }
        Ok(offers)
    }

    /// Nothing will be added: sorts the changes and drops those that later ones replace.
    pub(crate) fn seal(&mut self) {
        self.indexes.iter_mut().for_each(IndexChanges::seal);
    }

    /// Puts the net changes into the frame and among the effects.
    pub(crate) fn put(&self, frame: &mut FrameBuilder, effects: &mut Vec<Effect>) {
        for index in &self.indexes {
            let begin = index.number.0.to_le_bytes();
            let mut payload = begin.to_vec();
            let mut flush = |payload: &mut Vec<u8>| {
                frame.control(Kind::IndexOps, payload);
                effects.push(Effect::Index(index.number, std::mem::replace(payload, begin.to_vec())));
            };
            for change in index.net() {
                if payload.len() + change.bytes() > PAYLOAD_BYTES_MAX {
                    flush(&mut payload);
                }
                change.encode(&mut payload);
            }
            if payload.len() > begin.len() {
                flush(&mut payload);
            }
        }
    }

    /// Refuses a key that a unique index would have twice. The caller excludes commits.
    pub(crate) fn check_unique(&self, engine: &Engine) -> Result<()> {
        for index in self.indexes.iter().filter(|index| index.is_unique) {
            let net = index.net();
            engine.heap.with_indexes(|trees| check_unique(index, &net, trees))?;
        }
        Ok(())
    }
}

/// Leaves that were read ahead of a commit.
#[derive(Debug)]
pub(crate) struct Offers<'e> {
    engine: &'e Engine,
    numbers: SmallVec<[(IndexNumber, Vec<u64>); 4]>,
}

impl Drop for Offers<'_> {
    fn drop(&mut self) {
        for (index, numbers) in &self.numbers {
            drop(self.engine.heap.with_indexes(|trees| trees.withdraw(*index, numbers)));
        }
    }
}

fn check_unique(index: &IndexChanges, net: &[Change<'_>], trees: &Indexes) -> Result<()> {
    let violation = |key: &[u8], id| {
        let key = Key::from_bytes(key).map(|key| key.to_string()).unwrap_or_default();
        Error::UniqueViolation { index: index.name.to_string(), key, id }
    };
    for same in net.chunk_by(|a, b| a.key == b.key) {
        let mut put = same.iter().filter(|change| change.put);
        let Some(first) = put.next() else { continue };
        if put.next().is_some() {
            return Err(violation(first.key, first.id));
        }
        let Some(tree) = trees.now(index.number) else { continue };
        let Some(holder) = tree.first(first.key)?.and_then(RecordId::from_u64) else { continue };
        let goes = same.iter().any(|change| !change.put && change.id == holder);
        if holder != first.id && !goes {
            return Err(violation(first.key, holder));
        }
    }
    Ok(())
}
