//! Numbers with valid checksums that no file confirms: each is an error or is accepted as it is, in little time and
//! memory.
//!
//! A separate process runs all cases under a limit on its heap. Linux only, as that limit is.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::Backing;
use tenure::format::entry::{ENTRIES_PER_PAGE, PLACE_END};
use tenure::format::item::Kind;
use tenure::format::manifest::{Body, Cut, Entry, NUMBER_END, Snapshot};
use tenure::format::moves::{Move, put_moves};
use tenure::format::value::{CHUNK_BYTES, Head, IDS_PER_LIST, encode_ids};
use tenure::{Error, Options, Point, Seq};

use crate::common;
use crate::told_from_a_tear::craft;
use crate::told_from_a_tear::craft::{Files, options};

/// `TENURE_CUTS`: how many cuts a manifest has that has many. The limit on the heap rises with them.
fn cuts() -> u64 {
    std::env::var("TENURE_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap())
}

const CUTS: u64 = 300_000;
const CHILD: &str = "TENURE_NUMBERS_CHILD";
/// The limit on the process's heap.
const LIMIT_BYTES: u64 = 400 << 20;
/// The time limit of one opening, verification or write. Old faults took minutes, or all memory.
const LIMIT_TIME: Duration = Duration::from_secs(5);

const PAGES_END: u64 = (1 << 40) / ENTRIES_PER_PAGE as u64;

/// The expected outcome for a store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// Damage, for readers, writers and verification alike.
    Refused,
    /// It opens, with all of its records. The first write that would need a number behind the last is refused with `Exhausted`, and
    /// the store opens again.
    Exhausted,
    /// It opens, with all of its records, takes writes, and opens again.
    Taken,
}

fn within<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    assert!(begun.elapsed() < LIMIT_TIME, "{what} took {:?}", begun.elapsed());
    result
}

thread_local! {
    static FAILED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// All cases that fail are named, not only the first one.
fn noting(case: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).is_err() {
        FAILED.set(FAILED.get() + 1);
    }
}

type Write = dyn Fn(&tenure::Store) -> tenure::Result<()>;

fn check(what: &str, files: &Files, outcome: Outcome, write: &Write) {
    noting(|| check_one(what, files, outcome, write));
}

fn check_one(what: &str, files: &Files, outcome: Outcome, write: &Write) {
    let backing = common::memory_of(files);
    let reader = within(what, || options().read_only(true).open_backing(Arc::clone(&backing)));
    if let Ok(store) = &reader {
        within(what, || store.stats());
    }
    let report = within(what, || tenure::verify::verify_backing(&backing, &mut |_| {}));
    within(what, || tenure::inspect::log_of(&backing, |_| true))
        .or_else(|error| if error.is_corruption() { Ok(()) } else { Err(error) })
        .unwrap();
    drop(within(what, || options().open_backing_at(Arc::clone(&backing), &Point::Name("named".to_owned()))));
    let refused = |error: &Error| assert!(error.is_corruption(), "{what}: {error}");
    if outcome == Outcome::Refused {
        refused(&reader.expect_err(what));
        refused(&within(what, || options().open_backing(Arc::clone(&backing))).expect_err(what));
        let report = report.unwrap_or_else(|error| {
            refused(&error);
            tenure::verify::VerifyReport::default()
        });
        assert!(report.problems.iter().all(|problem| problem.corrupt), "{what}: {report:?}");
        return;
    }
    let contents = common::contents(&reader.unwrap_or_else(|error| panic!("{what}: {error}"))).unwrap();
    assert!(report.unwrap().is_ok(), "{what}");
    match within(what, || options().open_backing(Arc::clone(&backing))) {
        Ok(store) => {
            let key = |record: &[u8], keys: &mut tenure::extract::Keys| keys.push(record.get(..2).unwrap_or_default());
            let set = store.record_set("a").unwrap();
            store.index(&set, "by key", tenure::extract::Extractor::new("key", 1, key)).unwrap();
            match (within(what, || write(&store)), outcome) {
                (Ok(()), Outcome::Taken) | (Err(Error::Exhausted { .. }), Outcome::Exhausted) => {}
                (other, _) => panic!("{what}: {other:?} for {outcome:?}"),
            }
            let closed = within(what, || store.close());
            assert!(closed.is_ok() || matches!(closed, Err(Error::Exhausted { .. })), "{what}: {closed:?}");
        }
        Err(Error::Exhausted { .. }) if outcome == Outcome::Exhausted => {}
        Err(error) => panic!("{what}: {error}"),
    }
    let again =
        options().read_only(true).open_backing(backing).unwrap_or_else(|error| panic!("{what}: again: {error}"));
    let mut now = common::contents(&again).unwrap();
    now.remove("new");
    for (name, records) in &mut now {
        records.retain(|id, _| contents[name].contains_key(id));
    }
    assert_eq!(now, contents, "{what}");
}

