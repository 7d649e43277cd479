//! The figures that the store is held to, each beside a plain log with its locations in a vector, in one run.
//!
//! `cargo bench --bench bars` prints a table; `-- --records N` changes the number of records. Not a timed test: it
//! asserts nothing, it measures. Each round uses a fresh directory; medians of `--rounds` (five by default).
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program that measures and prints")]

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tenure::Durability;
use tenure::Options;
use tenure::RecordId;
use tenure::Store;

const VALUE_BYTES: usize = 200;
const BATCH: usize = 1000;
const SEGMENT_BYTES: u64 = 64 << 20;

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn value(number: u64, out: &mut [u8]) {
    let mut numbers = Numbers(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for part in out.chunks_mut(8) {
        part.copy_from_slice(&numbers.next().to_le_bytes()[..part.len()]);
    }
}

/// The values of one batch, made before its time begins.
fn values(first: usize, count: usize) -> Vec<[u8; VALUE_BYTES]> {
    let one = |number: usize| {
        let mut bytes = [0; VALUE_BYTES];
        value(number as u64, &mut bytes);
        bytes
    };
    (first..(first + BATCH).min(count)).map(one).collect()
}

fn rate(count: usize, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = count as f64;
    count / time.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Appends the same bytes and keeps their locations.
fn load_plain(dir: &Path, count: usize) -> (Duration, Vec<(u32, u32)>) {
    let (mut places, mut time) = (Vec::new(), Duration::ZERO);
    let (mut file_number, mut offset) = (0_u32, SEGMENT_BYTES);
    let mut file = None;
    let mut buffer = Vec::new();
    for first in (0..count).step_by(BATCH) {
        let batch = values(first, count);
        let start = Instant::now();
        buffer.clear();
        if offset + (BATCH as u64) * 256 > SEGMENT_BYTES {
            file_number += 1;
            let path = dir.join(format!("plain-{file_number}"));
            file = Some(OpenOptions::new().create_new(true).read(true).write(true).open(path).expect("a file"));
            offset = 0;
        }
        for bytes in &batch {
            places.push((file_number, u32::try_from(offset + buffer.len() as u64).expect("fits")));
            buffer.extend_from_slice(&[0; 24]);
            buffer.extend_from_slice(bytes);
        }
        file.as_ref().expect("open").write_all_at(&buffer, offset).expect("written");
        offset += buffer.len() as u64;
        time += start.elapsed();
    }
    (time, places)
}

fn get_plain(dir: &Path, places: &[(u32, u32)], gets: usize) -> (Duration, Duration) {
    let files = places.last().map_or(0, |(file, _)| *file);
    let maps: Vec<memmap2::Mmap> = (1..=files)
        .map(|number| {
            let file = OpenOptions::new().read(true).open(dir.join(format!("plain-{number}"))).expect("a file");
            #[expect(unsafe_code, reason = "nobody else has the file")]
            // SAFETY: the file was written by this process and is not changed while it is mapped.
            unsafe { memmap2::Mmap::map(&file) }.expect("mapped")
        })
        .collect();
    let asked: Vec<usize> = questions(gets, places.len()).collect();
    let get = |number: usize| {
        let (file, offset) = places[asked[number]];
        let offset = offset as usize + 24;
        let bytes = &maps[file as usize - 1][offset..offset + VALUE_BYTES];
        words(bytes)
    };
    (walk(gets, false, get), walk(gets, true, get))
}

/// Reads every byte of a value.
fn words(bytes: &[u8]) -> u64 {
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
    bytes.chunks_exact(8).fold(0_u64, |sum, bytes| sum.wrapping_mul(31).wrapping_add(word(bytes)))
}

/// Asks `count` questions twice and times the second round. When they depend on each other, no question can be asked
/// before the last one was answered: that is the latency of a caller who needs the record to go on.
fn walk(count: usize, dependent: bool, get: impl Fn(usize) -> u64) -> Duration {
    let round = || {
        let mut sum = 0_u64;
        for number in 0..count {
            let twist = if dependent { black_box(sum) >> 62 } else { 0 };
            sum = sum.wrapping_add(get(number ^ to_index(twist << 1)));
        }
        black_box(sum)
    };
    round();
    let start = Instant::now();
    round();
    start.elapsed()
}

/// Uniformly random indexes.
fn questions(count: usize, end: usize) -> impl Iterator<Item = usize> {
    let mut numbers = Numbers(42);
    (0..count).map(move |_| to_index(numbers.next()) % end)
}

fn to_index(number: u64) -> usize {
    usize::try_from(number >> 1).expect("64 bits")
}

fn load_store(path: &Path, count: usize) -> (Duration, Store, Vec<RecordId>) {
    let store = Options::new().durability(Durability::Buffered).open(path).expect("a store");
    let set = store.record_set("things").expect("a set");
    let (mut ids, mut time) = (Vec::new(), Duration::ZERO);
    for first in (0..count).step_by(BATCH) {
        let batch = values(first, count);
        let start = Instant::now();
        let mut tx = store.begin().expect("begin");
        for bytes in &batch {
            ids.push(tx.insert(&set, bytes).expect("insert"));
        }
        tx.commit(Durability::Buffered).expect("commit");
        time += start.elapsed();
    }
    (time, store, ids)
}

fn get_store(store: &Store, ids: &[RecordId], gets: usize) -> (Duration, Duration) {
    let asked: Vec<RecordId> = questions(gets, ids.len()).map(|index| ids[index]).collect();
    let get = |number: usize| {
        let record = store.get(asked[number]).expect("there");
        words(record.as_slice().expect("small"))
    };
    (walk(gets, false, get), walk(gets, true, get))
}

fn percentile(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (times.len() as f64 * share) as usize;
    times.get(index.min(times.len() - 1)).copied().unwrap_or_default()
}

/// What goes on beside the commits that are timed.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// Snapshots of a store of which a part of nearly every index page has changed.
    LargeSnapshots,
    /// Snapshots one after the other, each of the little that has changed since the one before.
    SnapshotsWithoutEnd,
}

/// Times of commits of one update each. Only commits beside the work in question count.
fn commit_times(
    store: &Store,
    ids: &[RecordId],
    count: usize,
    durability: Durability,
    beside: Beside,
) -> Vec<Duration> {
    let mut numbers = Numbers(7);
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        if beside == Beside::LargeSnapshots {
            change_every_page(store, ids);
        }
        let saved = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let thread = (beside != Beside::Nothing).then(|| {
                scope.spawn(|| {
                    let begun = Instant::now();
                    loop {
                        store.save_snapshot().expect("saved");
                        saved.fetch_add(1, Ordering::Relaxed);
                        if beside == Beside::LargeSnapshots || begun.elapsed() > Duration::from_secs(2) {
                            break;
                        }
                    }
                })
            });
            while times.len() < count && !thread.as_ref().is_some_and(std::thread::ScopedJoinHandle::is_finished) {
                times.push(commit_time(store, ids, numbers.next(), durability));
            }
        });
        assert!(beside == Beside::Nothing || saved.into_inner() > 0, "no snapshot was saved meanwhile");
    }
    times
}

