//! Stores with altered files and valid checksums: entries of the manifest, frames of the log, pages of the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::extract::Extractor;
use tenure::format::descriptor::{Descriptor, PageRef, Row, decode_directory_patch};
use tenure::format::frame::{Frame, FrameBuilder, FrameKind, Stamp};
use tenure::format::item::Kind;
use tenure::format::manifest::{Body, ENTRY_HEADER_BYTES, Entry, Snapshot};
use tenure::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use tenure::format::{Seed, checksum};
use tenure::{Durability, Options, RecordId, SegmentSeq, Seq};

use crate::common;

pub type Files = BTreeMap<String, Vec<u8>>;

pub fn options() -> Options {
    Options::new().background(false).segment_bytes(64 << 10).durability(Durability::Sync)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

/// A store that was closed, with a value in chunks, a key index, a mark and a named snapshot; and the same, killed, with commits
/// behind its last snapshot.
pub fn stores() -> (Files, Files) {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    let set = store.record_set("a").unwrap();
    let key = || Extractor::new("key", 1, |record, keys| keys.push(record.get(..2).unwrap_or_default()));
    store.index(&set, "by key", key()).unwrap();
    for n in 0..40 {
        store.write(|tx| tx.insert(&set, format!("{n:02} a record"))).unwrap();
    }
    store.write(|tx| tx.insert(&store.record_set("large")?, vec![7; 200_000])).unwrap();
    store.save_named_snapshot("named").unwrap();
    store.mark("a mark").unwrap();
    // Both automatic snapshots have everything.
    store.save_snapshot().unwrap();
    store.write(|tx| tx.insert(&set, "99 the last before it was closed")).unwrap();
    store.close().unwrap();
    let closed = common::read_backing(&*backing);
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    store.index(&set, "by key", key()).unwrap();
    for n in 40..45 {
        store.write(|tx| tx.insert(&set, format!("{n:02} a record"))).unwrap();
    }
    let killed = common::read_backing(&*backing);
    (closed, killed)
}

fn newest(files: &Files, stem: &str) -> String {
    files.keys().rfind(|name| name.starts_with(stem)).unwrap().clone()
}

fn header(name: &str, bytes: &[u8]) -> (SegmentHeader, Seed) {
    let header = SegmentHeader::decode(bytes, name).unwrap();
    let seed = Seed::new(header.uuid, header.segment);
    (header, seed)
}

/// The store with other entries in its newest manifest file.
pub fn with_entries(files: &Files, change: impl FnOnce(&mut Vec<Entry>)) -> Files {
    let name = newest(files, "manifest-");
    let bytes = &files[&name];
    let (_, seed) = header(&name, bytes);
    let (mut entries, mut at, mut check) = (Vec::new(), SEGMENT_HEADER_BYTES, 0);
    // Anything shorter than an entry is the proof after the last one.
    while at + ENTRY_HEADER_BYTES <= bytes.len() {
        let decoded = Entry::decode(&bytes[at..], seed, u64::try_from(at).unwrap(), check).unwrap();
        at += usize::try_from(decoded.bytes).unwrap();
        check = decoded.check;
        entries.push(decoded.entry);
    }
    change(&mut entries);
    let (mut out, mut check) = (bytes[..SEGMENT_HEADER_BYTES].to_vec(), 0);
    for entry in &entries {
        let (encoded, next) = entry.encode(seed, len(&out), check);
        out.extend_from_slice(&encoded);
        check = next;
    }
    let mut crafted = files.clone();
    crafted.insert(name, out);
    crafted
}

/// The store with another thing in each of its snapshots.
pub fn with_snapshots(files: &Files, mut change: impl FnMut(&mut Snapshot)) -> Files {
    with_entries(files, |entries| {
        for entry in entries {
            if let Body::Snapshot(snapshot) = &mut entry.body {
                change(snapshot);
            }
        }
    })
}

/// The store with commits more at the end of its log.
pub fn with_commits(files: &Files, count: u64, mut fill: impl FnMut(u64, &mut FrameBuilder)) -> Files {
    let name = newest(files, "log-");
    let mut bytes = files[&name].clone();
    let (file_header, seed) = header(&name, &bytes);
    let (mut at, mut seq) = (SEGMENT_HEADER_BYTES, Seq::ZERO);
    while let Ok(frame) = Frame::parse(&bytes[at..], seed, u64::try_from(at).unwrap()) {
        at += usize::try_from(frame.header.bytes).unwrap();
        seq = seq.max(frame.header.seq);
    }
    bytes.truncate(at);
    let mut frame = FrameBuilder::new();
    for number in 0..count {
        frame.clear();
        fill(number, &mut frame);
        seq = seq.next();
        let (kind, timeline) = (FrameKind::Commit, file_header.timeline);
        let stamp = Stamp { kind, seq, durable: Seq::ZERO, timeline, time_micros: 0, move_number: 0 };
        let offset = len(&bytes);
        bytes.extend_from_slice(frame.seal(&stamp, seed, offset));
    }
    let mut crafted = files.clone();
    crafted.insert(name, bytes);
    crafted
}

/// IDs of all records of a kind in the log.
pub fn ids_of(files: &Files, kind: Kind) -> Vec<RecordId> {
    let mut ids = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("log-")) {
        let (_, seed) = header(name, bytes);
        let mut at = SEGMENT_HEADER_BYTES;
        while let Ok(frame) = Frame::parse(&bytes[at..], seed, u64::try_from(at).unwrap()) {
            let of_kind = frame.items().flatten().filter(|(_, item)| item.kind == kind as u8);
            ids.extend(of_kind.map(|(_, item)| item.id().unwrap()));
            at += usize::try_from(frame.header.bytes).unwrap();
        }
    }
    ids
}

