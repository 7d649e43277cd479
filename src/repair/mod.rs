//! Repair: rebuilds pages of the record index and key indexes in place, from the records; or replaces the damaged store
//! with a new one.
//!
//! Owns: choosing between the two, finding the damaged pages, and the new contents of their slots. Never: changes a
//! record, or silently decides something for which there is no evidence. The evidence: a segment's live bytes are the
//! bytes of the entries that point into it. What the readable pages do not account for is what the damaged ones pointed
//! at.

mod evidence;
mod exchange;
mod report;

pub use report::{Doubt, RebuiltPage, RepairProgress, RepairReport, RepairStep, SetAside};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backing::{Backing, Files, UNFINISHED};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::manifest::SnapshotKind;
use crate::format::segment::FileKind;
use crate::heap::State;
use crate::id::{IndexNumber, SetNumber};
use crate::indexing::Wanted;
use crate::options::Options;
use crate::record_index::DamagedLeaf;
use crate::recovery::Remains;
use crate::repair::evidence::Evidence;
use crate::repair::exchange::Place;
use crate::salvage::{IndexFate, RescuedIndex, Source, survey};
use crate::store::Store;
use crate::verify::{Problem, Scope, verify_with};
use crate::{indexing, snapshot};

/// Repairs a damaged store. Afterwards verification finds no problem, except for what only named snapshots need, which
/// [`RepairReport::in_snapshots`] lists. If verification finds no problem to begin with, nothing is written.
///
/// Damaged index pages are rebuilt in place: leaf pages of the record index, those below a damaged directory page or
/// root, and key indexes whose extractor is stored with them. If that is not enough, or if the manifest or a record
/// segment is damaged, a new store of everything intact is created beside the damaged one, as by
/// [`salvage`](crate::salvage::salvage), and the two directories are exchanged in one step. The damaged store is kept
/// as `NAME.damaged`: [`RepairReport::set_aside`] says where, and lists what the new one lacks, including named
/// snapshots and marks. If pages were rebuilt in place and the newest state is intact, there is no exchange. An
/// interruption leaves one store or the other under the name, complete; the next repair finishes what was started.
///
/// In place, the newest version of each ID counts. The log, the page's own record count and the live bytes of each
/// segment tell whether a record had been deleted; if none of them decides, the record is restored and reported. Free
/// slots of a rebuilt page are not assigned again.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("things.tenure");
/// let store = tenure::Store::open(&path)?;
/// let notes = store.record_set("notes")?;
/// let id = store.write(|tx| tx.insert(&notes, "a"))?;
/// store.close()?;
/// # for file in std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()) {
/// #     if file.file_name().unwrap().to_str().unwrap().starts_with("pages-") {
/// #         let mut bytes = std::fs::read(&file).unwrap();
/// #         bytes[130] ^= 1;
/// #         std::fs::write(&file, bytes).unwrap();
/// #     }
/// # }
/// // A bit flips in the page that maps the record's ID.
/// assert!(tenure::Store::open(&path)?.get(id).is_err());
///
/// let report = tenure::repair::repair(&path, &mut |_| {})?;
/// assert!(report.is_certain() && !report.is_nothing());
/// assert_eq!(tenure::Store::open(&path)?.get(id)?.as_slice(), Some(&b"a"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
///
/// # Errors
/// `Locked` if the store is open elsewhere, `NotAStore` if there is no store, and errors of the file system: also if it
/// cannot exchange two directories in one step, or cannot read the files. The store is then as it was, or repaired in
/// place, and nothing is left beside it.
pub fn repair(path: impl AsRef<Path>, progress: &mut dyn FnMut(RepairProgress)) -> Result<RepairReport> {
    let path = path.as_ref();
    let place = match std::fs::symlink_metadata(path) {
        Ok(_) => Place::of(path)?,
        Err(_) => return options().open(path).and_then(|store| repair_opened(store, progress)),
    };
    let left: Vec<PathBuf> = place.settle()?.into_iter().collect();
    let found = look(path, Scope::Everything, progress)?;
    let mut report = RepairReport { left, ..RepairReport::default() };
    if found.is_empty() {
        return Ok(report);
    }
    let (mut is_whole, mut was_opened) = (false, false);
    if is_for_repair_in_place(&found) {
        was_opened = true;
        match options().open(path).and_then(|store| repair_opened(store, progress)) {
            Ok(repaired) => {
                report = RepairReport { left: report.left, ..repaired };
                let still = look(path, Scope::Everything, progress)?;
                is_whole = still.is_empty() || look(path, Scope::Newest, progress)?.is_empty();
                if is_whole {
                    report.in_snapshots.extend(still.into_iter().map(|problem| problem.what));
                }
            }
            Err(error) if is_for_salvage(path, &error) => {}
            Err(error) => return Err(error),
        }
    }
    if !is_whole && let Some((found, aside)) = place.rebuild(was_opened, progress)? {
        report.damaged.extend(found.into_iter().map(|problem| problem.what));
        report.lost.extend(aside.salvaged.lost.iter().cloned());
        report.indexes.extend(aside.salvaged.indexes.iter().cloned());
        report.set_aside = Some(aside);
    }
    Ok(report)
}

