//! Steady state: what updates cost in bytes written and in space once the data has been turned over several times.
//!
//! `cargo bench --bench turnover` prints a line for each pattern of updates; `-- --records N --turnovers T --ratio R
//! --segment-kib K --snapshot-mib M --generations G` changes the setting. Every byte that is appended to any file is counted, by a
//! backing that stands between the store and its directory. All is seeded. `-- --model` prints what routing updates into two logs
//! would gain, by a model of the log and its collector.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that measures and prints"
)]

mod model;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tenure::backing::{Backing, BackingFile, BackingLock, Files, Map};
use tenure::{Durability, FileKind, Options, RecordId, Store, Transaction};

const VALUE_BYTES: usize = 200;
/// Overhead of a record in a frame.
const RECORD_BYTES: u64 = 224;
const BATCH: usize = 1000;

/// Kinds of files, by the first letters of their names: the log and survivors, index pages, all others.
const KINDS: usize = 3;

/// The beginning of the value of a record that is never updated. Its number follows.
const CONSTANT: [u8; 8] = *b"\xC0nstant\x9E";

/// Bytes appended to each kind of file, and how often each constant record was copied.
#[derive(Debug, Default)]
struct Appended {
    bytes: [AtomicU64; KINDS],
    constant: Vec<AtomicU32>,
}

impl Appended {
    fn now(&self) -> [u64; KINDS] {
        [0, 1, 2].map(|kind| self.bytes[kind].load(Ordering::Relaxed))
    }

    fn note(&self, kind: usize, bytes: &[u8]) {
        self.bytes[kind].fetch_add(u64::try_from(bytes.len()).expect("64 bits"), Ordering::Relaxed);
        if self.constant.is_empty() {
            return;
        }
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == CONSTANT[0]) {
            rest = &rest[at..];
            if let Some(number) = rest.strip_prefix(&CONSTANT).and_then(|rest| rest.first_chunk::<4>()) {
                let record = usize::try_from(u32::from_le_bytes(*number)).expect("64 bits");
                self.constant[record].fetch_add(1, Ordering::Relaxed);
            }
            rest = &rest[1..];
        }
    }

    /// How often a constant record was copied: on average, and at most.
    fn copies(&self) -> Option<(f64, u32)> {
        let copies =
            || self.constant.iter().skip(1).step_by(2).map(|count| count.load(Ordering::Relaxed).saturating_sub(1));
        let sum: u32 = copies().sum();
        Some((f64::from(sum) / copies().count() as f64, copies().max()?))
    }
}

#[derive(Debug)]
struct Counting {
    files: Files,
    appended: Arc<Appended>,
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn BackingFile>,
    kind: usize,
    appended: Arc<Appended>,
}

impl Backing for Counting {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let file = self.files.create(name)?;
        let kind = if name.starts_with("log-") {
            0
        } else if name.starts_with("pages-") {
            1
        } else {
            2
        };
        Ok(Arc::new(CountingFile { file, kind, appended: Arc::clone(&self.appended) }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.files.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.files.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.files.lock()
    }

    fn location(&self) -> String {
        self.files.location()
    }
}

impl BackingFile for CountingFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.appended.note(self.kind, bytes);
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        self.file.map(capacity)
    }
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    records: usize,
    turnovers: usize,
    ratio: f64,
    segment_bytes: u64,
    snapshot_bytes: u64,
    generations: u8,
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("64 bits");
        usize::try_from(self.next() % end).expect("64 bits")
    }
}

/// Which records are updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Uniform,
    /// This percentage of the updates goes to that percentage of the records.
    Skewed(usize, usize),
    /// Half of the records, all over the store, are never updated.
    HalfConstant,
}

impl Pattern {
    fn pick(self, numbers: &mut Numbers, records: usize) -> usize {
        match self {
            Self::Uniform => numbers.below(records),
            Self::Skewed(updates, part) => {
                let hot = records * part / 100;
                if numbers.below(100) < updates { numbers.below(hot) } else { hot + numbers.below(records - hot) }
            }
            Self::HalfConstant => numbers.below(records / 2) * 2,
        }
    }

    /// How many records get most of the updates; they come first.
    fn hot(self, records: usize) -> usize {
        if let Self::Skewed(_, part) = self { records * part / 100 } else { records }
    }

    fn name(self) -> String {
        match self {
            Self::Uniform => "uniform".to_owned(),
            Self::Skewed(updates, part) => format!("{updates} % to {part} %"),
            Self::HalfConstant => "half constant".to_owned(),
        }
    }
}

fn space(store: &Store) -> (u64, u64) {
    let stats = store.stats();
    let records = stats.segments.iter().filter(|segment| segment.kind == FileKind::Records);
    records.fold((0, 0), |(bytes, live), segment| (bytes + segment.bytes, live + segment.live_bytes))
}

