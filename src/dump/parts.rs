//! The payloads of a dump's frames.
//!
//! Owns: the layouts of `docs/dump-format.md`. Never: does I/O, or trusts a number that the payload does not confirm.

use crate::catalogue::check_name;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, State};
use crate::format::index::IndexDefinition;
use crate::format::{Cursor, Malformed, put_text, put_u16, put_u32, put_u64};
use crate::id::{IndexNumber, RecordId, SLOT_END, Seq, SetNumber, low_u16, low_u32, reuse_max, to_u64, to_usize};
use crate::key::KEY_BYTES_MAX;
use crate::record_index::{Cell, LeafRef, PAGES_AHEAD_MAX, PAGES_END};

/// Slots of a page of the index.
const PAGE_SLOTS: u64 = ENTRIES_PER_PAGE as u64;
/// A field with this bit must be understood.
const MUST_UNDERSTAND: u16 = 0x8000;
/// Commit numbers are below this.
const SEQ_END: u64 = 1 << 62;
/// Set and index numbers are below this.
const NUMBER_END: u32 = u32::MAX;
/// Bytes of an index entry, not counting its key.
pub(crate) const ENTRY_BYTES: usize = 10;
/// Bytes of a record in a frame, not counting its value.
pub(crate) const RECORD_BYTES: usize = 20;

/// The first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) dump: [u8; 16],
    pub(crate) store: [u8; 16],
    pub(crate) last_seq: Seq,
    pub(crate) time_micros: u64,
    pub(crate) page_end: u64,
    pub(crate) next_set: SetNumber,
    pub(crate) next_index: IndexNumber,
    pub(crate) segment_bytes: u64,
    pub(crate) pages: u64,
    pub(crate) records: u64,
    pub(crate) program: String,
}

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetPart {
    pub(crate) number: SetNumber,
    pub(crate) changed: Seq,
    pub(crate) records: u64,
    pub(crate) name: String,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexPart {
    pub(crate) definition: IndexDefinition,
    pub(crate) is_complete: bool,
    pub(crate) entries: u64,
}

/// A page of slots. Slots with records are `Entry::NEVER` here, and in `has_record`.
#[derive(Clone, Debug)]
pub(crate) struct PagePart {
    pub(crate) page: u64,
    pub(crate) set: SetNumber,
    pub(crate) floor: u32,
    pub(crate) entries: Box<[Entry; ENTRIES_PER_PAGE]>,
    pub(crate) has_record: Box<[bool; ENTRIES_PER_PAGE]>,
}

/// A record, or the beginning of a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordPart<'a> {
    pub(crate) id: RecordId,
    pub(crate) seq: Seq,
    pub(crate) value: &'a [u8],
}

/// The counts of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) sets: u32,
    pub(crate) indexes: u32,
    pub(crate) pages: u64,
    pub(crate) records: u64,
    pub(crate) value_bytes: u64,
    pub(crate) entries: u64,
}

fn below<T: Copy + PartialOrd + std::fmt::Display>(what: &'static str, value: T, end: T) -> Result<T, Malformed> {
    if value < end { Ok(value) } else { Err(Malformed::new(what, format!("a number below {end}"), value)) }
}

fn uuid(cursor: &mut Cursor<'_>) -> Result<[u8; 16], Malformed> {
    Ok(cursor.take(16)?.first_chunk().copied().unwrap_or_default())
}

/// Skips unknown fields that may be skipped.
fn fields(cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
    while !cursor.is_empty() {
        let (tag, length) = (cursor.u16()?, cursor.u32()? as usize);
        cursor.take(length)?;
        if tag & MUST_UNDERSTAND != 0 {
            return Err(Malformed::unsupported(
                "field of a dump",
                "none that must be understood",
                format!("{tag:#06x}"),
            ));
        }
    }
    Ok(())
}

impl Header {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.dump);
        out.extend_from_slice(&self.store);
        put_u64(out, self.last_seq.0);
        put_u64(out, self.time_micros);
        put_u32(out, low_u32(PAGE_SLOTS));
        put_u64(out, self.page_end);
        put_u32(out, self.next_set.0);
        put_u32(out, self.next_index.0);
        for field in [self.segment_bytes, self.pages, self.records] {
            put_u64(out, field);
        }
        put_text(out, &self.program);
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let what = "header of a dump";
        let mut cursor = Cursor::new(payload, what);
        let (dump, store) = (uuid(&mut cursor)?, uuid(&mut cursor)?);
        let last_seq = Seq(below(what, cursor.u64()?, SEQ_END)?);
        let time_micros = cursor.u64()?;
        let slots = cursor.u32()?;
        if u64::from(slots) != PAGE_SLOTS {
            return Err(Malformed::unsupported("slots of a page", PAGE_SLOTS, slots));
        }
        let header = Self {
            dump,
            store,
            last_seq,
            time_micros,
            page_end: below(what, cursor.u64()?, PAGES_END + 1)?,
            next_set: SetNumber(cursor.u32()?),
            next_index: IndexNumber(cursor.u32()?),
            segment_bytes: cursor.u64()?,
            pages: below(what, cursor.u64()?, PAGES_END + 1)?,
            records: below(what, cursor.u64()?, SLOT_END + 1)?,
            program: cursor.text()?,
        };
        // Pages that are in no dump hold chunks, or were lost in crashes: there are never more of them in practice.
        below(what, header.page_end, header.pages + 2 * PAGES_AHEAD_MAX + 1)?;
        fields(&mut cursor)?;
        Ok(header)
    }
}

