//! A hundred million records, or as many as `--records` says, with a unique index: what each thing costs at that size, each in a child of its
//! own. `--in DIRECTORY` chooses the disk. The store is deleted afterwards.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tenure::extract::Extractor;
use tenure::{Durability, Index, Options, RecordId, RecordSet, Store};

use crate::common::{BATCH, KEY_BYTES, Numbers, VALUE_BYTES, argument, path_of, questions, rate, value, values, words};
use crate::opening::{heap_kib, open_in_child};

/// What is done, in this order. Those that end with `-killed` do not close the store.
const WORKS: [&str; 7] = ["load", "get", "get-view", "find", "update-payload", "update-key", "update-killed"];
/// Time of each work that repeats.
const SECONDS: u64 = 10;
/// Changes in a commit.
const AT_ONCE: usize = 100;

/// Bytes that this process has written, or caused to be.
fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn each(bytes: u64, count: usize) -> f64 {
    bytes as f64 / count.max(1) as f64
}

fn opened(path: &Path) -> (Store, RecordSet, Index) {
    let store = Options::new().durability(Durability::Buffered).open(path).expect("opens");
    let set = store.record_set("things").expect("a set");
    let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..KEY_BYTES]));
    let index = store.unique_index(&set, "key", key).expect("a unique index");
    (store, set, index)
}

/// `--large WORK --store PATH --records N`.
pub(crate) fn child() -> bool {
    let (Some(work), Some(path)) = (path_of("--large"), path_of("--store")) else { return false };
    let count = argument("--records", 0);
    if work.as_os_str() == "load" {
        load(&path, count);
    } else {
        repeat(&work.to_string_lossy(), &path, count);
    }
    true
}

fn load(path: &Path, count: usize) {
    let (store, set, _) = opened(path);
    let mut identifiers = Vec::with_capacity(count * 8);
    let (begin, mut part) = (Instant::now(), Instant::now());
    let tenth = (count / 10).next_multiple_of(BATCH).max(BATCH);
    for first in (0..count).step_by(BATCH) {
        let values = values(first, count);
        let ids = store.write(|tx| tx.insert_many(&set, &values)).expect("inserts");
        identifiers.extend(ids.iter().flat_map(|id| id.as_u64().to_le_bytes()));
        let done = first + values.len();
        if done.is_multiple_of(tenth) || done == count {
            let bytes: u64 = store.stats().segments.iter().map(|segment| segment.bytes).sum();
            println!(
                "  {done} records: {:.0}/s, {:.0} bytes written a record so far, heap {} MiB, files {} MiB",
                rate(done.min(tenth), part.elapsed()),
                each(written_bytes(), done),
                (heap_kib() >> 10).saturating_sub(identifiers.len() as u64 >> 20),
                bytes >> 20,
            );
            part = Instant::now();
        }
    }
    let loaded = begin.elapsed();
    std::fs::write(path.with_extension("ids"), identifiers).expect("writes");
    store.close().expect("closes");
    println!("load: {:.0}/s, {:.0} bytes written a record, closed", rate(count, loaded), each(written_bytes(), count));
}

/// The identifiers of the records, in the order of their insertion.
fn identifiers(path: &Path) -> Vec<RecordId> {
    let bytes = std::fs::read(path.with_extension("ids")).expect("reads");
    let ids = bytes.as_chunks().0.iter().map(|bytes| RecordId::from_u64(u64::from_le_bytes(*bytes)));
    ids.map(|id| id.expect("an identifier")).collect()
}

fn repeat(work: &str, path: &Path, count: usize) {
    let ids = identifiers(path);
    let before_heap = heap_kib();
    let (store, _, index) = opened(path);
    let mut bytes = [0; VALUE_BYTES];
    value(0, &mut bytes);
    let view = store.view();
    for number in [0, count / 2, count - 1] {
        value(number as u64, &mut bytes);
        let key = index.get(&view, &bytes[..KEY_BYTES]).expect("reads");
        assert!(work.contains("key") || work.contains("killed") || key == Some(ids[number]), "record {number}");
    }
    drop(view);
    let mut places = questions(usize::MAX, count);
    let mut place = || places.next().unwrap_or_default();
    let mut numbers = Numbers(u64::from(std::process::id()) | 1);
    let (mut sum, mut done) = (0_u64, 0);
    let (before, begin) = (written_bytes(), Instant::now());
    while begin.elapsed() < Duration::from_secs(SECONDS) {
        match work {
            "get" => sum ^= words(store.get(ids[place()]).expect("reads").as_slice().expect("there")),
            "get-view" => {
                let view = store.view();
                for _ in 0..AT_ONCE {
                    sum ^= words(view.get(ids[place()]).expect("reads").as_slice().expect("there"));
                }
                done += AT_ONCE - 1;
            }
            "find" => {
                let view = store.view();
                for _ in 0..AT_ONCE {
                    value(place() as u64, &mut bytes);
                    let found = index.fetch(&view, &bytes[..KEY_BYTES]).expect("reads").expect("there");
                    sum ^= words(found.as_slice().expect("small"));
                }
                done += AT_ONCE - 1;
            }
            _ => {
                let changed: tenure::Result<()> = store.write(|tx| {
                    for _ in 0..AT_ONCE {
                        let number = place();
                        value(number as u64, &mut bytes);
                        let fresh = numbers.next();
                        let from = if work == "update-payload" { KEY_BYTES } else { 0 };
                        bytes[from..from + 8].copy_from_slice(&fresh.to_le_bytes());
                        tx.update(ids[number], bytes)?;
                    }
                    Ok(())
                });
                changed.expect("updates");
                done += AT_ONCE - 1;
            }
        }
        done += 1;
    }
    let (time, heap) = (begin.elapsed(), heap_kib().saturating_sub(before_heap) >> 10);
    black_box(sum);
    if work.ends_with("-killed") {
        println!(
            "{work}: {:.0}/s, {} MiB of log to replay",
            rate(done, time),
            store.stats().log_bytes_since_snapshot >> 20
        );
        // Nothing is closed.
        std::process::abort();
    }
    store.close().expect("closes");
    let written = each(written_bytes() - before, done);
    println!("{work}: {:.0}/s, {written:.0} bytes written each with the close, heap {heap} MiB", rate(done, time));
}

/// Prints lines for each work, and for opening after it.
pub(crate) fn measure(count: usize) {
    let dir = path_of("--in").map_or_else(tempfile::tempdir, tempfile::tempdir_in).expect("a directory");
    let path = dir.path().join("store");
    for work in WORKS {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--large", work, "--records", &count.to_string(), "--store"]).arg(&path);
        let status = child.stdout(Stdio::inherit()).status().expect("a child");
        assert!(status.success() || work.ends_with("-killed"), "{work}: {status}");
        if work.ends_with("-killed") || work == "load" {
            println!("open after {work}: {}", open_in_child(&path));
            println!("open after close: {}", open_in_child(&path));
        }
    }
}
