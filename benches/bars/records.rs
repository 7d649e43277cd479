//! Loading and getting records, compared with a plain log.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tenure::{Durability, Options, RecordId, Store};

use crate::common::{BATCH, SEGMENT_BYTES, VALUE_BYTES, questions, values, walk, words};

/// Appends the same bytes and keeps their locations.
pub(crate) fn load_plain(dir: &Path, count: usize) -> (Duration, Vec<(u32, u32)>) {
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

pub(crate) fn get_plain(dir: &Path, places: &[(u32, u32)], gets: usize) -> (Duration, Duration) {
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

pub(crate) fn load_store(path: &Path, count: usize) -> (Duration, Store, Vec<RecordId>) {
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
        tx.commit_with(Durability::Buffered).expect("commit");
        time += start.elapsed();
    }
    (time, store, ids)
}

pub(crate) fn get_store(store: &Store, ids: &[RecordId], gets: usize) -> (Duration, Duration) {
    let asked: Vec<RecordId> = questions(gets, ids.len()).map(|index| ids[index]).collect();
    let get = |number: usize| {
        let record = store.get(asked[number]).expect("there");
        words(record.as_slice().expect("small"))
    };
    (walk(gets, false, get), walk(gets, true, get))
}
