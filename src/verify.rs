//! Verification: reads everything that a store refers to and reports what does not hold.
//!
//! Owns: the walk over manifest, log, index pages, records and key indexes. Never: writes, and never stops at the first problem.

mod large;
#[cfg(test)]
#[cfg(feature = "json")]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::backing::Backing;
use crate::backing::Files;
use crate::engine::Engine;
use crate::error::Error;
use crate::error::Result;
use crate::extract::Extractor;
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::format::entry::State as EntryState;
use crate::format::segment::FileKind;
use crate::heap::State;
use crate::id::SetNumber;
use crate::id::to_u64;
use crate::indexing;
use crate::log::Segment;
use crate::manifest;
use crate::options::Options;
use crate::recovery;
use crate::recovery::Point;
use crate::recovery::Settings;
use crate::recovery::list;
use crate::verify::large::LargeValues;

/// Entries of one index that are named when they are wrong.
const LINES_MAX: usize = 100;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records checked so far.
    pub records: u64,
    /// Records in all.
    pub records_total: u64,
    /// Bytes of log checked so far.
    pub bytes: u64,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, where one is to blame.
    pub file: String,
    /// The offset in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Whether it is damage; other problems are failures to read.
    pub corrupt: bool,
}

/// An index that was not compared with the keys of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// The set and the index.
    pub index: String,
    /// Why not.
    pub why: String,
}

/// How much of a store is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that the store refers to: the newest state, and those of all snapshots that are kept.
    #[default]
    Everything,
    /// The newest state only.
    Newest,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files that were read.
    pub files: u64,
    /// Frames replayed from the log's tail.
    pub frames: u64,
    /// Records checked.
    pub records: u64,
    /// Index pages checked.
    pub pages: u64,
    /// Bytes of records checked: what lives in the record segments.
    pub bytes: u64,
    /// Record segments whose counts of live bytes were compared with the index.
    pub segments: u64,
    /// Their bytes, live or not.
    pub segment_bytes: u64,
    /// Bytes in them that are counted as live. As many as were checked, if everything holds.
    pub live_bytes: u64,
    /// Key indexes whose trees were checked.
    pub indexes: u64,
    /// Of these, indexes that were compared with the keys of their records: those whose extractor is stored with them, and
    /// can be run by this build.
    pub indexes_compared: u64,
    /// Those that were not, with the reason.
    pub indexes_not_compared: Vec<NotCompared>,
    /// Other snapshots whose states were read: those with a name, and the automatic one before the newest.
    pub snapshots: u64,
    /// Nodes of key indexes checked.
    pub nodes: u64,
    /// Entries of key indexes checked.
    pub entries: u64,
    /// What does not hold.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// Whether everything holds.
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
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Checks a store without writing a byte: manifest, log tail, every index page, every record, the chunks of every large value,
/// counts and live bytes, and key indexes: every node, its checksum, order, bounds and counts; that each entry leads to a live record of the set; and,
/// where the extractor is stored with the index, that each record has exactly the entries of its keys. For the last it holds
/// the keys of one set at a time in memory. At most a hundred entries of an index are named.
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
/// Only when there is no store to look at; everything else is in the report.
pub fn verify(path: impl AsRef<Path>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    verify_with(path, Scope::Everything, progress)
}

/// As [`verify`], of so much of the store.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(path: impl AsRef<Path>, scope: Scope, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    let shown = path.as_ref().display().to_string();
    let refused = |why: &str| Error::NotAStore { path: shown.clone(), why: why.to_owned() };
    let files = Files::read_only(path.as_ref()).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => refused("there is nothing"),
        std::io::ErrorKind::NotADirectory => refused("it is not a directory"),
        _ => Error::io("open", shown.clone(), source),
    })?;
    verify_scope(&(Arc::new(files) as Arc<dyn Backing>), scope, progress)
}

