//! Verification: reads everything that a store refers to and reports every problem.
//!
//! Owns: the walk over manifest, log, index pages, records and key indexes. Never: writes, or stops at the first
//! problem.

mod large;
mod shown;
mod state;
mod steps;
#[cfg(test)]
#[cfg(feature = "json")]
mod tests;
mod traces;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::backing::{Backing, Files};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::index::IndexDefinition;
use crate::format::manifest::Snapshot;
use crate::heap::State;
use crate::id::{SetNumber, to_u64};
use crate::options::Options;
use crate::recovery::{Point, Settings, list};
use crate::verify::state::{Pass, Seen};
use crate::verify::steps::Steps;
use crate::verify::traces::Traces;
use crate::{manifest, recovery};

/// Progress of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records of the newest state checked so far.
    pub records: u64,
    /// Records of the newest state.
    pub records_total: u64,
    /// Bytes checked so far: records and index pages of every state, plus the records again for each key index that is
    /// compared with them.
    pub bytes: u64,
    /// Total bytes to check, as far as known. It decreases when a snapshot turns out to share bytes already checked.
    pub bytes_total: u64,
}

/// A problem found by verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file at fault, if there is one.
    pub file: String,
    /// The offset in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Whether it is damage; other problems are read errors.
    pub corrupt: bool,
}

/// An index that was not compared with the keys of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// The set and the index.
    pub index: String,
    /// The reason.
    pub why: String,
}

/// Which states of a store to verify.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything that the store refers to: the newest state, and those of all retained snapshots.
    #[default]
    Everything,
    /// Only the newest state.
    Newest,
}

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Frames replayed from the end of the log.
    pub frames: u64,
    /// Records checked.
    pub records: u64,
    /// Index pages checked.
    pub pages: u64,
    /// Bytes of records checked: the live bytes of the record segments.
    pub bytes: u64,
    /// Record segments whose live-byte counts were compared with the index.
    pub segments: u64,
    /// Their bytes, live or not.
    pub segment_bytes: u64,
    /// Bytes in them that are counted as live. Equals the bytes checked if there is no problem.
    pub live_bytes: u64,
    /// Key indexes whose trees were checked.
    pub indexes: u64,
    /// Of these, indexes compared with the keys of their records: those whose extractor is stored with them and can run
    /// in this build.
    pub indexes_compared: u64,
    /// Indexes that were not compared, with the reason.
    pub indexes_not_compared: Vec<NotCompared>,
    /// Other snapshots whose states were read: named ones, and the automatic one before the newest.
    pub snapshots: u64,
    /// Nodes of key indexes checked.
    pub nodes: u64,
    /// Entries of key indexes checked.
    pub entries: u64,
    /// The problems found. The number listed per file is limited; a last entry says how many more there are.
    pub problems: Vec<Problem>,
    /// Kept until the verification ends.
    tally: Tally,
}

/// Maximum number of problems listed per file.
const PROBLEMS_MAX: u64 = 1_000;

/// Bookkeeping of the problems found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    /// Listed problems, by file and text.
    named: HashSet<(String, String)>,
    /// How many are listed, and how many more were found, by file.
    files: BTreeMap<String, (u64, u64)>,
    /// All problems found, including repeated ones.
    found: u64,
}

impl VerifyReport {
    /// Whether there is no problem.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, error: &Error) {
        let problem = match error {
            Error::Corrupt(corruption) => Problem {
                file: corruption.file.clone(),
                offset: corruption.offset,
                what: error.to_string(),
                corrupt: true,
            },
            other => Problem { file: String::new(), offset: 0, what: other.to_string(), corrupt: false },
        };
        self.push(problem);
    }

    fn push(&mut self, problem: Problem) {
        self.tally.found += 1;
        let key = (problem.file.clone(), problem.what.clone());
        if self.tally.named.contains(&key) {
            return;
        }
        let (named, more) = self.tally.files.entry(problem.file.clone()).or_default();
        if *named == PROBLEMS_MAX {
            *more += 1;
            return;
        }
        *named += 1;
        self.tally.named.insert(key);
        self.problems.push(problem);
    }

    /// Adds, for each file, how many problems were found beyond those listed.
    fn end(&mut self) {
        for (file, (_, more)) in std::mem::take(&mut self.tally).files {
            if more > 0 {
                let corrupt = self.problems.iter().any(|problem| problem.file == file && problem.corrupt);
                let what = format!("{more} more problems, which are not named");
                self.problems.push(Problem { file, offset: 0, what, corrupt });
            }
        }
    }
}

