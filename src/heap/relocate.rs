//! Relocation: entries follow copied records.
//!
//! Owns: the comparison that decides whether a move counts, the same at run time and in replay. Never: copies a record.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::entry::{Entry, RECORD_BYTES_MAX, State as EntryState};
use crate::format::item::{Item, RECORD_HEADER_BYTES};
use crate::format::moves::Move;
use crate::format::segment::FileKind;
use crate::heap::undo::Undo;
use crate::heap::{Writer, page_of, signed};
use crate::id::{SegmentSeq, to_u64};
use crate::log::Segment;
use crate::planted;
use crate::planted::Fault;
use crate::record_index::DamagedLeaf;

impl Writer {
    /// Points entries at copies, if they still point at the originals. Returns the bytes moved.
    pub(super) fn relocate(&mut self, from: SegmentSeq, to: SegmentSeq, moves: &[Move]) -> Result<u64> {
        let Some(place) = self.by_number.get(&to).copied() else {
            let file = FileKind::Records.file_name(to);
            return Err(Error::corrupt(file, 0, "target of moves", "a segment of the store", "none"));
        };
        // Nothing points into a segment that is not in the table.
        let Some(from) = self.by_number.get(&from).copied() else { return Ok(0) };
        let to = self.table.get(place).map(Arc::clone);
        let mut bytes = 0;
        for each in moves {
            let old = match self.tree.root().entry(each.slot) {
                Ok(old) => old,
                Err(Error::Corrupt(damage)) => {
                    self.tree.mark_damaged(page_of(each.slot), DamagedLeaf::new(*damage))?;
                    // It is unknown whether the page pointed at the original. Until the page is rebuilt the copy counts
                    // as live, or the only file that has it would be deleted.
                    if let Some(to) = to.as_ref().filter(|to| !to.is_absent()) {
                        to.add_live(signed(copy_bytes(to, each.to)?));
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let EntryState::Live(location) = old.state() else { continue };
            let is_there = location.place == from && location.offset() == each.from;
            let is_there = is_there || planted::is(Fault::MovesDoNotCompare);
            let Some(entry) = Entry::live(place, each.to, location.bytes(), location.reuse_low) else {
                continue;
            };
            if is_there {
                self.tree.set(each.slot, entry)?;
                self.undo.push(Undo { slot: each.slot, old, was_live: true, counted: None });
                if let Some(to) = &to {
                    to.add_live(signed(location.bytes()));
                }
                bytes += self.forget(old);
            }
        }
        Ok(bytes)
    }
}

/// Bytes of the record at an offset, whatever it contains; if unreadable, the minimum size of a record.
fn copy_bytes(segment: &Segment, offset: u64) -> Result<u64> {
    let len = segment.len()?.saturating_sub(offset).min(RECORD_BYTES_MAX);
    match segment.read(offset, len) {
        Ok(bytes) => Ok(Item::parse(&bytes).map_or(to_u64(RECORD_HEADER_BYTES), |item| item.bytes())),
        Err(error) if error.is_corruption() => Ok(to_u64(RECORD_HEADER_BYTES)),
        Err(error) => Err(error),
    }
}
