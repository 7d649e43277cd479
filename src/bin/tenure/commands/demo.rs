//! `tenure demo`: a tour of what a store does, over real records.
//!
//! Owns: the order of the steps, and the location of the store. [`Story`] prints them. Invariants: 1. Every line is
//! measured or read from the store in this run. 2. A directory that the demo created itself is removed, even if a step
//! fails, unless `--keep` is given.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tenure::{Durability, Lookup, RecordId, RecordSet, Store};

use crate::commands::story::{SET, Story, unexpected};
use crate::commands::{demo_indexes, demo_past};
use crate::context::{Context, existing_set};
use crate::failure::{Exit, Failure, Outcome};
use crate::input::jsonl::JsonLines;
use crate::input::{Rows, Step};
use crate::{source, units};

/// The data file, relative to the package directory.
const DATA: &str = "tests/data/packages.jsonl";
/// Records per commit.
const BATCH: usize = 200;
/// Segment size in bytes: small enough that records of this size fill many segments.
const SEGMENT_BYTES: u64 = 128 << 10;
/// The steps refer to records by position, so there must be enough of them.
const RECORDS_MIN: usize = 5;
/// Maximum length of a line of the data.
const LINE_BYTES_MAX: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  tenure demo
  tenure demo --store demo.tenure
  tenure demo --data other.jsonl";

/// Show what a store does, step by step, with timings
///
/// The records describe Debian packages. The store is created in a temporary directory and removed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Create the store here and keep it
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// JSON Lines to import; each line is an object with name, version, section and depends; names must be unique
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Keep the store in the temporary directory
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut tale = Story::new(context.json)?;
    let data = find_data(args.data.as_deref())?;
    let (path, remove) = place(args)?;
    let ended = make_temporary("-backup").and_then(|backup| {
        let told = tell(context, &mut tale, &path, &data, &backup);
        remove_all(&backup).and(told)
    });
    if remove {
        remove_all(&path)?;
    }
    ended?;
    if !remove {
        tale.note(&format!("The store is kept: {}", path.display()))?;
    }
    tale.finish()
}

/// The file named on the command line, or the one that comes with the sources.
fn find_data(named: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let here = PathBuf::from(DATA);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(DATA);
    let found = [here, beside].into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        let message = format!("{DATA} was found neither here nor where the program was built");
        Failure::new(Exit::BadInput, message, "run it in the source directory, or name a file with --data")
    })
}

/// The directory of the store, and whether to remove it at the end.
fn place(args: &Args) -> Outcome<(PathBuf, bool)> {
    if let Some(path) = &args.store {
        let taken = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if taken {
            let message = format!("{} is not empty", path.display());
            return Err(Failure::new(Exit::Failed, message, "name a directory that does not exist yet"));
        }
        return Ok((path.clone(), false));
    }
    Ok((make_temporary("")?, !args.keep))
}

/// A temporary directory of this process. Fails if it already exists, so that only our own directory is removed.
fn make_temporary(what: &str) -> Outcome<PathBuf> {
    let path = std::env::temp_dir().join(format!("tenure-demo-{}{what}", std::process::id()));
    let name = path.display().to_string();
    fs::create_dir(&path).map_err(|error| Failure::output(&name, &error))?;
    Ok(path)
}

fn remove_all(path: &Path) -> Outcome {
    let name = path.display().to_string();
    fs::remove_dir_all(path).map_err(|error| Failure::output(&name, &error))
}

/// The steps.
fn tell(context: &Context, tale: &mut Story, path: &Path, data: &Path, backup: &Path) -> Outcome {
    let store = context.create(path, SEGMENT_BYTES)?;
    let set = store.record_set(SET)?;
    let ids = import(tale, &store, &set, data)?;
    demo_indexes::make(tale, &store, &set)?;
    demo_indexes::ask(tale, &store, &set)?;
    let last = ids.len() - 1;
    let three: Vec<RecordId> = [0, last / 2, last].iter().filter_map(|&at| ids.get(at).copied()).collect();
    let gone: Vec<RecordId> = [1, last - 1].iter().filter_map(|&at| ids.get(at).copied()).collect();
    look_up(tale, &store, &three, &ids)?;
    update(tale, &store, &three)?;
    delete(tale, &store, &gone)?;
    let never = RecordId::from_parts(1 << 39, 1);
    answers(tale, &store, three.iter().chain(&gone).copied().step_by(3).chain(never))?;
    insert_again(tale, &store, &set, &gone)?;
    demo_past::rewrite(tale, &store, &ids)?;
    demo_past::collect(tale, &store, path)?;
    let store = demo_past::go_back(tale, store, path, &ids)?;
    snapshot_and_close(tale, store)?;
    let store = reopen(context, tale, path)?;
    let records = u64::try_from(ids.len() - gone.len() + 1).unwrap_or(u64::MAX);
    scan(tale, &store, records)?;
    demo_indexes::check(tale, &store)?;
    figures(tale, &store)?;
    demo_past::back_up(tale, &store, backup)?;
    store.close()?;
    Ok(())
}