fn commit_time(store: &Store, ids: &[RecordId], number: u64, durability: Durability) -> Duration {
    let mut bytes = [0; VALUE_BYTES];
    value(number, &mut bytes);
    let start = Instant::now();
    let mut tx = store.begin().expect("begin");
    tx.update(ids[to_index(number) % ids.len()], bytes).expect("update");
    tx.commit(durability).expect("commit");
    start.elapsed()
}

/// Updates one record in a hundred: every index page has some.
fn change_every_page(store: &Store, ids: &[RecordId]) {
    let mut tx = store.begin().expect("begin");
    for id in ids.iter().step_by(100) {
        tx.update(*id, [1; VALUE_BYTES]).expect("update");
    }
    tx.commit(Durability::Buffered).expect("commit");
}

fn heap_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn argument(name: &str, default: usize) -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let found = arguments.iter().position(|argument| argument == name);
    found.and_then(|index| arguments.get(index + 1)?.parse().ok()).unwrap_or(default)
}

/// `bars --child PATH`: loads, prints, and waits to be killed. `bars --open PATH`: opens and prints time and heap.
fn child() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let path = |name: &str| {
        let found = arguments.iter().position(|argument| argument == name)?;
        arguments.get(found + 1).map(std::path::PathBuf::from)
    };
    if let Some(path) = path("--child") {
        let count = argument("--records", 1_000_000);
        let options = Options::new().durability(Durability::Buffered).snapshot_log_bytes(u64::MAX);
        let store = options.open(path).expect("a store");
        let set = store.record_set("things").expect("a set");
        let mut bytes = [0; VALUE_BYTES];
        for first in (0..count).step_by(BATCH) {
            let mut tx = store.begin().expect("begin");
            for number in first..(first + BATCH).min(count) {
                value(number as u64, &mut bytes);
                tx.insert(&set, bytes).expect("insert");
            }
            tx.commit(Durability::Buffered).expect("commit");
        }
        if arguments.iter().any(|argument| argument == "--synced") {
            store.sync().expect("synced");
            store.mark("synced").expect("marked");
        }
        println!("loaded");
        std::io::stdout().flush().expect("flushed");
        std::thread::sleep(Duration::from_mins(1));
        return true;
    }
    if let Some(path) = path("--open") {
        let before = heap_kib();
        let start = Instant::now();
        let store = Options::new().background(false).open(path).expect("a store");
        let time = start.elapsed();
        let report = store.recovery_report();
        println!(
            "{} us, heap +{} KiB (index {} KiB), replayed {} bytes, copied {} bytes, {} records",
            time.as_micros(),
            heap_kib().saturating_sub(before),
            store.stats().heap_bytes >> 10,
            report.bytes_replayed,
            report.bytes_copied,
            store.stats().records,
        );
        return true;
    }
    false
}

