//! Changing a node's bytes: slots grow from the front, the cell heap from the end.
//!
//! Owns: inserting, removing, compacting, splitting off a range, trimming an image and rebuilding it. Never: knows
//! children or other nodes.
//! Invariants: 1. `heap_begin` is the lowest byte of the cell heap; `dead` counts its bytes that belong to no entry.
//! 2. All keys of the node share the prefix; it grows when a node is rebuilt, and shrinks when a key without it
//!    arrives.

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};

use crate::format::node::{
    ChildRef, KeyEntry, NODE_CHILD_BYTES, NODE_HEADER_BYTES, NODE_SLOT_BYTES, NODE_TAG, NODE_VERSION, NodeView, Slot,
    head_of,
};
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{low_u16, to_u64};

const COUNT: usize = 4;
const PREFIX_BYTES: usize = 6;
const PREFIX_OFFSET: usize = 8;
// Used only by the writer; zero on disk.
const HEAP_BEGIN: usize = 10;
const DEAD: usize = 12;
/// The position after the newest entry; zero after any other operation.
const BEHIND_NEWEST: usize = 14;

/// The length of the common prefix of two keys.
pub(crate) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// The longest prefix that the entries of a range share, in bytes.
fn shared_prefix(view: &NodeView<'_>, range: &Range<usize>) -> Result<usize, Malformed> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    if range.is_empty() {
        return Ok(0);
    }
    let read = view.read(range.start, &mut first).and_then(|_| view.read(range.end - 1, &mut last));
    read.ok_or_else(|| view.broken())?;
    Ok(common(&first, &last))
}