fn put(store: &tenure::Store) -> tenure::Result<()> {
    let set = store.record_set("a")?;
    store.write(|tx| tx.insert(&set, "zz new")).map(drop)
}

/// Puts enough for the next pages to be needed.
fn put_many(store: &tenure::Store) -> tenure::Result<()> {
    let set = store.record_set("a")?;
    store.write(|tx| (0..2 * ENTRIES_PER_PAGE).try_for_each(|n| tx.insert(&set, format!("{n}")).map(drop)))
}

fn put_large(store: &tenure::Store) -> tenure::Result<()> {
    let set = store.record_set("large")?;
    store.write(|tx| tx.insert(&set, vec![1; 200_000])).map(drop)
}

fn counters(closed: &Files, killed: &Files) {
    use Outcome::{Exhausted, Refused};
    let both = |what: &str, outcome: Outcome, change: &dyn Fn(&mut Snapshot)| {
        for (state, files) in [("closed", closed), ("killed", killed)] {
            check(&format!("{what}, {state}"), &craft::with_snapshots(files, change), outcome, &put);
        }
    };
    for end in [u64::MAX, u64::MAX - 1, NUMBER_END] {
        both(&format!("commit {end}"), Refused, &|snapshot| snapshot.seq = Seq(end));
        both(&format!("timeline {end}"), Refused, &|snapshot| snapshot.timeline = end);
        both(&format!("reserved from {end}"), Refused, &|snapshot| snapshot.reserved_from = end);
        both(&format!("stream {}", end.saturating_add(1)), Refused, &|snapshot| {
            snapshot.next_stream = end.saturating_add(1);
        });
        both(&format!("set with {end} records"), Refused, &|snapshot| {
            snapshot.sets.iter_mut().for_each(|row| row.records = end);
        });
        both(&format!("set of {end} bytes"), Refused, &|snapshot| {
            snapshot.sets.iter_mut().for_each(|row| row.bytes = end);
        });
        both(&format!("set changed by {end}"), Refused, &|snapshot| {
            snapshot.sets.iter_mut().for_each(|row| row.changed = Seq(end));
        });
        both(&format!("mark of {end}"), Refused, &|snapshot| {
            snapshot.marks.push(tenure::format::manifest::MarkRow { name: "x".to_owned(), seq: Seq(end) });
        });
        both(&format!("head at {end}"), Refused, &|snapshot| snapshot.head_offset = end);
        both(&format!("{end} live bytes"), Refused, &|snapshot| {
            snapshot.segments.iter_mut().filter(|row| !row.pages).for_each(|row| row.live_bytes = end);
        });
        let numbered = |number| {
            craft::with_entries(closed, |entries| {
                let last = entries.last_mut().unwrap();
                last.number = number;
            })
        };
        check(&format!("entry {end}"), &numbered(end), Refused, &put);
    }
    let last = NUMBER_END - 1;
    check("the last commit", &craft::with_snapshots(closed, |snapshot| snapshot.seq = Seq(last)), Exhausted, &put);
    check(
        "the last stream",
        &craft::with_snapshots(closed, |snapshot| snapshot.next_stream = NUMBER_END),
        Exhausted,
        &put_large,
    );
    check("the last timeline", &craft::with_snapshots(killed, |snapshot| snapshot.timeline = last), Exhausted, &put);
    let numbered = craft::with_entries(closed, |entries| {
        let entry = entries.last_mut().unwrap();
        entry.number = last;
        if let Body::Snapshot(snapshot) = &mut entry.body {
            snapshot.number = last;
        }
    });
    check("the last entry", &numbered, Exhausted, &put);
    let new_set = |store: &tenure::Store| store.record_set("new").map(drop);
    check("the last set", &craft::with_snapshots(closed, |snapshot| snapshot.next_set = u32::MAX), Exhausted, &new_set);
    let key =
        || tenure::extract::Extractor::new("other", 1, |record, keys| keys.push(record.get(..1).unwrap_or_default()));
    let new_index = move |store: &tenure::Store| store.index(&store.record_set("a")?, "other", key()).map(drop);
    check(
        "the last index",
        &craft::with_snapshots(closed, |snapshot| snapshot.next_index = u32::MAX),
        Exhausted,
        &new_index,
    );
}

