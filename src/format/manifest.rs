//! Manifest entries: the roots of the store, and what recovery needs besides the log.
//!
//! ```text
//! 0     4       8        12   16       24            28
//! +-----+-------+--------+----+--------+-------------+------+======+=====+
//! | tag | check | length |kind| number | check before| zero | body | pad |
//! +-----+-------+--------+----+--------+-------------+------+======+=====+
//! ```
//! Numbers increase from entry to entry, across files too; each entry repeats the check of the previous one in its
//! file. The check covers everything after it and is seeded with the file and the offset.

use byteorder::{ByteOrder, LittleEndian};

use crate::error::Corruption;
use crate::format::descriptor::Descriptor;
use crate::format::entry::Entry as Entry64;
use crate::format::index::IndexRow;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SEGMENT_NUMBER_END};
use crate::format::{Cursor, Malformed, Seed, align, checksum, put_text, put_u16, put_u32, put_u64};
use crate::id::{IndexNumber, SegmentSeq, Seq, SetNumber, to_u64, to_usize};

/// Bytes before an entry's body.
pub const ENTRY_HEADER_BYTES: usize = 32;
/// First four bytes of an entry: `TnMf`.
pub const ENTRY_TAG: u32 = 0x664d_6e54;
/// Tag of the extension that lists unreadable key indexes.
pub const DAMAGED_INDEXES: u16 = MUST_UNDERSTAND | 1;
/// Tag of the extension that lists known slots of damaged leaf pages.
pub const KNOWN_ENTRIES: u16 = MUST_UNDERSTAND | 2;
/// Tag of the extension that lists dropped sets with records left to free.
pub const DROPPED_SETS: u16 = MUST_UNDERSTAND | 3;
/// Tag of the extension that lists consumers of the changes.
pub const CONSUMERS: u16 = MUST_UNDERSTAND | 4;
/// Ever-increasing numbers are below this one: of commits, timelines, streams and manifest entries.
pub const NUMBER_END: u64 = 1 << 62;
/// An extension with this bit must be understood.
pub const MUST_UNDERSTAND: u16 = 0x8000;

/// Why a snapshot was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SnapshotKind {
    /// By threshold, recovery budget, or on demand: the last two are kept.
    Automatic = 1,
    /// At close: nothing follows it in the log.
    Close = 2,
    /// By name: kept until it is dropped.
    Named = 3,
}

/// A segment in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// Place in the segment table; zero for page segments.
    pub place: u32,
    /// The segment.
    pub segment: SegmentSeq,
    /// Its generation now.
    pub generation: u8,
    /// Whether it holds pages.
    pub pages: bool,
    /// Bytes of it that the snapshot needs.
    pub bytes: u64,
    /// Bytes of it that were live.
    pub live_bytes: u64,
}

/// A record set in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRow {
    /// Its number.
    pub number: SetNumber,
    /// Its name.
    pub name: String,
    /// Number of its records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// The last commit that changed it.
    pub changed: Seq,
}

/// A named mark in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRow {
    /// Its name.
    pub name: String,
    /// The commit it names.
    pub seq: Seq,
}

/// A slot that was used further before the store was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaisedRow {
    /// The slot.
    pub slot: u64,
    /// Its next reuse count.
    pub next_count: u32,
}

/// Chunks that wait for their head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// The stream.
    pub stream: u64,
    /// IDs of its chunks.
    pub chunks: Vec<u64>,
}

/// A saved snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number: the number of its manifest entry.
    pub number: u64,
    /// Why it was saved.
    pub kind: SnapshotKind,
    /// Its name; empty for snapshots without one.
    pub name: String,
    /// The last commit in it.
    pub seq: Seq,
    /// The timeline in which it was saved.
    pub timeline: u64,
    /// Microseconds since 1970.
    pub time_micros: u64,
    /// The root of the record index.
    pub root: Descriptor,
    /// The first page that was never assigned to a set.
    pub page_end: u64,
    /// Replay starts in this segment.
    pub head_segment: SegmentSeq,
    /// Replay starts at this offset.
    pub head_offset: u64,
    /// The number of the next segment.
    pub next_segment: SegmentSeq,
    /// The number of the next set.
    pub next_set: u32,
    /// The number of the next stream.
    pub next_stream: u64,
    /// Reservations with this entry number or a higher one are not in `reserved`.
    pub reserved_from: u64,
    /// Segments, record and page.
    pub segments: Vec<SegmentRow>,
    /// Record sets.
    pub sets: Vec<SetRow>,
    /// Named marks.
    pub marks: Vec<MarkRow>,
    /// Pages whose free slots may have been handed out.
    pub reserved: Vec<u64>,
    /// Chunks that wait for their head.
    pub streams: Vec<StreamRow>,
    /// The number of the next key index.
    pub next_index: u32,
    /// Key indexes.
    pub indexes: Vec<IndexRow>,
    /// Slots of live records whose next count is higher than theirs plus one: the IDs in between were assigned before
    /// the store was rolled back.
    pub raised: Vec<RaisedRow>,
    /// Fields of later versions.
    pub extensions: Vec<Extension>,
}