/// The store with another first directory page, which is written whole.
pub fn with_directory(files: &Files, change: impl FnOnce(&mut Vec<Row>)) -> Files {
    let mut files = files.clone();
    let mut root = None;
    with_snapshots(&files, |snapshot| root = Some(snapshot.root));
    let mut root: Descriptor = root.unwrap();
    let image = |files: &Files, page: &PageRef| {
        let at = usize::try_from(page.offset()).unwrap();
        files[&FileKind::Pages.file_name(page.segment)][at..at + usize::try_from(page.bytes).unwrap()].to_vec()
    };
    let mut mids = Row::decode_all(&image(&files, &root.page)).unwrap();
    let mut cells = Row::decode_all(&image(&files, &mids[0].whole())).unwrap();
    if mids[0].base.is_some() {
        for (number, row) in decode_directory_patch(&image(&files, &mids[0].descriptor.page), &cells).unwrap() {
            cells.resize(cells.len().max(usize::from(number) + 1), Row::default());
            cells[usize::from(number)] = row;
        }
    }
    let name = FileKind::Pages.file_name(root.page.segment);
    let bytes = files.get_mut(&name).unwrap();
    let (_, seed) = header(&name, bytes);
    let put = |bytes: &mut Vec<u8>, rows: &[Row]| {
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        let (offset, mut image) = (len(bytes), Vec::new());
        for row in rows {
            row.encode(&mut image);
        }
        bytes.extend_from_slice(&image);
        PageRef {
            segment: root.page.segment,
            offset_granules: u32::try_from(offset / 16).unwrap(),
            bytes: u32::try_from(image.len()).unwrap(),
            check: checksum(seed.at(offset), &image),
        }
    };
    change(&mut cells);
    mids[0] = Row { descriptor: Descriptor { page: put(bytes, &cells), ..mids[0].descriptor }, base: None };
    root.page = put(bytes, &mids);
    with_snapshots(&files, |snapshot| snapshot.root = root)
}

/// A segment that no file has.
pub fn nowhere(number: u64) -> SegmentSeq {
    SegmentSeq(1_000_000 + number)
}