fn places_and_pages(closed: &Files, killed: &Files) {
    use Outcome::Refused;
    for place in [u32::MAX, 1 << 31, PLACE_END, PLACE_END - 1] {
        let crafted = craft::with_snapshots(closed, |snapshot| {
            snapshot.segments.iter_mut().filter(|row| !row.pages).for_each(|row| row.place = place);
        });
        check(&format!("place {place}"), &crafted, Refused, &put);
    }
    let twice = craft::with_snapshots(closed, |snapshot| {
        let row = snapshot.segments.iter().find(|row| !row.pages).copied();
        snapshot.segments.extend(row);
    });
    check("a segment twice", &twice, Refused, &put);
    for page in [1 << 31, PAGES_END - 1, 1 << 30, 1 << 28] {
        for (state, files) in [("closed", closed), ("killed", killed)] {
            let end = craft::with_snapshots(files, |snapshot| snapshot.page_end = page);
            check(&format!("pages up to {page}, {state}"), &end, Refused, &put_many);
            let reserved = craft::with_snapshots(files, |snapshot| snapshot.reserved.push(page));
            check(&format!("page {page} reserved, {state}"), &reserved, Refused, &put_many);
            let entry = craft::with_entries(files, |entries| {
                let number = entries.last().unwrap().number + 1;
                entries.push(Entry { number, body: Body::Reserve(vec![page]) });
            });
            check(&format!("page {page} in an entry, {state}"), &entry, Refused, &put_many);
        }
        let given = craft::with_commits(killed, 1, |_, frame| {
            let payload = [&page.to_le_bytes()[..], &16_u32.to_le_bytes()].concat();
            frame.control(Kind::Pages, &payload);
        });
        check(&format!("page {page} given to a set"), &given, Refused, &put_many);
    }
    let raised = craft::with_snapshots(closed, |snapshot| {
        snapshot.raised.push(tenure::format::manifest::RaisedRow { slot: u64::MAX, next_count: 7 });
    });
    check("a raised slot", &raised, Refused, &put);
    let twice = craft::with_directory(closed, |cells| {
        let first = cells[0];
        cells.push(first);
    });
    check("a leaf twice", &twice, Refused, &put);
}