/// A node's bytes, to be changed.
#[derive(Debug)]
pub(crate) struct Slotted<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Slotted<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes }
    }

    /// An empty node whose keys will all start with `prefix`.
    pub(crate) fn begin(bytes: &'a mut [u8], level: u8, prefix: &[u8]) -> Self {
        let mut node = Self { bytes };
        node.reset(level, prefix);
        node
    }

    fn reset(&mut self, level: u8, prefix: &[u8]) {
        let begin = self.bytes.len().saturating_sub(prefix.len());
        if let Some(header) = self.bytes.get_mut(..NODE_HEADER_BYTES) {
            header.copy_from_slice(&[NODE_TAG, NODE_VERSION, level, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        if let Some(room) = self.bytes.get_mut(begin..) {
            room.copy_from_slice(prefix);
        }
        self.put(PREFIX_BYTES, prefix.len());
        self.put(PREFIX_OFFSET, begin);
        self.put(HEAP_BEGIN, begin);
    }

    #[inline]
    fn get(&self, field: usize) -> usize {
        self.bytes.get(field..field + 2).map_or(0, LittleEndian::read_u16).into()
    }

    #[inline]
    fn put(&mut self, field: usize, value: usize) {
        if let Some(bytes) = self.bytes.get_mut(field..field + 2) {
            LittleEndian::write_u16(bytes, low_u16(to_u64(value)));
        }
    }

    #[inline]
    pub(crate) fn view(&self) -> Result<NodeView<'_>, Malformed> {
        NodeView::parse(self.bytes)
    }

    fn front_bytes(&self) -> usize {
        NODE_HEADER_BYTES + self.get(COUNT) * NODE_SLOT_BYTES
    }

    /// Whether an entry at this position continues after the newest one.
    pub(crate) fn is_sequential(&self, at: usize) -> bool {
        at > 0 && self.get(BEHIND_NEWEST) == at
    }

    /// Writes slot and cell; the caller has ensured that there is room.
    fn write(&mut self, at: usize, mut slot: Slot, suffix: &[u8], id: u64) {
        let begin = self.get(HEAP_BEGIN) - slot.cell_bytes();
        slot.offset = begin;
        if let Some(cell) = self.bytes.get_mut(begin..begin + slot.cell_bytes()) {
            let (rest, behind) = cell.split_at_mut(slot.rest_bytes());
            rest.copy_from_slice(suffix.get(suffix.len() - slot.rest_bytes()..).unwrap_or_default());
            if slot.has_id {
                LittleEndian::write_u64(behind, id);
            }
        }
        self.write_slot(at, &slot);
        self.put(HEAP_BEGIN, begin);
    }

    fn write_slot(&mut self, at: usize, slot: &Slot) {
        let (place, end) = (NODE_HEADER_BYTES + at * NODE_SLOT_BYTES, self.front_bytes());
        if place < end {
            self.bytes.copy_within(place..end, place + NODE_SLOT_BYTES);
        }
        if let Some(bytes) = self.bytes.get_mut(place..place + NODE_SLOT_BYTES) {
            bytes.copy_from_slice(&slot.bytes());
        }
        self.put(COUNT, self.get(COUNT) + 1);
    }

    fn slot_of(level: u8, suffix: &[u8], id: u64) -> Slot {
        Slot { offset: 0, key_bytes: suffix.len(), has_id: level == 0 || id != 0, head: head_of(suffix) }
    }

    /// Appends an entry after the last one, without changing the prefix. `false` if there is no room.
    pub(crate) fn push(&mut self, level: u8, suffix: &[u8], id: u64) -> bool {
        let slot = Self::slot_of(level, suffix, id);
        let room = self.get(HEAP_BEGIN).saturating_sub(self.front_bytes());
        if room < NODE_SLOT_BYTES + slot.cell_bytes() {
            return false;
        }
        self.write(self.get(COUNT), slot, suffix, id);
        true
    }

    /// Inserts an entry at its position, if the node then takes at most `limit` bytes.
    pub(crate) fn insert(&mut self, at: usize, entry: KeyEntry<'_>, limit: usize) -> Result<bool, Malformed> {
        let limit = limit.min(self.bytes.len());
        let view = self.view()?;
        let (level, prefix) = (view.level(), view.prefix());
        if view.count() == 0 {
            self.reset(level, entry.key);
        } else if !entry.key.starts_with(prefix) {
            let shared = common(prefix, entry.key);
            let longer = (prefix.len() - shared) * (view.count() - 1);
            let slot = Self::slot_of(level, entry.key.get(shared..).unwrap_or_default(), entry.id);
            if self.used() + longer + NODE_SLOT_BYTES + slot.cell_bytes() > limit {
                return Ok(false);
            }
            self.lay_out(Some(shared))?;
        }
        let suffix = entry.key.get(self.get(PREFIX_BYTES)..).unwrap_or_default();
        let slot = Self::slot_of(level, suffix, entry.id);
        let need = NODE_SLOT_BYTES + slot.cell_bytes();
        if self.used() + need > limit {
            return Ok(false);
        }
        if self.get(HEAP_BEGIN) - self.front_bytes() < need {
            self.lay_out(Some(self.get(PREFIX_BYTES)))?;
        }
        self.write(at, slot, suffix, entry.id);
        self.put(BEHIND_NEWEST, at + 1);
        Ok(true)
    }

    /// Removes an entry.
    pub(crate) fn remove(&mut self, at: usize) -> Result<(), Malformed> {
        let slot = self.view()?.slot(at);
        let Some(slot) = slot else { return Ok(()) };
        let (place, end) = (NODE_HEADER_BYTES + at * NODE_SLOT_BYTES, self.front_bytes());
        self.bytes.copy_within(place + NODE_SLOT_BYTES..end, place);
        self.put(COUNT, self.get(COUNT) - 1);
        self.put(DEAD, self.get(DEAD) + slot.cell_bytes());
        self.put(BEHIND_NEWEST, 0);
        Ok(())
    }

    /// Bytes that the node takes without dead bytes.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        self.front_bytes() + (self.bytes.len() - self.get(HEAP_BEGIN)) - self.get(DEAD)
    }

    /// Rebuilds the node without dead bytes, with a prefix of this length or the longest one.
    fn lay_out(&mut self, prefix_bytes: Option<usize>) -> Result<(), Malformed> {
        let mut old = [0; PAGE_BYTES];
        let len = self.bytes.len().min(PAGE_BYTES);
        let (copy, bytes) = (old.get_mut(..len).unwrap_or_default(), self.bytes.get(..len).unwrap_or_default());
        copy.copy_from_slice(bytes);
        let view = NodeView::parse(copy)?;
        self.copy_range(&view, 0..view.count(), prefix_bytes)
    }

    /// Makes this a copy of a range of another node's entries.
    pub(crate) fn copy_range(
        &mut self,
        from: &NodeView<'_>,
        range: Range<usize>,
        prefix_bytes: Option<usize>,
    ) -> Result<(), Malformed> {
        let prefix_bytes = match prefix_bytes {
            Some(bytes) => bytes,
            None => shared_prefix(from, &range)?,
        };
        let mut key = Vec::new();
        if !range.is_empty() {
            from.read(range.start, &mut key).ok_or_else(|| from.broken())?;
        }
        self.reset(from.level(), key.get(..prefix_bytes).unwrap_or_default());
        self.push_range(from, range)
    }

    /// Appends a range of another node's entries; they must have this node's prefix.
    pub(crate) fn push_range(&mut self, from: &NodeView<'_>, range: Range<usize>) -> Result<(), Malformed> {
        let prefix_bytes = self.get(PREFIX_BYTES);
        let mut key = from.prefix().to_vec();
        for index in range {
            let done = if from.prefix().len() == prefix_bytes {
                self.push_cell(from, index)
            } else {
                let id = from.read_behind_prefix(index, &mut key);
                id.is_some_and(|id| self.push(from.level(), key.get(prefix_bytes..).unwrap_or_default(), id))
            };
            if !done {
                return Err(from.broken());
            }
        }
        Ok(())
    }

    fn push_cell(&mut self, from: &NodeView<'_>, index: usize) -> bool {
        let cell = from.slot(index).and_then(|slot| Some((slot, from.cell(&slot)?)));
        let Some((mut slot, cell)) = cell else { return false };
        let room = self.get(HEAP_BEGIN).saturating_sub(self.front_bytes());
        if room < NODE_SLOT_BYTES + cell.len() {
            return false;
        }
        slot.offset = self.get(HEAP_BEGIN) - cell.len();
        if let Some(bytes) = self.bytes.get_mut(slot.offset..slot.offset + cell.len()) {
            bytes.copy_from_slice(cell);
        }
        self.write_slot(self.get(COUNT), &slot);
        self.put(HEAP_BEGIN, slot.offset);
        true
    }
}

