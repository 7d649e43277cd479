//! What must hold for every input. Each function takes any bytes and panics when something is wrong.

use tenure::format::descriptor::{
    DESCRIPTOR_BYTES, Descriptor, PageRef, Row, decode_directory_patch, encode_directory_patch,
};
use tenure::format::entry::{ENTRIES_PER_PAGE, Entry as IndexEntry, State};
use tenure::format::frame::{FrameBuilder, FrameHeader, FrameKind, Stamp};
use tenure::format::index::IndexDefinition;
use tenure::format::item::{Item, Kind, RECORD_HEADER_BYTES};
use tenure::format::manifest::Entry;
use tenure::format::node::{KeyEntry, NODE_CHILD_BYTES, NODE_HEADER_BYTES, NODE_SLOT_BYTES, NodeView};
use tenure::format::node_patch::{LeafPatch, decode_inner, encode_inner};
use tenure::format::page_patch::PagePatch;
use tenure::format::segment::{FileKind, SegmentHeader};
use tenure::format::value::{Head, decode_ids};
use tenure::format::{Frame, index, moves};
use tenure::key::{Key, decode};
use tenure::{Error, SegmentSeq, Seq};

use crate::{AT, reseal, seed};

/// Frames: what checks is read without a panic, and comes back from its copy.
pub fn frame(data: &[u8]) {
    // Raw bytes, also as frames and items that begin at each granule.
    for at in (0..data.len().min(1024)).step_by(16) {
        drop(FrameHeader::parse(&data[at..], seed(), AT));
        if let Ok(item) = Item::parse(&data[at..]) {
            drop(item.verify(seed().at(AT)));
            payload(&item);
        }
    }
    if let Ok(frame) = Frame::parse(data, seed(), AT) {
        comes_back(&frame);
    }
    // Items that may be none: refused, or read.
    let sealed = reseal::frame(data, false, 0);
    assert!(FrameHeader::parse(&sealed, seed(), AT).is_ok(), "a sealed header holds");
    if let Ok(frame) = Frame::parse(&sealed, seed(), AT) {
        comes_back(&frame);
    }
    // A wrong number of items: refused.
    assert!(Frame::parse(&reseal::frame(data, true, 1), seed(), AT).is_err(), "the number of items is not checked");
    // Whole items: read.
    let sealed = reseal::frame(data, true, 0);
    match Frame::parse(&sealed, seed(), AT) {
        Ok(frame) => comes_back(&frame),
        Err(error) => panic!("a sealed frame is refused: {error:?}"),
    }
}

fn payload(item: &Item<'_>) {
    match Kind::from_u8(item.kind) {
        Some(Kind::Head) => head(item.payload),
        Some(Kind::Chunk) => drop(decode_ids(item.payload)),
        Some(Kind::IndexOps) => index_changes(item.payload),
        Some(Kind::CreateIndex) => definition(item.payload.get(1..).unwrap_or_default()),
        Some(Kind::Moves) => moved(item.payload),
        _ => {}
    }
    if let Ok(id) = item.id() {
        assert_eq!(id.as_u64(), item.raw_id);
        canary(item);
    }
}

/// Changes of a key index: refused from some place on, or the same after another round.
fn index_changes(payload: &[u8]) {
    let Ok((number, changes)) = index::changes(payload) else { return };
    let mut again = number.0.to_le_bytes().to_vec();
    for change in changes {
        let Ok(change) = change else { return assert!(payload.starts_with(&again)) };
        change.encode(&mut again);
    }
    assert_eq!(again, payload);
}

/// Moves: refused, or the same after another round, though perhaps shorter.
fn moved(payload: &[u8]) {
    let Ok((from, to, all)) = moves::moves(payload) else { return };
    assert!(from != to && !all.is_empty());
    let mut builder = FrameBuilder::new();
    moves::put_moves(&mut builder, from, to, &all);
    let stamp =
        Stamp { kind: FrameKind::Commit, seq: Seq(1), durable: Seq(0), timeline: 1, time_micros: 0, move_number: 0 };
    let bytes = builder.seal(&stamp, seed(), AT).to_vec();
    let frame = Frame::parse(&bytes, seed(), AT).expect("what was sealed");
    let mut again = Vec::new();
    for item in frame.items() {
        let (got_from, got_to, part) = moves::moves(item.expect("an item").1.payload).expect("what was put");
        assert_eq!((got_from, got_to), (from, to));
        again.extend(part);
    }
    assert_eq!(again, all);
}