fn many(closed: &Files, killed: &Files) {
    use Outcome::{Refused, Taken};
    let rows = craft::with_snapshots(closed, |snapshot| {
        let Some(row) = snapshot.indexes.first().cloned() else { return };
        for number in 0..100_000 {
            let mut row = row.clone();
            row.definition.number = tenure::IndexNumber(100 + number);
            row.definition.name = number.to_string();
            snapshot.indexes.push(row);
        }
        snapshot.next_index = 200_000;
    });
    check("many indexes on one tree", &rows, Refused, &put);
    let with_cuts = |behind: u64| {
        craft::with_entries(killed, |entries| {
            let number = entries.last().unwrap().number + 1;
            let newest = entries
                .iter()
                .rev()
                .find_map(|entry| if let Body::Snapshot(snapshot) = &entry.body { Some(snapshot) } else { None });
            let newest = newest.unwrap().clone();
            let (seq, first_segment) = (newest.seq, tenure::SegmentSeq(newest.next_segment.0 + behind));
            let cut = |each| Entry {
                number: number + each,
                body: Body::Cut(Cut { timeline: 2 + each, seq, first_segment, resumed: seq }),
            };
            entries.extend((0..cuts()).map(cut));
        })
    };
    // Those in front of the segments that are there let their commits count, those behind make them void.
    check("many cuts before", &with_cuts(0), Taken, &put);
    check("many cuts behind", &with_cuts(1_000), Taken, &put);
    let moves = |frame: &mut tenure::format::frame::FrameBuilder, number: u64| {
        let moved = Move { slot: 1 << 30, from: 128, to: 128 };
        put_moves(frame, craft::nowhere(0), craft::nowhere(1 + number), &[moved]);
    };
    let one = craft::with_commits(killed, 1, |_, frame| (0..50_000).for_each(|number| moves(frame, number)));
    check("many targets of moves in one commit", &one, Taken, &put);
    let each = craft::with_commits(killed, 50_000, |number, frame| moves(frame, number));
    check("many commits that move", &each, Taken, &put);
}

/// A head of 4 PiB over one list that names itself.
fn a_value_without_end(killed: &Files) {
    let chunk = craft::ids_of(killed, Kind::Chunk)[0];
    let head = craft::ids_of(killed, Kind::Head)[0];
    let ids = vec![chunk; IDS_PER_LIST];
    let chunks = u64::try_from(IDS_PER_LIST).unwrap().pow(3);
    let total_bytes = chunks * u64::try_from(CHUNK_BYTES).unwrap();
    let endless = Head { total_bytes, chunk_bytes: u32::try_from(CHUNK_BYTES).unwrap(), depth: 2, ids: ids.clone() };
    // One whose count of chunks is that of a small store is as bad: the lists have more.
    let short = Head { total_bytes: 3, chunk_bytes: 1, depth: 1, ids: vec![chunk] };
    for (what, head_of_it) in [("endless", endless), ("short", short)] {
        let crafted = craft::with_commits(killed, 1, |_, frame| {
            let mut list = Vec::new();
            encode_ids(&ids, &mut list);
            frame.control(Kind::Run, &1_u32.to_le_bytes());
            frame.record(Kind::Chunk, chunk, &list);
            frame.control(Kind::Run, &17_u32.to_le_bytes());
            frame.record(Kind::Head, head, &head_of_it.encode());
        });
        let backing: Arc<dyn Backing> = common::memory_of(&crafted);
        let report = within(what, || tenure::verify::verify_backing(&backing, &mut |_| {})).unwrap();
        assert!(report.problems.iter().any(|problem| problem.corrupt), "{what}: {report:?}");
        let store = within(what, || Options::open_backing(&options(), Arc::clone(&backing))).unwrap();
        let deleted = within(what, || store.write(|tx| tx.delete(head)));
        assert!(deleted.as_ref().is_err_and(Error::is_corruption), "{what}: {deleted:?}");
        let updated = within(what, || store.write(|tx| tx.update(head, "short")));
        assert!(updated.as_ref().is_err_and(Error::is_corruption), "{what}: {updated:?}");
        drop(within(what, || store.get(head).and_then(|record| record.to_vec())));
    }
}

#[test]
#[ignore = "the other test of this file runs it in a process of its own"]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (closed, killed) = craft::stores();
    counters(&closed, &killed);
    places_and_pages(&closed, &killed);
    many(&closed, &killed);
    noting(|| a_value_without_end(&killed));
    assert_eq!(FAILED.get(), 0, "cases failed");
    println!("\ndone");
}

#[test]
fn numbers_that_no_file_bears_out_take_little_time_and_memory() {
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -d \"$1\" && shift && exec \"$@\"",
            "sh",
            &(LIMIT_BYTES / 1024 * cuts().div_ceil(CUTS)).to_string(),
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &common::test_name(module_path!(), "child"), "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("\ndone"), "{text}");
}
