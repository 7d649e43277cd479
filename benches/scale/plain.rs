//! The limits: a plain file of the same bytes, the places of its records in a vector, their keys in ordered maps. No
//! checksums, transactions or deletes, and all of it is gone after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::{GETS, RANGES, TAIL_BYTES, UPDATES, UPDATES_OF_BATCH, nanos};
use crate::support::allocator;
use crate::support::records::{
    BATCH, KEY_BYTES, RANGE, VALUE_BYTES, key_of, questions, section, to_u64, value_of, values, words,
};

/// Overhead of a log per value.
const HEADER: [u8; 24] = [0; 24];

/// Nanoseconds and bytes, by the names of what is measured.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) load: f64,
    pub(crate) load_indexed: f64,
    pub(crate) heap_bytes: i64,
    pub(crate) get: f64,
    pub(crate) key: f64,
    pub(crate) range: f64,
    pub(crate) update: f64,
}

struct Plain {
    file: File,
    offset: u64,
    places: Vec<u64>,
    keys: BTreeMap<[u8; KEY_BYTES], u32>,
    sections: BTreeSet<(u32, u32)>,
}

fn create(path: &Path) -> File {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).expect("a file")
}

impl Plain {
    fn load(path: &Path, records: usize, is_indexed: bool) -> (Self, Duration) {
        let (file, places) = (create(path), Vec::new());
        let mut plain = Self { file, offset: 0, places, keys: BTreeMap::new(), sections: BTreeSet::new() };
        let (mut buffer, mut time) = (Vec::new(), Duration::ZERO);
        for first in (0..records).step_by(BATCH) {
            let batch = values(first, records);
            let start = Instant::now();
            buffer.clear();
            for bytes in &batch {
                let number = u32::try_from(plain.places.len()).expect("32 bits");
                plain.places.push(plain.put(&mut buffer, bytes));
                if is_indexed {
                    plain.keys.insert(bytes[..KEY_BYTES].try_into().expect("a key"), number);
                    plain.sections.insert((section(bytes), number));
                }
            }
            plain.write(&buffer);
            time += start.elapsed();
        }
        (plain, time)
    }

    fn put(&self, buffer: &mut Vec<u8>, bytes: &[u8]) -> u64 {
        let place = self.offset + to_u64(buffer.len());
        buffer.extend_from_slice(&HEADER);
        buffer.extend_from_slice(bytes);
        place
    }

    fn write(&mut self, buffer: &[u8]) {
        self.file.write_all_at(buffer, self.offset).expect("written");
        self.offset += to_u64(buffer.len());
    }

    fn update(&mut self, numbers: &[usize]) {
        let mut buffer = Vec::new();
        for number in numbers {
            self.places[*number] = self.put(&mut buffer, &value_of(*number));
        }
        self.write(&buffer);
    }
}

fn map(file: &File) -> memmap2::Mmap {
    #[expect(unsafe_code, reason = "nobody else has the file")]
    // SAFETY: the file was written by this process, and what is read of it is not changed while it is mapped.
    unsafe { memmap2::Mmap::map(file) }.expect("mapped")
}

/// The limits of everything that is measured in the process that loads.
pub(crate) fn measure(path: &Path, records: usize) -> Limits {
    let (plain, time) = Plain::load(path, records, false);
    drop(plain);
    let load = nanos(time, records);
    allocator::set_counting(true);
    let before = allocator::bytes();
    let (mut plain, time) = Plain::load(path, records, true);
    let heap_bytes = allocator::bytes() - before;
    allocator::set_counting(false);

    let bytes = map(&plain.file);
    let read = |number: usize| {
        let start = usize::try_from(plain.places[number]).expect("64 bits") + HEADER.len();
        words(&bytes[start..start + VALUE_BYTES])
    };
    let asked: Vec<usize> = questions(GETS, records).collect();
    let get = || asked.iter().fold(0_u64, |sum, number| sum.wrapping_add(read(*number)));
    black_box(get());
    let start = Instant::now();
    black_box(get());
    let get = nanos(start.elapsed(), GETS);

    let keys: Vec<[u8; KEY_BYTES]> = asked.iter().map(|number| key_of(*number)).collect();
    let start = Instant::now();
    let found = keys.iter().fold(0_u64, |sum, key| sum.wrapping_add(read(plain.keys[key] as usize)));
    black_box(found);
    let key = nanos(start.elapsed(), GETS);

    let sections: Vec<u32> = asked.iter().take(RANGES).map(|number| section(&value_of(*number))).collect();
    let start = Instant::now();
    for first in &sections {
        let range = plain.sections.range((*first, 0)..).take(RANGE);
        black_box(range.fold(0_u64, |sum, (_, number)| sum.wrapping_add(read(*number as usize))));
    }
    let range = nanos(start.elapsed(), RANGES);
    drop(bytes);

    let start = Instant::now();
    for batch in asked[..UPDATES].chunks(UPDATES_OF_BATCH) {
        plain.update(batch);
    }
    let update = nanos(start.elapsed(), UPDATES);
    drop(plain);
    std::fs::remove_file(path).expect("removed");
    Limits { load, load_indexed: nanos(time, records), heap_bytes, get, key, range, update }
}

/// Time to append this many bytes to a file and sync them.
pub(crate) fn write_and_sync(path: &Path, bytes: u64) -> Duration {
    let bytes = vec![1; usize::try_from(bytes).expect("64 bits")];
    let file = create(path);
    file.sync_all().expect("synced");
    let start = Instant::now();
    file.write_all_at(&bytes, 0).expect("written");
    file.sync_data().expect("synced");
    let time = start.elapsed();
    std::fs::remove_file(path).expect("removed");
    time
}

/// Time to read as many bytes as a log's tail has.
pub(crate) fn read_tail(path: &Path) -> Duration {
    let file = create(path);
    let mut bytes = vec![1; usize::try_from(TAIL_BYTES).expect("64 bits")];
    file.write_all_at(&bytes, 0).expect("written");
    let start = Instant::now();
    file.read_exact_at(&mut bytes, 0).expect("read");
    black_box(words(&bytes));
    let time = start.elapsed();
    std::fs::remove_file(path).expect("removed");
    time
}

/// Time to open a file and map it.
pub(crate) fn open_and_map(path: &Path) -> Duration {
    create(path).write_all_at(&[1; 4096], 0).expect("written");
    let start = Instant::now();
    let file = OpenOptions::new().read(true).open(path).expect("opened");
    black_box(map(&file)[0]);
    let time = start.elapsed();
    std::fs::remove_file(path).expect("removed");
    time
}
