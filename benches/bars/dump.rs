//! A dump that is loaded, through a pipe, beside a scan of the same store whose records are inserted into an empty one.

use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tenure::dump::LoadOptions;
use tenure::{Durability, Options, RecordSet, Store, dump};

use crate::common::{BATCH, VALUE_BYTES, figure, median, rate, value, values};
use crate::indexed;
use crate::support::allocator;

/// The bar: dump and load take twice as long as reading and writing the same bytes, at most.
const RATE_MIN: f64 = 0.5;
/// Bytes of a value that is streamed.
const LARGE_BYTES: u64 = 100_000_000;
const LARGE_VALUES: u64 = 5;
const MIB: f64 = 1_048_576.0;

fn make(path: &Path, is_indexed: bool) -> (Store, RecordSet) {
    let store = Options::new().durability(Durability::Buffered).open(path).expect("a store");
    let set = store.record_set("things").expect("a set");
    if is_indexed {
        indexed::indexes(&store, &set);
    }
    (store, set)
}

fn source(path: &Path, count: usize, is_indexed: bool) -> (Store, RecordSet) {
    let (store, set) = make(path, is_indexed);
    for first in (0..count).step_by(BATCH) {
        store.write(|tx| tx.insert_many(&set, &values(first, count))).expect("inserts");
    }
    store.save_snapshot().expect("a snapshot");
    (store, set)
}

/// Scans the records and inserts them in an empty store.
fn copy(from: (&Store, &RecordSet), to: &Path, is_indexed: bool) -> Duration {
    let begin = Instant::now();
    let (store, set) = make(to, is_indexed);
    let view = from.0.view();
    let mut records = view.scan(from.1);
    loop {
        let batch: Result<Vec<_>, _> = records.by_ref().take(BATCH).collect();
        let batch = batch.expect("reads");
        if batch.is_empty() {
            break;
        }
        let values: Vec<&[u8]> = batch.iter().map(|record| record.as_slice().expect("small")).collect();
        store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
    }
    store.close().expect("closes");
    begin.elapsed()
}

/// Dumps in one thread and loads in another.
fn dump_and_load(store: &Store, to: &Path) -> Duration {
    let begin = Instant::now();
    let (mut reader, mut writer) = io::pipe().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || store.dump(&mut writer).expect("dumps"));
        dump::load(&mut reader, to, &LoadOptions::new(), &mut |_| {}).expect("loads");
    });
    begin.elapsed()
}

/// Bytes, counted.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn rates(count: usize, rounds: usize, is_indexed: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, set) = source(&dir.path().join("source"), count, is_indexed);
    let (mut copied, mut loaded, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let target = dir.path().join("target");
        copied.push(rate(count, copy((&store, &set), &target, is_indexed)));
        std::fs::remove_dir_all(&target).expect("deletes");
        loaded.push(rate(count, dump_and_load(&store, &target)));
        let there = Store::open(&target).expect("opens");
        let set = there.find_set("things").expect("the set");
        assert_eq!((there.view().len(&set), there.indexes(&set).iter().all(|i| i.ready)), (count as u64, true));
        drop(there);
        std::fs::remove_dir_all(&target).expect("deletes");
        let begin = Instant::now();
        store.dump(&mut Counted(0)).expect("dumps");
        alone.push(rate(count, begin.elapsed()));
    }
    let (copied, loaded, alone) = (median(copied), median(loaded), median(alone));
    let what = if is_indexed { "two indexes" } else { "no index" };
    println!("{what}: copied {copied:.0} records/s, dump | load {loaded:.0}/s, dump alone {alone:.0}/s");
    figure(&format!("dump | load, {what}"), loaded / copied, RATE_MIN, true, "of the rate of copying");
}

/// The most heap that a dump and a load take.
fn peaks(what: &str, store: &Store, dir: &Path) {
    let (path, target) = (dir.join("dump"), dir.join("target"));
    let mut peaks = Vec::new();
    for part in 0..2 {
        allocator::set_counting(true);
        let before = allocator::reset_peak();
        if part == 0 {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).expect("a file");
            store.dump(&mut file).expect("dumps");
        } else {
            let mut file = OpenOptions::new().read(true).open(&path).expect("the dump");
            dump::load(&mut file, &target, &LoadOptions::new(), &mut |_| {}).expect("loads");
        }
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        peaks.push((allocator::peak_bytes() - before) as f64 / MIB);
        allocator::set_counting(false);
    }
    let [dump, load] = [0, 1].map(|part: usize| peaks[part]);
    println!("heap at most, {what}: dump {dump:.1} MiB, load {load:.1} MiB");
    std::fs::remove_file(&path).expect("deletes");
    std::fs::remove_dir_all(&target).expect("deletes");
}

fn large(dir: &Path) {
    let (store, set) = make(&dir.join("large"), false);
    let mut piece = vec![0; 1 << 20];
    value(1, &mut piece);
    for _ in 0..LARGE_VALUES {
        let from = io::Read::take(Repeated(&piece, 0), LARGE_BYTES);
        let staged = store.stage(from).expect("stages");
        store.write(|tx| tx.insert_staged(&set, &staged).map(drop)).expect("inserts");
    }
    peaks(&format!("{LARGE_VALUES} values of {} MB", LARGE_BYTES / 1_000_000), &store, dir);
}

/// The same bytes again and again.
struct Repeated<'r>(&'r [u8], usize);

impl io::Read for Repeated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = &self.0[self.1 % self.0.len()..];
        let read = rest.read(buffer)?;
        self.1 += read;
        Ok(read)
    }
}

/// Prints the rate of `dump | load`, and how much heap it takes for stores of several sizes.
pub fn measure(count: usize, rounds: usize) {
    for is_indexed in [true, false] {
        rates(count, rounds, is_indexed);
    }
    let dir = tempfile::tempdir().expect("a directory");
    for count in [count / 10, count, count * 3] {
        let path = dir.path().join("source");
        let (store, _) = source(&path, count, true);
        peaks(&format!("{count} records of {VALUE_BYTES} bytes with two indexes"), &store, dir.path());
        drop(store);
        std::fs::remove_dir_all(&path).expect("deletes");
    }
    large(dir.path());
}
