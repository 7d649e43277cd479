//! Whatever is accepted can be read back, and costs no more than its size.

use std::sync::Arc;

use crate::backing::{Backing, Memory};
use crate::error::{Error, Result};
use crate::format::Seed;
use crate::format::descriptor::Descriptor;
use crate::format::manifest::{Body, Cut, NUMBER_END, SegmentRow, Snapshot, SnapshotKind};
use crate::format::segment::{FileKind, SEGMENT_NUMBER_END};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::manifest::kept::{ENTRY_BYTES_MAX, Kept, NAMED_BYTES_MAX, RESERVED_BYTES_MAX};
use crate::manifest::{Loaded, Manifest, load};

fn snapshot(number: u64, name: &str, segments: u64) -> Body {
    let row = |segment| SegmentRow {
        place: 0,
        segment: SegmentSeq(segment),
        generation: 0,
        pages: false,
        bytes: 1,
        live_bytes: 1,
    };
    Body::Snapshot(Box::new(Snapshot {
        number,
        kind: if name.is_empty() { SnapshotKind::Automatic } else { SnapshotKind::Named },
        name: name.to_owned(),
        seq: Seq(number),
        timeline: 1,
        time_micros: 0,
        root: Descriptor::default(),
        page_end: 0,
        head_segment: SegmentSeq(number % 1_000),
        head_offset: 128,
        next_segment: SegmentSeq(1_000),
        next_set: 16,
        next_stream: 1,
        reserved_from: number,
        segments: (0..segments).map(row).collect(),
        sets: Vec::new(),
        marks: Vec::new(),
        reserved: Vec::new(),
        streams: Vec::new(),
        next_index: 1,
        indexes: Vec::new(),
        raised: Vec::new(),
        extensions: Vec::new(),
    }))
}

fn manifest() -> (Arc<dyn Backing>, Manifest) {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let manifest = Manifest::new(Arc::clone(&backing), &Loaded::default(), Arc::default());
    (backing, manifest)
}

fn save(manifest: &Manifest, name: &str, segments: u64) -> Result<u64> {
    manifest.append(|number| snapshot(number, name, segments))
}

fn files(backing: &dyn Backing) -> Vec<SegmentSeq> {
    let names = backing.list().unwrap();
    let mut files: Vec<SegmentSeq> =
        names.iter().filter_map(|name| FileKind::parse_name(name)).map(|(_, number)| number).collect();
    files.sort_unstable();
    files
}

fn kept_now(backing: &dyn Backing) -> Vec<u64> {
    load(backing, &files(backing)).unwrap().kept().snapshots().map(|snapshot| snapshot.number).collect()
}

#[test]
fn dropping_many_names_writes_no_more_than_a_few_times_what_they_took() {
    let (backing, manifest) = manifest();
    save(&manifest, "", 1).unwrap();
    let numbers: Vec<u64> = (0..2_000).map(|name| save(&manifest, &format!("{name}"), 100).unwrap()).collect();
    for number in numbers {
        manifest.append(|_| Body::Drop(number)).unwrap();
    }
    let last = files(&*backing).last().copied().unwrap_or_default();
    assert!(last.0 < 12, "{last} files were begun");
    assert_eq!(kept_now(&*backing).len(), 1);
}

#[test]
fn what_is_kept_is_what_a_reader_keeps() {
    let (backing, manifest) = manifest();
    let mut named = Vec::new();
    for round in 0..3_000_u64 {
        match round % 7 {
            0 => named.push(save(&manifest, &format!("{}", round % 11), 20).unwrap()),
            1 => drop(save(&manifest, "", round % 40).unwrap()),
            2 => drop(manifest.append(|_| Body::Reserve(vec![round; 40])).unwrap()),
            3 if named.len() > 5 => {
                let number = named.remove(usize::try_from(round).unwrap() % named.len());
                manifest.append(|_| Body::Drop(number)).unwrap();
            }
            _ => drop(save(&manifest, "", 9).unwrap()),
        }
        if round % 250 == 0 {
            let ours = manifest.with_kept(|kept| kept.snapshots().map(|snapshot| snapshot.number).collect::<Vec<_>>());
            assert_eq!(kept_now(&*backing), ours, "in round {round}");
            let now = manifest.with_kept(Kept::clone);
            assert!((0..40).all(|segment| {
                let listed = |only_named: bool| {
                    let mut all = now.snapshots().filter(|snapshot| !only_named || !snapshot.name.is_empty());
                    all.any(|snapshot| snapshot.segments.iter().any(|row| row.segment.0 == segment))
                };
                let number = SegmentSeq(segment);
                now.is_listed(number) == listed(false) && now.is_kept_by_name(number) == listed(true)
            }));
        }
    }
}

fn bytes_of(body: &Body) -> u64 {
    to_u64(body.encode(1, Seed::new([0; 16], SegmentSeq(1)), 0, 0).0.len())
}

fn assume(manifest: &Manifest, bytes: u64) {
    manifest.writer.lock().kept.assume(bytes);
}

fn is_full(result: &Result<u64>, expected: &str) -> bool {
    matches!(result, Err(Error::Exhausted { what, .. }) if *what == expected)
}

