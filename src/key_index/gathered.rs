//! Changes of one index, gathered before they are applied.
//!
//! Owns: their bytes, in one buffer, and their order. Never: applies them. Invariant: of several changes of an entry
//! the last one counts.

use std::cmp::Ordering;

use byteorder::{BigEndian, ByteOrder};

use crate::format::index::Change as Logged;
use crate::format::node::KeyEntry;
use crate::id::{RecordId, low_u16, to_u64};
use crate::key::KEY_BYTES_MAX;
use crate::key_index::change::{Change, Changes};

const PREFIX_BYTES: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Op {
    /// The first bytes of the key, as a number that sorts like them.
    prefix: u64,
    id: RecordId,
    begin: usize,
    len: u16,
    put: bool,
}

fn prefix_of(key: &[u8]) -> u64 {
    if let Some(prefix) = key.first_chunk::<PREFIX_BYTES>() {
        return BigEndian::read_u64(prefix);
    }
    let mut prefix = [0; PREFIX_BYTES];
    prefix.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    BigEndian::read_u64(&prefix)
}

/// Changes in the order in which they were made, or sorted.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

impl Gathered {
    /// Adds a change. Keys are checked before; anything longer than the limit is truncated.
    pub(crate) fn push(&mut self, key: &[u8], id: RecordId, put: bool) {
        let key = key.get(..KEY_BYTES_MAX).unwrap_or(key);
        let len = low_u16(to_u64(key.len()));
        self.ops.push(Op { prefix: prefix_of(key), id, begin: self.bytes.len(), len, put });
        self.bytes.extend_from_slice(key);
    }

    /// Forgets the changes and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.go_back((0, 0));
    }

    /// Number of changes.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Heap bytes of the changes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.len() + self.ops.len() * size_of::<Op>()
    }

    /// Heap bytes allocated.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.ops.capacity() * size_of::<Op>()
    }

    /// The current length, to roll back to. Only until it is sorted.
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.ops.len(), self.bytes.len())
    }

    /// Forgets what was added since.
    pub(crate) fn go_back(&mut self, (ops, bytes): (usize, usize)) {
        self.ops.truncate(ops);
        self.bytes.truncate(bytes);
    }

    fn key(&self, op: &Op) -> &[u8] {
        self.bytes.get(op.begin..op.begin + usize::from(op.len)).unwrap_or_default()
    }

    fn order(&self, a: &Op, b: &Op) -> Ordering {
        let by_rest = || {
            // For short keys the prefix determines everything except how many zeros they end with.
            let (a_bytes, b_bytes) = (usize::from(a.len), usize::from(b.len));
            let is_short = a_bytes.max(b_bytes) <= PREFIX_BYTES;
            if is_short { a_bytes.cmp(&b_bytes) } else { self.key(a).cmp(self.key(b)) }
        };
        a.prefix.cmp(&b.prefix).then_with(by_rest).then_with(|| a.id.cmp(&b.id))
    }

    fn net(&self, mut ops: Vec<Op>) -> Vec<Op> {
        // Stable, so the last of equal entries is the last one made.
        ops.sort_by(|a, b| self.order(a, b));
        ops.dedup_by(|next, kept| {
            let same = next.id == kept.id && self.order(next, kept) == Ordering::Equal;
            if same {
                *kept = *next;
            }
            same
        });
        ops
    }

    /// Sorts the changes and drops those that later ones replace.
    pub(crate) fn sort(&mut self) {
        let ops = std::mem::take(&mut self.ops);
        self.ops = self.net(ops);
    }

    fn logged(&self, op: &Op) -> Logged<'_> {
        Logged { put: op.put, key: self.key(op), id: op.id }
    }

    /// The changes in the form in which they are logged.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Logged<'_>> {
        self.iter_from(0)
    }

    /// The same from a position on.
    pub(crate) fn iter_from(&self, place: usize) -> impl Iterator<Item = Logged<'_>> {
        self.ops.get(place..).unwrap_or_default().iter().map(|op| self.logged(op))
    }

    /// Appends the changes, as they are applied, to others.
    pub(crate) fn fill<'g>(&'g self, changes: &mut Changes<'g>) {
        let change = |op: &Op| Change { entry: KeyEntry { key: self.key(op), id: op.id.as_u64() }, insert: op.put };
        changes.extend(self.ops.iter().map(change));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_sort_by_key_and_the_last_of_an_entry_counts() {
        let id = |slot| RecordId::from_parts(slot, 1).expect("an ID");
        let mut gathered = Gathered::default();
        let keys: [&[u8]; 6] = [b"longer than a prefix b", b"x\0", b"x", b"", b"longer than a prefix a", b"x"];
        for (slot, key) in (0..).zip(keys) {
            gathered.push(key, id(slot % 3), true);
        }
        let mark = gathered.mark();
        gathered.push(b"gone again", id(9), true);
        gathered.go_back(mark);
        gathered.push(b"x\0", id(1), false);
        let expected: Vec<(&[u8], u64, bool)> = vec![
            (b"", 0, true),
            (b"longer than a prefix a", 1, true),
            (b"longer than a prefix b", 0, true),
            (b"x", 2, true),
            (b"x\0", 1, false),
        ];
        let found = |changes: &[Logged<'_>]| -> Vec<(Vec<u8>, u64, bool)> {
            changes.iter().map(|change| (change.key.to_vec(), change.id.slot(), change.put)).collect()
        };
        let owned: Vec<_> = expected.iter().map(|(key, slot, put)| (key.to_vec(), *slot, *put)).collect();
        gathered.sort();
        assert_eq!(found(&gathered.iter().collect::<Vec<_>>()), owned);
        let mut changes = Changes::new();
        gathered.fill(&mut changes);
        assert!(changes.is_sorted_by_key(|change| change.entry));
    }
}
