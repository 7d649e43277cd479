//! Nodes of key indexes: sorted entries in slots, with the common prefix of their keys stored once.
//!
//! ```text
//! 0     1         2       3      4       6              8               10            16
//! +-----+---------+-------+------+-------+--------------+---------------+-------------+
//! | tag | version | level | zero | count | prefix bytes | prefix offset | writer's    |
//! +-----+---------+-------+------+-------+--------------+---------------+-------------+
//! | slots: count x (offset, length, head)                                             |
//! | children: count x 24 bytes, in inner nodes on the medium                          |
//! | bases: 24 bytes for each child that is a patch, likewise                          |
//! | ... room, in memory only ...                                                      |
//! | heap: the prefix, and for each entry the rest of its key and its ID               |
//! +-----------------------------------------------------------------------------------+
//! ```
//! Owns: the layout, searching, checking. Never: changes a node; `key_index` does.
//! Invariants of a node that passes `check`: 1. Every cell is completely within the heap.
//! 2. Entries ascend by key, then by ID. Searching a node that does not pass is harmless: each access is checked, and
//!    each search terminates.

use std::cmp::Ordering;

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use crate::format::descriptor::PageRef;
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{SegmentSeq, low_u16, to_u64, to_usize};
use crate::key::KEY_BYTES_MAX;

/// First byte of every node.
pub const NODE_TAG: u8 = 0x4b;
/// Layout of nodes that this code writes and reads.
pub const NODE_VERSION: u8 = 1;
/// Bytes before a node's slots.
pub const NODE_HEADER_BYTES: usize = 16;
/// Bytes of a slot.
pub const NODE_SLOT_BYTES: usize = 8;
/// Bytes of a key stored in its slot.
pub const NODE_HEAD_BYTES: usize = 4;
/// Bytes of a reference to a child.
pub const NODE_CHILD_BYTES: usize = 24;
/// Bit of a slot's length that says that an ID follows the key.
pub const NODE_HAS_ID: u16 = 0x8000;
/// The highest level that a node can have.
pub const NODE_LEVEL_MAX: u8 = 40;
/// One more than the highest number of entries below a child.
pub const NODE_ENTRIES_END: u64 = 1 << 48;
/// Bit of the length of a child's image that says that the image is a patch.
pub const NODE_CHILD_IS_PATCH: u16 = 0x8000;
/// The longest image of an inner node: a page, and as many bases as that can have children.
pub const NODE_IMAGE_BYTES_MAX: usize = 2 * PAGE_BYTES;

const ID_BYTES: usize = 8;

/// A key and its record. Entries sort by key, then by ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyEntry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The record's ID as a number; zero in separators that apply to every ID.
    pub id: u64,
}

/// A child as its parent stores it on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildRef {
    /// Its location.
    pub page: PageRef,
    /// Entries of all leaves below it.
    pub entries: u64,
    /// Whether the image is a patch of another one, its base.
    pub is_patch: bool,
}

impl ChildRef {
    /// Writes the reference. Nodes have at most 8192 bytes, so that 15 bits hold their length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; NODE_CHILD_BYTES];
        LittleEndian::write_u64(&mut bytes[..8], self.page.segment.0);
        LittleEndian::write_u32(&mut bytes[8..12], self.page.offset_granules);
        LittleEndian::write_u32(&mut bytes[12..16], self.page.check);
        let flag = if self.is_patch { NODE_CHILD_IS_PATCH } else { 0 };
        LittleEndian::write_u16(&mut bytes[16..18], low_u16(self.page.bytes.into()) & !NODE_CHILD_IS_PATCH | flag);
        LittleEndian::write_u48(&mut bytes[18..24], self.entries.min(NODE_ENTRIES_END - 1));
        out.extend_from_slice(&bytes);
    }

    /// Reads a reference.
    pub fn decode(bytes: &[u8; NODE_CHILD_BYTES]) -> Self {
        let length = LittleEndian::read_u16(&bytes[16..18]);
        let page = PageRef {
            segment: SegmentSeq(LittleEndian::read_u64(&bytes[..8])),
            offset_granules: LittleEndian::read_u32(&bytes[8..12]),
            bytes: (length & !NODE_CHILD_IS_PATCH).into(),
            check: LittleEndian::read_u32(&bytes[12..16]),
        };
        let is_patch = length & NODE_CHILD_IS_PATCH != 0;
        Self { page, entries: LittleEndian::read_u48(&bytes[18..24]), is_patch }
    }
}