impl SetPart {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.number.0);
        put_u64(out, self.changed.0);
        put_u64(out, self.records);
        put_text(out, &self.name);
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let what = "set of a dump";
        let mut cursor = Cursor::new(payload, what);
        let part = Self {
            number: SetNumber(below(what, cursor.u32()?, NUMBER_END)?),
            changed: Seq(cursor.u64()?),
            records: below(what, cursor.u64()?, SLOT_END + 1)?,
            name: cursor.text()?,
        };
        if part.number < SetNumber::FIRST_USER {
            return Err(Malformed::new(what, format!("a number from {}", SetNumber::FIRST_USER), part.number));
        }
        check_name(what, &part.name).map_err(|error| Malformed::new(what, "a name", error))?;
        fields(&mut cursor)?;
        Ok(part)
    }
}

impl IndexPart {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let definition = &self.definition;
        put_u32(out, definition.number.0);
        put_u32(out, definition.set.0);
        out.extend_from_slice(&[u8::from(definition.unique), u8::from(self.is_complete)]);
        put_u32(out, definition.version);
        put_u64(out, self.entries);
        for text in [&definition.name, &definition.extractor, &definition.spec, &definition.key_type] {
            put_text(out, text);
        }
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let what = "index of a dump";
        let mut cursor = Cursor::new(payload, what);
        let flag = |raw| match raw {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Malformed::unsupported("flag of an index", "0 or 1", other)),
        };
        let (number, set) = (IndexNumber(below(what, cursor.u32()?, NUMBER_END)?), SetNumber(cursor.u32()?));
        let (unique, is_complete) = (flag(cursor.u8()?)?, flag(cursor.u8()?)?);
        let (version, entries) = (cursor.u32()?, cursor.u64()?);
        let (name, extractor, spec, key_type) = (cursor.text()?, cursor.text()?, cursor.text()?, cursor.text()?);
        fields(&mut cursor)?;
        if !is_complete && entries > 0 {
            return Err(Malformed::new(what, "no entries of an index that is not complete", entries));
        }
        let replaces = None;
        let definition = IndexDefinition { number, set, unique, name, extractor, version, spec, key_type, replaces };
        Ok(Self { definition, is_complete, entries })
    }
}

/// The next count of a free slot; 0 if it gets none.
fn next_count(entry: Entry) -> Option<u32> {
    match entry.state() {
        State::Live(_) => None,
        State::Free { next_count } => Some(next_count),
        State::Retired => Some(0),
    }
}

fn entry_of(next_count: u32) -> Result<Entry, Malformed> {
    match next_count {
        0 => Ok(Entry::freed_after(reuse_max())),
        1 => Ok(Entry::NEVER),
        count if count <= reuse_max() => Ok(Entry::freed_after(count - 1)),
        other => Err(Malformed::new("next count of a slot", format!("at most {}", reuse_max()), other)),
    }
}