/// The image of a node: without dead bytes or free space, with the longest prefix.
pub(crate) fn image(
    bytes: &[u8],
    children: &[ChildRef],
    bases: &[ChildRef],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut packed = [0; PAGE_BYTES];
    let view = NodeView::parse(bytes)?;
    Slotted::new(&mut packed).copy_range(&view, 0..view.count(), None)?;
    let mut packed = Slotted::new(&mut packed);
    packed.put(BEHIND_NEWEST, 0);
    let (front, begin) = (packed.front_bytes(), packed.get(HEAP_BEGIN));
    packed.put(HEAP_BEGIN, 0);
    out.clear();
    out.extend_from_slice(packed.bytes.get(..front).unwrap_or_default());
    for child in children.iter().chain(bases) {
        child.encode(out);
    }
    let end = out.len();
    out.extend_from_slice(packed.bytes.get(begin..).unwrap_or_default());
    let moved = |offset: usize| Some((offset + end).wrapping_sub(begin));
    move_offsets(out, moved).ok_or_else(|| view.broken())
}

/// Expands an image into `into`, the cell heap at its end, without its references: children and bases. The image must have passed `check`,
/// which returned how many bytes of its heap are in use.
pub(crate) fn load(image: &NodeView<'_>, references: usize, used: usize, into: &mut [u8]) -> Result<(), Malformed> {
    let front = image.front_bytes();
    let heap_from = front + references * NODE_CHILD_BYTES;
    let heap = image.bytes().get(heap_from..).ok_or_else(|| image.broken())?;
    let begin = into.len().checked_sub(heap.len()).filter(|begin| *begin >= front).ok_or_else(|| image.broken())?;
    let dead = heap.len().checked_sub(used).ok_or_else(|| image.broken())?;
    if let Some((to, from)) = into.get_mut(..front).zip(image.bytes().get(..front)) {
        to.copy_from_slice(from);
    }
    if let Some(to) = into.get_mut(begin..) {
        to.copy_from_slice(heap);
    }
    let end = into.len();
    let moved = |offset: usize| offset.checked_sub(heap_from).map(|offset| offset + begin).filter(|at| *at <= end);
    move_offsets(into, moved).ok_or_else(|| image.broken())?;
    let mut node = Slotted::new(into);
    node.put(HEAP_BEGIN, begin);
    node.put(DEAD, dead);
    node.put(BEHIND_NEWEST, 0);
    Ok(())
}

/// Changes the offsets of prefix and cells. `None` if one of them is out of range.
fn move_offsets(bytes: &mut [u8], moved: impl Fn(usize) -> Option<usize>) -> Option<()> {
    let mut node = Slotted::new(bytes);
    let prefix = if node.get(PREFIX_BYTES) == 0 { 0 } else { moved(node.get(PREFIX_OFFSET))? };
    node.put(PREFIX_OFFSET, prefix);
    for index in 0..node.get(COUNT) {
        let field = NODE_HEADER_BYTES + index * NODE_SLOT_BYTES;
        let offset = moved(node.get(field))?;
        node.put(field, offset);
    }
    Some(())
}

/// Bytes that a node in memory takes without dead bytes.
pub(crate) fn used(bytes: &[u8]) -> usize {
    let field = |at: usize| bytes.get(at..at + 2).map_or(0, |bytes| usize::from(LittleEndian::read_u16(bytes)));
    let taken = NODE_HEADER_BYTES + field(COUNT) * NODE_SLOT_BYTES + bytes.len();
    taken.saturating_sub(field(HEAP_BEGIN) + field(DEAD))
}