/// A slot: the offset of the cell, the length of the key after the prefix, and its first four bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    /// Bytes of the key after the node's prefix.
    pub(crate) key_bytes: usize,
    pub(crate) has_id: bool,
    pub(crate) head: u32,
}

impl Slot {
    #[inline]
    pub(crate) fn read(bytes: [u8; NODE_SLOT_BYTES]) -> Self {
        let length = LittleEndian::read_u16(&bytes[2..4]);
        Self {
            offset: LittleEndian::read_u16(&bytes[..2]).into(),
            key_bytes: usize::from(length & !NODE_HAS_ID),
            has_id: length & NODE_HAS_ID != 0,
            head: BigEndian::read_u32(&bytes[4..]),
        }
    }

    pub(crate) fn bytes(&self) -> [u8; NODE_SLOT_BYTES] {
        let mut bytes = [0; NODE_SLOT_BYTES];
        LittleEndian::write_u16(&mut bytes[..2], low_u16(to_u64(self.offset)));
        let flag = if self.has_id { NODE_HAS_ID } else { 0 };
        LittleEndian::write_u16(&mut bytes[2..4], low_u16(to_u64(self.key_bytes)) | flag);
        BigEndian::write_u32(&mut bytes[4..], self.head);
        bytes
    }

    /// Bytes of the key stored in the heap.
    #[inline]
    pub(crate) fn rest_bytes(&self) -> usize {
        self.key_bytes.saturating_sub(NODE_HEAD_BYTES)
    }

    /// Bytes of the cell.
    #[inline]
    pub(crate) fn cell_bytes(&self) -> usize {
        self.rest_bytes() + if self.has_id { ID_BYTES } else { 0 }
    }
}

/// The first bytes of a key after the prefix, as a number that sorts like them.
#[inline]
pub(crate) fn head_of(suffix: &[u8]) -> u32 {
    if let Some(head) = suffix.first_chunk::<NODE_HEAD_BYTES>() {
        return BigEndian::read_u32(head);
    }
    let mut head = [0; NODE_HEAD_BYTES];
    head.iter_mut().zip(suffix).for_each(|(to, from)| *to = *from);
    BigEndian::read_u32(&head)
}

/// Skips a prefix, which is usually too short for a function call to be worth it.
#[inline]
fn without_prefix<'k>(key: &'k [u8], prefix: &[u8]) -> Option<&'k [u8]> {
    let (front, suffix) = key.split_at_checked(prefix.len())?;
    let same =
        if prefix.len() < 8 { front.iter().zip(prefix).all(|(one, other)| one == other) } else { front == prefix };
    same.then_some(suffix)
}

/// From this many slots on, a search starts where evenly distributed heads would put it.
const EVEN_SLOTS_MIN: usize = 16;

#[inline]
fn head_at(slot: [u8; NODE_SLOT_BYTES]) -> u32 {
    BigEndian::read_u32(&slot[4..])
}

/// A node's bytes, read in place: an image on disk, or a node in memory.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    bytes: &'a [u8],
    slots: &'a [[u8; NODE_SLOT_BYTES]],
    prefix: &'a [u8],
}

#[cold]
#[expect(clippy::needless_pass_by_value, reason = "callers pass what they have just created")]
fn malformed(expected: &'static str, got: impl ToString) -> Malformed {
    Malformed::new("node of a key index", expected, got.to_string())
}

