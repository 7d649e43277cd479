//! Properties of the format: encoding round-trips, damage is detected, and no input makes a decoder panic.
//!
//! Each property runs 256 cases, or `PROPTEST_CASES`. Inputs differ from run to run; a failing one is kept in
//! `format_properties.regressions` beside this file and tried first from then on.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;

use tenure::format::descriptor::{DESCRIPTOR_BYTES, Descriptor, PAGE_IMAGE_BYTES_MAX, PageRef};
use tenure::format::entry::{Entry, Location, PLACE_END, RECORD_BYTES_MAX, SEGMENT_BYTES_END, State};
use tenure::format::frame::{FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, FrameKind, Stamp};
use tenure::format::index::{IndexDefinition, IndexRow};
use tenure::format::item::{Item, Kind};
use tenure::format::manifest::{
    Body, Cut, Extension, MUST_UNDERSTAND, MarkRow, RaisedRow, SegmentRow, SetRow, Snapshot, SnapshotKind, StreamRow,
};
use tenure::format::moves::{MOVE_BYTES_MAX, MOVES_HEADER_BYTES, Move, moves, put_moves};
use tenure::format::segment::{FileKind, SEGMENT_NUMBER_END, SegmentHeader};
use tenure::format::value::{CHUNK_BYTES, Head, IDS_PER_LIST, decode_ids};
use tenure::format::{Frame, Seed, checksum, index, manifest};
use tenure::key::KEY_BYTES_MAX;
use tenure::{IndexNumber, RecordId, SegmentSeq, Seq, SetNumber};

fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

// Values.

fn seeds() -> impl Strategy<Value = (Seed, u64)> {
    let place = (any::<[u8; 16]>(), any::<u64>(), 0..SEGMENT_BYTES_END / 16);
    place.prop_map(|(uuid, segment, granule)| (Seed::new(uuid, SegmentSeq(segment)), granule * 16))
}

fn record_ids() -> impl Strategy<Value = RecordId> {
    (0..1_u64 << 40, 1..16_u32).prop_map(|(slot, count)| RecordId::from_parts(slot, count).unwrap())
}

fn kinds_of_frames() -> impl Strategy<Value = FrameKind> {
    prop::sample::select(vec![FrameKind::Commit, FrameKind::Survivors, FrameKind::Watermark, FrameKind::Seal])
}

fn stamps() -> impl Strategy<Value = Stamp> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (kinds_of_frames(), numbers).prop_map(|(kind, (seq, durable, timeline, time_micros, move_number))| Stamp {
        kind,
        seq: Seq(seq),
        durable: Seq(durable),
        timeline,
        time_micros,
        move_number,
    })
}

/// An item: a record when it has an ID.
type Put = (Kind, Option<RecordId>, Vec<u8>);

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let kinds = prop::sample::select((0..=u8::MAX).filter_map(Kind::from_u8).collect::<Vec<_>>());
    let put = (kinds, record_ids(), vec(any::<u8>(), 0..80));
    let put = put.prop_map(|(kind, id, payload)| (kind, ((kind as u8) < 0x10).then_some(id), payload));
    vec(put, 0..8)
}

fn build(puts: &[Put]) -> FrameBuilder {
    let mut builder = FrameBuilder::new();
    for (kind, id, payload) in puts {
        match id {
            Some(id) => drop(builder.record(*kind, *id, payload)),
            None => builder.control(*kind, payload),
        }
    }
    builder
}

fn texts() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..20).prop_map(|chars| chars.into_iter().collect())
}

fn descriptors() -> impl Strategy<Value = Descriptor> {
    let page = (any::<u64>(), any::<u32>(), 0..=PAGE_IMAGE_BYTES_MAX, any::<u32>());
    (page, any::<u32>(), any::<u16>(), any::<u16>(), any::<u32>()).prop_map(
        |((segment, offset_granules, bytes, check), set, free, live, floor)| Descriptor {
            page: PageRef { segment: SegmentSeq(segment), offset_granules, bytes, check },
            set,
            free,
            live,
            floor,
        },
    )
}

