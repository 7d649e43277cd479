//! Compares `docs/file-format.md` with the code: every table, the grammar, the checksums, the worked example.
//!
//! The tables are the expectation: offsets and sizes are read from the document and applied to bytes that the code
//! wrote. The test therefore fails when either drifts.

mod checks;
mod example;
mod indexes;
mod kinds;
#[path = "format_document/moves.rs"]
mod moving;
mod nodes;
mod patches;

use std::collections::{BTreeMap, BTreeSet};

use checks::{crc, u32_at};
use tenure::format::descriptor::{Descriptor, PageRef};
use tenure::format::entry::{Entry, State};
use tenure::format::frame::{FrameBuilder, FrameKind, Stamp};
use tenure::format::item::Kind;
use tenure::format::manifest::Body;
use tenure::format::segment::{FileKind, SegmentHeader};
use tenure::format::value::Head;
use tenure::format::{
    Seed, descriptor, entry, frame, index, item, manifest, moves, node, node_patch, page_patch, replaced, segment,
    value,
};
use tenure::{RecordId, SegmentSeq, Seq, SetNumber};

use crate::markdown;
use crate::markdown::{Table, number};

const DOCUMENT: &str = include_str!("../../docs/file-format.md");
const UUID: [u8; 16] = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
/// An offset for blocks under test: not the first one, so that a lost seed shows.
const AT: u64 = 4096;

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("a number that fits")
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).expect("a number that fits")
}

fn table(heading: &str) -> Table {
    markdown::table(DOCUMENT, heading)
}

fn seed() -> Seed {
    Seed::new(UUID, SegmentSeq(9))
}

/// Compares a table of offsets with bytes, field by field; `expected` are the fields in order, without "zero".
fn check_layout(heading: &str, bytes: &[u8], expected: &[(&str, &[u8])]) {
    let table = table(heading);
    let mut expected = expected.iter();
    let mut end = 0;
    let columns = table.cells("offset").into_iter().zip(table.cells("size")).zip(table.cells("field"));
    for ((offset, size), field) in columns {
        let (offset, size) = (to_usize(number(offset)), to_usize(number(size)));
        assert_eq!(offset, end, "{heading}: {field} does not begin where the field before it ends");
        end = offset + size;
        let got = bytes.get(offset..end).unwrap_or_else(|| panic!("{heading}: {field} lies beyond the end"));
        if field == "zero" || field == "flags" {
            assert!(got.iter().all(|byte| *byte == 0), "{heading}: {field} at {offset} is not zero");
            continue;
        }
        let (name, wanted) = expected.next().unwrap_or_else(|| panic!("{heading}: {field} is not known to the code"));
        assert_eq!(field, *name, "{heading}: order of fields");
        let (fits, rest) = wanted.split_at(size.min(wanted.len()));
        assert_eq!(got, fits, "{heading}: {field} at {offset}");
        assert!(rest.iter().all(|byte| *byte == 0), "{heading}: {field} has more than {size} bytes");
    }
    assert_eq!(expected.next(), None, "{heading}: a field of the code is not in the document");
    assert_eq!(end, bytes.len(), "{heading}: the table has another size than the code");
}

/// Compares a table of bits with a number.
fn check_bits(heading: &str, raw: u64, expected: &[(&str, u64)]) {
    let table = table(heading);
    let mut expected = expected.iter();
    let mut end = 0;
    let columns = table.cells("first bit").into_iter().zip(table.cells("bits")).zip(table.cells("field"));
    for ((first, bits), field) in columns {
        let (first, bits) = (number(first), number(bits));
        assert_eq!(first, end, "{heading}: {field} does not begin where the field before it ends");
        end = first + bits;
        let got = raw >> first & ((1 << bits) - 1);
        let zero = ("zero", 0);
        let (name, wanted) = if field == "zero" { &zero } else { expected.next().expect("a field of the code") };
        assert_eq!((field, got), (*name, *wanted), "{heading}");
    }
    assert_eq!((expected.next(), end), (None, 64), "{heading}");
}

// Layouts of fixed size.

