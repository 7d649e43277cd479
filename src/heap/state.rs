//! The state that readers see, and finding records in it.
//!
//! Owns: looking a record up, and what the answers mean. Never: changes anything, or waits for the writer.
//! Invariant: a state that a view holds never changes; entries of the newest one may.

use std::hint::black_box;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};
use smallvec::SmallVec;

use crate::catalogue::Catalogue;
use crate::error::Result;
use crate::format::entry::{Entry, Location, State as EntryState};
use crate::format::item::RECORD_HEADER_BYTES;
use crate::heap::SegmentTable;
use crate::id::{IndexNumber, RecordId, Seq};
use crate::key_index::KeyRoot;
use crate::record_index::Root;
use crate::shared::Map;

/// A coherent state of the store. There are no copies of one: the writer would not know of them, and change their pages.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) root: Arc<Root>,
    pub(crate) table: Arc<SegmentTable>,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Key indexes, in immutable states; empty in the newest state for one-shot reads.
    pub(crate) indexes: Map<IndexNumber, KeyRoot>,
    pub(crate) seq: Seq,
    /// Whether there are records that cannot be found because their set was dropped.
    pub(crate) has_dropped: bool,
}

/// Where the bytes of a found record are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Mapped: place, offset of the payload, length.
    Mapped(u32, u64, usize),
    /// Copied.
    Copied(Arc<[u8]>),
}

/// A record found by a lookup.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: RecordId,
    pub(crate) seq: Seq,
    pub(crate) is_head: bool,
    pub(crate) place: Place,
}

/// The answer to a lookup.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Live(Found),
    Deleted,
    NeverAllocated,
}

impl State {
    /// A state for the payloads of places already found. Its entries may change.
    pub(crate) fn for_payloads(&self) -> Self {
        let (root, table, catalogue) = (Arc::clone(&self.root), Arc::clone(&self.table), Arc::clone(&self.catalogue));
        let (seq, has_dropped) = (self.seq, self.has_dropped);
        Self { root, table, catalogue, indexes: Map::default(), seq, has_dropped }
    }

    /// Looks a record up in the usual case: it is live and small, in a mapped segment, and was read before. After
    /// `None` nothing is known, and `lookup` must be called.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a third faster: the misses of several reads overlap; see docs/decisions")]
    pub(crate) fn lookup_plain(&self, id: RecordId) -> Option<(Found, &[u8])> {
        if self.has_dropped {
            return None;
        }
        let entry = self.root.entry(id.slot()).ok()?;
        let EntryState::Live(location) = entry.state() else { return None };
        self.read_plain(location).filter(|(found, _)| found.id == id)
    }

    /// The record at a location, in the same case.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    pub(crate) fn read_plain(&self, location: Location) -> Option<(Found, &[u8])> {
        let item = self.table.get(location.place)?.checked_record(location)?;
        let id = RecordId::from_u64(item.raw_id).filter(|id| id.reuse_count() & 0xf == location.reuse_low)?;
        let offset = location.offset() + RECORD_HEADER_BYTES as u64;
        let place = Place::Mapped(location.place, offset, item.payload.len());
        Some((Found { id, seq: item.seq, is_head: false, place }, item.payload))
    }

    /// Prefetches the beginnings of records that will be looked up: all entries first, then all records, so that the
    /// processor waits for many of them at once.
    pub(crate) fn look_ahead(&self, slots: impl Iterator<Item = u64>) {
        let mut locations: SmallVec<[Location; 32]> = SmallVec::new();
        for slot in slots {
            let entry = self.root.entry(slot).map(Entry::state);
            if let Ok(EntryState::Live(location)) = entry {
                locations.push(location);
            }
        }
        self.ask_if_short(&locations);
        let near = |location: &Location| self.table.get(location.place).map_or(0, |segment| segment.glance(*location));
        black_box(locations.iter().fold(0, |sum, location| sum ^ near(location)));
    }

    /// Looks a record up and checks its bytes.
    pub(crate) fn lookup(&self, id: RecordId) -> Result<Answer> {
        if let Some((found, _)) = self.lookup_plain(id) {
            return Ok(Answer::Live(found));
        }
        self.lookup_any(id)
    }

    pub(super) fn lookup_any(&self, id: RecordId) -> Result<Answer> {
        self.lookup_with(id, None)
    }

    /// The same, with the bytes of the record if they were read.
    pub(super) fn lookup_with(&self, id: RecordId, bytes: Option<Vec<u8>>) -> Result<Answer> {
        let entry = self.root.entry(id.slot())?;
        let location = match entry.state() {
            EntryState::Live(location) => location,
            EntryState::Free { next_count } if id.reuse_count() < next_count => return Ok(Answer::Deleted),
            EntryState::Free { .. } => return Ok(Answer::NeverAllocated),
            EntryState::Retired => return Ok(Answer::Deleted),
        };
        let found = self.read_with(id.slot(), location, bytes)?;
        Ok(match id.reuse_count().cmp(&found.id.reuse_count()) {
            std::cmp::Ordering::Equal if self.is_of_dropped_set(id.slot()) => Answer::Deleted,
            std::cmp::Ordering::Equal => Answer::Live(found),
            std::cmp::Ordering::Less => Answer::Deleted,
            std::cmp::Ordering::Greater => Answer::NeverAllocated,
        })
    }

    /// Whether this very record is there, and not a later one in its slot. Reads its header alone; `None` if that is damaged, and the entry,
    /// which has a part of the reuse count, does not tell either.
    pub(crate) fn has(&self, id: RecordId) -> Result<Option<bool>> {
        let EntryState::Live(location) = self.root.entry(id.slot())?.state() else { return Ok(Some(false)) };
        if location.reuse_low != id.reuse_count() & 0xf {
            return Ok(Some(false));
        }
        let Some(segment) = self.table.get(location.place) else { return Ok(None) };
        match segment.read(location.offset(), RECORD_HEADER_BYTES as u64) {
            Ok(header) => {
                let raw = header.get(8..16).map_or(0, LittleEndian::read_u64);
                let there = RecordId::from_u64(raw).filter(|there| there.slot() == id.slot());
                Ok(there.map(|there| there == id))
            }
            Err(error) if error.is_corruption() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the set that a slot's records belong to was dropped.
    fn is_of_dropped_set(&self, slot: u64) -> bool {
        self.has_dropped && self.catalogue.is_dropped(self.root.set_of_slot(slot))
    }

    /// The payload of a record that this state found.
    #[inline]
    pub(crate) fn payload<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        match place {
            Place::Mapped(place, offset, len) => {
                self.table.get(*place).and_then(|segment| segment.mapped(*offset, *len)).unwrap_or_default()
            }
            Place::Copied(bytes) => bytes,
        }
    }
}
