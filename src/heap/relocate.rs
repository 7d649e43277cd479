//! Records that were copied: entries follow them.
//!
//! Owns: the comparison by which a move counts, the same at run time and in replay. Never: copies a record.

use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::entry::State as EntryState;
use crate::format::moves::Move;
use crate::format::segment::FileKind;
use crate::heap::Writer;
use crate::heap::signed;
use crate::heap::undo::Undo;
use crate::id::SegmentSeq;
use crate::planted;
use crate::planted::Fault;

impl Writer {
    /// Points entries at copies, where they still point at what was copied. Gives the bytes.
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
            // Of a page that is damaged nobody knows: then the record stays where it is.
            let Some(old) = self.entry_if_known(each.slot)? else { continue };
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