fn segment_rows() -> impl Strategy<Value = SegmentRow> {
    let row = (any::<u32>(), 0..SEGMENT_NUMBER_END, any::<u8>(), any::<bool>(), any::<u64>(), any::<u64>());
    row.prop_map(|(place, segment, generation, pages, bytes, live_bytes)| SegmentRow {
        place,
        segment: SegmentSeq(segment),
        generation,
        pages,
        bytes,
        live_bytes,
    })
}

fn set_rows() -> impl Strategy<Value = SetRow> {
    (any::<u32>(), texts(), any::<[u64; 3]>()).prop_map(|(number, name, [records, bytes, changed])| SetRow {
        number: SetNumber(number),
        name,
        records,
        bytes,
        changed: Seq(changed),
    })
}

fn definitions() -> impl Strategy<Value = IndexDefinition> {
    let numbers = (any::<[u32; 3]>(), any::<bool>(), any::<Option<u32>>());
    (numbers, texts(), texts(), texts(), texts()).prop_map(|(numbers, name, extractor, spec, key_type)| {
        let ([number, set, version], unique, replaces) = numbers;
        let (number, set, replaces) = (IndexNumber(number), SetNumber(set), replaces.map(IndexNumber));
        IndexDefinition { number, set, unique, name, extractor, version, spec, key_type, replaces }
    })
}

fn index_rows() -> impl Strategy<Value = IndexRow> {
    let root = (any::<u64>(), any::<[u32; 3]>()).prop_map(|(segment, [offset_granules, bytes, check])| PageRef {
        segment: SegmentSeq(segment),
        offset_granules,
        bytes,
        check,
    });
    (definitions(), any::<bool>(), root, any::<u64>()).prop_map(|(definition, ready, root, entries)| IndexRow {
        definition,
        ready,
        root,
        entries,
    })
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let kind = prop::sample::select(vec![SnapshotKind::Automatic, SnapshotKind::Close, SnapshotKind::Named]);
    let marks = vec((texts(), any::<u64>()), 0..4);
    let streams = vec((any::<u64>(), vec(any::<u64>(), 0..4)), 0..4);
    let extensions = vec((0..MUST_UNDERSTAND, vec(any::<u8>(), 0..8)), 0..4);
    let fixed = (kind, texts(), any::<[u64; 10]>(), any::<u32>(), descriptors());
    let indexes = (any::<u32>(), vec(index_rows(), 0..4));
    let raised = vec((any::<u64>(), any::<u32>()), 0..4);
    let rows = (vec(segment_rows(), 0..4), vec(set_rows(), 0..4), marks, vec(any::<u64>(), 0..4), streams);
    let rows = (rows, indexes, raised, extensions);
    (any::<u64>(), fixed, rows).prop_map(|(number, (kind, name, numbers, next_set, root), rows)| {
        let ((segments, sets, marks, reserved, streams), (next_index, indexes), raised, extensions) = rows;
        Snapshot {
            number,
            kind,
            name,
            seq: Seq(numbers[0]),
            timeline: numbers[1],
            time_micros: numbers[2],
            root,
            page_end: numbers[3],
            head_segment: SegmentSeq(numbers[4] % SEGMENT_NUMBER_END),
            head_offset: numbers[5],
            next_segment: SegmentSeq(numbers[6] % SEGMENT_NUMBER_END),
            next_set,
            next_stream: numbers[7],
            reserved_from: numbers[8],
            segments,
            sets,
            marks: marks.into_iter().map(|(name, seq)| MarkRow { name, seq: Seq(seq) }).collect(),
            reserved,
            streams: streams.into_iter().map(|(stream, chunks)| StreamRow { stream, chunks }).collect(),
            next_index,
            indexes,
            raised: raised.into_iter().map(|(slot, next_count)| RaisedRow { slot, next_count }).collect(),
            extensions: extensions.into_iter().map(|(tag, bytes)| Extension { tag, bytes }).collect(),
        }
    })
}

