//! Loading a snapshot, and replaying the log over it.
//!
//! Owns: what of a snapshot may be damaged or absent without keeping the store from being opened. Never: writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backing::Backing;
use crate::catalogue::{Catalogue, Origin};
use crate::error::{Corruption, Error, Result};
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::format::manifest::{Snapshot, SnapshotKind};
use crate::format::segment::FileKind;
use crate::heap::{Heap, Indexes};
use crate::id::{IndexNumber, SegmentSeq, Seq, to_u64};
use crate::key_index::KeyTree;
use crate::log::{NextBytes, Segment, SegmentSource, SyncsWanted};
use crate::manifest::Loaded;
use crate::pages::PageStore;
use crate::record_index::{DamagedLeaf, Root, Tree};
use crate::recovery::files::Files;
use crate::recovery::replayed::Replayed;
use crate::recovery::report::RecoveryReport;
use crate::recovery::settings::Settings;
use crate::recovery::{bounds, headless, replay};

/// The part of `dirty_bytes_max` that each tree may take for copies of leaves. Beyond it a few changes of a leaf are kept
/// beside its image.
const COPIED_LEAVES_PART: u64 = 16;

/// What to open, and from where.
pub(super) struct Attempt<'a> {
    pub(super) backing: &'a Arc<dyn Backing>,
    pub(super) settings: &'a Settings,
    pub(super) loaded: &'a Loaded,
    pub(super) files: &'a Files,
    pub(super) base: &'a Snapshot,
    /// The last commit to apply, unless all are.
    pub(super) until: Option<Seq>,
}

/// A snapshot with the log replayed over it; nothing is written yet.
pub(super) struct Based {
    pub(super) source: SegmentSource,
    pub(super) pages: PageStore,
    pub(super) heap: Heap,
    pub(super) replayed: Replayed,
    /// Damage that does not prevent opening the store.
    pub(super) damage: Vec<Corruption>,
}

impl Attempt<'_> {
    pub(super) fn source(&self) -> SegmentSource {
        SegmentSource {
            backing: Arc::clone(self.backing),
            uuid: self.loaded.uuid,
            segment_bytes: self.loaded.segment_bytes,
            next_bytes: NextBytes::default(),
            syncs_wanted: SyncsWanted::default(),
            sizes: Arc::default(),
            check_every_read: self.settings.check_every_read,
            beside_a_writer: self.settings.read_only,
        }
    }

    /// The key indexes of the snapshot; damaged ones are marked as such.
    pub(super) fn load_indexes(&self, pages: &PageStore) -> Result<Indexes> {
        let mut indexes = Indexes::default();
        for row in self.base.indexes.iter().filter(|row| row.ready) {
            let number = row.definition.number;
            match KeyTree::load(&row.root, row.entries, pages.segments()) {
                Ok(tree) => indexes.insert(number, tree),
                Err(Error::Corrupt(damaged)) => indexes.damage(number, *damaged),
                Err(error) => return Err(error),
            }
        }
        for (number, damaged) in self.base.damaged_indexes() {
            indexes.damage(number, damaged);
        }
        Ok(indexes)
    }

    pub(super) fn run(&self, report: &mut RecoveryReport) -> Result<Based> {
        bounds::check_snapshot(self.base)?;
        let (source, uuid) = (self.source(), self.loaded.uuid);
        let pages = PageStore::new(source.clone());
        let (mut segments, mut damage) = (Vec::new(), Vec::new());
        let mut known: BTreeMap<SegmentSeq, Arc<Segment>> = BTreeMap::new();
        for row in &self.base.segments {
            let result = if row.pages {
                pages.open_segment(row.segment, row.live_bytes).map(|found| damage.extend(found))
            } else {
                let head = self.base.head_segment;
                let proven = if row.segment < head { row.bytes } else { self.base.begin_of(row.segment) };
                open_or_absent(&source, row.segment, proven, row.segment == head).map(|segment| {
                    let segment = Arc::new(segment);
                    headless::note(&segment, report);
                    segment.add_live(i64::try_from(row.live_bytes).unwrap_or_default());
                    known.insert(row.segment, Arc::clone(&segment));
                    segments.push((row.place, segment));
                })
            };
            result?;
        }
        let root = match Root::load(&self.base.root, &pages) {
            Err(Error::Corrupt(found)) if self.settings.repairs => {
                damage.push(*found);
                Root::load_what_is(&self.base.root, &pages, self.base.page_end)?
            }
            root => root?,
        };
        // Placeholders for unreadable pages have nothing to compare.
        if !root.has_damaged {
            bounds::check_beside(self.base, &root)?;
        }
        let reserved_end = bounds::check_others(self.base, &root, &self.loaded.entries)?;
        let mut unreadable = Vec::new();
        let mut root = Tree::new(root);
        // Older versions kept the floors of pages in rows of each snapshot.
        let page_end = self.base.page_end.max(root.root().page_end());
        for row in self.base.raised.iter().filter(|row| row.slot / to_u64(ENTRIES_PER_PAGE) < page_end) {
            root.raise_floor(row.slot / to_u64(ENTRIES_PER_PAGE), row.next_count)?;
        }
        let root = Arc::unwrap_or_clone(Arc::clone(root.root()));
        if self.settings.check_pages {
            unreadable = look_at_pages(&root)?;
        }
        let mut indexes = self.load_indexes(&pages)?;
        indexes.copy_up_to(self.settings.dirty_bytes_max / COPIED_LEAVES_PART);
        let catalogue = Catalogue::from_snapshot(self.base, Origin { store: uuid, lineage: self.settings.lineage });
        let heap = Heap::new(root, segments, catalogue, indexes, self.base.seq);
        for (page, damaged) in unreadable {
            heap.with_tree(|tree| tree.mark_damaged(page, DamagedLeaf::new(damaged)))?;
        }
        // What was known of damaged pages when the snapshot was saved.
        for (slot, entry) in self.base.known_entries() {
            heap.with_tree(|tree| tree.set(slot, entry).map(drop))?;
        }
        heap.with_indexes(|_| {});
        report.snapshot = Some(self.base.number);
        let entries = &self.loaded.entries;
        let at_once = self.settings.has_background;
        let past =
            replay::Past { manifest: entries, base: self.base, until: self.until, reserved_end, live: None, at_once };
        heap.begin_loading();
        let replayed = replay::replay(&source, &heap, &past, &known, &self.files.logs, report)?;
        damage.extend(heap.pin().root.damaged_pages().map(|(_, damaged)| damaged.clone()));
        damage.extend(check_absent(&source, &heap, self.base.number, damage.is_empty() && !self.settings.repairs)?);
        let marked = self.base.damaged_indexes();
        let is_new = |number: IndexNumber| marked.iter().all(|(marked, _)| *marked != number);
        let catalogue = heap.catalogue();
        let found = catalogue.damaged_indexes().filter(|(index, _)| is_new(index.definition.number));
        damage.extend(found.map(|(_, damaged)| damaged.clone()));
        heap.drop_successors();
        heap.end_loading();
        report.last_seq = replayed.last;
        report.clean = self.base.kind == SnapshotKind::Close && !replayed.found_more;
        Ok(Based { source, pages, heap, replayed, damage })
    }
}

