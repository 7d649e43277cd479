//! Deleting page segments.
//!
//! Owns: which files go: those that are not live and that no snapshot lists, and those that no snapshot will list. Never: holds a lock
//! while a file is deleted, or deletes one that a retained snapshot lists.

use std::io;

use crate::error::{Error, Result};
use crate::format::segment::FileKind;
use crate::id::SegmentSeq;
use crate::log::Segment;
use crate::pages::store::{PageStore, Row};

/// What happens to a segment without live pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// An unnamed snapshot may still be opened.
    Stay,
    /// Named snapshots list it: its file stays.
    LetGo,
    /// Nothing lists it.
    Delete,
}

impl PageStore {
    /// Deletes the segments that are not live and that no snapshot lists. Forgets those that only named snapshots list,
    /// so that the work here and in each snapshot does not grow with their number. Maps that readers hold stay
    /// readable.
    pub(crate) fn delete_dead(&self, fate: impl Fn(SegmentSeq) -> Fate, writing: Option<SegmentSeq>) -> Result<()> {
        let dead: Vec<SegmentSeq> = {
            let rows = self.rows.read();
            let is_dead = |row: &Row| row.live_bytes == 0 && !row.is_held;
            let dead = rows.iter().filter(|(_, row)| is_dead(row));
            dead.map(|(number, _)| *number).filter(|number| Some(*number) != writing).collect()
        };
        dead.into_iter().try_for_each(|number| match fate(number) {
            Fate::Stay => Ok(()),
            Fate::LetGo => {
                self.rows.write().remove(&number);
                Ok(())
            }
            Fate::Delete => self.discard(number),
        })?;
        // No lock is held while a file is deleted.
        let others: Vec<SegmentSeq> = self.others.lock().iter().copied().collect();
        for number in others {
            match fate(number) {
                Fate::Stay => continue,
                Fate::LetGo => {}
                Fate::Delete => self.delete_file(number)?,
            }
            self.others.lock().remove(&number);
        }
        Ok(())
    }

    /// Deletes the files of segments that a dropped snapshot listed and no other lists. One that is still known here is
    /// deleted once it is dead.
    pub(crate) fn delete_unlisted(&self, numbers: impl Iterator<Item = SegmentSeq>) {
        for number in numbers {
            if !self.rows.read().contains_key(&number) {
                // The next opening deletes what cannot be deleted.
                drop(self.delete_file(number));
            }
        }
    }

    /// Files kept for snapshots other than the opened one: they are deleted once no snapshot needs them.
    pub(crate) fn note_others(&self, kept: impl Iterator<Item = SegmentSeq>) {
        let rows = self.rows.read();
        self.others.lock().extend(kept.filter(|number| !rows.contains_key(number)));
    }

    /// Deletes a segment that nothing refers to.
    pub(super) fn discard(&self, number: SegmentSeq) -> Result<()> {
        self.delete_file(number)?;
        self.rows.write().remove(&number);
        Ok(())
    }

    /// A file that no snapshot will list, which its owner uses temporarily and then deletes. If the process ends before
    /// that, the next opening deletes it.
    pub(crate) fn create_scratch(&self, number: SegmentSeq, timeline: u64, capacity: u64) -> Result<Segment> {
        self.scratch.lock().insert(number);
        self.source.create(FileKind::Pages, number, timeline, SegmentSeq(0), capacity)
    }

    /// Deletes the file of a segment.
    pub(crate) fn delete_file(&self, number: SegmentSeq) -> Result<()> {
        let name = FileKind::Pages.file_name(number);
        match self.source.backing.delete(&name) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", &name, source)),
            _ => {
                self.scratch.lock().remove(&number);
                Ok(())
            }
        }
    }
}
