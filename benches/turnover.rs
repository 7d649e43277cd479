//! Steady state: what updates cost in bytes, and what they take in space, once the data have been turned over several times.
//!
//! `cargo bench --bench turnover` prints a line for each pattern of updates; `-- --records N --turnovers T --ratio R
//! --segment-kib K --snapshot-mib M --generations G` changes the setting. Every byte that is appended to any file is counted, by a
//! backing that stands between the store and its directory. All is seeded.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that measures and prints"
)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tenure::Durability;
use tenure::FileKind;
use tenure::Options;
use tenure::RecordId;
use tenure::Store;
use tenure::backing::Backing;
use tenure::backing::BackingFile;
use tenure::backing::BackingLock;
use tenure::backing::Files;
use tenure::backing::Map;

const VALUE_BYTES: usize = 200;
/// What a record takes in a frame.
const RECORD_BYTES: u64 = 224;
const BATCH: usize = 1000;

#[derive(Debug)]
struct Counting {
    files: Files,
    appended: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn BackingFile>,
    appended: Arc<AtomicU64>,
}

impl Backing for Counting {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let file = self.files.create(name)?;
        Ok(Arc::new(CountingFile { file, appended: Arc::clone(&self.appended) }))
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
        self.appended.fetch_add(u64::try_from(bytes.len()).expect("64 bits"), Ordering::Relaxed);
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
#[derive(Debug, Clone, Copy)]
enum Pattern {
    Uniform,
    /// So many per cent of the updates go to so many per cent of the records.
    Skewed(usize, usize),
    /// Half of the records, all over the store, is never updated.
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
    let appended = Arc::new(AtomicU64::new(0));
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
        let some =
            store.write(|tx| (0..BATCH).map(|_| tx.insert(&set, [1; VALUE_BYTES])).collect::<Result<Vec<_>, _>>());
        ids.extend(some.expect("inserted"));
    }
    // The IDs of hot records lie all over the index.
    for index in (1..ids.len()).rev() {
        ids.swap(index, numbers.below(index + 1));
    }
    let mut most = 0.0_f64;
    let mut last = 0.0;
    for turnover in 1..=setting.turnovers {
        let before = appended.load(Ordering::Relaxed);
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
        last = (appended.load(Ordering::Relaxed) - before) as f64 / user as f64;
    }
    let stats = store.stats();
    println!(
        "| {} | {last:.3} | {most:.3} | {:.1} | {:.1} |",
        pattern.name(),
        stats.collected.bytes_copied as f64 / 1e6,
        stats.collected.victims as f64,
    );
}

fn main() {
    let mut setting = Setting {
        records: 1_000_000,
        turnovers: 6,
        ratio: 1.0 / 0.66,
        segment_bytes: 1 << 20,
        snapshot_bytes: 64 << 20,
        generations: 3,
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
    println!(
        "| updates | bytes written for each byte of records, last turnover | most space, for each live byte, less two segments | MB copied in all | victims |"
    );
    println!("|---|---|---|---|---|");
    for pattern in [Pattern::Uniform, Pattern::Skewed(80, 20), Pattern::Skewed(90, 10), Pattern::HalfConstant] {
        if pattern.name().starts_with(&only) {
            run(pattern, &setting);
        }
    }
}
