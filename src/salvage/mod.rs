//! Salvage: a new store from everything intact in a damaged one.
//!
//! Owns: the order survey → verdict → copy → indexes, and the report. Never: writes to the damaged store, or trusts
//! anything in it that has no checksum of its own.
//! Every record in a segment carries its ID, its commit number and a checksum bound to store, file and offset. So the
//! segments alone determine the newest version of each record. They may not show that a record was deleted: the
//! collector drops deletes. The record index shows it, as far as it can be read.

mod moved;
mod report;
mod shown;
mod source;
mod survey;
mod vain;
mod verdict;
mod version;
mod walk;

pub use report::{IndexFate, Lost, RescuedIndex, RescuedSet, SalvageProgress, SalvageReport, Unreadable};
pub(crate) use source::Source;
pub(crate) use survey::{Survey, survey};
pub(crate) use version::Version;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::backing::{Backing, Files};
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::entry::{Entry, SEGMENT_BYTES_END};
use crate::format::index::IndexDefinition;
use crate::format::item::Item;
use crate::format::manifest::{Body, Snapshot};
use crate::id::{IndexNumber, Seq, SetNumber, to_u64, to_usize};
use crate::import::{Beginning, Import};
use crate::indexing::Wanted;
use crate::log::SEGMENT_BYTES_MIN;
use crate::manifest::{Loaded, Remnants};
use crate::options::Options;
use crate::record_index::{PAGES_END, RESERVE_PAGES_MAX};
use crate::recovery::Remains;
use crate::salvage::verdict::Verdict;
use crate::snapshot::OF_A_COPY;
use crate::{indexing, manifest, recovery};

/// Creates a new store from everything intact in a damaged one. Recovers the newest intact version of every record,
/// with its ID, its set and the commit that wrote it. Rebuilds key indexes whose extractor is stored with them. The
/// damaged store is only read: no byte changes and no lock is taken, so it must not be written to meanwhile.
///
/// Only the record segments are needed. If the manifest and the pages of the record index can be read too, they tell
/// which records were deleted. If not, a deleted record may come back: the report counts the records for which that
/// cannot be excluded. The new store never assigns IDs that the damaged store had assigned.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let [damaged, new] = ["damaged.tenure", "new.tenure"].map(|name| dir.path().join(name));
/// let store = tenure::Store::open(&damaged)?;
/// let notes = store.record_set("notes")?;
/// let id = store.write(|tx| tx.insert(&notes, "a"))?;
/// store.close()?;
/// std::fs::remove_file(damaged.join("manifest-000000000002.man")).unwrap();
/// assert!(tenure::Store::open(&damaged).is_err());
///
/// let report = tenure::salvage::salvage(&damaged, &new, &mut |_| {})?;
/// assert!(report.is_complete() && report.records == 1);
/// let store = tenure::Store::open(&new)?;
/// assert_eq!(store.get(id)?.as_slice(), Some(&b"a"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
///
/// # Errors
/// `NotAStore` if no file identifies the store, `Exists` if `to` is not empty, and write errors of the file systems.
/// Whatever cannot be read is in the report.
pub fn salvage(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    progress: &mut dyn FnMut(SalvageProgress),
) -> Result<SalvageReport> {
    let shown = from.as_ref().display().to_string();
    let refused = |why: &str| Error::NotAStore { path: shown.clone(), why: why.to_owned() };
    let files = Files::read_only(from.as_ref()).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => refused("it does not exist"),
        io::ErrorKind::NotADirectory => refused("it is not a directory"),
        _ => Error::io("open", shown.clone(), source),
    })?;
    let files: Arc<dyn Backing> = Arc::new(files);
    // Before anything is created.
    Source::open(&files)?;
    let to: Arc<dyn Backing> = Arc::new(crate::backup::directory(to.as_ref())?);
    salvage_backing(&files, &to, progress)
}

/// Like [`salvage`], from any backing store to any empty one.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_backing(
    from: &Arc<dyn Backing>,
    to: &Arc<dyn Backing>,
    progress: &mut dyn FnMut(SalvageProgress),
) -> Result<SalvageReport> {
    let source = Source::open(from)?;
    let remnants = manifest::load_what_is(&**from, &source.files.manifests, source.uuid, source.segment_bytes);
    let loaded = &remnants.loaded;
    let settings = Options::new().read_only(true).check_every_read(true).settings();
    let remains = recovery::remains(from, &settings, loaded, &source.files);
    let bytes_total = source.bytes().saturating_mul(2);
    let survey = survey(&source, remains.as_ref(), None, &mut |bytes| {
        progress(SalvageProgress { bytes, bytes_total, records: 0 });
    })?;
    let verdict = verdict::decide(&source, &survey, remains.as_ref())?;
    let snapshots = snapshots(loaded);
    let beginning = beginning(&survey, &verdict, &snapshots, &remnants, remains.as_ref());
    let bytes_max = source
        .segment_bytes
        .filter(|bytes| bytes.is_power_of_two() && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_END).contains(bytes));
    let options = bytes_max.map_or_else(Options::new, |bytes| Options::new().segment_bytes(bytes));
    let mut import = Import::begin(to, &options, &beginning.0)?;
    let mut rescue =
        Rescue { source: &source, survey: &survey, import: &mut import, counts: BTreeMap::new(), bytes: 0 };
    rescue.copy(&verdict, bytes_total, progress)?;
    let (counts, record_bytes) = (std::mem::take(&mut rescue.counts), rescue.bytes);
    import.close_slots(&|slot| known_free(&survey, remains.as_ref(), slot))?;
    import.settle()?;
    let indexes = rebuild(&import, &beginning.0, &beginning.1);
    import.finish()?;
    let base = snapshots.first().map(|base| base.seq);
    let points = Points::of(&survey, &snapshots, loaded);
    Ok(report(&source, survey, verdict, &beginning.0, Done { points, counts, record_bytes, indexes, remains, base }))
}

