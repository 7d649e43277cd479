//! Writing a dump of one state.
//!
//! Owns: which pages, records and entries go into the stream, in which order. Never: holds more than one frame in
//! memory, or blocks writers for longer than it takes to take a view. Invariant: an ID that may have been seen is in
//! the stream as that of a record, or below the next count of its slot.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::ops::Bound;
use std::sync::Arc;

use crate::dump::frame::{FILL_BYTES, FrameKind};
use crate::dump::parts::{Header, IndexPart, PagePart, RecordPart, SetPart, Totals};
use crate::dump::walk::unwrapped;
use crate::dump::{DumpProgress, DumpReport, frame, parts, report};
use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, State as EntryState};
use crate::format::item::PAYLOAD_BYTES_MAX;
use crate::format::put_u32;
use crate::heap::{State, Walk};
use crate::id::{IndexNumber, SetNumber, to_u64, to_usize};
use crate::key_index::Range;
use crate::log::now_micros;
use crate::record_index::Cell;
use crate::store::Store;
use crate::txn::Record;

impl Store {
    /// Writes the whole contents of the store to a stream, as of one commit, while readers and writers continue: sets,
    /// records with their IDs and versions, deleted IDs, and key indexes with their entries.
    /// [`dump::load`](crate::dump::load()) creates a new store from it, in this version of Tenure or a later one, on
    /// this machine or another. Memory does not grow with the store.
    ///
    /// A handle from [`Options::open_at`](crate::Options::open_at) dumps its past state. All IDs that were assigned since
    /// are marked as used, so that the loaded store does not assign them to other records.
    ///
    /// `docs/dump-format.md` describes the stream. Pass a [`BufWriter`](std::io::BufWriter) or a compressing encoder;
    /// it is flushed, not synced.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let id = store.write(|tx| tx.insert(&notes, "a"))?;
    /// let mut stream = Vec::new();
    /// store.dump(&mut stream)?;
    ///
    /// let path = dir.path().join("copy.tenure");
    /// tenure::dump::load(&mut &stream[..], &path, &tenure::dump::LoadOptions::new(), &mut |_| {})?;
    /// assert_eq!(tenure::Store::open(&path)?.get(id)?.as_slice(), Some(&b"a"[..]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if a record, a page or an index cannot be read, and `Io` or `NoSpace` if the stream cannot be written.
    pub fn dump(&self, to: &mut dyn Write) -> Result<DumpReport> {
        self.dump_with(to, &mut |_| {})
    }

    /// Like [`dump`](Self::dump), and reports progress.
    ///
    /// # Errors
    /// As [`dump`](Self::dump).
    pub fn dump_with(&self, to: &mut dyn Write, progress: &mut dyn FnMut(DumpProgress)) -> Result<DumpReport> {
        let past = self.past_to_copy()?;
        let engine = past.as_ref().unwrap_or_else(|| self.engine());
        // Commits wait only for this moment. So every ID that was handed out is in the state, or among those reserved.
        let guard = engine.lock_commit();
        // The view shows up in the statistics.
        let (_view, state) = (self.view(), engine.heap.pin());
        let (seen, page_end) = engine.slots.given();
        drop(guard);
        let source = engine.log.source();
        let dump = Dump {
            out: Out { to, offset: 0, check: 0, payload: Vec::new() },
            state: &state,
            seen,
            totals: Totals::default(),
            walk: Walk::default(),
            progress,
            records_total: 0,
        };
        dump.run(source.uuid, source.segment_bytes, page_end)
    }
}

/// The stream.
struct Out<'o> {
    to: &'o mut dyn Write,
    offset: u64,
    check: u32,
    /// The payload of the current frame.
    payload: Vec<u8>,
}

impl Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(|source| Error::io("write", "the dump", source))?;
        self.offset += to_u64(bytes.len());
        Ok(())
    }

    /// Writes the current frame.
    fn end(&mut self, kind: FrameKind) -> Result<()> {
        let payload = std::mem::take(&mut self.payload);
        let (header, check) = frame::header(kind, self.check, self.offset, &payload);
        self.write(&header)?;
        self.write(&payload)?;
        self.check = check;
        self.payload = payload;
        self.payload.clear();
        Ok(())
    }
}