fn definition(bytes: &[u8]) {
    if let Ok(definition) = IndexDefinition::decode(bytes) {
        let mut again = Vec::new();
        definition.encode(&mut again);
        assert_eq!(again, bytes);
    }
}

#[cfg(feature = "canary")]
fn canary(item: &Item<'_>) {
    let found = item.id().is_ok_and(|id| id.reuse_count() >= 2) && item.payload.first() >= Some(&0x80);
    assert!(!(found && item.verify(seed().at(AT + 64)).is_ok()), "the canary was found, as it should be");
}

#[cfg(not(feature = "canary"))]
fn canary(_item: &Item<'_>) {}

/// What two frames must have in common.
fn says<'a>(frame: &Frame<'a>) -> Vec<(u8, u8, u64, u64, &'a [u8])> {
    let is_commit = frame.header.kind == FrameKind::Commit;
    let items = frame.items().map(|item| item.expect("a parsed frame has whole items").1);
    // A commit gives its records its own number.
    let seq = |item: &Item<'_>| if is_commit { 0 } else { item.seq.0 };
    items.map(|item| (item.kind, item.flags, item.raw_id, seq(&item), item.payload)).collect()
}

fn comes_back(frame: &Frame<'_>) {
    let header = frame.header;
    let mut builder = FrameBuilder::new();
    let mut count = 0;
    for item in frame.items() {
        let (at, item) = item.expect("a parsed frame has whole items");
        assert!(at.is_multiple_of(16) && at + item.bytes() <= AT + u64::from(header.bytes));
        item.verify(seed().at(at)).expect("a parsed frame has valid items");
        payload(&item);
        builder.copy(&item);
        count += 1;
    }
    assert_eq!(count, header.items);
    let FrameHeader { kind, seq, durable, timeline, time_micros, move_number, .. } = header;
    let stamp = Stamp { kind, seq, durable, timeline, time_micros, move_number };
    let bytes = builder.seal(&stamp, seed(), AT + 16).to_vec();
    let copy = Frame::parse(&bytes, seed(), AT + 16).expect("what was sealed");
    assert_eq!(says(&copy), says(frame));
    assert_eq!((copy.header.seq, copy.header.durable, copy.header.timeline), (seq, durable, timeline));
}

/// Manifest entries: refused, or the same after another round.
pub fn manifest(data: &[u8]) {
    if let Ok(decoded) = Entry::decode(data, seed(), AT, 0) {
        entry_comes_back(&decoded.entry);
    }
    let sealed = reseal::manifest_entry(data);
    match Entry::decode(&sealed, seed(), AT, 0) {
        Ok(decoded) => {
            assert_eq!(decoded.bytes, u64::try_from(sealed.len()).expect("fits"));
            entry_comes_back(&decoded.entry);
        }
        Err(error) => assert!(!error.expected.starts_with("check "), "a sealed entry is refused: {error:?}"),
    }
}

fn entry_comes_back(entry: &Entry) {
    let (bytes, _) = entry.encode(seed(), AT, 3);
    let again = Entry::decode(&bytes, seed(), AT, 3).expect("what was encoded");
    assert_eq!(&again.entry, entry);
}

/// File headers and names.
pub fn segment_header(data: &[u8]) {
    for bytes in [data.to_vec(), reseal::segment_header(data, false)] {
        if let Ok(header) = SegmentHeader::decode(&bytes, "file") {
            header_comes_back(&header);
        }
    }
    match SegmentHeader::decode(&reseal::segment_header(data, true), "file") {
        Ok(header) => header_comes_back(&header),
        Err(Error::Unsupported { .. }) => {}
        // Nothing but an absurd number is left to be wrong.
        Err(error) => assert!(error.to_string().contains("numbers below"), "a sealed header is refused: {error}"),
    }
    if let Ok(name) = std::str::from_utf8(data)
        && let Some((kind, number)) = FileKind::parse_name(name)
    {
        assert_eq!(kind.file_name(number), name);
    }
}

