//! What reading costs when nothing of the store is in memory: each get reads the pages that it needs, and walks do not wait
//! for each page. Figures of this thread alone; on file systems without a device nothing is read, and nothing checked.

use std::fs;
use std::path::Path;

use tenure::backing::{Backing as _, Files};
use tenure::{Durability, Options, RecordId, Store};

const RECORDS: usize = 100_000;
const VALUE_BYTES: usize = 200;
const PAGE_BYTES: u64 = 4_096;

/// Bytes that this thread has read from a device, and how often it waited for a page.
fn reads() -> (u64, u64) {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let bytes = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap().parse().unwrap();
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let waits = stat.rsplit(") ").next().unwrap().split(' ').nth(9).unwrap().parse().unwrap();
    (bytes, waits)
}

fn filled(path: &Path) -> Vec<RecordId> {
    let store = Options::new().durability(Durability::Buffered).open(path).unwrap();
    let set = store.record_set("a").unwrap();
    let values = vec![[7; VALUE_BYTES]; 1_000];
    let mut ids = Vec::new();
    while ids.len() < RECORDS {
        ids.append(&mut store.write(|tx| tx.insert_many(&set, &values)).unwrap());
    }
    store.close().unwrap();
    ids
}

/// Opens a store of which nothing is in memory.
fn cold(path: &Path) -> Store {
    let files = Files::open(path).unwrap();
    for name in files.list().unwrap() {
        let file = files.open(&name).unwrap();
        file.let_go(0, file.len().unwrap());
    }
    Options::new().background(false).open(path).unwrap()
}

/// Whether reading is reading from a device here.
fn is_on_a_device(path: &Path) -> bool {
    let before = reads().0;
    let store = cold(path);
    let set = store.record_set("a").unwrap();
    assert_eq!(store.view().scan(&set).filter_map(Result::ok).count(), RECORDS);
    let is_read = reads().0 > before;
    if !is_read {
        println!("NOT CHECKED: {} is on no device whose reads this system counts", path.display());
    }
    is_read
}

#[test]
fn a_cold_get_reads_the_pages_that_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let ids = filled(dir.path());
    if !is_on_a_device(dir.path()) {
        return;
    }
    let store = cold(dir.path());
    store.get(ids[0]).unwrap();
    let before = reads().0;
    // Each in a page of the record index and of the log that nobody has read before.
    let asked: Vec<RecordId> = ids.iter().skip(511).step_by(512).copied().collect();
    for id in &asked {
        assert_eq!(store.get(*id).unwrap().as_slice().unwrap(), [7; VALUE_BYTES]);
    }
    let (bytes, count) = (reads().0 - before, asked.len() as u64);
    assert!(bytes <= 3 * count * PAGE_BYTES, "{} bytes for each of {count} gets", bytes / count);
}

#[test]
fn a_cold_walk_reads_everything_once_and_rarely_waits() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    if !is_on_a_device(dir.path()) {
        return;
    }
    let store = cold(dir.path());
    let set = store.record_set("a").unwrap();
    let before = reads();
    assert_eq!(
        store.view().scan(&set).map(|record| record.unwrap().len()).sum::<u64>(),
        (RECORDS * VALUE_BYTES) as u64
    );
    let (bytes, waits) = (reads().0 - before.0, reads().1 - before.1);
    let stored = store.stats().segments.iter().map(|segment| segment.bytes).sum::<u64>();
    assert!(bytes <= stored + stored / 4, "{bytes} bytes read of {stored}");
    // A page has 17 records.
    assert!(waits < RECORDS as u64 / 17 / 4, "{waits} waits for {RECORDS} records");
}