fn manifest_entries() -> impl Strategy<Value = manifest::Entry> {
    let cuts = any::<[u64; 4]>().prop_map(|[timeline, seq, first, resumed]| {
        let first_segment = SegmentSeq(first % SEGMENT_NUMBER_END);
        Body::Cut(Cut { timeline, seq: Seq(seq), first_segment, resumed: Seq(resumed) })
    });
    let bodies = prop_oneof![
        4 => snapshots().prop_map(|snapshot| Body::Snapshot(Box::new(snapshot))),
        1 => vec(any::<u64>(), 0..20).prop_map(Body::Reserve),
        1 => cuts,
        1 => any::<u64>().prop_map(Body::Drop),
    ];
    (any::<u64>(), bodies).prop_map(|(number, mut body)| {
        if let Body::Snapshot(snapshot) = &mut body {
            snapshot.number = number;
        }
        manifest::Entry { number, body }
    })
}

fn segment_headers() -> impl Strategy<Value = SegmentHeader> {
    let kind = prop::sample::select(vec![FileKind::Records, FileKind::Pages, FileKind::Manifest]);
    let fields = (kind, any::<u8>(), any::<[u8; 16]>(), any::<[u64; 4]>());
    fields.prop_map(|(kind, generation, uuid, [segment, timeline, previous, segment_bytes])| SegmentHeader {
        kind,
        generation,
        uuid,
        segment: SegmentSeq(segment % SEGMENT_NUMBER_END),
        timeline,
        previous: SegmentSeq(previous % SEGMENT_NUMBER_END),
        segment_bytes,
    })
}

fn heads() -> impl Strategy<Value = Head> {
    let size = (1..=u32::try_from(CHUNK_BYTES).unwrap(), 0..=2_u8, 1..40_u64, any::<Index>(), record_ids());
    size.prop_map(|(chunk_bytes, depth, ids, last, id)| {
        // The last list and the last chunk may hold less than the others.
        let below = u64::try_from(IDS_PER_LIST).unwrap().pow(depth.into()) * u64::from(chunk_bytes);
        let total_bytes = (ids - 1) * below + 1 + u64::try_from(last.index(usize::try_from(below).unwrap())).unwrap();
        Head { total_bytes, chunk_bytes, depth, ids: vec![id; usize::try_from(ids).unwrap()] }
    })
}

/// Two segments and moves between them: places that rise, slots in any order.
fn moved() -> impl Strategy<Value = (SegmentSeq, SegmentSeq, Vec<Move>)> {
    let steps = vec((0..1_u64 << 40, 1..4096_u64, 1..4096_u64), 1..200);
    (1..SEGMENT_NUMBER_END - 1, any::<bool>(), steps).prop_map(|(number, is_back, steps)| {
        let (mut from, mut to) = (0, 0);
        let step = |(slot, behind, further): (u64, u64, u64)| {
            (from, to) = (from + behind * 16, to + further * 16);
            Move { slot, from, to }
        };
        let (one, other) = (SegmentSeq(number), SegmentSeq(number + 1));
        let (first, second) = if is_back { (other, one) } else { (one, other) };
        (first, second, steps.into_iter().map(step).collect())
    })
}

/// A frame of moves, and the payloads of its items.
fn frame_of_moves((from, to, all): &(SegmentSeq, SegmentSeq, Vec<Move>), seed: Seed, at: u64) -> Vec<Vec<u8>> {
    let mut frame = FrameBuilder::new();
    put_moves(&mut frame, *from, *to, all);
    let stamp =
        Stamp { kind: FrameKind::Commit, seq: Seq(1), durable: Seq(0), timeline: 1, time_micros: 0, move_number: 0 };
    let bytes = frame.seal(&stamp, seed, at).to_vec();
    let frame = Frame::parse(&bytes, seed, at).expect("what was sealed");
    meaning(&frame).1.iter().map(|(_, item)| item.payload.to_vec()).collect()
}

// Damage.

/// What happens to bytes.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Overwrite(Index, Vec<u8>),
    CopyWithin(Index, Index, usize),
    Cut(Index),
    Swap(Index, Index),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        (any::<Index>(), any::<Index>(), 1..40_usize).prop_map(|(from, to, len)| Damage::CopyWithin(from, to, len)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Damage::Swap(one, other)),
    ];
    vec(damage, 1..4)
}

