//! Reading the bytes of records: of one, or of several at once where each read is a request that is waited for.
//!
//! Owns: which records of a group are read so, and the one way in which bytes are checked, whoever has read them. Never: decides whether
//! a record is the one that was asked for.

use std::borrow::Cow;
use std::sync::Arc;

use crate::backing::ReadAt;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Location, State as EntryState};
use crate::format::item::RECORD_HEADER_BYTES;
use crate::heap::found::found;
use crate::heap::{Answer, Found, Place, State};
use crate::id::{RecordId, to_usize};

impl State {
    pub(crate) fn read(&self, slot: u64, location: Location) -> Result<Found> {
        self.read_with(slot, location, None)
    }

    pub(super) fn read_with(&self, slot: u64, location: Location, read: Option<Vec<u8>>) -> Result<Found> {
        let Some(segment) = self.table.get(location.place) else {
            let what = format!("entry of slot {slot}");
            return Err(Error::corrupt("record index", 0, what, "a segment", format!("place {}", location.place)));
        };
        let (offset, len) = (location.offset(), to_usize(location.bytes()));
        if let Some(bytes) = segment.mapped(offset, len) {
            let item = segment.check_item(location, bytes)?;
            let place = Place::Mapped(location.place, offset + RECORD_HEADER_BYTES as u64, item.payload.len());
            return found(segment, slot, location, &item, place);
        }
        let bytes = match read.filter(|read| read.len() == len) {
            Some(read) => Cow::Owned(read),
            None => segment.read(offset, location.bytes())?,
        };
        let item = segment.check_item(location, &bytes)?;
        found(segment, slot, location, &item, Place::Copied(Arc::from(item.payload)))
    }

    /// The bytes of those of these records that are not in memory, if reading several at once is worth it. Whoever gets none reads
    /// the record himself, and learns why it cannot be read.
    pub(crate) fn read_ahead(&self, ids: &[RecordId]) -> Vec<Option<Vec<u8>>> {
        let backing = self.table.iter().next().map(|(_, segment)| segment.backing());
        let Some(backing) = backing.filter(|backing| backing.reads_at_once() > 1) else { return Vec::new() };
        let mut wanted = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            let Ok(EntryState::Live(location)) = self.root.entry(id.slot()).map(Entry::state) else { continue };
            let Some(segment) = self.table.get(location.place) else { continue };
            let (offset, bytes) = (location.offset(), location.bytes());
            let is_near = segment.mapped(offset, to_usize(bytes)).is_some();
            if !is_near && segment.len().is_ok_and(|len| offset.saturating_add(bytes) <= len) {
                wanted.push((at, segment, offset, vec![0; to_usize(bytes)]));
            }
        }
        let reads = wanted.iter_mut().map(|(_, segment, offset, buffer)| ReadAt {
            name: segment.name(),
            offset: *offset,
            buffer,
        });
        let mut reads: Vec<_> = reads.collect();
        if reads.len() < 2 || backing.read_many(&mut reads).is_err() {
            return Vec::new();
        }
        let mut read = vec![None; ids.len()];
        for (at, _, _, bytes) in wanted {
            if let Some(place) = read.get_mut(at) {
                *place = Some(bytes);
            }
        }
        read
    }

    /// Looks a record up whose bytes were read.
    pub(crate) fn lookup_read(&self, id: RecordId, bytes: Vec<u8>) -> Result<Answer> {
        self.lookup_with(id, Some(bytes))
    }
}