/// Whether there is a store that does not open because it is damaged.
fn is_for_salvage(path: &Path, error: &Error) -> bool {
    let has_segments = || {
        let files = Files::read_only(path).and_then(|files| files.list());
        files.is_ok_and(|names| {
            let is_segment = |name: &String| matches!(FileKind::parse_name(name), Some((FileKind::Records, _)));
            names.iter().any(is_segment) && names.iter().all(|name| name != UNFINISHED)
        })
    };
    match error {
        Error::Corrupt(_) => true,
        Error::NotAStore { .. } => has_segments(),
        _ => false,
    }
}

/// The problems that verification finds.
fn look(path: &Path, scope: Scope, progress: &mut dyn FnMut(RepairProgress)) -> Result<Vec<Problem>> {
    let step = RepairStep::Checking;
    progress(RepairProgress { step, bytes: 0, bytes_total: 0 });
    let verified = verify_with(path, scope, &mut |now| {
        progress(RepairProgress { step, bytes: now.bytes, bytes_total: now.bytes });
    });
    match verified {
        Ok(report) => Ok(report.problems),
        Err(error) if is_for_salvage(path, &error) => {
            Ok(vec![Problem { file: String::new(), offset: 0, what: error.to_string(), corrupt: true }])
        }
        Err(error) => Err(error),
    }
}

/// Whether this can be repaired in place: damage of record segments alone cannot.
fn is_for_repair_in_place(found: &[Problem]) -> bool {
    let names = |kind: FileKind| {
        let is_of_kind = move |word: &str| {
            let name = word.trim_end_matches([':', ',', ';']);
            FileKind::parse_name(name).is_some_and(|(found, _)| found == kind)
        };
        found.iter().any(|problem| is_of_kind(&problem.file) || problem.what.split_whitespace().any(is_of_kind))
    };
    names(FileKind::Pages) || !names(FileKind::Records)
}

/// Rebuilds index pages in any backing store, in place. For a store that this cannot open, or that verification finds
/// damaged afterwards, use [`salvage_backing`](crate::salvage::salvage_backing).
///
/// # Errors
/// Those of opening a store for writing.
pub fn repair_backing(backing: Arc<dyn Backing>, progress: &mut dyn FnMut(RepairProgress)) -> Result<RepairReport> {
    repair_opened(options().open_backing(backing)?, progress)
}

fn options() -> Options {
    Options::new().create(false).background(false).collector(false).check_pages(true).repairing()
}

fn repair_opened(store: Store, progress: &mut dyn FnMut(RepairProgress)) -> Result<RepairReport> {
    let recovered = store.recovery_report();
    let damaged = recovered.fell_back.iter().chain(&recovered.damaged).cloned().collect();
    let mut report = RepairReport { damaged, ..RepairReport::default() };
    let engine = store.engine();
    mark_pages(engine)?;
    mark_indexes(engine)?;
    let state = engine.heap.pin();
    let has_damaged = state.root.damaged_pages().next().is_some();
    let has_absent = state.table.iter().any(|(_, segment)| segment.is_absent());
    if has_damaged || has_absent {
        rebuild_pages(engine, &state, &mut report, progress)?;
    }
    drop(state);
    let suspects = engine.pages.suspects();
    if !suspects.is_empty() {
        engine.heap.refresh_pages(&suspects, u64::MAX)?;
        engine.page_writer.lock().refresh_root(&suspects);
        engine.pages.forget(&suspects);
    }
    if has_damaged || has_absent || !suspects.is_empty() || !report.damaged.is_empty() {
        // Twice, so that both snapshots that an opening may use are intact.
        snapshot::save(engine, SnapshotKind::Automatic, "")?;
        snapshot::save(engine, SnapshotKind::Automatic, "")?;
    }
    rebuild_indexes(engine, &mut report);
    store.close()?;
    Ok(report)
}

