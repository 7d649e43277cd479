//! File numbers: stray files do not use them up, and running out of them is an error that says so.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenure::backing::{Backing, Memory};
use tenure::extract::Extractor;
use tenure::format::Seed;
use tenure::format::manifest::{Body, ENTRY_HEADER_BYTES, Entry, NUMBER_END, Snapshot};
use tenure::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SEGMENT_NUMBER_END, SegmentHeader};
use tenure::{Error, Options, Point, RecordId, SegmentSeq, Seq, Store};

const HIGHEST: SegmentSeq = SegmentSeq(SEGMENT_NUMBER_END - 1);
const KINDS: [FileKind; 3] = [FileKind::Records, FileKind::Pages, FileKind::Manifest];

fn insert(store: &Store, value: &str) -> RecordId {
    let set = store.record_set("a").unwrap();
    store.write(|tx| tx.insert(&set, value)).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn is_verified(path: &Path) {
    let report = tenure::verify::verify(path, &mut |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
}

/// Opens, writes, closes, opens, and continues without the stray files.
fn goes_on(path: &Path, strays: &[(String, Vec<u8>)], ids: &mut Vec<RecordId>) {
    for round in 0..3 {
        let store = Store::open(path).unwrap();
        assert_eq!(store.recovery_report().foreign.len(), strays.len(), "{}", store.recovery_report());
        for id in &*ids {
            assert_eq!(store.get(*id).unwrap().as_slice(), Some(&b"x"[..]), "round {round}");
        }
        ids.push(insert(&store, "x"));
        store.save_named_snapshot(&format!("round {round}")).unwrap();
        ids.push(insert(&store, "x"));
        assert!(Options::new().read_only(true).open(path).is_ok());
        store.drop_snapshot(&format!("round {round}")).unwrap();
        store.close().unwrap();
        is_verified(path);
    }
    let store = Store::open(path).unwrap();
    store.save_named_snapshot("here").unwrap();
    insert(&store, "gone");
    let store = store.roll_back_to(&Point::Name("here".to_owned())).unwrap();
    store.drop_snapshot("here").unwrap();
    store.close().unwrap();
    for (name, content) in strays {
        assert_eq!(fs::read(path.join(name)).unwrap(), *content, "{name} was touched");
        fs::remove_file(path.join(name)).unwrap();
    }
    goes_on_without(path, ids);
}

fn goes_on_without(path: &Path, ids: &[RecordId]) {
    let store = Store::open(path).unwrap();
    assert_eq!(store.recovery_report().foreign, Vec::<String>::new());
    for id in ids {
        assert_eq!(store.get(*id).unwrap().as_slice(), Some(&b"x"[..]));
    }
    store.close().unwrap();
    is_verified(path);
}

#[test]
fn a_stray_file_with_the_highest_number_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let origin = dir.path().join("origin");
    let store = Store::open(&origin).unwrap();
    let id = insert(&store, "x");
    // Once as a crash leaves it, and once closed.
    copy(&origin, &dir.path().join("crashed"));
    store.close().unwrap();
    copy(&origin, &dir.path().join("closed"));
    for state in ["crashed", "closed"] {
        for (index, content) in [Vec::new(), vec![0x5a; 300], vec![0; 4096]].into_iter().enumerate() {
            let path = dir.path().join(format!("{state} {index}"));
            copy(&dir.path().join(state), &path);
            let strays = KINDS.map(|kind| (kind.file_name(HIGHEST), content.clone()));
            for (name, content) in &strays {
                fs::write(path.join(name), content).unwrap();
            }
            goes_on(&path, &strays, &mut vec![id]);
        }
    }
}

#[test]
fn a_store_is_made_beside_a_stray_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fs::create_dir(&path).unwrap();
    let stray = (FileKind::Manifest.file_name(HIGHEST), Vec::new());
    fs::write(path.join(&stray.0), &stray.1).unwrap();
    let store = Store::open(&path).unwrap();
    let id = insert(&store, "x");
    store.close().unwrap();
    goes_on(&path, &[stray], &mut vec![id]);
}

/// Longer than a manifest is read, and with nothing of one at its beginning.
#[test]
fn a_stray_file_longer_than_any_manifest_keeps_nobody_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    let id = insert(&store, "x");
    store.close().unwrap();
    let newest = |path: &Path| {
        let names = fs::read_dir(path).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let parsed = names.filter_map(|name| FileKind::parse_name(&name));
        let manifests = parsed.filter(|(kind, _)| *kind == FileKind::Manifest).map(|(_, number)| number);
        manifests.max().unwrap()
    };
    for begin in [&[0; 1][..], b"something else"] {
        let stray = path.join(FileKind::Manifest.file_name(SegmentSeq(newest(&path).0 + 1)));
        fs::write(&stray, begin).unwrap();
        fs::File::options().write(true).open(&stray).unwrap().set_len((4 << 30) + 1).unwrap();
        is_verified(&path);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.get(id).unwrap().as_slice(), Some(&b"x"[..]));
        insert(&store, "y");
        store.close().unwrap();
        is_verified(&path);
        drop(fs::remove_file(stray));
        is_verified(&path);
    }
}

