//! Kinds of files, frames, items, entries and snapshots: the tables name exactly those that the code knows.

use std::collections::BTreeMap;

use crate::format_document::checks::crc;
use crate::format_document::{AT, file_header, manifest_entry, sealed_frame, seed, snapshot, table, to_usize};
use crate::markdown::number;
use tenure::format::frame::FrameHeader;
use tenure::format::item::Kind;
use tenure::format::manifest::Body;
use tenure::format::segment::{FileKind, SegmentHeader};
use tenure::format::{item, manifest};
use tenure::{SegmentSeq, Seq};

/// Numbers and names of a table of kinds.
fn kinds(heading: &str) -> BTreeMap<u64, String> {
    let table = table(heading);
    let numbers = table.cells("number").into_iter().map(number);
    numbers.zip(table.cells("kind").into_iter().map(str::to_owned)).collect()
}

#[test]
fn kinds_of_files_have_the_numbers_and_names_that_are_described() {
    let table = table("File kinds");
    for (kind, file) in kinds("File kinds").values().zip(table.cells("example of a name")) {
        let (parsed, number) = FileKind::parse_name(file).unwrap_or_else(|| panic!("{file} is not ours"));
        assert_eq!((format!("{parsed:?}"), parsed.file_name(number)), (kind.clone(), file.to_owned()));
    }
    let mut known = BTreeMap::new();
    for raw in 0..=u8::MAX {
        let mut bytes = file_header().encode();
        bytes[10] = raw;
        let check = crc(0, &bytes[..124]);
        bytes[124..].copy_from_slice(&check.to_le_bytes());
        if let Ok(header) = SegmentHeader::decode(&bytes, "file") {
            known.insert(u64::from(raw), format!("{:?}", header.kind));
        }
    }
    assert_eq!(known, kinds("File kinds"));
}

#[test]
fn kinds_of_frames_and_items_are_as_described() {
    let mut known = BTreeMap::new();
    for raw in 0..=u8::MAX {
        let mut bytes = sealed_frame();
        bytes[16] = raw;
        let check = crc(seed().at(AT), &bytes[8..64]);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        match FrameHeader::parse(&bytes, seed(), AT) {
            Ok(header) => drop(known.insert(u64::from(raw), format!("{:?}", header.kind))),
            Err(error) => assert!(error.unsupported, "kind {raw}: {error:?}"),
        }
    }
    assert_eq!(known, kinds("Frame kinds"));

    let known = (0..=u8::MAX).filter_map(|raw| Some((u64::from(raw), format!("{:?}", Kind::from_u8(raw)?))));
    assert_eq!(known.collect::<BTreeMap<_, _>>(), kinds("Item kinds"));
    let table = table("Item kinds");
    for (raw, header) in table.cells("number").into_iter().zip(table.cells("header")) {
        let raw = u8::try_from(number(raw)).unwrap();
        assert_eq!(item::header_bytes(raw), to_usize(number(header)), "kind {raw:#x}");
    }
}

#[test]
fn kinds_of_manifest_entries_are_as_described() {
    let decode = |offset: usize, raw: u8, body: &Body| {
        let (mut bytes, _) = manifest_entry(body.clone()).encode(seed(), AT, 0);
        bytes[offset] = raw;
        let check = crc(seed().at(AT), &bytes[8..]);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        manifest::Entry::decode(&bytes, seed(), AT, 0)
    };
    let saved = Body::Snapshot(Box::new(snapshot()));
    let cut = manifest::Cut { timeline: 1, seq: Seq(1), first_segment: SegmentSeq(1), resumed: Seq(1) };
    let bodies = [("Snapshot", saved.clone()), ("Reserve", Body::Reserve(vec![1])), ("Cut", Body::Cut(cut))];
    let numbered = bodies.into_iter().chain([("Drop", Body::Drop(1))]);
    let known =
        numbered.map(|(name, body)| (u64::from(manifest_entry(body).encode(seed(), AT, 0).0[12]), name.to_owned()));
    assert_eq!(known.collect::<BTreeMap<_, _>>(), kinds("Manifest entry kinds"));
    let (entry_kinds, snapshot_kinds) = (kinds("Manifest entry kinds"), kinds("Snapshot kinds"));
    for raw in 0..=u8::MAX {
        let refused = decode(12, raw, &Body::Drop(1)).is_err_and(|error| error.unsupported);
        assert_eq!(refused, !entry_kinds.contains_key(&raw.into()), "kind {raw} of an entry");
        match decode(32, raw, &saved).map(|decoded| decoded.entry.body) {
            Ok(Body::Snapshot(found)) => assert_eq!(snapshot_kinds[&raw.into()], format!("{:?}", found.kind)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.unsupported && !snapshot_kinds.contains_key(&raw.into()), "{raw}: {error:?}"),
        }
    }
}