/// The snapshots in the manifest, newest first.
fn snapshots(loaded: &Loaded) -> Vec<&Snapshot> {
    let bodies = loaded.entries.values().rev();
    bodies.filter_map(|body| if let Body::Snapshot(snapshot) = body { Some(&**snapshot) } else { None }).collect()
}

/// Points to which the store could be rolled back.
struct Points {
    named_snapshots: Vec<String>,
    marks: Vec<String>,
}

impl Points {
    fn of(survey: &Survey, snapshots: &[&Snapshot], loaded: &Loaded) -> Self {
        let kept = loaded.kept();
        let names = kept.snapshots().map(|snapshot| snapshot.name.clone());
        let named_snapshots: BTreeSet<String> = names.filter(|name| !name.is_empty() && name != OF_A_COPY).collect();
        let base = snapshots.first();
        let mut marks: BTreeSet<String> =
            base.into_iter().flat_map(|base| &base.marks).map(|row| row.name.clone()).collect();
        for (name, (_, is_made)) in survey.marks.iter().filter(|(_, (seq, _))| base.is_none_or(|base| *seq > base.seq))
        {
            if *is_made {
                marks.insert(name.clone());
            } else {
                marks.remove(name);
            }
        }
        Self { named_snapshots: named_snapshots.into_iter().collect(), marks: marks.into_iter().collect() }
    }
}

/// The initial contents of the new store, and the indexes to rebuild.
fn beginning(
    survey: &Survey,
    verdict: &Verdict,
    snapshots: &[&Snapshot],
    remnants: &Remnants,
    remains: Option<&Remains>,
) -> (Beginning, Vec<IndexDefinition>) {
    let known = snapshots.iter().map(|snapshot| snapshot.seq).chain(remains.map(|remains| remains.seq));
    let last_seq = known.max().unwrap_or_default().max(survey.last_seq);
    let reserved = remnants.loaded.entries.values().filter_map(|body| match body {
        Body::Reserve(pages) => pages.iter().max().map(|page| page.saturating_add(1)),
        Body::Snapshot(snapshot) => Some(snapshot.page_end),
        Body::Cut(_) | Body::Drop(_) => None,
    });
    // An unreadable entry may have reserved more pages.
    let unread = if remnants.is_whole { 0 } else { RESERVE_PAGES_MAX };
    let page_end = (reserved.max().unwrap_or_default().max(survey.page_end) + unread).min(PAGES_END);
    let mut sets = survey.sets.clone();
    for snapshot in snapshots {
        for row in snapshot.sets.iter().filter(|row| row.number >= SetNumber::FIRST_USER) {
            sets.entry(row.number).or_insert_with(|| row.name.clone());
        }
    }
    sets.retain(|set, _| !survey.dropped_sets.contains(set));
    for slot in verdict.live.keys() {
        if let Some(set) = survey.set_of_slot(*slot).filter(|set| *set != SetNumber::CHUNKS) {
            sets.entry(set).or_insert_with(|| name_of(set));
        }
    }
    let base = snapshots.first();
    let mut definitions: BTreeMap<IndexNumber, IndexDefinition> = survey
        .definitions()
        .filter(|(made, _)| base.is_none_or(|base| *made > base.seq))
        .map(|(_, definition)| (definition.number, definition))
        .collect();
    for row in base.into_iter().flat_map(|base| &base.indexes) {
        if !survey.dropped_indexes.contains_key(&row.definition.number) {
            definitions.extend(survey.standing(&row.definition).map(|definition| (definition.number, definition)));
        }
    }
    definitions.retain(|_, definition| sets.contains_key(&definition.set));
    let (rebuilt, waiting): (Vec<_>, Vec<_>) =
        definitions.into_values().partition(|definition| Extractor::from_spec(&definition.spec).is_some());
    let known = survey.indexes.keys().chain(rebuilt.iter().chain(&waiting).map(|definition| &definition.number));
    let next_index = IndexNumber(known.max().map_or(1, |number| number.0.saturating_add(1)));
    let beginning = Beginning { last_seq, page_end, sets, indexes: waiting, next_index, ..Beginning::default() };
    (beginning, rebuilt)
}

/// A generated name for a set whose name is lost.
fn name_of(set: SetNumber) -> String {
    format!("salvaged set {set}")
}