fn file_header() -> SegmentHeader {
    SegmentHeader {
        kind: FileKind::Pages,
        generation: 0x21,
        uuid: UUID,
        segment: SegmentSeq(0x0304_0506_0708),
        timeline: 0x1112_1314_1516_1718,
        previous: SegmentSeq(0x2324_2526_2728),
        segment_bytes: 0x3132_3334_3536_3738,
    }
}

#[test]
fn the_file_header_is_as_described() {
    let header = file_header();
    let bytes = header.encode();
    let check = &bytes[124..];
    let fields: [(&str, &[u8]); 17] = [
        ("magic", &segment::MAGIC),
        ("version", &2_u16.to_le_bytes()),
        ("kind", &[FileKind::Pages as u8]),
        ("generation", &[header.generation]),
        ("granule", &[u8::try_from(tenure::format::GRANULE_BYTES.ilog2()).unwrap()]),
        ("page", &[u8::try_from(tenure::format::PAGE_BYTES.ilog2()).unwrap()]),
        ("checksum", &[segment::CHECKSUM_CRC32]),
        ("codec", &[segment::CODEC_PLAIN]),
        ("compatible", &[0; 8]),
        ("read_only_compatible", &[0; 8]),
        ("incompatible", &[0; 8]),
        ("uuid", &UUID),
        ("segment", &header.segment.0.to_le_bytes()),
        ("timeline", &header.timeline.to_le_bytes()),
        ("previous", &header.previous.0.to_le_bytes()),
        ("segment_bytes", &header.segment_bytes.to_le_bytes()),
        ("check", check),
    ];
    check_layout("File header", &bytes, &fields);
    assert_eq!(SegmentHeader::decode(&bytes, "file").unwrap(), header);
}

#[test]
fn unknown_features_are_treated_as_described() {
    let rows = table("File header");
    let offset_of = |name: &str| {
        let row = rows.rows.iter().find(|row| row["field"] == name).expect("a field");
        to_usize(number(&row["offset"]))
    };
    let with_bit = |field: &str| {
        let mut bytes = file_header().encode();
        bytes[offset_of(field)] ^= 0x40;
        let check = crc(0, &bytes[..124]);
        bytes[124..].copy_from_slice(&check.to_le_bytes());
        SegmentHeader::decode(&bytes, "file")
    };
    assert!(with_bit("compatible").is_ok());
    for field in ["version", "granule", "page", "checksum", "codec", "read_only_compatible", "incompatible"] {
        let error = with_bit(field).expect_err(field);
        assert!(matches!(error, tenure::Error::Unsupported { .. }), "{field}: {error}");
    }
    let mut damaged = file_header().encode();
    damaged[offset_of("incompatible")] ^= 1;
    assert!(SegmentHeader::decode(&damaged, "file").expect_err("damaged").is_corruption());
}

fn record_id() -> RecordId {
    RecordId::from_parts(0x51_5253_5455, 0x62_6364).unwrap()
}

fn stamp() -> Stamp {
    Stamp {
        kind: FrameKind::Commit,
        seq: Seq(0x0102_0304_0506_0708),
        durable: Seq(0x1112_1314_1516_1718),
        timeline: 0x2122_2324_2526_2728,
        time_micros: 0x3132_3334_3536_3738,
        move_number: 0x4142_4344_4546_4748,
    }
}

/// A run item of 4 bytes and a record of 5.
fn sealed_frame() -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    builder.control(Kind::Run, &16_u32.to_le_bytes());
    builder.record(Kind::Record, record_id(), b"hello");
    builder.seal(&stamp(), seed(), AT).to_vec()
}

