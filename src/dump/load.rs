//! Loading a dump into a new store.
//!
//! Owns: how each part of a dump is stored, checkpoints, resuming after an interruption. Never: assigns an ID to a
//! record, or accepts anything unchecked.
//! Invariants: 1. A checkpoint falls between two pages, so that a page is either stored completely or loaded again.
//! 2. Until the end the destination is not a store.
//! 3. A slot about which a damaged dump says nothing is never assigned.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::backing::Backing;
use crate::dump::destination::Destination;
use crate::dump::frames::Frames;
use crate::dump::parts::{Header, IndexPart, PagePart, RecordPart, SetPart};
use crate::dump::walk::{Feed, Sink, Walk};
use crate::dump::{LoadProgress, LoadReport, destination, large, parts, report};
use crate::error::{Corruption, Error, Result};
use crate::extract::Extractor;
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::item::Kind;
use crate::id::{RecordId, Seq, SetNumber};
use crate::import::{Beginning, Import};
use crate::indexing;
use crate::indexing::Wanted;
use crate::log::SEGMENT_BYTES_MIN;
use crate::options::Options;

/// How a dump is loaded.
///
/// ```
/// let options = tenure::dump::LoadOptions::new().name("things.dump").until_damage(true);
/// ```
#[derive(Debug, Clone)]
pub struct LoadOptions {
    name: String,
    until_damage: bool,
    checkpoint_bytes: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadOptions {
    /// The defaults: the dump must be intact.
    pub fn new() -> Self {
        Self { name: "the dump".to_owned(), until_damage: false, checkpoint_bytes: 256 << 20 }
    }

    /// The name of the dump in errors, such as its path. Default: `the dump`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Loads a damaged dump up to the damage. The resulting store is consistent; the report says where the damage is.
    /// IDs after it are never assigned. Default: no.
    #[must_use]
    pub fn until_damage(mut self, until_damage: bool) -> Self {
        self.until_damage = until_damage;
        self
    }

    /// An interrupted load resumes from its last checkpoint. A checkpoint is saved after at most this many bytes of the
    /// dump, or at the end of the page, or of the large value, in which they end. Default: 256 MiB.
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = bytes;
        self
    }
}