/// Verifies a store without writing a byte: manifest, log tail, every index page, every record, the chunks of every
/// large value, record counts and live bytes, and key indexes: every node with its checksum, order, bounds and counts;
/// that each entry points at a live record of the set; and, if the extractor is stored with the index, that each record
/// has exactly the entries of its keys. The last check holds the keys of one set at a time in memory. At most a hundred
/// problems are listed per index.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("things.tenure");
/// let store = tenure::Store::open(&path)?;
/// let notes = store.record_set("notes")?;
/// store.write(|tx| tx.insert(&notes, "a"))?;
/// store.close()?;
/// let report = tenure::verify::verify(&path, &mut |_| {})?;
/// assert!(report.is_ok() && report.records == 1);
/// # Ok::<(), tenure::Error>(())
/// ```
///
/// # Errors
/// Only if there is no store to read; all other problems are in the report.
pub fn verify(path: impl AsRef<Path>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    verify_with(path, Scope::Everything, progress)
}

/// Like [`verify`], restricted to a scope.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(path: impl AsRef<Path>, scope: Scope, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    let shown = path.as_ref().display().to_string();
    let refused = |why: &str| Error::NotAStore { path: shown.clone(), why: why.to_owned() };
    let files = Files::read_only(path.as_ref()).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => refused("it does not exist"),
        std::io::ErrorKind::NotADirectory => refused("it is not a directory"),
        _ => Error::io("open", shown.clone(), source),
    })?;
    verify_backing_with(&(Arc::new(files) as Arc<dyn Backing>), scope, progress)
}

/// Like [`verify`], for any backing store.
///
/// # Errors
/// As [`verify`].
pub fn verify_backing(backing: &Arc<dyn Backing>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    verify_backing_with(backing, Scope::Everything, progress)
}

/// Like [`verify_backing`], restricted to a scope.
///
/// # Errors
/// As [`verify`].
pub fn verify_backing_with(
    backing: &Arc<dyn Backing>,
    scope: Scope,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport> {
    let before = Traces::of(&**backing);
    let files = list(&**backing)?;
    if files.manifests.is_empty() && files.logs.is_empty() && files.pages.is_empty() {
        return Err(Error::NotAStore { path: backing.location(), why: "it contains no manifest".to_owned() });
    }
    let mut report = VerifyReport {
        files: to_u64(files.manifests.len() + files.logs.len() + files.pages.len()),
        ..VerifyReport::default()
    };
    let settings = Options::new().read_only(true).check_every_read(true).settings();
    let (engine, recovered) = match recovery::open_beside_a_writer(backing, &settings) {
        Ok(opened) => opened,
        Err(error @ (Error::Unsupported { .. } | Error::NotAStore { .. })) => return Err(error),
        Err(error) => {
            report.add(&error);
            report.end();
            return Ok(report);
        }
    };
    report.frames = recovered.frames_replayed;
    for reason in recovered.fell_back.into_iter().chain(recovered.damaged) {
        report.push(Problem { file: String::new(), offset: 0, what: reason, corrupt: true });
    }
    if let Some(what) = recovered.end.and_then(|end| end.loss()) {
        report.push(Problem { file: String::new(), offset: 0, what, corrupt: true });
    }
    let state = engine.heap.pin();
    let mut others = if scope == Scope::Everything { others(&engine) } else { Vec::new() };
    let own = bytes_of(&engine, &state);
    let mut steps = Steps::new(own + others.iter().map(|other| other.bytes).sum::<u64>(), progress);
    let mut seen = Seen::default();
    steps.begin(own);
    Pass { report: &mut report, steps: &mut steps, seen: (!others.is_empty()).then_some(&mut seen) }.check(&state);
    // A snapshot shares more with the next one than with an older one.
    others.sort_unstable_by_key(|other| std::cmp::Reverse(other.number));
    check_others(&engine, &settings, others, &before, &mut seen, &mut steps, &mut report);
    steps.end();
    report.end();
    Ok(report)
}

/// How often a snapshot that fails to open is retried beside a writer.
const OPENINGS: u32 = 5;
/// How long to wait for the writer before each retry.
const OPENING_PAUSE: Duration = Duration::from_millis(10);

/// A snapshot other than the newest.
struct Other {
    number: u64,
    name: String,
    /// Bytes to read if nothing is shared.
    bytes: u64,
}

/// Bytes of sets that are read once more, for each index that is compared.
fn compared_bytes<'i>(
    indexes: impl Iterator<Item = &'i IndexDefinition>,
    bytes: impl Fn(SetNumber) -> Option<u64>,
) -> u64 {
    let compared = indexes.filter(|definition| Extractor::from_spec(&definition.spec).is_some());
    compared.filter_map(|definition| bytes(definition.set)).sum()
}