fn header_comes_back(header: &SegmentHeader) {
    assert_eq!(&SegmentHeader::decode(&header.encode(), "file").expect("what was encoded"), header);
    let name = header.kind.file_name(header.segment);
    assert_eq!(FileKind::parse_name(&name), Some((header.kind, header.segment)));
}

/// Images of pages: descriptors and entries, of which every pattern of bits says something.
pub fn page(data: &[u8]) {
    for bytes in data.chunks(DESCRIPTOR_BYTES) {
        if let Ok(descriptor) = Descriptor::decode(bytes) {
            let mut again = Vec::new();
            descriptor.encode(&mut again);
            assert_eq!(again[..28], bytes[..28], "something was lost");
            assert!(descriptor.page.offset() < 1 << 36);
        }
    }
    if let Ok(rows) = Row::decode_all(data) {
        let mut again = Vec::new();
        rows.iter().for_each(|row| row.encode(&mut again));
        assert_eq!(Row::decode_all(&again), Ok(rows), "rows that were read");
    }
    let row = Row { base: Some(PageRef { segment: SegmentSeq(2), ..PageRef::default() }), ..Row::default() };
    for before in [&[][..], &[row; 100]] {
        if let Ok(changed) = decode_directory_patch(data, before) {
            let mut again = Vec::new();
            encode_directory_patch(&changed, before, &mut again);
            assert_eq!(decode_directory_patch(&again, before), Ok(changed), "rows of a patch that were read");
        }
    }
    page_patch(data);
    for bytes in data.chunks_exact(8) {
        let raw = bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let entry = IndexEntry(raw);
        match entry.state() {
            State::Live(at) => {
                assert_eq!(IndexEntry::live(at.place, at.offset(), at.bytes(), at.reuse_low), Some(entry));
                assert!(at.bytes() >= 16 && entry.is_live());
            }
            State::Free { next_count } => assert!(next_count >= 1 && entry.is_free()),
            State::Retired => assert!(!entry.is_free() && !entry.is_live()),
        }
    }
}

/// Patches of leaf pages: refused, or the same when they are written again.
fn page_patch(data: &[u8]) {
    if let Some(patch) = PagePatch::open(data) {
        (0..ENTRIES_PER_PAGE).for_each(|index| drop(patch.entry(index)));
    }
    let Ok(patch) = PagePatch::parse(data) else { return };
    let entries: Vec<_> = (0..ENTRIES_PER_PAGE).map(|index| patch.entry(index).expect("a whole patch")).collect();
    // A base that differs wherever the patch has an entry.
    let base = |index: usize| IndexEntry(entries[index].map_or(1, |entry| !entry.0));
    let now = |index: usize| entries[index].unwrap_or(IndexEntry(1));
    let mut again = Vec::new();
    assert!(PagePatch::encode(base, now, data.len(), &mut again));
    assert_eq!(again, data, "a patch that was read");
}

/// Patches of nodes, likewise.
fn node_patch(data: &[u8]) {
    if let Ok(patch) = LeafPatch::parse(data) {
        let bytes = |view: Option<NodeView<'_>>| view.map_or(0, |view| NODE_HEADER_BYTES + view.count());
        assert!(bytes(patch.came) + bytes(patch.went) <= data.len(), "more entries than bytes");
    }
    if let Ok((level, changed)) = decode_inner(data) {
        let mut again = Vec::new();
        encode_inner(level, &changed, &mut again);
        assert_eq!(decode_inner(&again), Ok((level, changed)), "children that were read");
    }
}

/// Heads of large values: refused, or with as many IDs as their size asks for.
pub fn head(data: &[u8]) {
    if let Ok(ids) = decode_ids(data) {
        let mut again = Vec::new();
        tenure::format::value::encode_ids(&ids, &mut again);
        assert_eq!(again, data);
    }
    if let Ok(head) = Head::decode(data) {
        assert!(data.len() >= 16 + head.ids.len() * 8, "more IDs than bytes");
        assert!(head.chunks() * u64::from(head.chunk_bytes) >= head.total_bytes || head.chunks() > u64::MAX >> 16);
        assert_eq!(Head::decode(&head.encode()), Ok(head));
    }
    // The same bytes with a size that suits the number of IDs.
    if let Some(ids) = data.len().checked_sub(16).map(|bytes| bytes / 8) {
        let mut bytes = data[..16 + ids * 8].to_vec();
        let chunk = u32::from(bytes[8]) + 1;
        let total = u64::try_from(ids).expect("fits") * u64::from(chunk);
        bytes[..8].copy_from_slice(&total.to_le_bytes());
        bytes[8..12].copy_from_slice(&chunk.to_le_bytes());
        bytes[12] = 0;
        let valid = decode_ids(&bytes[16..]).is_ok();
        assert_eq!(Head::decode(&bytes).is_ok(), valid, "a head of {ids} IDs for {total} bytes in chunks of {chunk}");
    }
}