fn damage(bytes: &mut Vec<u8>, damages: &[Damage]) {
    for damage in damages {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        match damage {
            Damage::Flip(at, mask) => bytes[at.index(len)] ^= mask,
            Damage::Overwrite(at, new) => {
                bytes[at.index(len)..].iter_mut().zip(new).for_each(|(byte, new)| *byte = *new);
            }
            Damage::CopyWithin(from, to, count) => {
                let (from, to) = (from.index(len), to.index(len));
                bytes.copy_within(from..from + (*count).min(len - from.max(to)), to);
            }
            Damage::Cut(at) => bytes.truncate(at.index(len)),
            Damage::Swap(one, other) => bytes.swap(one.index(len), other.index(len)),
        }
    }
}

/// What a frame says: header and items, without padding.
fn meaning<'a>(frame: &Frame<'a>) -> (FrameHeader, Vec<(u64, Item<'a>)>) {
    (frame.header, frame.items().map(|item| item.expect("a parsed frame has whole items")).collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn frames_come_back((seed, at) in seeds(), stamp in stamps(), puts in puts()) {
        let bytes = build(&puts).seal(&stamp, seed, at).to_vec();
        let frame = Frame::parse(&bytes, seed, at).expect("what was sealed");
        let (header, items) = meaning(&frame);
        prop_assert_eq!(usize::try_from(header.bytes).unwrap(), bytes.len());
        prop_assert_eq!((header.kind, header.seq, header.durable), (stamp.kind, stamp.seq, stamp.durable));
        prop_assert_eq!((header.timeline, header.time_micros, header.move_number), (stamp.timeline, stamp.time_micros, stamp.move_number));
        prop_assert_eq!(items.len(), puts.len());
        for ((offset, item), (kind, id, payload)) in items.iter().zip(&puts) {
            prop_assert!(offset.is_multiple_of(16) && *offset >= at + 64);
            prop_assert_eq!((item.kind, item.payload), (*kind as u8, &payload[..]));
            prop_assert_eq!(item.raw_id, id.map_or(0, RecordId::as_u64));
            let seq = if id.is_some() && stamp.kind == FrameKind::Commit { stamp.seq } else { Seq::ZERO };
            prop_assert_eq!(item.seq, seq);
            // An item can be verified by itself, without its frame.
            let start = usize::try_from(offset - at).unwrap();
            let alone = Item::parse(&bytes[start..]).expect("an item");
            prop_assert_eq!(alone.verify(seed.at(*offset)), Ok(()));
            prop_assert!(alone.verify(seed.at(offset + 16)).is_err(), "an item validates elsewhere");
        }
    }

    #[test]
    fn a_copied_frame_says_the_same(from in seeds(), to in seeds(), stamp in stamps(), puts in puts()) {
        let bytes = build(&puts).seal(&stamp, from.0, from.1).to_vec();
        let frame = Frame::parse(&bytes, from.0, from.1).expect("what was sealed");
        let mut copy = FrameBuilder::new();
        for (_, item) in meaning(&frame).1 {
            copy.copy(&item);
        }
        let copied = copy.seal(&Stamp { kind: FrameKind::Survivors, ..stamp }, to.0, to.1).to_vec();
        let copied = Frame::parse(&copied, to.0, to.1).expect("what was copied");
        let say = |frame: &Frame<'_>| -> Vec<(u8, u64, Seq, Vec<u8>)> {
            meaning(frame).1.iter().map(|(_, item)| (item.kind, item.raw_id, item.seq, item.payload.to_vec())).collect()
        };
        prop_assert_eq!(say(&copied), say(&frame));
    }

    #[test]
    fn a_damaged_frame_is_refused_or_says_the_same(
        (seed, at) in seeds(), stamp in stamps(), puts in puts(), damages in damages(),
    ) {
        let bytes = build(&puts).seal(&stamp, seed, at).to_vec();
        let before = Frame::parse(&bytes, seed, at).expect("what was sealed");
        let mut damaged = bytes.clone();
        damage(&mut damaged, &damages);
        if let Ok(after) = Frame::parse(&damaged, seed, at) {
            prop_assert_eq!(meaning(&after), meaning(&before));
        }
    }

    #[test]
    fn a_frame_validates_nowhere_else(here in seeds(), there in seeds(), stamp in stamps(), puts in puts()) {
        prop_assume!(here != there);
        let bytes = build(&puts).seal(&stamp, here.0, here.1).to_vec();
        prop_assert!(Frame::parse(&bytes, there.0, there.1).is_err());
    }

    #[test]
    fn manifest_entries_come_back((seed, at) in seeds(), entry in manifest_entries(), before in any::<u32>()) {
        let (mut bytes, check) = entry.encode(seed, at, before);
        let len = bytes.len();
        prop_assert!(len.is_multiple_of(16));
        bytes.extend_from_slice(b"what follows");
        let decoded = manifest::Entry::decode(&bytes, seed, at, before).expect("what was encoded");
        prop_assert_eq!((decoded.entry, decoded.check), (entry, check));
        prop_assert_eq!(usize::try_from(decoded.bytes).unwrap(), len);
        prop_assert!(manifest::Entry::decode(&bytes, seed, at, before ^ 1).is_err(), "the chain is not checked");
        prop_assert!(manifest::Entry::decode(&bytes, seed, at + 16, before).is_err(), "the offset is not checked");
    }

    #[test]
    fn a_damaged_manifest_entry_is_refused(
        (seed, at) in seeds(), entry in manifest_entries(), damages in damages(),
    ) {
        let (bytes, _) = entry.encode(seed, at, 0);
        let mut damaged = bytes.clone();
        damage(&mut damaged, &damages);
        let decoded = manifest::Entry::decode(&damaged, seed, at, 0);
        prop_assert_eq!(decoded.is_ok(), damaged == bytes);
    }

    #[test]
    fn a_resealed_manifest_entry_is_refused_or_comes_back(
        (seed, at) in seeds(), entry in manifest_entries(), damages in damages(),
    ) {
        let (mut bytes, _) = entry.encode(seed, at, 0);
        damage(&mut bytes, &damages);
        bytes.resize(bytes.len().max(32), 0);
        // Tag, length and chain are mended, so that the body is what is tested.
        bytes[..4].copy_from_slice(&manifest::ENTRY_TAG.to_le_bytes());
        bytes.truncate(bytes.len() / 16 * 16);
        let length = u32::try_from(bytes.len()).unwrap();
        if u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]).next_multiple_of(16) != length {
            bytes[8..12].copy_from_slice(&length.to_le_bytes());
        }
        bytes[24..28].fill(0);
        let check = checksum(seed.at(at), &bytes[8..]);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        if let Ok(decoded) = manifest::Entry::decode(&bytes, seed, at, 0) {
            let (again, _) = decoded.entry.encode(seed, at, 0);
            let again = manifest::Entry::decode(&again, seed, at, 0).expect("what was encoded");
            prop_assert_eq!(again.entry, decoded.entry);
        }
    }

    #[test]
    fn segment_headers_come_back(header in segment_headers(), damages in damages()) {
        let bytes = header.encode();
        prop_assert_eq!(SegmentHeader::decode(&bytes, "file").expect("what was encoded"), header);
        let mut damaged = bytes.to_vec();
        damage(&mut damaged, &damages);
        match SegmentHeader::decode(&damaged, "file") {
            Ok(_) => prop_assert_eq!(&damaged[..], bytes),
            // Damage must not look like a newer version.
            Err(error) => prop_assert!(error.is_corruption(), "{}", error),
        }
    }

    #[test]
    fn file_names_come_back(number in 0..SEGMENT_NUMBER_END, text in "[a-z]{1,8}-[0-9+]{1,14}\\.[a-z]{3}") {
        for kind in [FileKind::Records, FileKind::Pages, FileKind::Manifest] {
            let name = kind.file_name(SegmentSeq(number));
            prop_assert_eq!(FileKind::parse_name(&name), Some((kind, SegmentSeq(number))));
        }
        if let Some((kind, number)) = FileKind::parse_name(&text) {
            prop_assert_eq!(kind.file_name(number), text);
        }
    }

    #[test]
    fn descriptors_come_back(descriptor in descriptors(), raw in vec(any::<u8>(), 0..40)) {
        let mut bytes = Vec::new();
        descriptor.encode(&mut bytes);
        prop_assert_eq!(bytes.len(), DESCRIPTOR_BYTES);
        prop_assert_eq!(Descriptor::decode(&bytes), Ok(descriptor));
        if let Ok(decoded) = Descriptor::decode(&raw) {
            let mut again = Vec::new();
            decoded.encode(&mut again);
            prop_assert_eq!(&again[..28], &raw[..28], "something was lost");
        }
    }

    #[test]
    fn live_entries_come_back(
        place in 0..PLACE_END, granule in 0..SEGMENT_BYTES_END / 16, bytes in 1..=RECORD_BYTES_MAX, count in 1..1_u32 << 24,
    ) {
        let entry = Entry::live(place, granule * 16, bytes, count).expect("fields that fit");
        let State::Live(location) = entry.state() else { return Err(TestCaseError::fail("not live")) };
        let Location { place: got_place, offset_granules, granules, reuse_low } = location;
        prop_assert_eq!((got_place, u64::from(offset_granules), reuse_low), (place, granule, count & 0xf));
        prop_assert_eq!(u64::from(granules), bytes.div_ceil(16));
        prop_assert!(entry.is_live() && !entry.is_free());
    }

    #[test]
    fn every_entry_says_something(raw in any::<u64>()) {
        let entry = Entry(raw);
        match entry.state() {
            State::Live(location) => {
                let again = Entry::live(location.place, location.offset(), location.bytes(), location.reuse_low);
                prop_assert_eq!(again, Some(entry));
            }
            State::Free { next_count } => prop_assert!(entry.is_free() && (1..1 << 24).contains(&next_count)),
            State::Retired => prop_assert!(!entry.is_free() && !entry.is_live()),
        }
    }

    #[test]
    fn changes_of_indexes_come_back(
        number in any::<u32>(),
        puts in vec((any::<bool>(), vec(any::<u8>(), 0..KEY_BYTES_MAX + 1), record_ids()), 0..8),
        end in any::<Index>(),
    ) {
        let all: Vec<_> = puts.iter().map(|(put, key, id)| index::Change { put: *put, key, id: *id }).collect();
        let mut bytes = number.to_le_bytes().to_vec();
        for change in &all {
            change.encode(&mut bytes);
        }
        let (found, changes) = index::changes(&bytes).unwrap();
        prop_assert_eq!(found, IndexNumber(number));
        prop_assert_eq!(changes.collect::<Result<Vec<_>, _>>().unwrap(), all.clone());
        // What is cut off ends at a whole change, or with an error.
        let cut = &bytes[..4 + end.index(bytes.len() - 3)];
        let read: Vec<_> = index::changes(cut).unwrap().1.collect();
        let whole: Vec<_> = read.iter().map_while(|change| change.as_ref().ok().copied()).collect();
        prop_assert!(all.starts_with(&whole));
        let taken = 4 + whole.iter().map(index::Change::bytes).sum::<usize>();
        prop_assert_eq!(read.last().is_some_and(Result::is_err), taken < cut.len());
    }

    #[test]
    fn moves_come_back((seed, at) in seeds(), moved in moved(), end in any::<Index>()) {
        let payloads = frame_of_moves(&moved, seed, at);
        let (from, to, all) = &moved;
        let mut back = Vec::new();
        for payload in &payloads {
            let (got_from, got_to, part) = moves(payload).expect("what was put");
            prop_assert_eq!((got_from, got_to), (*from, *to));
            prop_assert!(payload.len() <= MOVES_HEADER_BYTES + part.len() * MOVE_BYTES_MAX);
            back.extend(part);
        }
        prop_assert_eq!(&back, all);
        // What is cut off is refused, or holds the first of them.
        let payload = &payloads[0];
        if let Ok((_, _, part)) = moves(&payload[..end.index(payload.len())]) {
            prop_assert!(part.len() < all.len() && all.starts_with(&part));
        }
    }

    #[test]
    fn damaged_moves_are_refused_or_come_back(
        (seed, at) in seeds(), moved in moved(), damages in damages(), raw in vec(any::<u8>(), 0..300),
    ) {
        let mut damaged = frame_of_moves(&moved, seed, at).swap_remove(0);
        damage(&mut damaged, &damages);
        // Any bytes behind two segments that can be.
        let any = [&1_u64.to_le_bytes()[..], &2_u64.to_le_bytes(), &raw].concat();
        for bytes in [damaged, any] {
            let Ok((from, to, all)) = moves(&bytes) else { continue };
            prop_assert!(!all.is_empty() && from != to);
            prop_assert!(all.is_sorted_by_key(|each| each.from) && all.is_sorted_by_key(|each| each.to));
            prop_assert!(all.iter().all(|each| each.slot < 1 << 40));
            prop_assert!(all.iter().all(|each| each.from.max(each.to) < SEGMENT_BYTES_END));
            let again = frame_of_moves(&(from, to, all.clone()), seed, at).swap_remove(0);
            prop_assert_eq!(moves(&again), Ok((from, to, all)));
        }
    }

    #[test]
    fn heads_come_back(head in heads(), damages in damages()) {
        let bytes = head.encode();
        prop_assert_eq!(Head::decode(&bytes), Ok(head.clone()));
        let (mut fewer, mut more) = (head.clone(), head.clone());
        fewer.ids.pop();
        prop_assert!(Head::decode(&fewer.encode()).is_err(), "an ID is missing");
        more.ids.extend(head.ids.first());
        prop_assert!(Head::decode(&more.encode()).is_err(), "an ID too many");
        let mut damaged = bytes;
        damage(&mut damaged, &damages);
        if let Ok(decoded) = Head::decode(&damaged) {
            prop_assert_eq!(Head::decode(&decoded.encode()), Ok(decoded));
        }
    }

    #[test]
    fn arbitrary_bytes_make_no_decoder_panic((seed, at) in seeds(), mut bytes in vec(any::<u8>(), 0..400), tag in 0..3_u8) {
        // With a tag in front, a decoder gets one step further.
        let tags: [&[u8]; 3] = [b"", b"TnFr", b"TnMf"];
        bytes.splice(0..0, tags[usize::from(tag)].iter().copied());
        prop_assert!(Frame::parse(&bytes, seed, at).is_err());
        prop_assert!(FrameHeader::parse(&bytes, seed, at).is_err());
        prop_assert!(manifest::Entry::decode(&bytes, seed, at, 0).is_err());
        prop_assert!(SegmentHeader::decode(&bytes, "file").is_err());
        if let Ok(item) = Item::parse(&bytes) {
            prop_assert!(item.verify(seed.at(at)).is_err());
            drop(item.id());
        }
        drop(Descriptor::decode(&bytes));
        drop(Head::decode(&bytes));
        drop(moves(&bytes));
        if let Ok(ids) = decode_ids(&bytes) {
            prop_assert_eq!(ids.len() * 8, bytes.len());
        }
    }

    #[test]
    fn a_frame_whose_header_lies_is_refused(
        (seed, at) in seeds(), stamp in stamps(), puts in puts(), length in any::<u32>(), items in any::<u32>(),
    ) {
        let mut bytes = build(&puts).seal(&stamp, seed, at).to_vec();
        let before = Frame::parse(&bytes, seed, at).expect("what was sealed").header;
        prop_assume!(length != before.bytes && items != before.items);
        for (offset, lie) in [(12, length), (20, items)] {
            let mut lying = bytes.clone();
            lying[offset..offset + 4].copy_from_slice(&lie.to_le_bytes());
            let check = checksum(seed.at(at), &lying[8..FRAME_HEADER_BYTES]);
            lying[4..8].copy_from_slice(&check.to_le_bytes());
            prop_assert!(Frame::parse(&lying, seed, at).is_err());
        }
        // A frame may be followed by anything.
        bytes.extend_from_slice(&length.to_le_bytes());
        prop_assert!(Frame::parse(&bytes, seed, at).is_ok());
    }
}