/// The entry of a slot without a record, if its next count is known for certain.
fn known_free(survey: &Survey, remains: Option<&Remains>, slot: u64) -> Option<Entry> {
    let remains = remains.filter(|remains| remains.is_newest)?;
    // The index does not cover log after the end that an opening would recover.
    let found = survey.slots.get(&slot).copied().unwrap_or_default();
    let is_behind = found.newest.is_some_and(|version| version.seq > remains.seq)
        || found.freed.is_some_and(|(_, seq)| seq > remains.seq);
    remains.state.root.entry(slot).ok().filter(|entry| !entry.is_live() && !is_behind)
}

/// Copies recovered records.
struct Rescue<'r> {
    source: &'r Source,
    survey: &'r Survey,
    import: &'r mut Import,
    counts: BTreeMap<SetNumber, u64>,
    bytes: u64,
}

impl Rescue<'_> {
    fn copy(&mut self, verdict: &Verdict, bytes_total: u64, progress: &mut dyn FnMut(SalvageProgress)) -> Result<()> {
        let mut done = self.source.bytes();
        for (log, versions) in verdict::by_segment(verdict) {
            let Some(file) = self.source.logs.get(log as usize) else { continue };
            let contents = self.source.contents(file)?;
            let seed = self.source.seed(file);
            for version in &versions {
                let bytes = contents.get(to_usize(version.offset)..).unwrap_or_default();
                let item = Item::parse(bytes).and_then(|item| item.verify(seed.at(version.offset)).map(|()| item));
                // It was intact a moment ago.
                let item = item.map_err(|malformed| malformed.at(&file.name, version.offset))?;
                self.put(version, &item)?;
            }
            done += file.bytes;
            let records = self.counts.values().sum();
            progress(SalvageProgress { bytes: done, bytes_total, records });
        }
        Ok(())
    }

    fn put(&mut self, version: &Version, item: &Item<'_>) -> Result<()> {
        let Some(set) = self.survey.set_of_slot(version.id.slot()) else { return Ok(()) };
        self.import.put(version.id, set, item)?;
        if set != SetNumber::CHUNKS {
            *self.counts.entry(set).or_default() += 1;
        }
        self.bytes += version.bytes;
        Ok(())
    }
}

/// Builds the key indexes that can be built.
fn rebuild(import: &Import, beginning: &Beginning, definitions: &[IndexDefinition]) -> Vec<RescuedIndex> {
    let set_name = |set: SetNumber| beginning.sets.get(&set).cloned().unwrap_or_default();
    let mut all = Vec::new();
    for definition in definitions {
        let Some(extractor) = Extractor::from_spec(&definition.spec) else { continue };
        let wanted = Wanted { set: definition.set, name: &definition.name, is_unique: definition.unique, extractor };
        let fate = match indexing::open(import.engine(), &wanted) {
            Ok(_) => IndexFate::Rebuilt,
            Err(error) => IndexFate::Failed(error.to_string()),
        };
        all.push(RescuedIndex { set: set_name(definition.set), name: definition.name.clone(), fate });
    }
    for definition in &beginning.indexes {
        let (set, name) = (set_name(definition.set), definition.name.clone());
        all.push(RescuedIndex { set, name, fate: IndexFate::WaitsForItsProgram });
    }
    all
}

struct Done {
    points: Points,
    counts: BTreeMap<SetNumber, u64>,
    record_bytes: u64,
    indexes: Vec<RescuedIndex>,
    remains: Option<Remains>,
    /// The commit of the newest snapshot in the manifest.
    base: Option<Seq>,
}

fn report(source: &Source, survey: Survey, verdict: Verdict, beginning: &Beginning, done: Done) -> SalvageReport {
    let sets = beginning.sets.iter().map(|(number, name)| RescuedSet {
        number: *number,
        name: name.clone(),
        is_named: *name != name_of(*number),
        records: done.counts.get(number).copied().unwrap_or_default(),
    });
    let indexed_to: Option<Seq> = done.remains.map(|remains| remains.seq);
    let missing_commits = match indexed_to.or(done.base) {
        Some(base) => survey.missing(base, beginning.last_seq),
        // The collector has dropped log that no snapshot needs, and it is unknown which.
        None => Vec::new(),
    };
    let unreadable =
        survey.bad.into_iter().map(|bad| Unreadable { file: bad.file, offset: bad.offset, bytes: bad.bytes });
    SalvageReport {
        files: to_u64(source.logs.len()),
        bytes: source.bytes(),
        records: done.counts.values().sum(),
        record_bytes: done.record_bytes,
        last_seq: beginning.last_seq,
        indexed_to,
        maybe_deleted: verdict.without_index,
        doubtful: verdict.doubtful,
        missing_commits,
        named_snapshots: done.points.named_snapshots,
        marks: done.points.marks,
        behind_the_end: verdict.behind_the_end,
        of_broken_commits: verdict.of_broken_commits,
        sets: sets.collect(),
        indexes: done.indexes,
        lost: verdict.lost,
        unreadable: unreadable.collect(),
    }
}