fn open_in_child(path: &Path) -> String {
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .arg("--open")
        .arg(path)
        .output()
        .expect("run");
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn kill_and_open(dir: &Path, count: usize, synced: bool) {
    let path = dir.join("killed");
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.arg("--child").arg(&path).args(["--records", &count.to_string()]);
    if synced {
        command.arg("--synced");
    }
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("child");
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(child.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut reader, &mut line).expect("a line");
    child.kill().expect("killed");
    child.wait().expect("ended");
    println!("open after kill, {count} records, synced {synced}: {}", open_in_child(&path));
    std::fs::remove_dir_all(&path).expect("removed");
}

fn main() {
    if child() {
        return;
    }
    let (count, rounds) = (argument("--records", 1_000_000), argument("--rounds", 5));
    let gets = count.min(1_000_000);
    let (mut plain, mut loaded) = (Vec::new(), Vec::new());
    let mut get_rates = [const { Vec::new() }; 4];
    for round in 0..rounds {
        let dir = tempfile::tempdir().expect("a directory");
        let (time, places) = load_plain(dir.path(), count);
        plain.push(rate(count, time));
        let path = dir.path().join("store");
        let (time, store, ids) = load_store(&path, count);
        loaded.push(rate(count, time));
        let (plain_times, store_times) = (get_plain(dir.path(), &places, gets), get_store(&store, &ids, gets));
        let times = [plain_times.0, store_times.0, plain_times.1, store_times.1];
        for (rates, time) in get_rates.iter_mut().zip(times) {
            rates.push(rate(gets, time));
        }
        if round + 1 == rounds {
            for durability in [Durability::Buffered, Durability::Sync] {
                let commits = if durability == Durability::Sync { 4000 } else { 100_000 };
                let kinds = [
                    ("alone", Beside::Nothing),
                    ("while a large snapshot is saved", Beside::LargeSnapshots),
                    ("beside small snapshots without end", Beside::SnapshotsWithoutEnd),
                ];
                for (what, beside) in kinds {
                    let times = commit_times(&store, &ids, commits, durability, beside);
                    let (half, high) = (percentile(times.clone(), 0.5), percentile(times, 0.99));
                    println!("commit {durability:?} {what}: p50 {half:?}, p99 {high:?}");
                }
            }
            drop(ids);
            store.close().expect("closed");
            for _ in 0..3 {
                println!("open after close: {}", open_in_child(&path));
            }
            kill_and_open(dir.path(), 280_000.min(count), false);
            kill_and_open(dir.path(), count, false);
            kill_and_open(dir.path(), count, true);
        }
    }
    let (plain, loaded) = (median(plain), median(loaded));
    println!("load: plain {plain:.0}/s, store {loaded:.0}/s, ratio {:.2}", loaded / plain);
    let [plain, store, plain_dependent, store_dependent] = get_rates.map(median);
    println!("get one-shot, independent: plain {plain:.0}/s, store {store:.0}/s, ratio {:.2}", store / plain);
    let (plain, store) = (plain_dependent, store_dependent);
    println!("get one-shot, dependent: plain {plain:.0}/s, store {store:.0}/s, ratio {:.2}", store / plain);
}