fn import(tale: &mut Story, store: &Store, set: &RecordSet, data: &Path) -> Outcome<Vec<RecordId>> {
    tale.step("Import", "Each line of the file becomes a record; each commit stores two hundred.")?;
    let name = data.display().to_string();
    let begun = Instant::now();
    let input = source::open(&name, None)?;
    let mut rows = JsonLines::new(input.reader, 1, LINE_BYTES_MAX);
    let (mut ids, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    loop {
        let wrong = |line: u64, what: &str| {
            Failure::new(Exit::BadInput, format!("{name}, line {line}, {what}"), "name other data with --data")
        };
        let step = rows.step().map_err(|broken| wrong(broken.line, &broken.what))?;
        let ended = step == Step::End;
        match step {
            Step::Row(row) => {
                bytes += row.bytes.len();
                batch.push(row.bytes);
            }
            Step::Bad(bad) => return Err(wrong(bad.line, &bad.what)),
            Step::End => {}
        }
        if batch.len() == BATCH || (ended && !batch.is_empty()) {
            let mut transaction = store.begin()?;
            for value in batch.drain(..) {
                ids.push(transaction.insert(set, value)?);
            }
            transaction.commit_with(Durability::Buffered)?;
        }
        if ended {
            break;
        }
    }
    store.sync()?;
    if ids.len() < RECORDS_MIN {
        let message = format!("{name} has {} rows, but the demo needs {RECORDS_MIN}", ids.len());
        return Err(Failure::new(Exit::BadInput, message, "name other data with --data"));
    }
    let (records, bytes) = (u64::try_from(ids.len()).unwrap_or(0), u64::try_from(bytes).unwrap_or(0));
    let taken = begun.elapsed();
    let rate = units::count(units::per_second(records, taken));
    tale.fact(&format!(
        "{} with {} in {}: {rate} records a second, synced",
        units::counted(records, "record"),
        units::bytes(bytes),
        units::time(taken)
    ))?;
    Ok(ids)
}

fn look_up(tale: &mut Story, store: &Store, three: &[RecordId], all: &[RecordId]) -> Outcome {
    tale.step("Look up records by ID", "The record index maps an ID directly to the bytes in the log.")?;
    for &id in three {
        let begun = Instant::now();
        let record = store.get(id)?;
        let taken = begun.elapsed();
        let package = parse(&record.to_vec()?, id)?;
        let (name, version) = (member(&package, "name"), member(&package, "version"));
        tale.fact(&format!("{id}: {name} {version} ({}), {}", member(&package, "section"), units::time(taken)))?;
    }
    let (view, begun) = (store.view(), Instant::now());
    let mut bytes = 0;
    for &id in all {
        bytes += view.get(id)?.bytes()?.len();
    }
    let (taken, records) = (begun.elapsed(), u64::try_from(all.len()).unwrap_or(1));
    let each = Duration::from_nanos(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX) / records.max(1));
    let (records, bytes) = (units::counted(records, "record"), units::bytes(u64::try_from(bytes).unwrap_or(0)));
    tale.fact(&format!("{records}, {bytes}, one after another in {}: {} each", units::time(taken), units::time(each)))
}

fn update(tale: &mut Story, store: &Store, three: &[RecordId]) -> Outcome {
    tale.step("Update", "A new version is appended to the log. The ID stays; the version number increases.")?;
    let begun = Instant::now();
    let mut transaction = store.begin()?;
    let mut changes = Vec::new();
    for &id in three {
        let record = transaction.get(id)?.into_owned();
        let mut package = parse(&record.to_vec()?, id)?;
        let old = member(&package, "version");
        let new = format!("{old}+demo1");
        if let Some(version) = package.get_mut("version") {
            *version = Value::from(new.as_str());
        }
        transaction.update_if(id, record.seq(), package.to_string())?;
        changes.push(format!("{id}: {} {old} -> {new}, version {}", member(&package, "name"), record.seq()));
    }
    let seq = transaction.commit_with(Durability::Sync)?;
    let taken = begun.elapsed();
    changes.iter().try_for_each(|change| tale.fact(&format!("{change} -> {seq}")))?;
    tale.fact(&format!("one commit, durable, in {}", units::time(taken)))
}

fn delete(tale: &mut Story, store: &Store, gone: &[RecordId]) -> Outcome {
    tale.step("Delete", "The slot is freed; the ID is never reused.")?;
    let begun = Instant::now();
    let mut transaction = store.begin()?;
    gone.iter().try_for_each(|&id| transaction.delete(id))?;
    let seq = transaction.commit_with(Durability::Sync)?;
    let ids: Vec<String> = gone.iter().map(ToString::to_string).collect();
    tale.fact(&format!("{} deleted in commit {seq}, in {}", ids.join(" and "), units::time(begun.elapsed())))
}