impl Snapshot {
    /// Of nothing, before the first commit.
    pub fn empty(number: u64, kind: SnapshotKind) -> Self {
        Self {
            number,
            kind,
            name: String::new(),
            seq: Seq::ZERO,
            timeline: 0,
            time_micros: 0,
            root: Descriptor::default(),
            page_end: 0,
            head_segment: SegmentSeq(0),
            head_offset: 0,
            next_segment: SegmentSeq(0),
            next_set: 0,
            next_stream: 0,
            reserved_from: 0,
            segments: Vec::new(),
            sets: Vec::new(),
            marks: Vec::new(),
            reserved: Vec::new(),
            streams: Vec::new(),
            next_index: 0,
            indexes: Vec::new(),
            raised: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Unreadable key indexes, with the damage. An incomplete extension is ignored.
    pub fn damaged_indexes(&self) -> Vec<(IndexNumber, Corruption)> {
        let mut all = Vec::new();
        for extension in self.extensions.iter().filter(|extension| extension.tag == DAMAGED_INDEXES) {
            let mut cursor = Cursor::new(&extension.bytes, "damaged indexes");
            while let Ok((number, damage)) = damaged_index(&mut cursor) {
                all.push((number, damage));
            }
        }
        all
    }

    /// Records unreadable key indexes.
    pub fn note_damaged_indexes<'d>(&mut self, damaged: impl Iterator<Item = (IndexNumber, &'d Corruption)>) {
        let mut bytes = Vec::new();
        for (number, damage) in damaged {
            put_u32(&mut bytes, number.0);
            put_u64(&mut bytes, damage.offset);
            for text in [&damage.file, &damage.what, &damage.expected, &damage.got] {
                put_text(&mut bytes, text);
            }
        }
        if !bytes.is_empty() {
            self.extensions.push(Extension { tag: DAMAGED_INDEXES, bytes });
        }
    }

    /// Entries of damaged leaf pages: what is known of their slots from the log.
    pub fn known_entries(&self) -> impl Iterator<Item = (u64, Entry64)> {
        let known = self.extensions.iter().filter(|extension| extension.tag == KNOWN_ENTRIES);
        known
            .flat_map(|extension| extension.bytes.chunks_exact(16))
            .map(|row| (LittleEndian::read_u64(row), Entry64(LittleEndian::read_u64(&row[8..]))))
    }

    /// Records entries of damaged leaf pages.
    pub fn note_known_entries(&mut self, known: impl Iterator<Item = (u64, Entry64)>) {
        let mut bytes = Vec::new();
        for (slot, entry) in known {
            put_u64(&mut bytes, slot);
            put_u64(&mut bytes, entry.0);
        }
        if !bytes.is_empty() {
            self.extensions.push(Extension { tag: KNOWN_ENTRIES, bytes });
        }
    }

    /// Dropped sets with records left to free.
    pub fn dropped_sets(&self) -> impl Iterator<Item = SetNumber> {
        let dropped = self.extensions.iter().filter(|extension| extension.tag == DROPPED_SETS);
        dropped.flat_map(|extension| extension.bytes.chunks_exact(4)).map(|row| SetNumber(LittleEndian::read_u32(row)))
    }

    /// Records dropped sets with records left to free.
    pub fn note_dropped_sets(&mut self, dropped: impl Iterator<Item = SetNumber>) {
        let mut bytes = Vec::new();
        dropped.for_each(|set| put_u32(&mut bytes, set.0));
        if !bytes.is_empty() {
            self.extensions.push(Extension { tag: DROPPED_SETS, bytes });
        }
    }