#[test]
fn frames_and_items_are_as_described() {
    let (bytes, stamp) = (sealed_frame(), stamp());
    let length = u32::try_from(bytes.len()).unwrap();
    let fields: [(&str, &[u8]); 13] = [
        ("tag", b"TnFr"),
        ("head_check", &crc(seed().at(AT), &bytes[8..64]).to_le_bytes()),
        ("body_check", &crc(0, &[&bytes[64..72], &bytes[80..104]].concat()).to_le_bytes()),
        ("length", &length.to_le_bytes()),
        ("kind", &[1]),
        ("part", &[0]),
        ("parts", &[1]),
        ("items", &2_u32.to_le_bytes()),
        ("seq", &stamp.seq.0.to_le_bytes()),
        ("durable", &stamp.durable.0.to_le_bytes()),
        ("timeline", &stamp.timeline.to_le_bytes()),
        ("time_micros", &stamp.time_micros.to_le_bytes()),
        ("move_number", &stamp.move_number.to_le_bytes()),
    ];
    check_layout("Frame header", &bytes[..64], &fields);
    let fields: [(&str, &[u8]); 3] = [("check", &bytes[64..68]), ("length", &[4, 0]), ("kind", &[0x10])];
    check_layout("Control item header", &bytes[64..72], &fields);
    let fields: [(&str, &[u8]); 5] = [
        ("check", &bytes[80..84]),
        ("length", &[5, 0]),
        ("kind", &[1]),
        ("record_id", &record_id().as_u64().to_le_bytes()),
        ("seq", &stamp.seq.0.to_le_bytes()),
    ];
    check_layout("Record item header", &bytes[80..104], &fields);
    let empty = FrameBuilder::new().seal(&stamp, seed(), AT).to_vec();
    assert_eq!(u32_at(&empty, 8), 0, "body check of a frame without items");
}

#[test]
fn ids_and_entries_have_the_bits_that_are_described() {
    let id = record_id();
    check_bits("Record ID", id.as_u64(), &[("reuse_count", id.reuse_count().into()), ("slot", id.slot())]);
    let live = Entry::live(0x2a_bcde, 0x12_3456 * 16, 0xabc * 16, 0x19).unwrap();
    let fields = [
        ("offset_granules", 0x12_3456),
        ("place", 0x2a_bcde),
        ("granules_less_one", 0xabb),
        ("reuse_low", 9),
        ("state", 1),
    ];
    check_bits("Live entry", live.0, &fields);
    check_bits("Free entry", Entry::freed_after(8).0, &[("next_count", 9), ("state", 2)]);
    assert_eq!(Entry(0).state(), State::Free { next_count: 1 });
    assert_eq!(Entry(2 << 62).state(), State::Free { next_count: 1 });
    assert_eq!(Entry(3 << 62).state(), State::Retired);
}

fn page_descriptor() -> Descriptor {
    let page = PageRef {
        segment: SegmentSeq(0x0304_0506_0708),
        offset_granules: 0x1112_1314,
        bytes: 4096,
        check: 0x2122_2324,
    };
    Descriptor { page, set: 0x3132_3334, free: 0x4142, live: 0x5152, floor: 0x6162_6364 }
}

#[test]
fn descriptors_and_heads_are_as_described() {
    let (descriptor, mut bytes) = (page_descriptor(), Vec::new());
    descriptor.encode(&mut bytes);
    let fields: [(&str, &[u8]); 8] = [
        ("segment", &descriptor.page.segment.0.to_le_bytes()),
        ("offset_granules", &descriptor.page.offset_granules.to_le_bytes()),
        ("length", &descriptor.page.bytes.to_le_bytes()),
        ("check", &descriptor.page.check.to_le_bytes()),
        ("set", &descriptor.set.to_le_bytes()),
        ("free", &descriptor.free.to_le_bytes()),
        ("live", &descriptor.live.to_le_bytes()),
        ("floor", &descriptor.floor.to_le_bytes()),
    ];
    check_layout("Descriptor", &bytes, &fields);

    let head = Head { total_bytes: 0x0002_0304, chunk_bytes: 0xfe80, depth: 1, ids: vec![record_id()] };
    let bytes = head.encode();
    let fields: [(&str, &[u8]); 3] = [
        ("total_bytes", &head.total_bytes.to_le_bytes()),
        ("chunk_bytes", &head.chunk_bytes.to_le_bytes()),
        ("depth", &[1]),
    ];
    check_layout("Head payload", &bytes[..16], &fields);
    assert_eq!(bytes[16..], record_id().as_u64().to_le_bytes());
    assert_eq!(Head::decode(&bytes), Ok(head));
}

// The manifest.

fn manifest_entry(body: Body) -> manifest::Entry {
    manifest::Entry { number: 0x0102_0304_0506_0708, body }
}