#[test]
fn names_end_where_a_reader_would() {
    let bytes = bytes_of(&snapshot(1, "name", 4));
    let full = "room for named snapshots in the manifest";
    for (more, fits) in [(1, true), (0, true)] {
        let (_backing, manifest) = manifest();
        save(&manifest, "", 1).unwrap();
        assume(&manifest, NAMED_BYTES_MAX - bytes - more);
        assert_eq!(save(&manifest, "name", 4).is_ok(), fits);
    }
    let (backing, manifest) = manifest();
    save(&manifest, "", 1).unwrap();
    let first = save(&manifest, "first", 40).unwrap();
    assume(&manifest, NAMED_BYTES_MAX - bytes + 1);
    let refused = save(&manifest, "name", 4);
    assert_eq!(refused.as_ref().unwrap_err().advice(), "drop named snapshots");
    assert!(is_full(&refused, full));
    // Everything else still works, including the way out of the refusal.
    save(&manifest, "", 4).unwrap();
    manifest.append(|_| Body::Reserve(vec![1])).unwrap();
    manifest.append(|_| Body::Drop(first)).unwrap();
    save(&manifest, "name", 4).unwrap();
    assert_eq!(kept_now(&*backing).len(), 3);
}

#[test]
fn reservations_and_cuts_end_before_a_reader_does_and_drops_never() {
    let (_backing, manifest) = manifest();
    save(&manifest, "", 1).unwrap();
    let first = save(&manifest, "first", 40).unwrap();
    let second = save(&manifest, "second", 40).unwrap();
    let reserve = || manifest.append(|_| Body::Reserve(vec![1]));
    let cut = Cut { timeline: 2, seq: Seq(1), first_segment: SegmentSeq(5), resumed: Seq(1) };
    let cut = || manifest.append(|_| Body::Cut(cut));
    assume(&manifest, RESERVED_BYTES_MAX - 49);
    reserve().unwrap();
    assume(&manifest, RESERVED_BYTES_MAX - 48);
    reserve().unwrap();
    assert!(is_full(&reserve(), "room for reservations in the manifest"));
    cut().unwrap();
    assume(&manifest, 2 << 30);
    assert!(is_full(&cut(), "room in the manifest"));
    manifest.append(|_| Body::Drop(first)).unwrap();
    cut().unwrap();
    assume(&manifest, 2 << 30);
    manifest.append(|_| Body::Drop(second)).unwrap();
    save(&manifest, "", 1).unwrap();
}

#[test]
fn an_entry_that_is_too_long_is_refused_before_it_is_written() {
    let mut kept = Kept::default();
    let body = snapshot(1, "", 1);
    kept.check(&body, ENTRY_BYTES_MAX - 16).unwrap();
    kept.check(&body, ENTRY_BYTES_MAX).unwrap();
    let error = kept.check(&body, ENTRY_BYTES_MAX + 16).unwrap_err();
    assert!(error.advice().contains("compact"), "{}", error.advice());
    kept.insert(1, body, ENTRY_BYTES_MAX);
}

#[test]
fn numbers_of_entries_and_files_end() {
    let (backing, manifest) = manifest();
    save(&manifest, "", 1).unwrap();
    manifest.writer.lock().next_number = NUMBER_END - 1;
    save(&manifest, "", 1).unwrap();
    assert!(is_full(&save(&manifest, "", 1), "number of a manifest entry"));
    assert_eq!(kept_now(&*backing).len(), 2);

    let loaded = Loaded { files: vec![SegmentSeq(SEGMENT_NUMBER_END - 2)], ..Loaded::default() };
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let manifest = Manifest::new(Arc::clone(&backing), &loaded, Arc::default());
    save(&manifest, "", 1).unwrap();
    assert_eq!(kept_now(&*backing).len(), 1);
    let loaded = load(&*backing, &files(&*backing)).unwrap();
    let manifest = Manifest::new(Arc::clone(&backing), &loaded, Arc::default());
    let refused = save(&manifest, "", 1);
    assert!(refused.as_ref().unwrap_err().advice().contains("export"));
    assert!(is_full(&refused, "number of a file"));
    assert_eq!(kept_now(&*backing).len(), 1);
}

#[test]
fn a_closing_snapshot_leaves_behind_what_was_replaced_and_no_file_is_begun_for_little() {
    let (backing, manifest) = manifest();
    save(&manifest, "", 100).unwrap();
    let close = |manifest: &Manifest| {
        let closing = |number| match snapshot(number, "", 100) {
            Body::Snapshot(saved) => Body::Snapshot(Box::new(Snapshot { kind: SnapshotKind::Close, ..*saved })),
            other => other,
        };
        manifest.append(closing).unwrap()
    };
    let before = files(&*backing);
    close(&manifest);
    assert_eq!(files(&*backing), before, "hardly anything was replaced");
    while manifest.bytes() < 1 << 18 {
        save(&manifest, "", 100).unwrap();
        assert_eq!(files(&*backing), before, "beside a running store files are long");
    }
    let last = close(&manifest);
    assert_ne!(files(&*backing), before);
    assert!(manifest.bytes() < 1 << 15, "{}", manifest.bytes());
    assert!(kept_now(&*backing).contains(&last));
}