    /// Consumers of the changes: name, last acknowledged commit, whether it was too far behind. An incomplete extension is
    /// ignored from there on.
    pub fn consumers(&self) -> Vec<(String, Seq, bool)> {
        let mut consumers = Vec::new();
        for extension in self.extensions.iter().filter(|extension| extension.tag == CONSUMERS) {
            let mut cursor = Cursor::new(&extension.bytes, "consumers");
            while let (Ok(name), Ok(seq), Ok(state)) = (cursor.text(), cursor.u64(), cursor.u8()) {
                consumers.push((name, Seq(seq), state != 0));
            }
        }
        consumers
    }

    /// Records consumers of the changes.
    pub fn note_consumers<'n>(&mut self, consumers: impl Iterator<Item = (&'n str, Seq, bool)>) {
        let mut bytes = Vec::new();
        for (name, seq, is_lost) in consumers {
            put_text(&mut bytes, name);
            put_u64(&mut bytes, seq.0);
            bytes.push(is_lost.into());
        }
        if !bytes.is_empty() {
            self.extensions.push(Extension { tag: CONSUMERS, bytes });
        }
    }

    /// Where replay starts in a segment of the log.
    pub fn begin_of(&self, segment: SegmentSeq) -> u64 {
        if segment == self.head_segment { self.head_offset } else { to_u64(SEGMENT_HEADER_BYTES) }
    }
}

/// A field of a later version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its tag.
    pub tag: u16,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The log was cut: everything above `seq` in segments before `first_segment` is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The new timeline.
    pub timeline: u64,
    /// The last commit that stays where it is.
    pub seq: Seq,
    /// The first segment of the new timeline.
    pub first_segment: SegmentSeq,
    /// The last commit when the new timeline began: commits between `seq` and this one were copied to it.
    pub resumed: Seq,
}

/// The body of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A saved snapshot.
    Snapshot(Box<Snapshot>),
    /// Free slots of these pages may be handed out from now on.
    Reserve(Vec<u64>),
    /// The log was cut.
    Cut(Cut),
    /// A named snapshot is no longer kept.
    Drop(u64),
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// Its body.
    pub body: Body,
}

/// An entry, and where the next one starts.
#[derive(Debug)]
pub struct Decoded {
    /// The entry.
    pub entry: Entry,
    /// Its check, which the next one repeats.
    pub check: u32,
    /// Its bytes with padding.
    pub bytes: u64,
}

impl Body {
    /// The bytes for an entry with this number at `offset`, and their check.
    pub fn encode(&self, number: u64, seed: Seed, offset: u64, check_before: u32) -> (Vec<u8>, u32) {
        let mut out = vec![0; ENTRY_HEADER_BYTES];
        let kind = match self {
            Self::Snapshot(snapshot) => {
                encode_snapshot(snapshot, &mut out);
                1_u8
            }
            Self::Reserve(pages) => {
                put_numbers(&mut out, pages);
                2
            }
            Self::Cut(cut) => {
                for field in [cut.timeline, cut.seq.0, cut.first_segment.0, cut.resumed.0] {
                    put_u64(&mut out, field);
                }
                3
            }
            Self::Drop(target) => {
                put_u64(&mut out, *target);
                4
            }
        };
        let length = crate::id::low_u32(to_u64(out.len()));
        out.resize(to_usize(align(to_u64(out.len()))), 0);
        LittleEndian::write_u32(&mut out[..4], ENTRY_TAG);
        LittleEndian::write_u32(&mut out[8..12], length);
        out[12] = kind;
        LittleEndian::write_u64(&mut out[16..24], number);
        LittleEndian::write_u32(&mut out[24..28], check_before);
        let check = checksum(seed.at(offset), &out[8..]);
        LittleEndian::write_u32(&mut out[4..8], check);
        (out, check)
    }
}

impl Entry {
    /// The bytes for an entry at `offset`, and their check.
    pub fn encode(&self, seed: Seed, offset: u64, check_before: u32) -> (Vec<u8>, u32) {
        self.body.encode(self.number, seed, offset, check_before)
    }

