//! Valid blocks to begin with, made by the encoders.

use tenure::format::descriptor::{Descriptor, PageRef, Row, encode_directory_patch};
use tenure::format::entry::Entry as IndexEntry;
use tenure::format::frame::{FrameBuilder, FrameKind, Stamp};
use tenure::format::index::{Change, IndexDefinition, IndexRow};
use tenure::format::item::Kind;
use tenure::format::manifest::{
    Body, Cut, Entry, Extension, MarkRow, RaisedRow, SegmentRow, SetRow, Snapshot, SnapshotKind, StreamRow,
};
use tenure::format::moves::{Move, put_moves};
use tenure::format::node::{
    ChildRef, NODE_CHILD_BYTES, NODE_HAS_ID, NODE_HEAD_BYTES, NODE_HEADER_BYTES, NODE_SLOT_BYTES, NODE_TAG,
    NODE_VERSION,
};
use tenure::format::page_patch::PagePatch;
use tenure::format::segment::{FileKind, SegmentHeader};
use tenure::format::value::Head;
use tenure::key::Key;
use tenure::{IndexNumber, RecordId, SegmentSeq, Seq, SetNumber};

use crate::{AT, seed};

fn id(slot: u64) -> RecordId {
    RecordId::from_parts(slot, 1).expect("an ID")
}

fn definition() -> IndexDefinition {
    IndexDefinition {
        number: IndexNumber(3),
        set: SetNumber(16),
        unique: true,
        name: "by name".into(),
        extractor: "json".into(),
        version: 1,
        spec: "json:/name:string".into(),
        key_type: "string".into(),
        replaces: None,
    }
}

/// Changes of a key index.
fn index_changes() -> Vec<u8> {
    let mut bytes = vec![3, 0, 0, 0];
    for (put, key) in [(true, &b"key"[..]), (false, b""), (true, b"another key")] {
        Change { put, key, id: id(3) }.encode(&mut bytes);
    }
    bytes
}

/// Moves with slots on either side of the one before.
fn moves() -> Vec<Move> {
    let slots = [3, 1_000_000, 4, 1 << 39, 0];
    (1..).zip(slots).map(|(place, slot)| Move { slot, from: place * 4096, to: place * 32 }).collect()
}

/// One frame of each kind, and commits with items of each kind.
pub fn frames() -> Vec<Vec<u8>> {
    let stamp = |kind| Stamp { kind, seq: Seq(9), durable: Seq(8), timeline: 2, time_micros: 5, move_number: 0 };
    let mut seeds = Vec::new();
    for kind in [FrameKind::Commit, FrameKind::Survivors, FrameKind::Watermark, FrameKind::Seal] {
        seeds.push(FrameBuilder::new().seal(&stamp(kind), seed(), AT).to_vec());
    }
    let mut commit = FrameBuilder::new();
    commit.control(Kind::Run, &16_u32.to_le_bytes());
    commit.record(Kind::Record, id(3), b"a value");
    commit.record(Kind::Record, id(4), b"");
    seeds.push(commit.seal(&stamp(FrameKind::Commit), seed(), AT).to_vec());
    let mut record = FrameBuilder::new();
    record.record(Kind::Record, id(3), b"first of all");
    seeds.push(record.seal(&stamp(FrameKind::Survivors), seed(), AT).to_vec());
    let mut all = FrameBuilder::new();
    all.control(Kind::CreateSet, b"\x10\0\0\0name");
    all.control(Kind::Pages, &[0; 24]);
    all.control(Kind::Frees, &id(5).as_u64().to_le_bytes());
    all.control(Kind::Mark, b"mark");
    all.control(Kind::Stream, &[1; 8]);
    all.record(Kind::Chunk, id(6), &id(7).as_u64().to_le_bytes());
    all.record(Kind::Head, id(8), &heads()[0]);
    all.control(Kind::StreamEnd, &[1; 8]);
    all.control(Kind::IndexOps, &index_changes());
    let mut created = vec![1];
    definition().encode(&mut created);
    all.control(Kind::CreateIndex, &created);
    all.control(Kind::DropIndex, &[4; 4]);
    put_moves(&mut all, SegmentSeq(2), SegmentSeq(7), &moves());
    all.control(Kind::DropSet, &[3; 4]);
    all.control(Kind::Metadata, b"metadata");
    seeds.push(all.seal(&stamp(FrameKind::Commit), seed(), AT).to_vec());
    seeds
}