/// The same for any backing store.
///
/// # Errors
/// As [`verify`].
pub fn verify_backing(backing: &Arc<dyn Backing>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    verify_scope(backing, Scope::Everything, progress)
}

fn verify_scope(backing: &Arc<dyn Backing>, scope: Scope, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
    let files = list(&**backing)?;
    if files.manifests.is_empty() && files.logs.is_empty() && files.pages.is_empty() {
        return Err(Error::NotAStore { path: backing.location(), why: "it holds no manifest".to_owned() });
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
            return Ok(report);
        }
    };
    report.frames = recovered.frames_replayed;
    for reason in recovered.fell_back.into_iter().chain(recovered.damaged) {
        report.problems.push(Problem { file: String::new(), offset: 0, what: reason, corrupt: true });
    }
    if let Some(what) = recovered.end.and_then(|end| end.loss()) {
        report.problems.push(Problem { file: String::new(), offset: 0, what, corrupt: true });
    }
    let state = engine.heap.pin();
    check_state(&state, &mut report, progress);
    check_indexes(&state, &mut report);
    if scope == Scope::Everything {
        check_others(&engine, &settings, &mut report);
    }
    Ok(report)
}

/// Reads what only other snapshots need. What the newest state has, too, is read again: a snapshot is a state of its own.
fn check_others(engine: &Engine, settings: &Settings, report: &mut VerifyReport) {
    let kept: Vec<(u64, String)> = engine
        .manifest
        .with_kept(|kept| kept.snapshots().map(|snapshot| (snapshot.number, snapshot.name.clone())).collect());
    let newest = kept.iter().map(|(number, _)| *number).max();
    for (number, name) in kept.into_iter().filter(|(number, _)| Some(*number) != newest) {
        let told = if name.is_empty() { format!("snapshot {number}") } else { format!("snapshot {name:?}") };
        let mut found = VerifyReport::default();
        match recovery::open_at(&engine.backing, settings, &Point::Snapshot(number)) {
            Ok((then, _)) => {
                let state = then.heap.pin();
                check_state(&state, &mut found, &mut |_| {});
                check_indexes(&state, &mut found);
            }
            // An automatic snapshot leads to the newest state, which was tried; what lived only then may have been collected.
            Err(Error::PointGone { .. }) if name.is_empty() => {}
            Err(error) => found.add(&error),
        }
        if !found.problems.is_empty() && !is_kept(engine, number) {
            // Its writer has dropped it meanwhile, and its files with it.
            continue;
        }
        report.snapshots += 1;
        for problem in found.problems {
            // Most of it is the newest state's, too.
            let is_known = report.problems.iter().any(|known| known.what == problem.what && known.file == problem.file);
            if !is_known {
                report.problems.push(Problem { what: format!("{told}: {}", problem.what), ..problem });
            }
        }
    }
}

/// Whether a snapshot is kept now, beside a writer that may have dropped it.
fn is_kept(engine: &Engine, number: u64) -> bool {
    let files = list(&*engine.backing).map(|files| manifest::load(&*engine.backing, &files.manifests));
    files.is_ok_and(|loaded| loaded.is_ok_and(|loaded| loaded.kept().snapshot(number).is_some()))
}