    /// Reads the entry at the beginning of `bytes`.
    pub fn decode(bytes: &[u8], seed: Seed, offset: u64, check_before: u32) -> Result<Decoded, Malformed> {
        let what = "manifest entry";
        let Some(header) = bytes.get(..ENTRY_HEADER_BYTES) else {
            return Err(Malformed::new(what, "32 bytes", bytes.len()));
        };
        let tag = LittleEndian::read_u32(&header[..4]);
        if tag != ENTRY_TAG {
            return Err(Malformed::new(what, "the entry tag", format!("{tag:08x}")));
        }
        let length = LittleEndian::read_u32(&header[8..12]) as usize;
        let total = align(to_u64(length));
        let whole = bytes.get(..to_usize(total)).filter(|_| length >= ENTRY_HEADER_BYTES);
        let whole = whole.ok_or_else(|| Malformed::new(what, format!("{length} bytes"), bytes.len()))?;
        let (stored, check) = (LittleEndian::read_u32(&header[4..8]), checksum(seed.at(offset), &whole[8..]));
        if stored != check {
            return Err(Malformed::new(what, format!("check {stored:08x}"), format!("{check:08x}")));
        }
        let before = LittleEndian::read_u32(&header[24..28]);
        if before != check_before {
            let expected = format!("an entry after {check_before:08x}");
            return Err(Malformed::new(what, expected, format!("{before:08x}")));
        }
        let number = LittleEndian::read_u64(&header[16..24]);
        let mut cursor = Cursor::new(whole.get(ENTRY_HEADER_BYTES..length).unwrap_or_default(), what);
        let body = match header[12] {
            1 => Body::Snapshot(Box::new(decode_snapshot(&mut cursor, number)?)),
            2 => Body::Reserve(numbers(&mut cursor)?),
            3 => Body::Cut(Cut {
                timeline: cursor.u64()?,
                seq: Seq(cursor.u64()?),
                first_segment: segment_number(&mut cursor)?,
                resumed: Seq(cursor.u64()?),
            }),
            4 => Body::Drop(cursor.u64()?),
            other => return Err(Malformed::unsupported("kind of manifest entry", "1 to 4", other)),
        };
        if !cursor.is_empty() {
            return Err(Malformed::new(what, "the end", format!("{} more bytes", cursor.remaining())));
        }
        Ok(Decoded { entry: Self { number, body }, check, bytes: total })
    }
}

fn damaged_index(cursor: &mut Cursor<'_>) -> Result<(IndexNumber, Corruption), Malformed> {
    let (number, offset) = (IndexNumber(cursor.u32()?), cursor.u64()?);
    let (file, what, expected, got) = (cursor.text()?, cursor.text()?, cursor.text()?, cursor.text()?);
    Ok((number, Corruption { file, offset, what, expected, got }))
}