/// Checks every leaf page.
fn mark_pages(engine: &Engine) -> Result<()> {
    let state = engine.heap.pin();
    let root = &state.root;
    let known: Vec<u64> = root.damaged_pages().map(|(page, _)| page).collect();
    for (page, cell) in (0..).zip(root.cells()) {
        match cell.entries() {
            Ok(_) => {}
            Err(Error::Corrupt(_)) if known.binary_search(&page).is_ok() => {}
            Err(Error::Corrupt(damage)) => {
                engine.heap.with_tree(|tree| tree.mark_damaged(page, DamagedLeaf::new(*damage)))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Checks every node of every key index.
fn mark_indexes(engine: &Engine) -> Result<()> {
    let state = engine.heap.pin();
    let mut found: Vec<(IndexNumber, Error)> = Vec::new();
    for (number, root) in &state.indexes {
        root.check(&mut |error| found.push((*number, error)), &mut |_bytes| {});
    }
    drop(state);
    for (number, error) in found {
        match error {
            Error::Corrupt(damage) => engine.heap.with_indexes(|indexes| indexes.damage(number, *damage)),
            other => return Err(other),
        }
    }
    Ok(())
}

fn rebuild_pages(
    engine: &Engine,
    state: &Arc<State>,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(RepairProgress),
) -> Result<()> {
    let source = Source::open(&engine.backing)?;
    let bytes_total = source.bytes();
    let remains = Remains { state: Arc::clone(state), seq: state.seq, is_newest: true };
    let survey = survey(&source, Some(&remains), Some(state.seq), &mut |bytes| {
        progress(RepairProgress { step: RepairStep::InPlace, bytes, bytes_total });
    })?;
    let evidence = Evidence::new(&source, &survey, state);
    evidence.lose_what_is_absent(engine, report)?;
    let damaged: Vec<(u64, String)> =
        state.root.damaged_pages().map(|(page, damage)| (page, damage.to_string())).collect();
    for (page, damage) in damaged {
        let rebuilt = evidence.page(page);
        let set = state.root.cell(page).map_or(0, |cell| cell.descriptor.set);
        let set = Some(SetNumber(set)).filter(|set| set.0 != 0).or_else(|| survey.pages.get(&page).copied());
        match set {
            Some(set) => engine.heap.with_tree(|tree| tree.replace_page(page, set, &rebuilt.entries))?,
            // The page has no record, and its slots are never assigned.
            None => engine.heap.with_tree(|tree| tree.clear_page(page))?,
        }
        if !rebuilt.doubts.is_empty() {
            // Once they are deleted, no ID of their slots that may have been seen is reused, nor any other of the page.
            engine.heap.with_tree(|tree| tree.raise_floor(page, crate::id::reuse_max() + 1))?;
        }
        report.doubts.extend(rebuilt.doubts);
        let (records, records_expected) = (rebuilt.records, rebuilt.records_expected);
        if set.is_some() {
            report.pages.push(RebuiltPage { page, set, records, records_expected, damage });
        }
    }
    engine.heap.with_tree(crate::record_index::Tree::end_of_damage);
    evidence::count_again(engine)
}

/// Builds the key indexes that can be built.
fn rebuild_indexes(engine: &Engine, report: &mut RepairReport) {
    let catalogue = engine.heap.catalogue();
    let damaged: Vec<_> = catalogue.damaged_indexes().map(|(index, _)| Arc::clone(&index.definition)).collect();
    for definition in damaged {
        let fate = match Extractor::from_spec(&definition.spec) {
            None => IndexFate::WaitsForItsProgram,
            Some(extractor) => {
                let (set, name, is_unique) = (definition.set, definition.name.as_str(), definition.unique);
                match indexing::open(engine, &Wanted { set, name, is_unique, extractor }) {
                    Ok(_) => IndexFate::Rebuilt,
                    Err(error) => IndexFate::Failed(error.to_string()),
                }
            }
        };
        let (set, name) = (catalogue.name_of(definition.set).to_owned(), definition.name.clone());
        report.indexes.push(RescuedIndex { set, name, fate });
    }
}