#[test]
fn manifest_entries_are_as_described() {
    let cut = manifest::Cut { timeline: 11, seq: Seq(12), first_segment: SegmentSeq(13), resumed: Seq(14) };
    let (bytes, check) = manifest_entry(Body::Cut(cut)).encode(seed(), AT, 0x2122_2324);
    let fields: [(&str, &[u8]); 6] = [
        ("tag", b"TnMf"),
        ("check", &check.to_le_bytes()),
        ("length", &64_u32.to_le_bytes()),
        ("kind", &[3]),
        ("number", &0x0102_0304_0506_0708_u64.to_le_bytes()),
        ("check_before", &0x2122_2324_u32.to_le_bytes()),
    ];
    check_layout("Manifest entry header", &bytes[..32], &fields);
    let fields: [(&str, &[u8]); 4] =
        [("timeline", &[11]), ("seq", &[12]), ("first_segment", &[13]), ("resumed", &[14])];
    check_body("Cut body", Body::Cut(cut), &fields.map(|(name, value)| field(name, u64::from(value[0]), 8)));
    check_body("Drop body", Body::Drop(77), &[field("snapshot", 77, 8)]);
    let pages = [field("pages[0].number", 5, 8), field("pages[1].number", 6, 8)];
    check_body("Reserve body", Body::Reserve(vec![5, 6]), &pages);
}

type Field = (String, Vec<u8>);

fn field(name: &str, value: u64, size: usize) -> Field {
    (name.to_owned(), value.to_le_bytes()[..size].to_vec())
}

/// Reads a body by the tables of the document.
fn walk(heading: &str, path: &str, rest: &mut &[u8], out: &mut Vec<Field>) {
    let table = table(heading);
    let take = |rest: &mut &[u8], len: usize| {
        let (head, tail) = rest.split_at_checked(len).unwrap_or_else(|| panic!("{heading}: {path} ends too early"));
        *rest = tail;
        head.to_vec()
    };
    for (field, size) in table.cells("field").into_iter().zip(table.cells("size")) {
        let name = format!("{path}{field}");
        if let Some(rows) = size.strip_prefix("rows: ") {
            let count = u32_at(&take(rest, 4), 0);
            for row in 0..count {
                walk(rows, &format!("{name}[{row}]."), rest, out);
            }
        } else if size == "text" {
            let len = take(rest, 2);
            let len = usize::from(u16::from_le_bytes([len[0], len[1]]));
            out.push((name, take(rest, len)));
        } else {
            out.push((name, take(rest, to_usize(number(size)))));
        }
    }
}

fn check_body(heading: &str, body: Body, expected: &[Field]) {
    let entry = manifest_entry(body);
    let (bytes, _) = entry.encode(seed(), AT, 0);
    let length = usize::try_from(u32_at(&bytes, 8)).unwrap();
    let (mut rest, mut fields) = (&bytes[32..length], Vec::new());
    walk(heading, "", &mut rest, &mut fields);
    assert_eq!(fields, expected, "{heading}");
    assert_eq!(rest, b"", "{heading}: the code writes more than the document says");
    assert_eq!(manifest::Entry::decode(&bytes, seed(), AT, 0).unwrap().entry, entry);
}

fn snapshot() -> manifest::Snapshot {
    let segment = |place, pages| manifest::SegmentRow {
        place,
        segment: SegmentSeq(101),
        generation: 2,
        pages,
        bytes: 102,
        live_bytes: 103,
    };
    let sets =
        manifest::SetRow { number: SetNumber(16), name: "set".into(), records: 111, bytes: 112, changed: Seq(113) };
    manifest::Snapshot {
        number: 0x0102_0304_0506_0708,
        kind: manifest::SnapshotKind::Named,
        name: "näme".into(),
        seq: Seq(1),
        timeline: 2,
        time_micros: 3,
        root: page_descriptor(),
        page_end: 4,
        head_segment: SegmentSeq(5),
        head_offset: 6,
        next_segment: SegmentSeq(7),
        next_set: 8,
        next_stream: 9,
        reserved_from: 10,
        segments: vec![segment(1, false), segment(0, true)],
        sets: vec![sets],
        marks: vec![manifest::MarkRow { name: "mark".into(), seq: Seq(121) }],
        reserved: vec![131, 132],
        streams: vec![manifest::StreamRow { stream: 141, chunks: vec![142, 143] }],
        next_index: 11,
        indexes: vec![indexes::row()],
        raised: vec![manifest::RaisedRow { slot: 171, next_count: 172 }],
        extensions: vec![manifest::Extension { tag: 151, bytes: vec![152, 153] }],
    }
}