/// An entry of each kind.
pub fn manifest_entries() -> Vec<Vec<u8>> {
    let cut = Cut { timeline: 2, seq: Seq(3), first_segment: SegmentSeq(4), resumed: Seq(5) };
    let segment =
        SegmentRow { place: 0, segment: SegmentSeq(1), generation: 0, pages: false, bytes: 640, live_bytes: 64 };
    let set = SetRow { number: SetNumber(16), name: "people".into(), records: 1, bytes: 64, changed: Seq(3) };
    let snapshot = Snapshot {
        number: 6,
        kind: SnapshotKind::Named,
        name: "name".into(),
        seq: Seq(3),
        timeline: 2,
        time_micros: 5,
        root: descriptor(),
        page_end: 1,
        head_segment: SegmentSeq(1),
        head_offset: 640,
        next_segment: SegmentSeq(3),
        next_set: 17,
        next_stream: 2,
        reserved_from: 5,
        segments: vec![segment, SegmentRow { segment: SegmentSeq(2), pages: true, ..segment }],
        sets: vec![set],
        marks: vec![MarkRow { name: "mark".into(), seq: Seq(2) }],
        reserved: vec![0, 1],
        streams: vec![StreamRow { stream: 1, chunks: vec![id(7).as_u64()] }],
        next_index: 4,
        indexes: vec![IndexRow { definition: definition(), ready: true, root: descriptor().page, entries: 1 }],
        raised: vec![RaisedRow { slot: 3, next_count: 9 }],
        extensions: vec![Extension { tag: 1, bytes: b"later".to_vec() }],
    };
    let empty = Snapshot {
        segments: vec![],
        sets: vec![],
        marks: vec![],
        reserved: vec![],
        indexes: vec![],
        raised: vec![],
        ..snapshot.clone()
    };
    let snapshots = [snapshot, empty].map(|snapshot| Body::Snapshot(Box::new(snapshot)));
    let bodies = snapshots.into_iter().chain([Body::Reserve(vec![0, 1, 2]), Body::Cut(cut), Body::Drop(4)]);
    bodies.map(|body| Entry { number: 6, body }.encode(seed(), AT, 0).0).collect()
}

/// A header of each kind of file.
pub fn segment_headers() -> Vec<Vec<u8>> {
    let header = |kind| SegmentHeader {
        kind,
        generation: 1,
        uuid: *b"a store of tests",
        segment: SegmentSeq(7),
        timeline: 2,
        previous: SegmentSeq(6),
        segment_bytes: 64 << 20,
    };
    let kinds = [FileKind::Records, FileKind::Pages, FileKind::Manifest];
    kinds.into_iter().map(|kind| header(kind).encode().to_vec()).collect()
}

fn descriptor() -> Descriptor {
    let page = PageRef { segment: SegmentSeq(2), offset_granules: 8, bytes: 4096, check: 0x1234_5678 };
    Descriptor { page, set: 16, free: 511, live: 1, floor: 0 }
}

/// A leaf page, a directory page, and a patch of each.
pub fn pages() -> Vec<Vec<u8>> {
    let live = IndexEntry::live(0, 128, 32, 1).expect("an entry that fits");
    let entries = [live, IndexEntry::freed_after(1), IndexEntry::freed_after(u32::MAX), IndexEntry::NEVER];
    let leaf = entries.iter().flat_map(|entry| entry.0.to_le_bytes()).collect();
    let mut directory = Vec::new();
    descriptor().encode(&mut directory);
    Descriptor::default().encode(&mut directory);
    let (mut leaf_patch, mut directory_patch) = (Vec::new(), Vec::new());
    let now = |index: usize| entries.get(index % 100).copied().unwrap_or(IndexEntry::NEVER);
    PagePatch::encode(|_| IndexEntry::NEVER, now, 1 << 12, &mut leaf_patch);
    let row = Row { descriptor: descriptor(), base: Some(descriptor().page) };
    encode_directory_patch(&[(1, row), (7, Row { base: None, ..row })], &[row; 2], &mut directory_patch);
    row.encode(&mut directory);
    vec![leaf, directory, leaf_patch, directory_patch]
}