/// Nodes of key indexes: read without a panic, and searched to the right place if they are sound.
pub fn node(data: &[u8]) {
    node_patch(data);
    for bytes in [data.to_vec(), reseal::node(data)] {
        if let Ok(view) = NodeView::parse(&bytes) {
            node_is_read(&view, &bytes);
        }
    }
    assert!(NodeView::parse(&reseal::node(data)).is_ok(), "a mended node is refused");
}

fn node_is_read(view: &NodeView<'_>, bytes: &[u8]) {
    let is_sound = view.check().is_ok();
    let mut entries: Vec<(Vec<u8>, u64)> = Vec::new();
    for index in 0..view.count() {
        let mut key = Vec::new();
        let id = view.read(index, &mut key);
        assert_eq!(id, view.id(index), "two ways to the same cell");
        assert!(id.is_some() || !is_sound, "a sound node has whole cells");
        entries.extend(id.map(|id| (key, id)));
    }
    assert!(view.id(view.count()).is_none(), "an entry behind the last one");
    assert!(!is_sound || entries.is_sorted_by(|one, other| one < other), "entries of a sound node ascend");
    // Its own entries, and some that it may not have.
    let parts = bytes.chunks(24).take(8).map(|part| (part.to_vec(), 7));
    let near = entries.iter().take(8).map(|(key, id)| ([key, &[0][..]].concat(), id.wrapping_add(1)));
    let probes: Vec<_> = entries.iter().cloned().chain(near).chain(parts).collect();
    for (key, id) in &probes {
        let wanted = KeyEntry { key, id: *id };
        let found = [false, true].map(|after| view.search(&wanted, after));
        assert!(found.iter().flatten().all(|at| *at <= view.count()), "a place outside of the node");
        if is_sound {
            let place = entries.partition_point(|entry| (&entry.0, entry.1) < (key, *id));
            let is_there = entries.get(place).is_some_and(|entry| (&entry.0, entry.1) == (key, *id));
            assert_eq!(found, [Some(place), Some(place + usize::from(is_there))], "a search for {key:02x?}");
            let same_key = entries.get(place).map(|entry| entry.0 == *key);
            assert_eq!(view.has_key(place, key), same_key);
        }
    }
    if let Some(children) = view.children() {
        let mut again = Vec::new();
        children.for_each(|child| child.encode(&mut again));
        let begin = NODE_HEADER_BYTES + view.count() * NODE_SLOT_BYTES;
        assert_eq!(again, bytes[begin..begin + view.count() * NODE_CHILD_BYTES], "references that were read");
    }
    node_canary(view, is_sound);
}

#[cfg(feature = "canary")]
fn node_canary(view: &NodeView<'_>, is_sound: bool) {
    let found = is_sound && view.level() & 4 != 0 && view.id(0) >= Some(1 << 32);
    assert!(!found, "the canary was found, as it should be");
}