#[test]
fn the_snapshot_body_is_as_described() {
    let mut root = Vec::new();
    page_descriptor().encode(&mut root);
    let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let mut expected = vec![field("kind", 3, 1), text("name", "näme"), field("seq", 1, 8), field("timeline", 2, 8)];
    expected.extend([field("time_micros", 3, 8), ("root".to_owned(), root), field("page_end", 4, 8)]);
    expected.extend([field("head_segment", 5, 8), field("head_offset", 6, 8), field("next_segment", 7, 8)]);
    expected.extend([field("next_set", 8, 4), field("next_stream", 9, 8), field("reserved_from", 10, 8)]);
    for (row, (place, pages)) in [(1, 0), (0, 1)].into_iter().enumerate() {
        let name = |field: &str| format!("segments[{row}].{field}");
        expected.extend([field(&name("place"), place, 4), field(&name("segment"), 101, 8)]);
        expected.extend([field(&name("generation"), 2, 1), field(&name("pages"), pages, 1)]);
        expected.extend([field(&name("bytes"), 102, 8), field(&name("live_bytes"), 103, 8)]);
    }
    expected.extend([field("sets[0].number", 16, 4), text("sets[0].name", "set"), field("sets[0].records", 111, 8)]);
    expected.extend([field("sets[0].bytes", 112, 8), field("sets[0].changed", 113, 8)]);
    expected.extend([text("marks[0].name", "mark"), field("marks[0].seq", 121, 8)]);
    expected.extend([field("reserved[0].number", 131, 8), field("reserved[1].number", 132, 8)]);
    expected.extend([field("streams[0].stream", 141, 8), field("streams[0].chunks[0].number", 142, 8)]);
    expected.extend([field("streams[0].chunks[1].number", 143, 8), field("next_index", 11, 4)]);
    expected.extend(indexes::row_fields());
    expected.extend([field("raised[0].slot", 171, 8), field("raised[0].next_count", 172, 4)]);
    expected.push(field("extensions[0].tag", 151, 2));
    expected.extend([field("extensions[0].bytes[0].byte", 152, 1), field("extensions[0].bytes[1].byte", 153, 1)]);
    check_body("Snapshot body", Body::Snapshot(Box::new(snapshot())), &expected);
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let mut snapshot = snapshot();
    snapshot.extensions[0].tag |= manifest::MUST_UNDERSTAND;
    let (bytes, _) = manifest_entry(Body::Snapshot(Box::new(snapshot))).encode(seed(), AT, 0);
    let error = manifest::Entry::decode(&bytes, seed(), AT, 0).expect_err("refused");
    assert!(error.unsupported, "{error:?}");
}

// Constants.

/// Bits of the reuse count, the first slot that there is not, the highest count, as IDs themselves tell.
fn parts_of_an_id() -> (u32, u64, u64) {
    let reuse_bits = (RecordId::from_parts(1, 1).unwrap().as_u64() - 1).ilog2();
    let slot_end = 1_u64 << (64 - reuse_bits);
    assert!(RecordId::from_parts(slot_end - 1, 1).is_some() && RecordId::from_parts(slot_end, 1).is_none());
    let reuse_max = (1_u32 << reuse_bits) - 1;
    assert!(RecordId::from_parts(0, reuse_max).is_some() && RecordId::from_parts(0, reuse_max + 1).is_none());
    (reuse_bits, slot_end, reuse_max.into())
}