/// Bytes to read in the newest state.
fn bytes_of(engine: &Engine, state: &State) -> u64 {
    let records: u64 = state.table.iter().map(|(_, segment)| segment.live_bytes()).sum();
    let pages: u64 = engine.pages.all_rows().iter().map(|(.., live_bytes)| live_bytes).sum();
    let catalogue = &state.catalogue;
    let indexes = catalogue.indexes().map(|index| &*index.definition);
    records + pages + compared_bytes(indexes, |set| catalogue.set(set).map(|set| set.bytes))
}

fn others(engine: &Engine) -> Vec<Other> {
    let other = |snapshot: &Snapshot| {
        let bytes = |set: SetNumber| snapshot.sets.iter().find(|row| row.number == set).map(|row| row.bytes);
        let compared = compared_bytes(snapshot.indexes.iter().map(|row| &row.definition), bytes);
        // Each number is compared with the files before it is used for anything else.
        let live = snapshot.segments.iter().fold(compared, |sum, row| sum.saturating_add(row.live_bytes));
        Other { number: snapshot.number, name: snapshot.name.clone(), bytes: live.min(1 << 60) }
    };
    engine.manifest.with_kept(|kept| {
        let newest = kept.snapshots().map(|snapshot| snapshot.number).max();
        kept.snapshots().filter(|snapshot| Some(snapshot.number) != newest).map(other).collect()
    })
}

/// Reads what only other snapshots need.
fn check_others(
    engine: &Engine,
    settings: &Settings,
    others: Vec<Other>,
    before: &Traces,
    seen: &mut Seen,
    steps: &mut Steps<'_>,
    report: &mut VerifyReport,
) {
    for Other { number, name, bytes } in others {
        steps.begin(bytes);
        let told = if name.is_empty() { format!("snapshot {number}") } else { format!("snapshot {name:?}") };
        let mut found = VerifyReport::default();
        match open_other(engine, settings, number, before) {
            Ok((then, _)) => {
                Pass { report: &mut found, steps, seen: Some(seen) }.check(&then.heap.pin());
            }
            // An automatic snapshot leads to the newest state, which was verified; records live only then may have been
            // collected.
            Err(Error::PointGone { .. }) if name.is_empty() => {}
            Err(error) => found.add(&error),
        }
        if !found.problems.is_empty() && !is_kept(engine, number) {
            // The writer has dropped it meanwhile, with its files.
            continue;
        }
        report.snapshots += 1;
        for not_compared in found.indexes_not_compared {
            if !report.indexes_not_compared.contains(&not_compared) {
                let index = format!("{} in {told}", not_compared.index);
                report.indexes_not_compared.push(NotCompared { index, ..not_compared });
            }
        }
        for problem in found.problems {
            // Most of it also belongs to the newest state.
            let key = (problem.file.clone(), problem.what.clone());
            if !report.tally.named.contains(&key) {
                report.push(Problem { what: format!("{told}: {}", problem.what), ..problem });
            }
        }
        for (file, (_, more)) in found.tally.files {
            // Most of them are the same.
            let (_, known) = report.tally.files.entry(file).or_default();
            *known = more.max(*known);
        }
    }
}

/// Opens a snapshot. Beside a writer it retries: the snapshot may just have been dropped, with its files.
fn open_other(
    engine: &Engine,
    settings: &Settings,
    number: u64,
    before: &Traces,
) -> Result<(Engine, recovery::RecoveryReport)> {
    let open = || recovery::open_at(&engine.backing, settings, &Point::Snapshot(number));
    let mut opened = open();
    for _ in 0..OPENINGS {
        let is_told = opened.is_ok() || matches!(opened, Err(Error::PointGone { .. })) || !is_kept(engine, number);
        if is_told || Traces::of(&*engine.backing) == *before {
            break;
        }
        std::thread::sleep(OPENING_PAUSE);
        opened = open();
    }
    opened
}

/// Whether a snapshot still exists, beside a writer that may have dropped it.
fn is_kept(engine: &Engine, number: u64) -> bool {
    let files = list(&*engine.backing).map(|files| manifest::load(&*engine.backing, &files.manifests));
    files.is_ok_and(|loaded| loaded.is_ok_and(|loaded| loaded.kept().snapshot(number).is_some()))
}
