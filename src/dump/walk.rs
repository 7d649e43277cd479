//! Walking through a dump: the order of its parts, and their consistency.
//!
//! Owns: the order of frames, records matching the slots that announce them, totals. Never: stores anything; a sink
//! does.
//! Invariants: 1. A sink gets each page, then exactly the records of its slots, in their order.
//! 2. It gets the entries of an index in ascending order, and as many as were announced.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;

use crate::dump::frame::FrameKind;
use crate::dump::frames::Frames;
use crate::dump::parts::{Header, IndexPart, PagePart, RecordPart, SetPart, Totals};
use crate::dump::{LoadProgress, parts};
use crate::error::{Error, Result};
use crate::format::index::IndexDefinition;
use crate::format::item::PAYLOAD_BYTES_MAX;
use crate::format::{Cursor, Malformed};
use crate::id::{RecordId, Seq, SetNumber, to_u64};
use crate::key::Key;

/// Takes one entry of an index. `false` if its ID is not that of a record of the index's set.
pub(super) type Each<'e> = dyn FnMut(&[u8], RecordId) -> Result<bool> + 'e;
/// Passes all entries of an index to the given function.
pub(super) type Feed<'f> = dyn FnMut(&mut Each<'_>) -> Result<()> + 'f;

/// Receives the parts of a dump.
pub(super) trait Sink {
    /// Everything before the first page.
    fn begin(&mut self, header: &Header, sets: &[SetPart], indexes: &[IndexPart]) -> Result<()>;
    /// A page. Its records follow.
    fn page(&mut self, page: &PagePart) -> Result<()>;
    /// A record in one piece.
    fn record(&mut self, set: SetNumber, record: &RecordPart<'_>) -> Result<()>;
    /// A record with a value of this size.
    fn large(&mut self, set: SetNumber, id: RecordId, seq: Seq, bytes: u64, from: &mut dyn Read) -> Result<()>;
    /// All records of the page have been passed on, and this many bytes read.
    fn page_is_whole(&mut self, bytes: u64) -> Result<()>;
    /// The entries of an index, one after another. Entries that are not taken are skipped.
    fn index(&mut self, index: &IndexPart, feed: &mut Feed<'_>) -> Result<()>;
}

/// Everything before the first page.
#[derive(Debug, Default)]
struct Catalogue {
    sets: BTreeMap<SetNumber, SetPart>,
    indexes: Vec<IndexPart>,
}

/// Walks through a dump.
pub(super) struct Walk<'w, 'r> {
    pub(super) frames: &'w mut Frames<'r>,
    pub(super) progress: &'w mut dyn FnMut(LoadProgress),
    pub(super) totals: Totals,
    /// Records of each set so far.
    pub(super) records: BTreeMap<SetNumber, u64>,
    records_total: u64,
}

impl<'w, 'r> Walk<'w, 'r> {
    pub(super) fn new(frames: &'w mut Frames<'r>, progress: &'w mut dyn FnMut(LoadProgress)) -> Self {
        Self { frames, progress, totals: Totals::default(), records: BTreeMap::new(), records_total: 0 }
    }

    /// Walks to the end.
    pub(super) fn run(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let header = self.parse(Header::decode)?;
        self.records_total = header.records;
        self.frames.advance()?;
        let catalogue = self.catalogue(&header)?;
        let sets: Vec<SetPart> = catalogue.sets.values().cloned().collect();
        sink.begin(&header, &sets, &catalogue.indexes)?;
        self.pages(&header, &catalogue, sink)?;
        for part in &catalogue.indexes {
            self.entries(part, sink)?;
        }
        self.expect(FrameKind::End)?;
        let totals = self.parse(Totals::decode)?;
        if totals != self.totals || header.pages != totals.pages || header.records != totals.records {
            let (expected, got) = (format!("{:?}", self.totals), format!("{totals:?}"));
            return Err(self.wrong("totals of a dump", expected, got));
        }
        for set in catalogue.sets.values() {
            let records = self.records.get(&set.number).copied().unwrap_or_default();
            if records != set.records {
                return Err(self.wrong("records of a set", set.records, records));
            }
        }
        self.frames.check_end()
    }

    fn parse<T>(&mut self, decode: impl FnOnce(&[u8]) -> Result<T, Malformed>) -> Result<T> {
        decode(self.frames.payload()).map_err(|malformed| self.frames.wrong(malformed))
    }

    fn wrong(&mut self, what: &'static str, expected: impl ToString, got: impl ToString) -> Error {
        self.frames.wrong(Malformed::new(what, expected, got))
    }

    fn expect(&mut self, kind: FrameKind) -> Result<()> {
        let got = self.frames.kind();
        if got == kind { Ok(()) } else { Err(self.wrong("frame of a dump", kind.name(), got.name())) }
    }

    fn tell(&mut self) {
        let (bytes, records, records_total) = (self.frames.bytes(), self.totals.records, self.records_total);
        (self.progress)(LoadProgress { bytes, records, records_total });
    }

    fn catalogue(&mut self, header: &Header) -> Result<Catalogue> {
        let mut catalogue = Catalogue::default();
        let mut names = BTreeMap::new();
        while self.frames.kind() == FrameKind::Set {
            let set = self.parse(SetPart::decode)?;
            let is_next = catalogue.sets.last_key_value().is_none_or(|(last, _)| *last < set.number);
            if !is_next || set.number >= header.next_set || set.changed > header.last_seq {
                return Err(self.wrong("sets of a dump", "numbers that ascend, below the next one", set.number));
            }
            if let Some(other) = names.insert(set.name.clone(), set.number) {
                return Err(self.wrong("sets of a dump", format!("another name than that of set {other}"), &set.name));
            }
            catalogue.sets.insert(set.number, set);
            self.totals.sets += 1;
            self.frames.advance()?;
        }
        let mut names = BTreeMap::new();
        while self.frames.kind() == FrameKind::Index {
            let part = self.parse(IndexPart::decode)?;
            let (number, set) = (part.definition.number, part.definition.set);
            let is_next = catalogue.indexes.last().is_none_or(|last| last.definition.number < number);
            if !is_next || number >= header.next_index {
                return Err(self.wrong("indexes of a dump", "numbers that ascend, below the next one", number));
            }
            if !catalogue.sets.contains_key(&set) {
                return Err(self.wrong("index of a dump", "the number of a set of the dump", set));
            }
            if let Some(other) = names.insert((set, part.definition.name.clone()), number) {
                let expected = format!("another name than that of index {other}");
                return Err(self.wrong("indexes of a dump", expected, &part.definition.name));
            }
            catalogue.indexes.push(part);
            self.totals.indexes += 1;
            self.frames.advance()?;
        }
        Ok(catalogue)
    }

    fn pages(&mut self, header: &Header, catalogue: &Catalogue, sink: &mut dyn Sink) -> Result<()> {
        let mut next = 0;
        while self.frames.kind() == FrameKind::Slots {
            let page = self.parse(PagePart::decode)?;
            if !(next..header.page_end).contains(&page.page) || self.totals.pages == header.pages {
                let expected = format!("one of {} pages, from {next} to {}", header.pages, header.page_end);
                return Err(self.wrong("slots of a dump", expected, page.page));
            }
            // A dropped set may have left pages, but no record.
            if !catalogue.sets.contains_key(&page.set) && page.has_record.contains(&true) {
                return Err(self.wrong("slots of a dump", "the number of a set of the dump", page.set));
            }
            next = page.page + 1;
            self.totals.pages += 1;
            sink.page(&page)?;
            self.frames.advance()?;
            self.records(header, &page, sink)?;
            sink.page_is_whole(self.frames.offset())?;
            self.tell();
        }
        Ok(())
    }

    /// The records of a page.
    fn records(&mut self, header: &Header, page: &PagePart, sink: &mut dyn Sink) -> Result<()> {
        let mut next = page.next_record(0);
        while next.is_some() {
            match self.frames.kind() {
                FrameKind::Records => {
                    let payload = self.frames.payload();
                    let mut cursor = Cursor::new(payload, "records of a dump");
                    let (mut taken, mut outcome) = (Vec::new(), Ok(()));
                    while !cursor.is_empty() {
                        let checked = RecordPart::take(&mut cursor).and_then(|record| {
                            check_place(header, page, next, record.id, record.seq)?;
                            let length = record.value.len();
                            if length > PAYLOAD_BYTES_MAX {
                                let expected = format!("{PAYLOAD_BYTES_MAX} bytes at most");
                                return Err(Malformed::new("value of a record", expected, length));
                            }
                            Ok(record)
                        });
                        match checked {
                            Ok(record) => {
                                next = page.next_record(parts::place_of(record.id.slot()) + 1);
                                taken.push(record);
                            }
                            Err(malformed) => {
                                outcome = Err(malformed);
                                break;
                            }
                        }
                    }
                    for record in &taken {
                        sink.record(page.set, record)?;
                        self.totals.value_bytes = self.totals.value_bytes.saturating_add(to_u64(record.value.len()));
                    }
                    let count = to_u64(taken.len());
                    drop(taken);
                    self.count(page.set, count);
                    outcome.map_err(|malformed| self.frames.wrong(malformed))?;
                    self.frames.advance()?;
                }
                FrameKind::Large => {
                    let (id, seq, bytes) = self.parse(parts::decode_large)?;
                    let checked = check_place(header, page, next, id, seq);
                    checked.map_err(|malformed| self.frames.wrong(malformed))?;
                    next = page.next_record(parts::place_of(id.slot()) + 1);
                    self.large(page.set, id, seq, bytes, sink)?;
                }
                other => {
                    let slot = page.first_slot() + to_u64(next.unwrap_or_default());
                    return Err(self.wrong("frame of a dump", format!("the record of slot {slot}"), other.name()));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, set: SetNumber, records: u64) {
        self.totals.records += records;
        *self.records.entry(set).or_default() += records;
    }

    fn large(&mut self, set: SetNumber, id: RecordId, seq: Seq, bytes: u64, sink: &mut dyn Sink) -> Result<()> {
        if bytes <= to_u64(PAYLOAD_BYTES_MAX) {
            return Err(self.wrong("large record of a dump", format!("more than {PAYLOAD_BYTES_MAX} bytes"), bytes));
        }
        self.frames.advance()?;
        let mut pieces = Pieces { frames: self.frames, left: bytes, at: 0 };
        sink.large(set, id, seq, bytes, &mut pieces)?;
        pieces.pass_over()?;
        self.totals.value_bytes = self.totals.value_bytes.saturating_add(bytes);
        self.count(set, 1);
        self.tell();
        Ok(())
    }

    /// The entries of an index.
    fn entries(&mut self, part: &IndexPart, sink: &mut dyn Sink) -> Result<()> {
        if !part.is_complete {
            return Ok(());
        }
        let definition = &part.definition;
        let (mut entries, mut last): (u64, Option<(Vec<u8>, RecordId)>) = (0, None);
        let frames = &mut *self.frames;
        let mut feed = |each: &mut Each<'_>| {
            while frames.kind() == FrameKind::Entries {
                let mut cursor = Cursor::new(frames.payload(), "entries of an index");
                match cursor.u32() {
                    Ok(number) if number == definition.number.0 => {}
                    Ok(_) => break,
                    Err(malformed) => return Err(frames.wrong(malformed)),
                }
                let mut outcome = Ok(());
                while outcome.is_ok() && !cursor.is_empty() {
                    let checked = parts::take_entry(&mut cursor)
                        .and_then(|entry| check_entry(definition, last.as_ref(), entry).map(|()| entry));
                    match checked {
                        Ok((key, id)) => {
                            if !each(key, id)? {
                                let expected = "the ID of a record of the set";
                                outcome = Err(Malformed::new("entry of an index", expected, id));
                            }
                            entries += 1;
                            let (last_key, last_id) = last.get_or_insert_with(|| (Vec::new(), id));
                            last_key.clear();
                            last_key.extend_from_slice(key);
                            *last_id = id;
                        }
                        Err(malformed) => outcome = Err(malformed),
                    }
                }
                outcome.map_err(|malformed| frames.wrong(malformed))?;
                frames.advance()?;
            }
            Ok(())
        };
        sink.index(part, &mut feed)?;
        feed(&mut |_, _| Ok(true))?;
        if entries != part.entries {
            let name = format!("{} entries of index {:?}", part.entries, definition.name);
            return Err(self.wrong("entries of an index", name, entries));
        }
        self.totals.entries += entries;
        self.tell();
        Ok(())
    }
}

/// A record must belong to the next slot, and must have been written by a known commit.
fn check_place(header: &Header, page: &PagePart, next: Option<usize>, id: RecordId, seq: Seq) -> Result<(), Malformed> {
    let what = "record of a dump";
    let expected = next.map(|place| page.first_slot() + to_u64(place));
    if expected != Some(id.slot()) {
        let expected = expected.map_or_else(|| "no more records in the page".to_owned(), |slot| format!("slot {slot}"));
        return Err(Malformed::new(what, expected, format!("record {id}")));
    }
    if seq > header.last_seq {
        return Err(Malformed::new(what, format!("a commit up to {}", header.last_seq), seq));
    }
    Ok(())
}

fn check_entry(
    definition: &IndexDefinition,
    last: Option<&(Vec<u8>, RecordId)>,
    (key, id): (&[u8], RecordId),
) -> Result<(), Malformed> {
    let what = "entry of an index";
    if let Err(error) = Key::from_bytes(key) {
        return Err(Malformed::new(what, "a key", error));
    }
    let Some((last_key, last_id)) = last else { return Ok(()) };
    if (last_key.as_slice(), *last_id) >= (key, id) {
        return Err(Malformed::new(what, "entries that ascend", format!("record {id} after {last_id}")));
    }
    if definition.unique && last_key == key {
        return Err(Malformed::new(what, "a unique key", format!("one of records {last_id} and {id}")));
    }
    Ok(())
}

/// The pieces of a large value, as a reader.
struct Pieces<'p, 'r> {
    frames: &'p mut Frames<'r>,
    /// Bytes of the value that have not been read yet.
    left: u64,
    /// How much of the current piece has been read.
    at: usize,
}

impl Pieces<'_, '_> {
    /// The rest of the current piece; empty at the end of the value.
    fn rest(&mut self) -> Result<usize> {
        while self.left > 0 {
            if self.frames.kind() != FrameKind::Piece {
                let (expected, got) = (format!("a piece: {} bytes are missing", self.left), self.frames.kind().name());
                return Err(self.frames.wrong(Malformed::new("large record of a dump", expected, got)));
            }
            let rest = self.frames.payload().len().saturating_sub(self.at);
            if to_u64(rest) > self.left {
                let (expected, got) = (format!("{} bytes", self.left), format!("{rest} in a piece"));
                return Err(self.frames.wrong(Malformed::new("large record of a dump", expected, got)));
            }
            if rest > 0 {
                return Ok(rest);
            }
            self.next_piece()?;
        }
        Ok(0)
    }

    fn next_piece(&mut self) -> Result<()> {
        self.at = 0;
        self.frames.advance()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let len = self.rest()?.min(buffer.len());
        let from = self.frames.payload().get(self.at..self.at + len).unwrap_or_default();
        if let Some(to) = buffer.get_mut(..from.len()) {
            to.copy_from_slice(from);
        }
        self.moved(len)?;
        Ok(len)
    }

    fn moved(&mut self, len: usize) -> Result<()> {
        (self.at, self.left) = (self.at + len, self.left - to_u64(len));
        // At the end of the value, the frame after it is current.
        if self.left == 0 && len > 0 { self.next_piece() } else { Ok(()) }
    }

    /// Skips what has not been read.
    fn pass_over(mut self) -> Result<()> {
        loop {
            match self.rest()? {
                0 => return Ok(()),
                len => self.moved(len)?,
            }
        }
    }
}

impl Read for Pieces<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.take(buffer).map_err(io::Error::other)
    }
}

/// Extracts the error that a reader of pieces has wrapped in an I/O error.
pub(super) fn unwrapped(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Source { source },
    }
}