fn answers(tale: &mut Story, store: &Store, ids: impl Iterator<Item = RecordId>) -> Outcome {
    tale.step("Three answers", "A lookup distinguishes a live record, a deleted one, and an ID never assigned.")?;
    for id in ids {
        let begun = Instant::now();
        let found = store.lookup(id)?;
        let taken = units::time(begun.elapsed());
        let answer = match found {
            Lookup::Live(record) => format!("live, {}, version {}", units::bytes(record.len()), record.seq()),
            Lookup::Deleted => "deleted".to_owned(),
            Lookup::NeverAllocated => "never allocated".to_owned(),
        };
        tale.fact(&format!("{id}: {answer}, {taken}"))?;
    }
    Ok(())
}

fn insert_again(tale: &mut Story, store: &Store, set: &RecordSet, gone: &[RecordId]) -> Outcome {
    tale.step("Insert", "A slot may be reused, with a higher count: an old ID never finds a new record.")?;
    let value = br#"{"name":"tenure-demo","version":"1.0","section":"database"}"#;
    let begun = Instant::now();
    let id = store.write(|transaction| transaction.insert(set, value))?;
    let taken = units::time(begun.elapsed());
    let slot = if gone.iter().any(|old| old.slot() == id.slot()) { "a reused slot" } else { "a new slot" };
    tale.fact(&format!("{id}: tenure-demo 1.0, {slot}, {taken}"))?;
    for &old in gone {
        match store.lookup(old)? {
            Lookup::Deleted => tale.fact(&format!("{old}: still deleted"))?,
            other => return Err(unexpected(format!("{old} was deleted, and now the store answers {other:?}"))),
        }
    }
    Ok(())
}

fn snapshot_and_close(tale: &mut Story, store: Store) -> Outcome {
    tale.step("Snapshot and close", "Changed index pages are written once for all commits since the last snapshot.")?;
    let begun = Instant::now();
    let info = store.save_snapshot()?;
    let (pages, bytes) = (units::counted(info.pages_written, "page"), units::bytes(info.bytes_written));
    let taken = units::time(begun.elapsed());
    tale.fact(&format!("snapshot {} of commit {}: {pages}, {bytes}, {taken}", info.number, info.seq))?;
    let begun = Instant::now();
    store.close()?;
    tale.fact(&format!("closed in {}", units::time(begun.elapsed())))
}

fn reopen(context: &Context, tale: &mut Story, path: &Path) -> Outcome<Store> {
    tale.step("Open again", "Opening reads the newest snapshot and replays only the log after it.")?;
    let begun = Instant::now();
    let store = context.open_to_write(path)?;
    let taken = begun.elapsed();
    tale.fact(&format!("the call took {}", units::time(taken)))?;
    let report = store.recovery_report().to_string();
    report.lines().try_for_each(|line| tale.fact(line.trim()))?;
    Ok(store)
}

fn scan(tale: &mut Story, store: &Store, expected: u64) -> Outcome {
    tale.step("Scan", "The records of a set, in the order of their IDs, from one consistent view.")?;
    let set = existing_set(store, SET)?;
    let (view, begun) = (store.view(), Instant::now());
    let (mut records, mut sections) = (0, BTreeMap::<String, u64>::new());
    for record in view.scan(&set) {
        let record = record?;
        let package = parse(&record.to_vec()?, record.id())?;
        *sections.entry(member(&package, "section")).or_default() += 1;
        records += 1;
    }
    let taken = units::time(begun.elapsed());
    if records != expected {
        return Err(unexpected(format!("the scan found {records} records, and {expected} are live")));
    }
    let mut largest: Vec<(String, u64)> = sections.into_iter().collect();
    largest.sort_by_key(|(_section, packages)| std::cmp::Reverse(*packages));
    let largest: Vec<String> = largest.iter().take(5).map(|(name, packages)| format!("{name} {packages}")).collect();
    tale.fact(&format!("{} read and parsed in {taken}, as many as are live", units::counted(records, "record")))?;
    tale.fact(&format!("largest sections: {}", largest.join(", ")))
}

fn figures(tale: &mut Story, store: &Store) -> Outcome {
    tale.step("Figures", "What the store contains, and the space it uses.")?;
    let stats = store.stats();
    let file_bytes: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
    let segments = u64::try_from(stats.segments.len()).unwrap_or(u64::MAX);
    let (records, bytes) = (units::counted(stats.records, "record"), units::bytes(stats.record_bytes));
    tale.fact(&format!("{records}, {bytes}; commit {}, durable {}", stats.last_seq, stats.durable_seq))?;
    let segments = units::counted(segments, "segment");
    tale.fact(&format!(
        "{segments}, {}; index on the heap {}",
        units::bytes(file_bytes),
        units::bytes(stats.heap_bytes)
    ))
}

fn parse(bytes: &[u8], id: RecordId) -> Outcome<Value> {
    serde_json::from_slice(bytes).map_err(|error| unexpected(format!("record {id} is not JSON: {error}")))
}

fn member(package: &Value, key: &str) -> String {
    package.get(key).and_then(Value::as_str).unwrap_or("?").to_owned()
}