fn check_state(state: &State, report: &mut VerifyReport, progress: &mut dyn FnMut(Progress)) {
    let records_total = state.catalogue.user_sets().map(|(_, set)| set.records).sum();
    let mut live: std::collections::BTreeMap<u32, u64> = std::collections::BTreeMap::new();
    let mut counted: std::collections::BTreeMap<u32, u64> = std::collections::BTreeMap::new();
    let mut large = LargeValues::default();
    for page in 0..state.root.page_end() {
        let Some(cell) = state.root.cell(page).filter(|cell| cell.descriptor.set != 0) else { continue };
        let entries = match cell.entries() {
            Ok(entries) => entries,
            Err(error) => {
                report.add(&error);
                continue;
            }
        };
        report.pages += 1;
        for (index, entry) in entries.into_iter().enumerate() {
            let EntryState::Live(location) = entry.state() else { continue };
            *live.entry(location.place).or_default() += location.bytes();
            *counted.entry(cell.descriptor.set).or_default() += 1;
            report.bytes += location.bytes();
            report.records += 1;
            let slot = page * to_u64(ENTRIES_PER_PAGE) + to_u64(index);
            match state.read(slot, location) {
                Ok(found) => large.meet(state, slot, location, &found),
                Err(error) => report.add(&error),
            }
        }
        progress(Progress { records: report.records, records_total, bytes: report.bytes });
    }
    large.check(state, &mut |error| report.add(&error));
    for (place, segment) in state.table.iter() {
        check_live(segment, live.get(&place).copied().unwrap_or_default(), report);
        report.segments += 1;
        report.segment_bytes += segment.len().unwrap_or_default();
        report.live_bytes += segment.live_bytes();
    }
    for (number, records) in counted.iter().filter(|(number, _)| **number >= SetNumber::FIRST_USER.0) {
        if state.catalogue.set(SetNumber(*number)).is_none() {
            let what = format!("{records} records are of set {number}, and there is no such set");
            report.problems.push(Problem { file: String::new(), offset: 0, what, corrupt: true });
        }
    }
    for (number, set) in state.catalogue.user_sets() {
        let records = counted.get(&number.0).copied().unwrap_or_default();
        if records != set.records {
            let what = format!("set {:?} counts {} records, the index has {records}", set.name, set.records);
            report.problems.push(Problem { file: String::new(), offset: 0, what, corrupt: true });
        }
    }
}

fn check_indexes(state: &Arc<State>, report: &mut VerifyReport) {
    for index in state.catalogue.indexes() {
        if let Some(damage) = &index.damage {
            report.add(&Error::Corrupt(Box::new(damage.as_ref().clone())));
        }
        let definition = &index.definition;
        let set = state.catalogue.set(definition.set).map(|set| set.name.to_string()).unwrap_or_default();
        let not_compared = |why: &str| NotCompared { index: format!("{set}.{}", definition.name), why: why.to_owned() };
        let Some(root) = state.indexes.get(&definition.number) else {
            report.indexes_not_compared.push(not_compared("it was not built to its end"));
            continue;
        };
        let before = report.problems.len();
        let checked = root.check(&mut |error| report.add(&error));
        report.indexes += 1;
        report.nodes += checked.nodes;
        report.entries += checked.entries;
        if report.problems.len() > before {
            report.indexes_not_compared.push(not_compared("its tree does not hold"));
            continue;
        }
        let extractor = Extractor::from_spec(&definition.spec);
        if extractor.is_none() {
            let why = "a program gives its keys by code of its own: verify_index in that program compares it";
            report.indexes_not_compared.push(not_compared(why));
        }
        match indexing::compare(definition, extractor.as_ref(), state, root, LINES_MAX) {
            Ok(lines) => {
                let line = |line| format!("index {set}.{}: {line}", definition.name);
                let problem = |what| Problem { file: String::new(), offset: 0, what, corrupt: true };
                report.problems.extend(lines.into_iter().map(line).map(problem));
                report.indexes_compared += u64::from(extractor.is_some());
            }
            // A record that cannot be read is a problem that is known by now.
            Err(error) => {
                report.indexes_not_compared.push(not_compared("a record of it cannot be read"));
                report.add(&error);
            }
        }
    }
}

fn check_live(segment: &Segment, expected: u64, report: &mut VerifyReport) {
    let counted = segment.live_bytes();
    if counted != expected {
        let what = format!("{counted} live bytes are counted, the index refers to {expected}");
        let file = FileKind::Records.file_name(segment.number());
        report.problems.push(Problem { file, offset: 0, what, corrupt: true });
    }
}