/// A node's image: header, slots, references to children, prefix, and cells.
fn node(level: u8, prefix: &[u8], entries: &[(&[u8], u64)], children: &[ChildRef]) -> Vec<u8> {
    let count = entries.len();
    let prefix_at = NODE_HEADER_BYTES + count * NODE_SLOT_BYTES + children.len() * NODE_CHILD_BYTES;
    let mut cells = prefix.to_vec();
    let mut slots = Vec::new();
    let field = |number: usize| u16::try_from(number).expect("a small node").to_le_bytes();
    for (suffix, id) in entries {
        let has_id = level == 0 || *id != 0;
        slots.extend_from_slice(&field(prefix_at + cells.len()));
        let flag = if has_id { usize::from(NODE_HAS_ID) } else { 0 };
        slots.extend_from_slice(&field(suffix.len() | flag));
        let head: Vec<u8> = suffix.iter().copied().chain([0; NODE_HEAD_BYTES]).take(NODE_HEAD_BYTES).collect();
        slots.extend_from_slice(&head);
        cells.extend_from_slice(suffix.get(NODE_HEAD_BYTES..).unwrap_or_default());
        if has_id {
            cells.extend_from_slice(&id.to_le_bytes());
        }
    }
    let mut image = vec![NODE_TAG, NODE_VERSION, level, 0];
    image.extend([field(count), field(prefix.len()), field(if prefix.is_empty() { 0 } else { prefix_at })].concat());
    image.resize(NODE_HEADER_BYTES, 0);
    image.extend(slots);
    children.iter().for_each(|child| child.encode(&mut image));
    image.extend(cells);
    image
}

/// Leaves with and without a prefix, with keys twice, and with many entries; an inner node; a leaf without entries.
pub fn nodes() -> Vec<Vec<u8>> {
    let ids: Vec<u64> = (1..=40).map(|slot| id(slot).as_u64()).collect();
    let words: [&[u8]; 5] = [b"", b"a", b"abcd", b"abcde", b"abcdefgh"];
    let words: Vec<(&[u8], u64)> = words.into_iter().zip(ids.iter().copied()).collect();
    let twice: Vec<(&[u8], u64)> = ids.iter().take(6).map(|id| (&b"the same key"[..], *id)).collect();
    let numbers: Vec<[u8; 8]> = (0..40_u64).map(|number| (number * number * 1_000_003).to_be_bytes()).collect();
    let many: Vec<(&[u8], u64)> = numbers.iter().map(<[u8; 8]>::as_slice).zip(ids.iter().copied()).collect();
    let child = ChildRef { page: descriptor().page, entries: 3, is_patch: false };
    let separators: [(&[u8], u64); 3] = [(b"", 0), (b"m", 0), (b"mm", ids[3])];
    vec![
        node(0, b"", &words, &[]),
        node(0, b"in common/", &words, &[]),
        node(0, b"", &twice, &[]),
        node(0, b"", &many, &[]),
        node(1, b"k", &separators, &[child; 3]),
        node(0, b"", &[], &[]),
    ]
}

/// Heads of each depth.
pub fn heads() -> Vec<Vec<u8>> {
    let head = |total_bytes, depth| Head { total_bytes, chunk_bytes: 100, depth, ids: vec![id(1), id(2)] }.encode();
    vec![head(150, 0), head(100 * 4096 + 1, 1), head(100 * 4096 * 4096 + 1, 2)]
}

/// Keys with components of all types, as bytes and as text.
pub fn keys() -> Vec<Vec<u8>> {
    let texts = [
        r#"null, true, -1, -300, 7, 40, 70000, 340282366920938463463374607431768211455"#,
        r#"1.5, -0.0, nan, inf, @2026-01-31T12:00:00.000001Z, "a\u0000\u0001é", 0x000102ff"#,
        r#"(1, ("a", desc 0x00), ()), desc (1, desc "b", false)"#,
    ];
    let bytes = texts.iter().map(|text| text.parse::<Key>().expect("a key").as_bytes().to_vec());
    bytes.chain(texts.iter().map(|text| text.as_bytes().to_vec())).collect()
}

/// Rows of JSON and of CSV, also packed.
pub fn imports() -> Vec<Vec<u8>> {
    let texts = [
        "{\"a\": 1}\n\n[2, \"\\u0041\"]\r\n\"x\"\nnull",
        "a,b\n1,2\n\"x,\"\"y\"\"\",\"two\nlines\"\r\n\n3,\n",
        "\u{feff}a\n1\n\u{feff}a\n2\n",
        "a,b\n1\n1,2,3\n\"open,2\n",
    ];
    let packed = texts.map(|text| crate::import::packed(text.as_bytes()));
    let twice = [packed[0].as_slice(), &packed[1]].concat();
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(packed).chain([twice]).collect()
}
