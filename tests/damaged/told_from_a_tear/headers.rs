//! A file's header contains nothing that its name, the store's UUID and its content do not contain as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::{Durability, Options, Store};

use crate::common;
use crate::common::Contents;

type Files = BTreeMap<String, Vec<u8>>;

const HEADER_BYTES: usize = 128;

fn options() -> Options {
    Options::new().background(false).segment_bytes(64 << 10).durability(Durability::Sync)
}

/// A store that was closed once and killed then, with acknowledged commits in its newest segment, those that a frame proves to be
/// on the medium and those that nothing proves.
fn killed() -> (Files, Contents, u64) {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let put = |store: &Store, text: &str| {
        let set = store.record_set("a").unwrap();
        store.write(|tx| tx.insert(&set, text)).unwrap();
    };
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    (0..3).for_each(|n| put(&store, &format!("early {n}")));
    store.close().unwrap();
    let store = options().open_backing(Arc::clone(&backing)).unwrap();
    (0..5).for_each(|n| put(&store, &format!("late {n}")));
    let (files, contents, last) =
        (common::read_backing(&*backing), common::contents(&store).unwrap(), store.last_seq().0);
    drop(store);
    (files, contents, last)
}

fn newest_log(files: &Files) -> String {
    files.keys().rfind(|name| name.starts_with("log-")).unwrap().clone()
}

/// Opens for reading and for writing, puts a record, and opens once more: nothing that was acknowledged is gone at any time,
/// and the damage is told.
fn nothing_is_cut(files: &Files, contents: &Contents, last: u64, what: &str) {
    let backing = common::memory_of(files);
    let report = tenure::verify::verify_backing(&backing, &mut |_| {}).unwrap();
    assert!(!report.is_ok() && report.problems.iter().all(|problem| problem.corrupt), "{what}: {report:?}");
    let told = |store: &Store| {
        let report = store.recovery_report();
        let mut lines = report.damaged.iter().chain(&report.fell_back);
        assert!(lines.any(|line| line.contains("file header")), "{what}: {report}");
        assert!(report.to_string().contains("file header"), "{what}: {report}");
    };
    let store =
        options().read_only(true).open_backing(Arc::clone(&backing)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((&common::contents(&store).unwrap(), store.last_seq().0), (contents, last), "{what}");
    told(&store);
    drop(store);
    let store = options().open_backing(Arc::clone(&backing)).unwrap_or_else(|error| panic!("{what}: {error}"));
    told(&store);
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, "new")).unwrap();
    store.close().unwrap();
    let store = options().open_backing(backing).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut now = common::contents(&store).unwrap();
    assert_eq!(now.get_mut("a").unwrap().remove(&id).as_deref(), Some(&b"new"[..]), "{what}");
    assert_eq!(&now, contents, "{what}: after a put");
}

/// The header of a file with each of its bits flipped, zeroed, filled, and that of another file.
fn damaged_headers(files: &Files, name: &str, each_bit: usize) -> Vec<(String, Files)> {
    let mut all = Vec::new();
    let mut with = |what: String, header: &[u8]| {
        let mut damaged = files.clone();
        damaged.get_mut(name).unwrap()[..HEADER_BYTES].copy_from_slice(header);
        all.push((format!("{name}: {what}"), damaged));
    };
    let whole = &files[name][..HEADER_BYTES];
    for bit in (0..HEADER_BYTES * 8).step_by(each_bit) {
        let mut header = whole.to_vec();
        header[bit / 8] ^= 1 << (bit % 8);
        with(format!("bit {bit}"), &header);
    }
    with("zeros".to_owned(), &[0; HEADER_BYTES]);
    with("ones".to_owned(), &[0xff; HEADER_BYTES]);
    for (other, bytes) in files.iter().filter(|(other, bytes)| *other != name && bytes.len() >= HEADER_BYTES) {
        with(format!("that of {other}"), &bytes[..HEADER_BYTES]);
    }
    all
}

#[test]
fn no_bit_of_the_newest_segments_header_takes_a_commit_away() {
    let (files, contents, last) = killed();
    for (what, damaged) in damaged_headers(&files, &newest_log(&files), 1) {
        nothing_is_cut(&damaged, &contents, last, &what);
    }
}

#[test]
fn headers_of_all_other_files_are_told_from_their_content_as_well() {
    let (files, contents, last) = killed();
    // What the reserve holds is of no concern to anybody: only its room is.
    let holds_nothing = |name: &str| name == "lock" || name.starts_with("reserve-");
    for name in files.keys().filter(|name| !holds_nothing(name) && **name != newest_log(&files)) {
        for (what, damaged) in damaged_headers(&files, name, 7) {
            nothing_is_cut(&damaged, &contents, last, &what);
        }
    }
}

#[test]
fn a_manifest_alone_tells_its_store() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    drop(options().open_backing(Arc::clone(&backing)).unwrap());
    let files = common::read_backing(&*backing);
    let name = files.keys().find(|name| name.starts_with("manifest-")).unwrap();
    for bit in 0..HEADER_BYTES * 8 {
        let mut damaged = files.clone();
        damaged.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
        let store =
            options().open_backing(common::memory_of(&damaged)).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        assert_eq!(store.recovery_report().damaged.len(), 1, "bit {bit}: {}", store.recovery_report());
    }
}

/// Behind the damaged header the first frame is damaged too, and a later one proves that it had been synced.
#[test]
fn a_watermark_behind_a_damaged_header_counts() {
    let (files, ..) = killed();
    let name = newest_log(&files);
    let mut damaged = files.clone();
    damaged.get_mut(&name).unwrap()[..HEADER_BYTES + 80].fill(0);
    let backing = common::memory_of(&damaged);
    for read_only in [true, false] {
        let error = options().read_only(read_only).open_backing(Arc::clone(&backing)).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains(&name), "{error}");
    }
    let report = tenure::verify::verify_backing(&backing, &mut |_| {}).unwrap();
    assert!(report.problems.iter().any(|problem| problem.corrupt), "{report:?}");
}

#[test]
fn a_file_with_a_torn_header_and_nothing_valid_behind_it_is_a_tear() {
    let (files, contents, last) = killed();
    let name = newest_log(&files);
    let digits = name.trim_start_matches("log-").trim_end_matches(".seg");
    let next = name.replace(digits, &format!("{:012}", digits.parse::<u64>().unwrap() + 1));
    for bytes in [vec![], vec![0; 40], vec![0; 4096], files[&name][..60].to_vec(), files[&name].clone()] {
        let mut torn = files.clone();
        torn.insert(next.clone(), bytes);
        let store = options().open_backing(common::memory_of(&torn)).unwrap();
        assert_eq!((&common::contents(&store).unwrap(), store.last_seq().0), (&contents, last));
        assert!(store.recovery_report().damaged.is_empty(), "{}", store.recovery_report());
        store.close().unwrap();
    }
}