/// What has the name of a segment and is no file is passed over, by the log, by snapshots and by large commits.
#[test]
fn directories_where_segments_are_to_be_made_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Options::new().segment_bytes(1 << 20).open(&path).unwrap();
    let id = insert(&store, "x");
    store.close().unwrap();
    let in_the_way: Vec<_> = (1..9).map(|number| path.join(FileKind::Records.file_name(SegmentSeq(number)))).collect();
    let in_the_way: Vec<_> = in_the_way.into_iter().filter(|path| fs::create_dir(path).is_ok()).collect();
    let store = Store::open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    let mut ids = vec![id, store.write(|tx| tx.insert(&set, "y")).unwrap()];
    let block = |kind: FileKind, from: u64| {
        let paths = (from..from + 9).map(|number| path.join(FileKind::file_name(kind, SegmentSeq(number))));
        paths.filter(|path| fs::create_dir(path).is_ok()).collect::<Vec<_>>()
    };
    let highest = || {
        let names = fs::read_dir(&path).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let parsed = names.filter_map(|name| FileKind::parse_name(&name));
        parsed.filter(|(kind, _)| *kind != FileKind::Manifest).map(|(_, number)| number.0).max().unwrap()
    };
    let mut blocked = in_the_way;
    for round in 0..3 {
        blocked.extend([FileKind::Records, FileKind::Pages].into_iter().flat_map(|kind| block(kind, highest() + 1)));
        store.save_snapshot().unwrap();
        // One that needs a segment of its own.
        let large = vec![vec![round; 60_000]; 80];
        ids.extend(
            store.write(|tx| large.iter().map(|value| tx.insert(&set, value)).collect::<Result<Vec<_>, _>>()).unwrap(),
        );
        store.collect(None).unwrap();
    }
    store.close().unwrap();
    is_verified(&path);
    let store = Store::open(&path).unwrap();
    ids.push(insert(&store, "z"));
    assert!(ids.iter().all(|id| store.get(*id).is_ok()));
    // A file may be another writer's: it is told, and what to do.
    let files = (1..highest() + 9).map(|number| path.join(FileKind::Pages.file_name(SegmentSeq(number))));
    let files: Vec<_> = files.filter(|file| fs::File::create_new(file).is_ok()).collect();
    let refused = store.save_snapshot().unwrap_err();
    assert!(matches!(&refused, Error::Io { action: "create", file, .. } if file.starts_with("pages-")), "{refused}");
    assert!(refused.advice().starts_with("move away what has this name"), "{}", refused.advice());
    drop(store);
    for file in files {
        fs::remove_file(file).unwrap();
    }
    for path in &blocked {
        fs::remove_dir(path).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert!(ids.iter().all(|id| store.get(*id).is_ok()));
    insert(&store, "y");
    store.close().unwrap();
    is_verified(&path);
}

/// The same of the manifest, whose next file each opening begins.
#[test]
fn directories_where_a_manifest_is_to_be_made_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut ids = Vec::new();
    let mut store = Store::open(&path).unwrap();
    for round in 0_u8..4 {
        let names = fs::read_dir(&path).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let parsed = names.filter_map(|name| FileKind::parse_name(&name));
        let manifests = parsed.filter(|(kind, _)| *kind == FileKind::Manifest).map(|(_, number)| number.0);
        let newest = manifests.max().unwrap();
        for number in [1, 2].map(|after| SegmentSeq(newest + after)) {
            fs::create_dir(path.join(FileKind::Manifest.file_name(number))).unwrap();
        }
        let follower = Store::follow(&path).unwrap();
        for _ in 0..2 {
            ids.push(insert(&store, "x"));
            assert!(follower.wait_for(store.durable_seq(), Duration::from_secs(20)).unwrap());
            assert!(ids.iter().all(|id| follower.get(*id).is_ok() && store.get(*id).is_ok()), "round {round}");
            store.close().unwrap();
            store = Store::open(&path).unwrap();
        }
    }
    store.close().unwrap();
    is_verified(&path);
}