/// A segment number from which counting up never overflows.
fn segment_number(cursor: &mut Cursor<'_>) -> Result<SegmentSeq, Malformed> {
    let number = cursor.u64()?;
    if number >= SEGMENT_NUMBER_END {
        return Err(Malformed::new("segment number", format!("below {SEGMENT_NUMBER_END}"), number));
    }
    Ok(SegmentSeq(number))
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u32(out, u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    put_count(out, numbers.len());
    for number in numbers {
        put_u64(out, *number);
    }
}

fn numbers(cursor: &mut Cursor<'_>) -> Result<Vec<u64>, Malformed> {
    let count = cursor.count(8)?;
    (0..count).map(|_| cursor.u64()).collect()
}

fn encode_snapshot(snapshot: &Snapshot, out: &mut Vec<u8>) {
    out.push(snapshot.kind as u8);
    put_text(out, &snapshot.name);
    for field in [snapshot.seq.0, snapshot.timeline, snapshot.time_micros] {
        put_u64(out, field);
    }
    snapshot.root.encode(out);
    let log = [snapshot.page_end, snapshot.head_segment.0, snapshot.head_offset, snapshot.next_segment.0];
    for field in log {
        put_u64(out, field);
    }
    put_u32(out, snapshot.next_set);
    put_u64(out, snapshot.next_stream);
    put_u64(out, snapshot.reserved_from);
    put_count(out, snapshot.segments.len());
    for row in &snapshot.segments {
        put_u32(out, row.place);
        put_u64(out, row.segment.0);
        out.extend_from_slice(&[row.generation, u8::from(row.pages)]);
        put_u64(out, row.bytes);
        put_u64(out, row.live_bytes);
    }
    put_count(out, snapshot.sets.len());
    for row in &snapshot.sets {
        put_u32(out, row.number.0);
        put_text(out, &row.name);
        put_u64(out, row.records);
        put_u64(out, row.bytes);
        put_u64(out, row.changed.0);
    }
    put_count(out, snapshot.marks.len());
    for row in &snapshot.marks {
        put_text(out, &row.name);
        put_u64(out, row.seq.0);
    }
    put_numbers(out, &snapshot.reserved);
    put_count(out, snapshot.streams.len());
    for row in &snapshot.streams {
        put_u64(out, row.stream);
        put_numbers(out, &row.chunks);
    }
    put_u32(out, snapshot.next_index);
    put_count(out, snapshot.indexes.len());
    for row in &snapshot.indexes {
        row.encode(out);
    }
    put_count(out, snapshot.raised.len());
    for row in &snapshot.raised {
        put_u64(out, row.slot);
        put_u32(out, row.next_count);
    }
    put_count(out, snapshot.extensions.len());
    for extension in &snapshot.extensions {
        put_u16(out, extension.tag);
        put_count(out, extension.bytes.len());
        out.extend_from_slice(&extension.bytes);
    }
}

fn decode_snapshot(cursor: &mut Cursor<'_>, number: u64) -> Result<Snapshot, Malformed> {
    let kind = match cursor.u8()? {
        1 => SnapshotKind::Automatic,
        2 => SnapshotKind::Close,
        3 => SnapshotKind::Named,
        other => return Err(Malformed::unsupported("kind of snapshot", "1 to 3", other)),
    };
    let mut snapshot = Snapshot {
        name: cursor.text()?,
        seq: Seq(cursor.u64()?),
        timeline: cursor.u64()?,
        time_micros: cursor.u64()?,
        root: Descriptor::decode(cursor.take(crate::format::descriptor::DESCRIPTOR_BYTES)?)?,
        page_end: cursor.u64()?,
        head_segment: segment_number(cursor)?,
        head_offset: cursor.u64()?,
        next_segment: segment_number(cursor)?,
        next_set: cursor.u32()?,
        next_stream: cursor.u64()?,
        reserved_from: cursor.u64()?,
        ..Snapshot::empty(number, kind)
    };
    for _ in 0..cursor.count(30)? {
        snapshot.segments.push(SegmentRow {
            place: cursor.u32()?,
            segment: segment_number(cursor)?,
            generation: cursor.u8()?,
            pages: cursor.u8()? != 0,
            bytes: cursor.u64()?,
            live_bytes: cursor.u64()?,
        });
    }
    for _ in 0..cursor.count(30)? {
        snapshot.sets.push(SetRow {
            number: SetNumber(cursor.u32()?),
            name: cursor.text()?,
            records: cursor.u64()?,
            bytes: cursor.u64()?,
            changed: Seq(cursor.u64()?),
        });
    }
    for _ in 0..cursor.count(10)? {
        snapshot.marks.push(MarkRow { name: cursor.text()?, seq: Seq(cursor.u64()?) });
    }
    snapshot.reserved = numbers(cursor)?;
    for _ in 0..cursor.count(12)? {
        snapshot.streams.push(StreamRow { stream: cursor.u64()?, chunks: numbers(cursor)? });
    }
    snapshot.next_index = cursor.u32()?;
    for _ in 0..cursor.count(48)? {
        snapshot.indexes.push(IndexRow::read(cursor)?);
    }
    for _ in 0..cursor.count(12)? {
        snapshot.raised.push(RaisedRow { slot: cursor.u64()?, next_count: cursor.u32()? });
    }
    for _ in 0..cursor.count(6)? {
        let tag = cursor.u16()?;
        if tag & MUST_UNDERSTAND != 0 && ![DAMAGED_INDEXES, KNOWN_ENTRIES, DROPPED_SETS, CONSUMERS].contains(&tag) {
            let known = "0x8001 to 0x8004 of those that must be understood";
            return Err(Malformed::unsupported("extension of a snapshot", known, tag));
        }
        let len = cursor.count(1)?;
        snapshot.extensions.push(Extension { tag, bytes: cursor.take(len)?.to_vec() });
    }
    Ok(snapshot)
}