/// Checks all leaf pages. Returns those that are damaged.
fn look_at_pages(root: &Root) -> Result<Vec<(u64, Corruption)>> {
    let mut damaged = Vec::new();
    for (page, cell) in (0..).zip(root.cells()) {
        match cell.entries() {
            Ok(_) => {}
            Err(Error::Corrupt(damage)) => damaged.push((page, *damage)),
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Opens a record segment, or treats it as absent: a later commit or move may have emptied it before it was deleted. So may a file
/// that has no more than a part of its header, which a copy that follows the store in order has if it had only begun with
/// the file when that was deleted; not the one in which the log goes on. Those after that are the collector's, or hold
/// nothing that the snapshot needs.
fn open_or_absent(source: &SegmentSource, number: SegmentSeq, proven: u64, is_head: bool) -> Result<Segment> {
    match source.open_proven(FileKind::Records, number, proven) {
        Err(error) if source.is_gone(number, &error, !is_head) => Ok(source.absent(number)),
        other => other,
    }
}

/// After replay, nothing may point into a segment without contents, as far as all pages can be read. Releases such
/// segments. Returns the damage of pages checked for this.
fn check_absent(source: &SegmentSource, heap: &Heap, snapshot: u64, all_is_known: bool) -> Result<Vec<Corruption>> {
    let table = heap.segments();
    let absent: Vec<&Arc<Segment>> = table.iter().map(|(_, segment)| segment).filter(|s| s.is_absent()).collect();
    let missing = absent.iter().find(|segment| segment.live_bytes() > 0);
    // It is unknown what a damaged page refers to: the segment may have been emptied by moves that could not be
    // followed.
    let mut damage = Vec::new();
    if missing.is_some() && all_is_known {
        for (page, damaged) in look_at_pages(&heap.pin().root)? {
            damage.push(damaged.clone());
            heap.with_tree(|tree| tree.mark_damaged(page, DamagedLeaf::new(damaged)))?;
        }
    }
    if let Some(missing) = missing.filter(|_| all_is_known && damage.is_empty()) {
        let what = format!("segment of snapshot {snapshot}");
        let expected = format!("the file, with {} live bytes", missing.live_bytes());
        let has_begun = source.has_only_begun(missing.number());
        let got = if has_begun { "a file that ends within its header" } else { "no file of this name" };
        return Err(Error::corrupt(missing.name(), 0, what, expected, got));
    }
    let numbers: Vec<SegmentSeq> = absent.iter().map(|segment| segment.number()).collect();
    // The opening has not ended, so no earlier state is in use.
    heap.release_places(heap.retire(&numbers).iter().map(|(place, _)| *place));
    Ok(damage)
}