impl PagePart {
    /// Writes a page whose slots have these entries.
    pub(crate) fn encode(page: u64, set: SetNumber, floor: u32, entries: &[Entry], out: &mut Vec<u8>) {
        put_u64(out, page * PAGE_SLOTS);
        put_u32(out, set.0);
        put_u32(out, floor);
        let mut first = 0_usize;
        for run in entries.chunk_by(|a, b| next_count(*a) == next_count(*b)) {
            if let Some(count) = run.first().and_then(|entry| next_count(*entry)) {
                put_u16(out, low_u16(to_u64(first)));
                put_u16(out, low_u16(to_u64(run.len())));
                put_u32(out, count);
            }
            first += run.len();
        }
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let what = "slots of a dump";
        let mut cursor = Cursor::new(payload, what);
        let (slot, set, floor) = (cursor.u64()?, SetNumber(cursor.u32()?), cursor.u32()?);
        if !slot.is_multiple_of(PAGE_SLOTS) || slot >= SLOT_END {
            return Err(Malformed::new(what, format!("a multiple of {PAGE_SLOTS} below {SLOT_END}"), slot));
        }
        if (1..SetNumber::FIRST_USER.0).contains(&set.0) {
            return Err(Malformed::new(what, "the number of a set, or 0", set));
        }
        below(what, floor, reuse_max() + 2)?;
        let mut part = Self {
            page: slot / PAGE_SLOTS,
            set,
            floor,
            entries: Box::new([Entry::NEVER; ENTRIES_PER_PAGE]),
            has_record: Box::new([true; ENTRIES_PER_PAGE]),
        };
        let mut end = 0;
        while !cursor.is_empty() {
            let (first, slots, count) = (usize::from(cursor.u16()?), usize::from(cursor.u16()?), cursor.u32()?);
            let run = first..first + slots;
            if first < end || slots == 0 || run.end > ENTRIES_PER_PAGE {
                let expected = format!("a run from {end} to {ENTRIES_PER_PAGE}");
                return Err(Malformed::new(what, expected, format!("{slots} slots from {first}")));
            }
            end = run.end;
            part.entries.get_mut(run.clone()).unwrap_or_default().fill(entry_of(count)?);
            part.has_record.get_mut(run).unwrap_or_default().fill(false);
        }
        if set.0 == 0 && part.has_record.contains(&true) {
            return Err(Malformed::new(what, "no records in a page without a set", "some"));
        }
        Ok(part)
    }

    /// The first slot.
    pub(crate) fn first_slot(&self) -> u64 {
        self.page * PAGE_SLOTS
    }

    /// The next slot from this place on with a record.
    pub(crate) fn next_record(&self, from: usize) -> Option<usize> {
        self.has_record.iter().skip(from).position(|has| *has).map(|at| from + at)
    }
}

fn record_id(what: &'static str, raw: u64) -> Result<RecordId, Malformed> {
    RecordId::from_u64(raw).ok_or_else(|| Malformed::new(what, "a record ID", raw))
}

impl<'a> RecordPart<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.id.as_u64());
        put_u64(out, self.seq.0);
        put_u32(out, low_u32(to_u64(self.value.len())));
        out.extend_from_slice(self.value);
    }

    /// Takes the next record.
    pub(crate) fn take(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let (id, seq) = (record_id("record of a dump", cursor.u64()?)?, Seq(cursor.u64()?));
        let length = cursor.u32()? as usize;
        Ok(Self { id, seq, value: cursor.take(length)? })
    }
}

/// The beginning of a large value.
pub(crate) fn encode_large(id: RecordId, seq: Seq, bytes: u64, out: &mut Vec<u8>) {
    for field in [id.as_u64(), seq.0, bytes] {
        put_u64(out, field);
    }
}

pub(crate) fn decode_large(payload: &[u8]) -> Result<(RecordId, Seq, u64), Malformed> {
    let what = "large record of a dump";
    let mut cursor = Cursor::new(payload, what);
    let (id, seq, bytes) = (record_id(what, cursor.u64()?)?, Seq(cursor.u64()?), cursor.u64()?);
    if !cursor.is_empty() {
        return Err(Malformed::new(what, "the end", format!("{} more bytes", cursor.remaining())));
    }
    Ok((id, seq, bytes))
}

/// An entry of an index.
pub(crate) fn encode_entry(key: &[u8], id: u64, out: &mut Vec<u8>) {
    put_u16(out, low_u16(to_u64(key.len())));
    out.extend_from_slice(key);
    put_u64(out, id);
}

pub(crate) fn take_entry<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], RecordId), Malformed> {
    let what = "entry of an index";
    let length = usize::from(cursor.u16()?);
    below(what, length, KEY_BYTES_MAX + 1)?;
    Ok((cursor.take(length)?, record_id(what, cursor.u64()?)?))
}

impl Totals {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.sets);
        put_u32(out, self.indexes);
        for field in [self.pages, self.records, self.value_bytes, self.entries] {
            put_u64(out, field);
        }
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let what = "end of a dump";
        let mut cursor = Cursor::new(payload, what);
        let totals = Self {
            sets: cursor.u32()?,
            indexes: cursor.u32()?,
            pages: cursor.u64()?,
            records: cursor.u64()?,
            value_bytes: cursor.u64()?,
            entries: cursor.u64()?,
        };
        if cursor.is_empty() { Ok(totals) } else { Err(Malformed::new(what, "the end", cursor.remaining())) }
    }
}

/// The place of a slot in its page.
pub(crate) fn place_of(slot: u64) -> usize {
    to_usize(slot % PAGE_SLOTS)
}

/// Whether a page has information about IDs that programs may know.
pub(crate) fn is_of_a_user(cell: &Cell) -> bool {
    let descriptor = &cell.descriptor;
    let has_leaf = !matches!(cell.leaf, LeafRef::Absent);
    SetNumber(descriptor.set) >= SetNumber::FIRST_USER || (descriptor.set == 0 && (descriptor.floor > 0 || has_leaf))
}