fn run(pattern: Pattern, setting: &Setting) {
    let dir = tempfile::tempdir().expect("a directory");
    let path: &Path = dir.path();
    let appended = Arc::new(Appended {
        constant: (0..if pattern == Pattern::HalfConstant { setting.records } else { 0 })
            .map(|_| AtomicU32::new(0))
            .collect(),
        ..Appended::default()
    });
    let backing =
        Counting { files: Files::create(&path.join("store")).expect("files"), appended: Arc::clone(&appended) };
    let store = Options::new()
        .durability(Durability::Buffered)
        .segment_bytes(setting.segment_bytes)
        .snapshot_log_bytes(setting.snapshot_bytes)
        .space_ratio(setting.ratio)
        .generations(setting.generations)
        .open_backing(Arc::new(backing))
        .expect("a store");
    let set = store.record_set("things").expect("a set");
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut ids: Vec<RecordId> = Vec::with_capacity(setting.records);
    while ids.len() < setting.records {
        let next = ids.len();
        let insert = |tx: &mut Transaction| {
            (next..next + BATCH).map(|record| tx.insert(&set, constant(record))).collect::<Result<Vec<_>, _>>()
        };
        ids.extend(store.write(insert).expect("inserted"));
    }
    // The IDs of hot records are spread over the index. Every second one is constant.
    if pattern != Pattern::HalfConstant {
        for index in (1..ids.len()).rev() {
            ids.swap(index, numbers.below(index + 1));
        }
    }
    let mut most = 0.0_f64;
    let (mut last, mut pages, mut copied) = (0.0, 0.0, 0.0);
    for turnover in 1..=setting.turnovers {
        let (before, copied_before) = (appended.now(), store.stats().collected.bytes_copied);
        let updates = setting.records / BATCH;
        for batch in 0..updates {
            let value = [u8::try_from(turnover % 256).expect("a byte"); VALUE_BYTES];
            store
                .write(|tx| (0..BATCH).try_for_each(|_| tx.update(ids[pattern.pick(&mut numbers, ids.len())], value)))
                .expect("updated");
            if batch % 20 == 0 {
                let (bytes, live) = space(&store);
                let over = bytes as f64 - 2.0 * setting.segment_bytes as f64;
                most = most.max(over / live as f64);
            }
        }
        let user = u64::try_from(updates * BATCH).expect("64 bits") * RECORD_BYTES;
        let part = |bytes: u64| bytes as f64 / user as f64;
        let now = appended.now();
        last = part(now.iter().sum::<u64>() - before.iter().sum::<u64>());
        pages = part(now[1] - before[1]);
        copied = part(store.stats().collected.bytes_copied - copied_before);
    }
    let stats = store.stats();
    let constant = appended.copies().map_or_else(|| "-".to_owned(), |(mean, most)| format!("{mean:.2}, {most}"));
    println!(
        "| {} | {last:.3} | {copied:.3} | {pages:.3} | {most:.3} | {} | {} | {constant} |",
        pattern.name(),
        stats.collected.victims,
        stats.collected.snapshots,
    );
}

/// A value that is recognised when it is copied. An update writes another.
fn constant(record: usize) -> [u8; VALUE_BYTES] {
    let mut value = [1; VALUE_BYTES];
    value[..CONSTANT.len()].copy_from_slice(&CONSTANT);
    let number = u32::try_from(record).expect("fewer records").to_le_bytes();
    value[CONSTANT.len()..CONSTANT.len() + number.len()].copy_from_slice(&number);
    value
}

fn main() {
    let mut setting = Setting {
        records: 1_000_000,
        turnovers: 6,
        ratio: 1.0 / 0.66,
        segment_bytes: 1 << 20,
        snapshot_bytes: 64 << 20,
        generations: 4,
    };
    let args: Vec<String> = std::env::args().collect();
    let mut only = String::new();
    for pair in args.windows(2) {
        let number = || pair[1].parse::<u64>().expect("a number");
        match pair[0].as_str() {
            "--records" => setting.records = usize::try_from(number()).expect("64 bits"),
            "--turnovers" => setting.turnovers = usize::try_from(number()).expect("64 bits"),
            "--ratio" => setting.ratio = pair[1].parse().expect("a ratio"),
            "--segment-kib" => setting.segment_bytes = number() << 10,
            "--snapshot-mib" => setting.snapshot_bytes = number() << 20,
            "--generations" => setting.generations = pair[1].parse().expect("a number"),
            "--only" => only.clone_from(&pair[1]),
            _ => {}
        }
    }
    println!("{setting:?}");
    let patterns = [Pattern::Uniform, Pattern::Skewed(80, 20), Pattern::Skewed(90, 10)];
    if args.iter().any(|argument| argument == "--model") {
        let bytes = u64::try_from(setting.records).expect("64 bits") * RECORD_BYTES;
        let segments = usize::try_from(bytes / setting.segment_bytes).expect("64 bits");
        return model::run(&patterns, setting.records, segments, setting.ratio, 2 * setting.turnovers);
    }
    println!(
        "| updates | bytes written for each byte of records, last turnover | of these survivors | index pages | most space for each live byte, less two segments | victims | early snapshots | copies of a constant record: average, most |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for pattern in patterns.into_iter().chain([Pattern::HalfConstant]) {
        if pattern.name().starts_with(&only) {
            run(pattern, &setting);
        }
    }
}