struct Dump<'d> {
    out: Out<'d>,
    state: &'d Arc<State>,
    /// Slots whose next ID was handed out without a commit.
    seen: BTreeSet<u64>,
    totals: Totals,
    walk: Walk,
    progress: &'d mut dyn FnMut(DumpProgress),
    records_total: u64,
}

impl Dump<'_> {
    fn run(mut self, store: [u8; 16], segment_bytes: u64, page_end: u64) -> Result<DumpReport> {
        let (state, mut pages, mut used_end) = (self.state, 0, page_end);
        for page in 0..state.root.page_end() {
            if let Some(cell) = state.root.cell(page) {
                pages += u64::from(parts::is_of_a_user(cell));
                used_end = if cell.descriptor.set > 0 || parts::is_of_a_user(cell) {
                    used_end.max(page + 1)
                } else {
                    used_end
                };
            }
        }
        let catalogue = &state.catalogue;
        self.records_total = catalogue.user_sets().map(|(_, set)| set.records).sum();
        let header = Header {
            dump: *uuid::Uuid::new_v4().as_bytes(),
            store,
            last_seq: state.seq,
            time_micros: now_micros(),
            page_end: used_end,
            next_set: catalogue.next_set(),
            next_index: catalogue.next_index(),
            segment_bytes,
            pages,
            records: self.records_total,
            program: concat!("tenure ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let (preamble, check) = frame::preamble();
        self.out.check = check;
        self.out.write(&preamble)?;
        header.encode(&mut self.out.payload);
        self.out.end(FrameKind::Header)?;
        for (number, set) in catalogue.user_sets() {
            let (changed, records) = (set.changed.min(state.seq), set.records);
            SetPart { number, changed, records, name: set.name.to_string() }.encode(&mut self.out.payload);
            self.out.end(FrameKind::Set)?;
            self.totals.sets += 1;
        }
        self.definitions()?;
        for page in 0..state.root.page_end() {
            if let Some(cell) = state.root.cell(page).filter(|cell| parts::is_of_a_user(cell)) {
                self.page(page, cell)?;
            }
        }
        for number in state.indexes.keys() {
            self.entries(*number)?;
        }
        self.totals.encode(&mut self.out.payload);
        self.out.end(FrameKind::End)?;
        self.out.to.flush().map_err(|source| Error::io("write", "the dump", source))?;
        Ok(report(state.seq, &self.totals, self.out.offset))
    }

    fn tell(&mut self) {
        let (bytes, records, records_total) = (self.out.offset, self.totals.records, self.records_total);
        (self.progress)(DumpProgress { bytes, records, records_total });
    }

    fn definitions(&mut self) -> Result<()> {
        for index in self.state.catalogue.indexes().filter(|index| index.definition.replaces.is_none()) {
            let definition = (*index.definition).clone();
            let root = self.state.indexes.get(&definition.number).filter(|_| index.is_ready);
            let entries = match root {
                Some(root) => Range::new(root, Bound::Unbounded, Bound::Unbounded)?.left(),
                None => 0,
            };
            let part = IndexPart { definition, is_complete: root.is_some(), entries };
            part.encode(&mut self.out.payload);
            self.out.end(FrameKind::Index)?;
            self.totals.indexes += 1;
        }
        Ok(())
    }

    /// A page, and its records.
    fn page(&mut self, page: u64, cell: &Cell) -> Result<()> {
        let (set, first) = (SetNumber(cell.descriptor.set), page * to_u64(ENTRIES_PER_PAGE));
        let mut entries = cell.entries()?;
        self.walk.ask(self.state, &entries);
        entries.resize(ENTRIES_PER_PAGE, Entry::NEVER);
        for slot in self.seen.range(first..first + to_u64(ENTRIES_PER_PAGE)) {
            if let Some(entry) = entries.get_mut(to_usize(slot - first))
                && let EntryState::Free { next_count } = entry.state()
            {
                *entry = Entry::freed_after(next_count);
            }
        }
        if self.state.catalogue.is_dropped(set) {
            self.free_dropped(first, &mut entries)?;
        }
        PagePart::encode(page, set, cell.descriptor.floor, &entries, &mut self.out.payload);
        self.out.end(FrameKind::Slots)?;
        self.totals.pages += 1;
        for (slot, entry) in (first..).zip(&entries) {
            let EntryState::Live(location) = entry.state() else { continue };
            if let Some((found, bytes)) = self.state.read_plain(location).filter(|(found, _)| found.id.slot() == slot) {
                self.record(&RecordPart { id: found.id, seq: found.seq, value: bytes })?;
                continue;
            }
            let record = Record::in_view(self.state, self.state.read(slot, location)?)?;
            match record.as_slice() {
                Some(value) => self.record(&RecordPart { id: record.id(), seq: record.seq(), value })?,
                None if record.len() <= to_u64(PAYLOAD_BYTES_MAX) => {
                    self.record(&RecordPart { id: record.id(), seq: record.seq(), value: &record.to_vec()? })?;
                }
                None => self.large(&record)?,
            }
        }
        self.end_records()?;
        self.tell();
        Ok(())
    }

    /// Marks slots as free that a dropped set has not freed yet: its records are *deleted* already.
    fn free_dropped(&self, first: u64, entries: &mut [Entry]) -> Result<()> {
        for (slot, entry) in (first..).zip(entries) {
            let EntryState::Live(location) = entry.state() else { continue };
            let id = match self.state.read_plain(location).filter(|(found, _)| found.id.slot() == slot) {
                Some((found, _)) => found.id,
                None => self.state.read(slot, location)?.id,
            };
            *entry = Entry::freed_after(id.reuse_count());
        }
        Ok(())
    }

    fn record(&mut self, record: &RecordPart<'_>) -> Result<()> {
        if self.out.payload.len() + parts::RECORD_BYTES + record.value.len() > FILL_BYTES {
            self.end_records()?;
        }
        record.encode(&mut self.out.payload);
        self.totals.records += 1;
        self.totals.value_bytes += to_u64(record.value.len());
        Ok(())
    }

    fn end_records(&mut self) -> Result<()> {
        if self.out.payload.is_empty() { Ok(()) } else { self.out.end(FrameKind::Records) }
    }

    fn large(&mut self, record: &Record<'_>) -> Result<()> {
        self.end_records()?;
        parts::encode_large(record.id(), record.seq(), record.len(), &mut self.out.payload);
        self.out.end(FrameKind::Large)?;
        let mut reader = record.reader();
        let mut left = record.len();
        while left > 0 {
            let len = left.min(to_u64(FILL_BYTES));
            self.out.payload.resize(to_usize(len), 0);
            reader.read_exact(&mut self.out.payload).map_err(unwrapped)?;
            self.out.end(FrameKind::Piece)?;
            left -= len;
        }
        self.totals.records += 1;
        self.totals.value_bytes += record.len();
        self.tell();
        Ok(())
    }

    /// The entries of an index.
    fn entries(&mut self, number: IndexNumber) -> Result<()> {
        let Some(root) = self.state.indexes.get(&number) else { return Ok(()) };
        let index = self.state.catalogue.index(number);
        let index = index.filter(|index| index.is_ready && index.definition.replaces.is_none());
        let Some(definition) = index.map(|index| &index.definition) else { return Ok(()) };
        let in_index = |error: Error| error.in_index(self.state.catalogue.name_of(definition.set), &definition.name);
        let mut range = Range::new(root, Bound::Unbounded, Bound::Unbounded).map_err(in_index)?;
        while let Some((key, id)) = range.next().map_err(in_index)? {
            if self.out.payload.len() + parts::ENTRY_BYTES + key.len() > FILL_BYTES {
                self.out.end(FrameKind::Entries)?;
            }
            if self.out.payload.is_empty() {
                put_u32(&mut self.out.payload, number.0);
            }
            parts::encode_entry(key, id, &mut self.out.payload);
            self.totals.entries += 1;
        }
        if !self.out.payload.is_empty() {
            self.out.end(FrameKind::Entries)?;
        }
        self.tell();
        Ok(())
    }
}