fn constants() -> BTreeMap<&'static str, u64> {
    let (reuse_bits, slot_end, reuse_max) = parts_of_an_id();
    BTreeMap::from([
        ("FORMAT_VERSION", tenure::format::FORMAT_VERSION.into()),
        ("GRANULE_BYTES", tenure::format::GRANULE_BYTES),
        ("PAGE_BYTES", to_u64(tenure::format::PAGE_BYTES)),
        ("SEGMENT_HEADER_BYTES", to_u64(segment::SEGMENT_HEADER_BYTES)),
        ("MAGIC", u64::from_le_bytes(segment::MAGIC)),
        ("CHECKSUM_CRC32", segment::CHECKSUM_CRC32.into()),
        ("CODEC_PLAIN", segment::CODEC_PLAIN.into()),
        ("FRAME_HEADER_BYTES", to_u64(frame::FRAME_HEADER_BYTES)),
        ("FRAME_TAG", frame::FRAME_TAG.into()),
        ("COPIED", frame::COPIED),
        ("PREWRITTEN", frame::PREWRITTEN),
        ("RECORD_HEADER_BYTES", to_u64(item::RECORD_HEADER_BYTES)),
        ("CONTROL_HEADER_BYTES", to_u64(item::CONTROL_HEADER_BYTES)),
        ("PAYLOAD_BYTES_MAX", to_u64(item::PAYLOAD_BYTES_MAX)),
        ("FIRST_CONTROL_KIND", item::FIRST_CONTROL_KIND.into()),
        ("MAY_SKIP", item::MAY_SKIP.into()),
        ("ENTRY_HEADER_BYTES", to_u64(manifest::ENTRY_HEADER_BYTES)),
        ("ENTRY_TAG", manifest::ENTRY_TAG.into()),
        ("MUST_UNDERSTAND", manifest::MUST_UNDERSTAND.into()),
        ("DAMAGED_INDEXES", manifest::DAMAGED_INDEXES.into()),
        ("KNOWN_ENTRIES", manifest::KNOWN_ENTRIES.into()),
        ("DROPPED_SETS", manifest::DROPPED_SETS.into()),
        ("CONSUMERS", manifest::CONSUMERS.into()),
        ("NUMBER_END", manifest::NUMBER_END),
        ("DESCRIPTOR_BYTES", to_u64(descriptor::DESCRIPTOR_BYTES)),
        ("DESCRIPTORS_PER_PAGE", to_u64(descriptor::DESCRIPTORS_PER_PAGE)),
        ("DESCRIPTOR_IS_PATCH", descriptor::DESCRIPTOR_IS_PATCH.into()),
        ("PLACE_BYTES", to_u64(descriptor::PLACE_BYTES)),
        ("ROW_HAS_SAME_BASE", descriptor::ROW_HAS_SAME_BASE.into()),
        ("ROW_HAS_SAME_SET", descriptor::ROW_HAS_SAME_SET.into()),
        ("ROW_NUMBER_BYTES", to_u64(descriptor::ROW_NUMBER_BYTES)),
        ("PATCH_BLOCK_ENTRIES", to_u64(page_patch::PATCH_BLOCK_ENTRIES)),
        ("PATCH_BLOCKS_BYTES", to_u64(page_patch::PATCH_BLOCKS_BYTES)),
        ("PATCH_BLOCK_BYTES", to_u64(page_patch::PATCH_BLOCK_BYTES)),
        ("PAGE_IMAGE_BYTES_MAX", descriptor::PAGE_IMAGE_BYTES_MAX.into()),
        ("ENTRIES_PER_PAGE", to_u64(entry::ENTRIES_PER_PAGE)),
        ("PLACE_BITS", entry::PLACE_BITS.into()),
        ("OFFSET_BITS", entry::OFFSET_BITS.into()),
        ("SIZE_BITS", entry::SIZE_BITS.into()),
        ("REUSE_LOW_BITS", entry::REUSE_LOW_BITS.into()),
        ("PLACE_END", entry::PLACE_END.into()),
        ("SEGMENT_BYTES_END", entry::SEGMENT_BYTES_END),
        ("SEGMENT_NUMBER_END", segment::SEGMENT_NUMBER_END),
        ("SEGMENT_NUMBER_GAP", segment::SEGMENT_NUMBER_GAP),
        ("RECORD_BYTES_MAX", entry::RECORD_BYTES_MAX),
        ("CHUNK_BYTES", to_u64(value::CHUNK_BYTES)),
        ("IDS_PER_LIST", to_u64(value::IDS_PER_LIST)),
        ("HEAD_BYTES", to_u64(value::HEAD_BYTES)),
        ("DEPTH_MAX", value::DEPTH_MAX.into()),
        ("NODE_TAG", node::NODE_TAG.into()),
        ("NODE_VERSION", node::NODE_VERSION.into()),
        ("NODE_HEADER_BYTES", to_u64(node::NODE_HEADER_BYTES)),
        ("NODE_SLOT_BYTES", to_u64(node::NODE_SLOT_BYTES)),
        ("NODE_HEAD_BYTES", to_u64(node::NODE_HEAD_BYTES)),
        ("NODE_CHILD_BYTES", to_u64(node::NODE_CHILD_BYTES)),
        ("NODE_HAS_ID", node::NODE_HAS_ID.into()),
        ("NODE_CHILD_IS_PATCH", node::NODE_CHILD_IS_PATCH.into()),
        ("NODE_IMAGE_BYTES_MAX", to_u64(node::NODE_IMAGE_BYTES_MAX)),
        ("NODE_PATCH_TAG", node_patch::NODE_PATCH_TAG.into()),
        ("NODE_PATCH_VERSION", node_patch::NODE_PATCH_VERSION.into()),
        ("NODE_PATCH_HEADER_BYTES", to_u64(node_patch::NODE_PATCH_HEADER_BYTES)),
        ("NODE_LEVEL_MAX", node::NODE_LEVEL_MAX.into()),
        ("NODE_ENTRIES_END", node::NODE_ENTRIES_END),
        ("CHANGE_HEADER_BYTES", to_u64(index::CHANGE_HEADER_BYTES)),
        ("MOVES_HEADER_BYTES", to_u64(moves::MOVES_HEADER_BYTES)),
        ("MOVE_BYTES_MAX", to_u64(moves::MOVE_BYTES_MAX)),
        ("REPLACED_BYTES", to_u64(replaced::REPLACED_BYTES)),
        ("KEY_BYTES_MAX", to_u64(tenure::key::KEY_BYTES_MAX)),
        ("REUSE_BITS", reuse_bits.into()),
        ("SLOT_BITS", slot_end.ilog2().into()),
        ("SLOT_END", slot_end),
        ("REUSE_MAX", reuse_max),
    ])
}