/// The newest manifest file with other numbers in it, as a long life would have left it.
fn edit(backing: &dyn Backing, change: impl Fn(&mut Body)) {
    let names = backing.list().unwrap();
    let number =
        names.iter().filter_map(|name| FileKind::parse_name(name)).filter(|(kind, _)| *kind == FileKind::Manifest);
    let number = number.map(|(_, number)| number).max().unwrap();
    let name = FileKind::Manifest.file_name(number);
    let file = backing.open(&name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let header = SegmentHeader::decode(&bytes, &name).unwrap();
    let next = SegmentHeader { segment: SegmentSeq(number.0 + 1), previous: number, ..header };
    let mut edited = next.encode().to_vec();
    let (before, after) = (Seed::new(next.uuid, number), Seed::new(next.uuid, next.segment));
    let (mut offset, mut checks) = (SEGMENT_HEADER_BYTES, (0, 0));
    // Anything shorter than an entry is the proof after the last one.
    while offset + ENTRY_HEADER_BYTES <= bytes.len() {
        let decoded = Entry::decode(&bytes[offset..], before, offset as u64, checks.0).unwrap();
        let mut entry = decoded.entry;
        change(&mut entry.body);
        let (encoded, check) = entry.encode(after, edited.len() as u64, checks.1);
        edited.extend(encoded);
        checks = (decoded.check, check);
        offset += usize::try_from(decoded.bytes).unwrap();
    }
    let file = backing.create(&FileKind::Manifest.file_name(next.segment)).unwrap();
    file.append(&edited).unwrap();
    file.sync().unwrap();
    backing.delete(&name).unwrap();
}

#[test]
fn when_numbers_of_files_run_out_the_store_says_so_and_still_opens() {
    let left_for_the_end = 1 << 20;
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let open = || options().open_backing(Arc::clone(&backing));
    let store = open().unwrap();
    let id = insert(&store, "x");
    store.close().unwrap();
    edit(&*backing, |body| {
        if let Body::Snapshot(snapshot) = body {
            snapshot.next_segment = SegmentSeq(SEGMENT_NUMBER_END - left_for_the_end - 4);
        }
    });
    let store = open().unwrap();
    let set = store.record_set("a").unwrap();
    let mut written = Vec::new();
    let error = loop {
        match store.write(|tx| tx.insert(&set, vec![1; 30_000])) {
            Ok(id) => written.push(id),
            Err(error) => break error,
        }
        assert!(written.len() < 100);
    };
    assert!(written.len() > 2, "only {} commits before", written.len());
    assert!(matches!(error, Error::Exhausted { what: "number of a file", .. }), "{error}");
    assert!(error.advice().contains("import"), "{}", error.advice());
    // The way back: everything can be read and deleted, and the store closes and opens.
    store.write(|tx| tx.delete(written[0])).unwrap();
    let crashed = copy_of(&*backing);
    store.close().unwrap();
    for backing in [Arc::clone(&backing), crashed] {
        for _ in 0..2 {
            let store = options().open_backing(Arc::clone(&backing)).unwrap();
            assert_eq!(store.get(id).unwrap().as_slice(), Some(&b"x"[..]));
            assert!(store.get(written[1]).unwrap().as_slice().is_some());
            assert!(store.write(|tx| tx.insert(&set_of(&store), "x")).is_err());
            store.close().unwrap();
        }
        let report = tenure::verify::verify_backing(&backing, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}

fn set_of(store: &Store) -> tenure::RecordSet {
    store.find_set("a").unwrap()
}

fn copy_of(backing: &dyn Backing) -> Arc<dyn Backing> {
    let copy = Memory::new();
    for name in backing.list().unwrap() {
        let file = backing.open(&name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        copy.create(&name).unwrap().append(&bytes).unwrap();
    }
    Arc::new(copy)
}

/// A closed store whose newest snapshot was changed.
fn crafted(change: impl Fn(&mut Snapshot)) -> Arc<dyn Backing> {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    insert(&store, "x");
    store.close().unwrap();
    edit(&*backing, |body| {
        if let Body::Snapshot(snapshot) = body {
            change(snapshot);
        }
    });
    backing
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).background(false)
}

/// Does something until it is refused, and then opens the store again, twice. How often it was done.
fn until_refused(
    backing: &Arc<dyn Backing>,
    expected: &str,
    act: impl Fn(&Store, usize) -> tenure::Result<()>,
) -> usize {
    let store = options().open_backing(Arc::clone(backing)).unwrap();
    let mut done = 0;
    let error = loop {
        match act(&store, done) {
            Ok(()) => done += 1,
            Err(error) => break error,
        }
        assert!(done < 100);
    };
    assert!(matches!(error, Error::Exhausted { what, .. } if what == expected), "{error}");
    assert!(error.advice().contains("import"), "{}", error.advice());
    store.close().unwrap();
    for _ in 0..2 {
        let store = options().open_backing(Arc::clone(backing)).unwrap();
        assert!(act(&store, done).is_err());
        assert_eq!(store.get("0.1".parse().unwrap()).unwrap().as_slice(), Some(&b"x"[..]));
        store.close().unwrap();
    }
    let report = tenure::verify::verify_backing(backing, &mut |_| {}).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    done
}

#[test]
fn numbers_of_sets_indexes_streams_and_commits_end() {
    let backing = crafted(|snapshot| snapshot.next_set = u32::MAX - 2);
    let make = |store: &Store, number| store.record_set(&format!("set {number}")).map(drop);
    assert_eq!(until_refused(&backing, "record set", make), 2);

    let backing = crafted(|snapshot| snapshot.next_index = u32::MAX - 2);
    let make = |store: &Store, number| {
        let extractor = Extractor::new("length", 1, |value, keys| keys.push(&value.len()));
        store.index(&set_of(store), &format!("index {number}"), extractor).map(drop)
    };
    assert_eq!(until_refused(&backing, "key index", make), 2);

    let backing = crafted(|snapshot| snapshot.next_stream = NUMBER_END - 2);
    let make = |store: &Store, _| store.write(|tx| tx.insert(&set_of(store), vec![1; 200_000])).map(drop);
    assert_eq!(until_refused(&backing, "number of a stream", make), 2);

    let backing = crafted(|snapshot| snapshot.seq = Seq(NUMBER_END - 16 - (1 << 20) - 2));
    let make = |store: &Store, _| store.write(|tx| tx.insert(&set_of(store), "y")).map(drop);
    assert_eq!(until_refused(&backing, "number of a commit", make), 2);
}

#[test]
fn numbers_of_timelines_end() {
    let backing = crafted(|snapshot| snapshot.timeline = NUMBER_END - 2);
    let open = |backing: &Arc<dyn Backing>| options().open_backing(Arc::clone(backing));
    let store = open(&backing).unwrap();
    assert_eq!(store.stats().timeline, NUMBER_END - 2);
    let mut ids = vec![insert(&store, "one below")];
    // Each opening after a crash starts a timeline. This is the last one.
    let crashed = copy_of(&*backing);
    let store = open(&crashed).unwrap();
    assert_eq!(store.stats().timeline, NUMBER_END - 1);
    ids.push(insert(&store, "the last"));
    let beyond = copy_of(&*crashed);
    let names = beyond.list().unwrap();
    let refused = open(&beyond).map(drop).unwrap_err();
    assert!(matches!(refused, Error::Exhausted { what: "timeline", .. }), "{refused}");
    assert!(refused.advice().contains("import"), "{}", refused.advice());
    assert_eq!(beyond.list().unwrap(), names, "a refused opening leaves nothing");
    // The way back: everything can be read, so it can be exported.
    let reader = options().read_only(true).open_backing(Arc::clone(&beyond)).unwrap();
    for id in &ids {
        reader.get(*id).unwrap();
    }
    // One that is closed needs no other timeline, and opens.
    store.close().unwrap();
    let store = open(&crashed).unwrap();
    ids.push(insert(&store, "and more"));
    store.close().unwrap();
    let store = open(&crashed).unwrap();
    for id in &ids {
        store.get(*id).unwrap();
    }
}

#[test]
fn a_mark_can_be_dropped_where_there_is_no_room_for_another() {
    let backing = crafted(|snapshot| snapshot.seq = Seq(NUMBER_END - 16 - (1 << 20) - 2));
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    let mut marked = 0;
    let refused = loop {
        match store.mark(&format!("mark {marked}")) {
            Ok(_) => marked += 1,
            Err(error) => break error,
        }
        assert!(marked < 10, "marks without end");
    };
    assert!(matches!(refused, Error::Exhausted { .. }) && marked > 0, "{refused}, after {marked}");
    // Drops always fit.
    store.drop_mark("mark 0").unwrap();
    let gone = store.drop_mark("mark 0").unwrap_err();
    assert!(matches!(gone, Error::PointGone { .. }), "{gone}");
    let killed = copy_of(&*backing);
    store.close().unwrap();
    for backing in [backing, killed] {
        let store = options().open_backing(backing).unwrap();
        assert!(store.marks().iter().all(|mark| mark.name != "mark 0"), "{:?}", store.marks());
        assert_eq!(store.marks().len(), marked - 1);
    }
}