/// Creates a store from a dump, in a new or empty directory: with the same IDs, versions, sets and indexes, and the
/// same deleted IDs. Memory does not grow with the dump.
///
/// An interrupted load leaves a directory that does not open as a store. Called again with the same dump and directory,
/// it resumes from the last checkpoint.
///
/// # Errors
/// `Exists` if the directory holds a store or other files, `BadDestination` if the load of another dump was interrupted
/// there, `Locked` if another load is running there, `Corrupt` with the offset in the dump, `Unsupported` for a dump of
/// a later version, and errors of the file system or the source.
pub fn load(
    from: &mut dyn Read,
    to: impl AsRef<Path>,
    options: &LoadOptions,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<LoadReport> {
    // A dump with a damaged beginning creates no directory.
    let mut frames = Frames::open(from, &options.name)?;
    let to: Arc<dyn Backing> = Arc::new(destination::directory(to.as_ref())?);
    run(&mut frames, &to, options, progress)
}

/// Like [`load`], into any backing store that is empty or holds an interrupted load of the same dump.
///
/// # Errors
/// As [`load`].
pub fn load_backing(
    from: &mut dyn Read,
    to: &Arc<dyn Backing>,
    options: &LoadOptions,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<LoadReport> {
    run(&mut Frames::open(from, &options.name)?, to, options, progress)
}

fn run(
    frames: &mut Frames<'_>,
    to: &Arc<dyn Backing>,
    options: &LoadOptions,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<LoadReport> {
    let mut load = Load::new(to, options);
    let mut walk = Walk::new(frames, progress);
    let result = walk.run(&mut load);
    let (totals, is_damaged) = (walk.totals, walk.frames.is_damaged());
    let damage = match result {
        Ok(()) => None,
        Err(Error::Corrupt(damage)) if is_damaged && options.until_damage && load.store.is_some() => Some(*damage),
        Err(error) => return Err(error),
    };
    let seq = load.last_seq;
    let (resumed, incomplete) = load.finish(damage.as_ref())?;
    let dump = report(seq, &totals, frames.bytes());
    Ok(LoadReport { dump, resumed, incomplete, damage })
}

/// The store being created.
struct Loading {
    import: Import,
    destination: Destination,
    /// Pages below this one are stored.
    stored_end: u64,
}

struct Load<'l> {
    to: &'l Arc<dyn Backing>,
    options: &'l LoadOptions,
    store: Option<Loading>,
    sets: Vec<SetPart>,
    last_seq: Seq,
    /// The current page, and the place of its next record; `None` if the page is already stored.
    page: Option<(PagePart, usize)>,
    resumed: u64,
    /// Bytes of the dump at the last checkpoint.
    saved_at: u64,
}

/// Options for a store with segments like those of the dumped store.
fn options_of(header: &Header) -> Options {
    let bytes = header.segment_bytes;
    let is_possible = bytes.is_power_of_two() && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_END).contains(&bytes);
    if is_possible { Options::new().segment_bytes(bytes) } else { Options::new() }
}

impl<'l> Load<'l> {
    fn new(to: &'l Arc<dyn Backing>, options: &'l LoadOptions) -> Self {
        let (sets, last_seq) = (Vec::new(), Seq::ZERO);
        Self { to, options, store: None, sets, last_seq, page: None, resumed: 0, saved_at: 0 }
    }

    /// The running import. The walk calls `begin` first.
    fn import(&mut self) -> Result<&mut Import> {
        let missing = || Error::corrupt(&*self.options.name, 0, "dump", "a header", "none");
        self.store.as_mut().map(|store| &mut store.import).ok_or_else(missing)
    }

    fn checkpoint(&mut self, bytes: u64) -> Result<()> {
        self.saved_at = bytes;
        self.import()?.settle()
    }

    /// Completes the store. Returns the number of records stored earlier, and the indexes without entries.
    fn finish(mut self, damage: Option<&Corruption>) -> Result<(u64, Vec<(String, String)>)> {
        let (resumed, sets) = (self.resumed, std::mem::take(&mut self.sets));
        let page = self.page.take();
        let Some(Loading { mut import, destination, .. }) = self.store.take() else {
            return Ok((resumed, Vec::new()));
        };
        if let Some((page, next)) = page.filter(|_| damage.is_some()) {
            let first = page.first_slot();
            let missing = (first..).zip(page.has_record.iter()).skip(next).filter(|(_, has)| **has);
            import.retire_slots(missing.map(|(slot, _)| slot))?;
        }
        import.settle()?;
        if damage.is_some() {
            build_what_can_be(&import)?;
        }
        let catalogue = import.engine().heap.catalogue();
        let name = |set| catalogue.name_of(set).to_owned();
        let waiting = catalogue.indexes().filter(|index| !index.is_ready).map(|index| &index.definition);
        let incomplete = waiting.map(|definition| (name(definition.set), definition.name.clone())).collect();
        drop(catalogue);
        import.engine().heap.with_catalogue(|catalogue| {
            for set in &sets {
                catalogue.set_changed(set.number, set.changed);
            }
        });
        import.finish()?;
        drop(destination);
        Ok((resumed, incomplete))
    }
}

/// Builds indexes whose extractor is a line of text from the records.
fn build_what_can_be(import: &Import) -> Result<()> {
    let engine = import.engine();
    let catalogue = engine.heap.catalogue();
    let waiting = catalogue.indexes().filter(|index| !index.is_ready).map(|index| Arc::clone(&index.definition));
    let waiting: Vec<_> = waiting.collect();
    drop(catalogue);
    for definition in waiting {
        let Some(extractor) = Extractor::from_spec(&definition.spec) else { continue };
        let wanted = Wanted { set: definition.set, name: &definition.name, is_unique: definition.unique, extractor };
        match indexing::open(engine, &wanted) {
            // An incomplete index is reported.
            Ok(_) | Err(Error::UniqueViolation { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Sink for Load<'_> {
    fn begin(&mut self, header: &Header, sets: &[SetPart], indexes: &[IndexPart]) -> Result<()> {
        let destination = destination::prepare(&**self.to, header.dump)?;
        (self.sets, self.last_seq) = (sets.to_vec(), header.last_seq);
        let options = options_of(header);
        let (mut import, mut stored_end) = if destination.is_resumed {
            let import = Import::resume(self.to, &options, header.page_end)?;
            let state = import.engine().heap.pin();
            let root = &state.root;
            let is_stored = |page: &u64| {
                let cell = root.cell(*page);
                cell.is_some_and(|cell| parts::is_of_a_user(cell) && *page < header.page_end)
            };
            let stored_end = (0..root.page_end()).rev().find(is_stored).map_or(0, |page| page + 1);
            (import, stored_end)
        } else {
            let beginning = Beginning {
                last_seq: header.last_seq,
                page_end: header.page_end,
                has_floors: true,
                sets: sets.iter().map(|set| (set.number, set.name.clone())).collect(),
                indexes: indexes.iter().map(|index| index.definition.clone()).collect(),
                next_index: header.next_index,
                next_set: header.next_set,
            };
            (Import::begin(self.to, &options, &beginning)?, 0)
        };
        if header.pages == 0 {
            stored_end = 0;
        }
        import.leave_saving();
        self.store = Some(Loading { import, destination, stored_end });
        Ok(())
    }

    fn page(&mut self, page: &PagePart) -> Result<()> {
        self.page = None;
        if self.store.as_ref().is_some_and(|store| page.page < store.stored_end) {
            return Ok(());
        }
        self.import()?.open_page(page.page, page.set, page.floor, &*page.entries)?;
        self.page = Some((page.clone(), 0));
        Ok(())
    }

    fn record(&mut self, set: SetNumber, record: &RecordPart<'_>) -> Result<()> {
        let Some((_, next)) = &mut self.page else {
            self.resumed += 1;
            return Ok(());
        };
        *next = parts::place_of(record.id.slot()) + 1;
        self.import()?.bring(record.id, set, Kind::Record, record.seq, record.value)
    }

    fn large(&mut self, set: SetNumber, id: RecordId, seq: Seq, bytes: u64, from: &mut dyn Read) -> Result<()> {
        if self.page.is_none() {
            self.resumed += 1;
            return Ok(());
        }
        large::bring(self.import()?, (set, id, seq), bytes, from)?;
        if let Some((_, next)) = &mut self.page {
            *next = parts::place_of(id.slot()) + 1;
        }
        Ok(())
    }

    fn page_is_whole(&mut self, bytes: u64) -> Result<()> {
        let is_new = self.page.take().is_some();
        let is_due = bytes.saturating_sub(self.saved_at) >= self.options.checkpoint_bytes || self.import()?.is_full();
        if is_new && is_due { self.checkpoint(bytes) } else { Ok(()) }
    }

    fn index(&mut self, index: &IndexPart, feed: &mut Feed<'_>) -> Result<()> {
        let import = self.import()?;
        // Everything that entries may point at.
        import.settle()?;
        let number = index.definition.number;
        let catalogue = import.engine().heap.catalogue();
        if catalogue.index(number).is_some_and(|index| index.is_ready) {
            return Ok(());
        }
        indexing::load(import.engine(), &index.definition, index.entries, feed)?;
        import.settle()
    }
}