#[test]
fn constants_are_as_described() {
    let table = table("13. Constants");
    let value = |text: &str| match text.strip_prefix('`') {
        Some(bytes) => {
            let bytes = bytes.trim_end_matches('`').split(' ').rev();
            bytes.fold(0, |sum, byte| sum << 8 | u64::from_str_radix(byte, 16).expect("a byte"))
        }
        None => number(text),
    };
    let documented: BTreeMap<&str, u64> =
        table.cells("constant").into_iter().zip(table.cells("value").into_iter().map(value)).collect();
    assert_eq!(documented, constants());
}

#[test]
fn no_constant_of_the_code_is_left_out() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("id.rs"), source.join("key/tag.rs")];
    files.extend(std::fs::read_dir(source.join("format")).unwrap().map(|entry| entry.unwrap().path()));
    let mut declared = BTreeSet::new();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let name = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':')).map(|(name, _)| name);
            declared.extend(name.filter(|name| !name.contains(' ')).map(str::to_owned));
        }
    }
    let listed: BTreeSet<String> = constants().into_keys().map(str::to_owned).collect();
    assert_eq!(declared, listed);
}

// The grammar.

#[test]
fn every_name_of_the_grammar_is_defined_and_used() {
    let block = markdown::code_block(DOCUMENT, "3. Grammar", "ebnf");
    let mut text = String::new();
    for part in block.split("(*") {
        let code = part.split_once("*)").map_or(part, |(_, code)| code);
        text.push_str(code);
    }
    let terminals = ["u8", "u16", "u32", "u64", "byte", "zero"];
    let (mut defined, mut used) = (BTreeSet::new(), BTreeSet::from(["store".to_owned(), "id_list".to_owned()]));
    used.extend(["head", "index_ops", "create_index", "moves"].map(str::to_owned));
    for rule in text.split(';').map(str::trim).filter(|rule| !rule.is_empty()) {
        let (name, body) = rule.split_once('=').unwrap_or_else(|| panic!("no rule: {rule}"));
        assert!(defined.insert(name.trim().to_owned()), "{name} is defined twice");
        for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
            assert_eq!(body.matches(open).count(), body.matches(close).count(), "brackets of {name}");
        }
        let words = body.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let words =
            words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()) && !terminals.contains(word));
        used.extend(words.map(str::to_owned));
    }
    assert_eq!(defined, used);
}