#[cfg(not(feature = "canary"))]
fn node_canary(_view: &NodeView<'_>, _is_sound: bool) {}

/// Keys: bytes and text, refused or the same after another round.
pub fn key(data: &[u8]) {
    if let Ok(values) = decode(data) {
        let again = Key::new(&values).expect("what was decoded");
        assert_eq!(again.as_bytes(), data, "{values:?}");
        assert_eq!(again.to_string().parse::<Key>().expect("what was printed"), again);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = text.parse::<Key>()
    {
        assert_eq!(key.to_string().parse::<Key>().expect("what was printed"), key);
    }
}

const _: () = assert!(RECORD_HEADER_BYTES == 24, "the resealing of frames knows this header");

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::seeds;

    /// A poor man's fuzzer: mutates the seeds for a while, the same way in every run.
    fn mutate(seeds: Vec<Vec<u8>>, rounds: u32, check: impl Fn(&[u8])) {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 8).expect("fits") % end.max(1)
        };
        for round in 0..rounds {
            let mut bytes = seeds[usize::try_from(round).expect("fits") % seeds.len()].clone();
            for _ in 0..=next(4) {
                let (at, value) = (next(bytes.len()), u8::try_from(next(256)).expect("a byte"));
                match next(4) {
                    0 => bytes[at] = value,
                    1 => bytes[at] ^= 1 << (value % 8),
                    2 => bytes.truncate(at + 1),
                    _ => bytes.insert(at, value),
                }
            }
            check(&bytes);
        }
    }

    #[test]
    #[cfg_attr(feature = "canary", should_panic(expected = "the canary was found"))]
    fn mutated_frames_keep_the_rules() {
        mutate(seeds::frames(), 200_000, frame);
    }

    #[test]
    fn mutated_manifest_entries_keep_the_rules() {
        mutate(seeds::manifest_entries(), 50_000, manifest);
    }

    #[test]
    fn mutated_headers_keep_the_rules() {
        mutate(seeds::segment_headers(), 50_000, segment_header);
    }

    #[test]
    fn mutated_pages_keep_the_rules() {
        mutate(seeds::pages(), 20_000, page);
    }

    #[test]
    fn mutated_heads_keep_the_rules() {
        mutate(seeds::heads(), 50_000, head);
    }

    #[test]
    #[cfg_attr(feature = "canary", should_panic(expected = "the canary was found"))]
    fn mutated_nodes_keep_the_rules() {
        mutate(seeds::nodes(), 200_000, node);
    }

    #[test]
    fn mutated_keys_keep_the_rules() {
        mutate(seeds::keys(), 100_000, key);
    }

    #[test]
    fn mutated_imports_keep_the_rules() {
        mutate(seeds::imports(), 4_000, |bytes| {
            crate::import::check(bytes);
            crate::import::endless(bytes);
        });
    }

    #[test]
    fn mutated_dumps_keep_the_rules() {
        mutate(crate::dump::seeds(), 3_000, crate::dump::check);
    }

    #[test]
    fn seeds_are_what_sealing_makes() {
        for seed in seeds::frames() {
            assert_eq!(reseal::frame(&seed, true, 0), seed);
        }
        for seed in seeds::manifest_entries() {
            assert_eq!(reseal::manifest_entry(&seed), seed);
        }
        for seed in seeds::segment_headers() {
            assert_eq!(reseal::segment_header(&seed, true), seed);
        }
        for seed in seeds::nodes() {
            assert_eq!(reseal::node(&seed), seed);
            assert!(NodeView::parse(&seed).expect("a node").check().is_ok(), "seeds are sound");
        }
    }

    #[test]
    fn sealing_leads_past_the_checksums() {
        let rounds = 2000;
        let [raw, sealed] = [Cell::new(0), Cell::new(0)];
        mutate(seeds::frames(), rounds, |bytes| {
            raw.set(raw.get() + u32::from(Frame::parse(bytes, seed(), AT).is_ok()));
            sealed.set(sealed.get() + u32::from(Frame::parse(&reseal::frame(bytes, true, 0), seed(), AT).is_ok()));
        });
        // What still holds as it is was mutated in its padding only, or not at all.
        assert!(raw.get() < rounds / 10 && sealed.get() == rounds, "frames: {raw:?} raw, {sealed:?} sealed");
        let [raw, sealed] = [Cell::new(0), Cell::new(0)];
        mutate(seeds::manifest_entries(), rounds, |bytes| {
            raw.set(raw.get() + u32::from(Entry::decode(bytes, seed(), AT, 0).is_ok()));
            let whole = reseal::manifest_entry(bytes);
            sealed.set(sealed.get() + u32::from(Entry::decode(&whole, seed(), AT, 0).is_ok()));
        });
        assert!(raw.get() < rounds / 10 && sealed.get() > rounds / 4, "entries: {raw:?} raw, {sealed:?} sealed");
    }
}