impl<'a> NodeView<'a> {
    /// Checks header, slots and prefix; cells are checked when they are read.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::open(bytes).ok_or_else(|| Self::why_not(bytes))
    }

    /// The same, without reporting the problem.
    #[inline]
    pub(crate) fn open(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<NODE_HEADER_BYTES>()?;
        let known = header[0] == NODE_TAG && header[1] == NODE_VERSION && header[2] <= NODE_LEVEL_MAX;
        if !known || bytes.len() > NODE_IMAGE_BYTES_MAX {
            return None;
        }
        let count = usize::from(LittleEndian::read_u16(&header[4..6]));
        let slots = bytes.get(NODE_HEADER_BYTES..NODE_HEADER_BYTES + count * NODE_SLOT_BYTES)?.as_chunks().0;
        let (begin, len) = (LittleEndian::read_u16(&header[8..10]), LittleEndian::read_u16(&header[6..8]));
        let (begin, len) = (usize::from(begin), usize::from(len));
        Some(Self { bytes, slots, prefix: bytes.get(begin..begin + len)? })
    }

    /// The problem of bytes that do not open.
    #[cold]
    fn why_not(bytes: &[u8]) -> Malformed {
        let Some(header) = bytes.first_chunk::<NODE_HEADER_BYTES>().filter(|_| bytes.len() <= NODE_IMAGE_BYTES_MAX)
        else {
            return malformed("16 to 8192 bytes", bytes.len());
        };
        match header {
            [tag, ..] if *tag != NODE_TAG => malformed("the tag of a node", tag),
            [_, version, ..] if *version != NODE_VERSION => {
                Malformed::unsupported("version of a node", NODE_VERSION, version)
            }
            [_, _, level, ..] if *level > NODE_LEVEL_MAX => malformed("a level up to 40", level),
            _ => malformed("slots and prefix within the node", bytes.len()),
        }
    }

    /// 0 for leaves; a node's children have the level below its own.
    #[inline]
    pub fn level(&self) -> u8 {
        self.bytes.get(2).copied().unwrap_or_default()
    }

    /// Entries of a leaf, children of an inner node.
    #[inline]
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// The common prefix of the node's keys.
    #[inline]
    pub fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    pub(crate) fn prefix_offset(&self) -> usize {
        self.bytes.get(8..10).map_or(0, |bytes| LittleEndian::read_u16(bytes).into())
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(crate) fn slot(&self, index: usize) -> Option<Slot> {
        self.slots.get(index).copied().map(Slot::read)
    }

    #[inline]
    pub(crate) fn cell(&self, slot: &Slot) -> Option<&'a [u8]> {
        self.bytes.get(slot.offset..slot.offset + slot.cell_bytes())
    }

    /// The part of a key stored in the heap, and the ID.
    #[inline]
    fn rest_and_id(&self, slot: &Slot) -> Option<(&'a [u8], u64)> {
        let (rest, id) = self.cell(slot)?.split_at_checked(slot.rest_bytes())?;
        Some((rest, if slot.has_id { LittleEndian::read_u64(id) } else { 0 }))
    }

    /// The ID of an entry; `None` if its cell is incomplete.
    #[inline]
    pub fn id(&self, index: usize) -> Option<u64> {
        self.rest_and_id(&self.slot(index)?).map(|(_, id)| id)
    }

    /// Appends the key of an entry to the prefix that `key` starts with, and returns its ID.
    #[inline]
    pub fn read_behind_prefix(&self, index: usize, key: &mut Vec<u8>) -> Option<u64> {
        let slot = self.slot(index)?;
        let (rest, id) = self.rest_and_id(&slot)?;
        key.truncate(self.prefix.len());
        key.extend_from_slice(&slot.head.to_be_bytes());
        if rest.is_empty() {
            key.truncate(self.prefix.len() + slot.key_bytes);
        }
        key.extend_from_slice(rest);
        Some(id)
    }

    /// Reads a whole entry: the key into `key`, and its ID. `None` if its cell is incomplete.
    pub fn read(&self, index: usize, key: &mut Vec<u8>) -> Option<u64> {
        key.clear();
        key.extend_from_slice(self.prefix);
        self.read_behind_prefix(index, key)
    }

    /// Compares an entry with one whose key has this suffix after the node's prefix.
    #[inline]
    fn compare(&self, index: usize, head: u32, suffix: &[u8], id: u64) -> Option<Ordering> {
        let slot = self.slot(index)?;
        let (rest, own_id) = self.rest_and_id(&slot)?;
        let other_rest = suffix.get(NODE_HEAD_BYTES..).unwrap_or_default();
        let by_key = slot.head.cmp(&head).then_with(|| rest.cmp(other_rest)).then(slot.key_bytes.cmp(&suffix.len()));
        Some(by_key.then(own_id.cmp(&id)))
    }

    /// The number of heads below this one. Heads are often evenly distributed: the search first looks where this one
    /// would then be, so that it touches fewer cache lines than binary search alone.
    #[inline]
    fn below_head(&self, head: u32) -> usize {
        let (mut low, mut high) = (0, self.slots.len());
        if high >= EVEN_SLOTS_MIN
            && let (Some(first), Some(last)) =
                (self.slots.first().copied().map(head_at), self.slots.last().copied().map(head_at))
        {
            if head <= first || head > last {
                return if head <= first { 0 } else { high };
            }
            let (part, whole) = (u64::from(head - first), u64::from(last - first));
            let mut at = to_usize(part * to_u64(high - 1) / whole);
            let mut step = 8;
            // Steps away from the guess until the position is enclosed.
            if self.slots.get(at).is_some_and(|slot| head_at(*slot) < head) {
                while at < high && self.slots.get(at).is_some_and(|slot| head_at(*slot) < head) {
                    low = at + 1;
                    at += step;
                    step *= 2;
                }
                high = high.min(at);
            } else {
                while self.slots.get(at).is_some_and(|slot| head_at(*slot) >= head) {
                    high = at;
                    at = at.saturating_sub(step);
                    step *= 2;
                }
                low = at + 1;
            }
        }
        let between = self.slots.get(low..high).unwrap_or_default();
        low + between.partition_point(|slot| head_at(*slot) < head)
    }

    /// The number of entries before this one; with `after`, including itself. `None` if a cell is incomplete.
    #[inline]
    pub fn search(&self, wanted: &KeyEntry<'_>, after: bool) -> Option<usize> {
        let Some(suffix) = without_prefix(wanted.key, self.prefix) else {
            return Some(if wanted.key < self.prefix { 0 } else { self.count() });
        };
        let head = head_of(suffix);
        let low = self.below_head(head);
        let run = self.slots.get(low..)?;
        if run.first().is_none_or(|slot| head_at(*slot) != head) {
            return Some(low);
        }
        if run.get(1).is_some_and(|slot| head_at(*slot) == head) {
            return self.search_run(low, head, suffix, wanted.id, after);
        }
        Some(match self.compare(low, head, suffix, wanted.id)? {
            Ordering::Less => low + 1,
            Ordering::Equal => low + usize::from(after),
            Ordering::Greater => low,
        })
    }

    /// The rest of a search if several entries from `low` on have the same head.
    #[inline(never)]
    fn search_run(&self, mut low: usize, head: u32, suffix: &[u8], id: u64, after: bool) -> Option<usize> {
        let run = self.slots.get(low..)?;
        let to_end = run.last().is_some_and(|slot| head_at(*slot) == head);
        let mut high = low + if to_end { run.len() } else { run.partition_point(|slot| head_at(*slot) <= head) };
        // Records of one key are inserted with increasing IDs, and a search for the first of them uses the lowest ID.
        if id != 0 {
            match self.compare(high - 1, head, suffix, id)? {
                Ordering::Less => return Some(high),
                Ordering::Equal => return Some(high - usize::from(!after)),
                Ordering::Greater => high -= 1,
            }
        } else if self.compare(low, head, suffix, id)? == Ordering::Greater {
            return Some(low);
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(middle, head, suffix, id)? {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle + usize::from(after)),
                Ordering::Greater => high = middle,
            }
        }
        Some(low)
    }

    /// Whether an entry, which need not be in this node, belongs before the one at `index`.
    #[inline]
    pub(crate) fn is_below(&self, wanted: &KeyEntry<'_>, index: usize) -> Option<bool> {
        let Some(suffix) = without_prefix(wanted.key, self.prefix) else { return Some(wanted.key < self.prefix) };
        Some(self.compare(index, head_of(suffix), suffix, wanted.id)? == Ordering::Greater)
    }

    /// Prefetches the slots that a search starts with.
    #[inline]
    pub(crate) fn glance(&self, wanted: &KeyEntry<'_>) -> u32 {
        let (Some(first), Some(last)) = (self.slots.first(), self.slots.last()) else { return 0 };
        let (first, last) = (head_at(*first), head_at(*last));
        let head = head_of(wanted.key.get(self.prefix.len()..).unwrap_or_default());
        let (part, whole) = (head.saturating_sub(first), last.saturating_sub(first).max(1));
        let at = to_usize(u64::from(part.min(whole)) * to_u64(self.slots.len() - 1) / u64::from(whole));
        last ^ self.slots.get(at).map_or(0, |slot| head_at(*slot))
    }

    /// Whether an entry has exactly this key.
    #[inline]
    pub fn has_key(&self, index: usize, key: &[u8]) -> Option<bool> {
        let slot = self.slot(index)?;
        let suffix = key.get(self.prefix.len()..).unwrap_or_default();
        if key.len() != self.prefix.len() + slot.key_bytes || slot.head != head_of(suffix) {
            return Some(false);
        }
        let (rest, _) = self.rest_and_id(&slot)?;
        let other_rest = suffix.get(NODE_HEAD_BYTES..).unwrap_or_default();
        Some(rest == other_rest && without_prefix(key, self.prefix).is_some())
    }

    /// Bytes of header and slots.
    pub(crate) fn front_bytes(&self) -> usize {
        NODE_HEADER_BYTES + self.slots.len() * NODE_SLOT_BYTES
    }

    /// Checks cells, lengths and order. Returns the bytes of all cells and the prefix.
    pub fn check(&self) -> Result<usize, Malformed> {
        let mut used = self.prefix.len();
        for index in 0..self.count() {
            let slot = self.slot(index).filter(|slot| slot.offset >= self.front_bytes());
            let cell = slot.and_then(|slot| Some((slot, self.rest_and_id(&slot)?)));
            let Some((slot, (rest, id))) = cell else { return Err(malformed("cells within the node", index)) };
            if self.prefix.len() + slot.key_bytes > KEY_BYTES_MAX || (self.level() == 0 && !slot.has_id) {
                return Err(malformed("keys up to 1024 bytes, with IDs in leaves", index));
            }
            let padding = u32::MAX.checked_shr(8 * u32::from(low_u16(to_u64(slot.key_bytes)))).unwrap_or(0);
            if slot.head & padding != 0 {
                return Err(malformed("heads that are padded with zeroes", index));
            }
            used += slot.cell_bytes();
            let Some(before) = index.checked_sub(1).and_then(|before| self.slot(before)) else { continue };
            let Some((rest_before, id_before)) = self.rest_and_id(&before) else { continue };
            let key = (slot.head, rest, slot.key_bytes, id);
            if key <= (before.head, rest_before, before.key_bytes, id_before) {
                return Err(malformed("entries that ascend", index));
            }
        }
        let heap_bytes = self.bytes.len() - self.front_bytes();
        if used > heap_bytes || (!self.prefix.is_empty() && self.prefix_offset() < self.front_bytes()) {
            return Err(malformed("cells that do not overlap", format!("{used} bytes in a heap of {heap_bytes}")));
        }
        Ok(used)
    }

    /// The children of an inner node's image. `None` if they are incomplete.
    pub fn children(&self) -> Option<impl Iterator<Item = ChildRef> + use<'a>> {
        let begin = self.front_bytes();
        let bytes = self.bytes.get(begin..begin + self.count() * NODE_CHILD_BYTES)?;
        Some(bytes.as_chunks::<NODE_CHILD_BYTES>().0.iter().map(ChildRef::decode))
    }

    /// The bases of those children of an inner node's image that are patches. `None` if they are incomplete.
    pub fn bases(&self) -> Option<impl Iterator<Item = ChildRef> + use<'a>> {
        let begin = self.front_bytes() + self.count() * NODE_CHILD_BYTES;
        let count = self.children()?.filter(|child| child.is_patch).count();
        let bytes = self.bytes.get(begin..begin + count * NODE_CHILD_BYTES)?;
        Some(bytes.as_chunks::<NODE_CHILD_BYTES>().0.iter().map(ChildRef::decode))
    }

    /// The error for an incomplete cell.
    #[cold]
    pub fn broken(&self) -> Malformed {
        malformed("cells within the node", format!("{} entries in {} bytes", self.count(), self.bytes.len()))
    }
}
