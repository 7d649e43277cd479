//! One state: its records, counts and key indexes.
//!
//! Owns: what must hold within a state, and what other states share with verified ones. Never: opens a state. Two
//! states share a leaf page if the same image is in the same place, and its places refer to the same segments. They
//! then share its records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::entry::{ENTRIES_PER_PAGE, Location, State as EntryState};
use crate::format::segment::FileKind;
use crate::heap::{State, Walk};
use crate::id::{IndexNumber, RecordId, SegmentSeq, Seq, SetNumber, to_u64};
use crate::indexing;
use crate::key_index::KeyRoot;
use crate::log::Segment;
use crate::record_index::Cell;
use crate::verify::large::LargeValues;
use crate::verify::steps::Steps;
use crate::verify::{NotCompared, Problem, VerifyReport};

/// Maximum number of wrong entries listed per index.
const LINES_MAX: usize = 100;

/// Where an image is stored.
type At = (SegmentSeq, u32);

/// What was verified so far, in any state.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pages: HashMap<At, Leaf>,
    /// Trees compared with the records of their set, which this commit changed last.
    indexes: HashSet<(IndexNumber, At, Seq)>,
}

/// What a leaf page points at.
#[derive(Debug, Default)]
struct Leaf {
    set: u32,
    records: u64,
    /// Places, the segments that they stand for, and bytes in each.
    live: BTreeMap<u32, (SegmentSeq, u64)>,
    heads: Vec<(u64, Location)>,
    chunks: Vec<(RecordId, usize)>,
}

impl Leaf {
    fn bytes(&self) -> u64 {
        self.live.values().map(|(_, bytes)| bytes).sum()
    }

    /// Whether it points at the same records in this state.
    fn holds_in(&self, state: &State, set: u32) -> bool {
        let is_same = |(place, (number, _)): (&u32, &(SegmentSeq, u64))| {
            state.table.get(*place).is_some_and(|segment| segment.number() == *number && !segment.is_absent())
        };
        self.set == set && self.live.iter().all(is_same)
    }
}

/// A walk over one state.
pub(super) struct Pass<'v, 'p> {
    pub(super) report: &'v mut VerifyReport,
    pub(super) steps: &'v mut Steps<'p>,
    /// Set if other states are verified too.
    pub(super) seen: Option<&'v mut Seen>,
}

/// Sums over all leaf pages.
#[derive(Debug, Default)]
struct Sums {
    live: BTreeMap<u32, u64>,
    counted: BTreeMap<u32, u64>,
    large: LargeValues,
}

impl Sums {
    fn add(&mut self, leaf: &Leaf, state: &State) {
        for (place, (_, bytes)) in &leaf.live {
            *self.live.entry(*place).or_default() += bytes;
        }
        if leaf.records > 0 {
            *self.counted.entry(leaf.set).or_default() += leaf.records;
        }
        self.large.add(&leaf.heads, &leaf.chunks, state.catalogue.is_dropped(SetNumber(leaf.set)));
    }
}

impl Pass<'_, '_> {
    /// Verifies everything. The newest state comes first.
    pub(super) fn check(&mut self, state: &Arc<State>) {
        self.records(state);
        self.indexes(state);
    }

    fn problem(&mut self, file: String, what: String) {
        self.report.push(Problem { file, offset: 0, what, corrupt: true });
    }

    fn records(&mut self, state: &State) {
        let total = state.catalogue.sets_with_records().map(|(_, set)| set.records).sum();
        let (mut sums, mut walk) = (Sums::default(), Walk::default());
        for page in 0..state.root.page_end() {
            let Some(cell) = state.root.cell(page).filter(|cell| cell.descriptor.set != 0) else { continue };
            // Each patch of a page is another image.
            let (saved, base) = cell.images();
            let image_bytes = u64::from(saved.bytes) + base.map_or(0, |base| u64::from(base.bytes));
            let at = cell.is_clean().then_some((saved.segment, saved.offset_granules));
            let known = self.seen.as_deref().zip(at).and_then(|(seen, at)| seen.pages.get(&at));
            if let Some(leaf) = known.filter(|leaf| leaf.holds_in(state, cell.descriptor.set)) {
                sums.add(leaf, state);
                let bytes = leaf.bytes() + image_bytes;
                self.steps.skip(bytes);
                continue;
            }
            let before = self.report.tally.found;
            let Some(leaf) = self.leaf(state, page, cell, &mut walk) else { continue };
            sums.add(&leaf, state);
            self.steps.records(self.report.records, total);
            self.steps.add(leaf.bytes() + image_bytes);
            if let (Some(seen), Some(at)) = (&mut self.seen, at)
                && self.report.tally.found == before
            {
                seen.pages.insert(at, leaf);
            }
        }
        self.sums(state, sums);
    }

    /// Reads the records of a page.
    fn leaf(&mut self, state: &State, page: u64, cell: &Cell, walk: &mut Walk) -> Option<Leaf> {
        let entries = cell.entries().inspect_err(|error| self.report.add(error)).ok()?;
        self.report.pages += 1;
        walk.ask(state, &entries);
        let mut leaf = Leaf { set: cell.descriptor.set, ..Leaf::default() };
        for (index, entry) in entries.into_iter().enumerate() {
            let EntryState::Live(location) = entry.state() else { continue };
            let number = state.table.get(location.place).map(|segment| segment.number()).unwrap_or_default();
            leaf.live.entry(location.place).or_insert((number, 0)).1 += location.bytes();
            leaf.records += 1;
            let slot = page * to_u64(ENTRIES_PER_PAGE) + to_u64(index);
            match state.read(slot, location) {
                Ok(found) if leaf.set == SetNumber::CHUNKS.0 => {
                    leaf.chunks.push((found.id, state.payload(&found.place).len()));
                }
                Ok(found) if found.is_head => leaf.heads.push((slot, location)),
                Ok(_) => {}
                Err(error) => self.report.add(&error),
            }
        }
        self.report.bytes += leaf.bytes();
        self.report.records += leaf.records;
        // A scan passes a page without records by its count.
        let counted = u64::from(cell.descriptor_now().live);
        if counted != leaf.records {
            let what = format!("live records of page {page}");
            self.report.add(&Error::corrupt("record index", 0, what, counted, leaf.records));
        }
        Some(leaf)
    }

    fn sums(&mut self, state: &State, sums: Sums) {
        let Sums { live, counted, large } = sums;
        large.check(state, &mut |error| self.report.add(&error));
        for (place, segment) in state.table.iter() {
            self.live_bytes(segment, live.get(&place).copied().unwrap_or_default());
            self.report.segments += 1;
            self.report.segment_bytes += segment.len().unwrap_or_default();
            self.report.live_bytes += segment.live_bytes();
        }
        for (number, records) in counted.iter().filter(|(number, _)| **number >= SetNumber::FIRST_USER.0) {
            if state.catalogue.sets_with_records().all(|(known, _)| known.0 != *number) {
                self.problem(String::new(), format!("{records} records are of set {number}, and there is no such set"));
            }
        }
        for (number, set) in state.catalogue.sets_with_records() {
            let records = counted.get(&number.0).copied().unwrap_or_default();
            if records != set.records {
                let what = format!("set {:?} counts {} records, the index has {records}", set.name, set.records);
                self.problem(String::new(), what);
            }
        }
    }

    fn live_bytes(&mut self, segment: &Segment, expected: u64) {
        let counted = segment.live_bytes();
        if counted != expected {
            let what = format!("{counted} live bytes are counted, the index refers to {expected}");
            self.problem(FileKind::Records.file_name(segment.number()), what);
        }
    }

    fn indexes(&mut self, state: &Arc<State>) {
        for index in state.catalogue.indexes() {
            if let Some(damage) = &index.damage {
                self.report.add(&Error::Corrupt(Box::new(damage.as_ref().clone())));
            }
            let definition = &index.definition;
            let set = state.catalogue.set(definition.set);
            let (name, bytes) = set.map_or_else(Default::default, |set| (set.name.to_string(), set.bytes));
            let name = format!("{name}.{}", definition.name);
            let extractor = Extractor::from_spec(&definition.spec);
            let why = match state.indexes.get(&definition.number) {
                None => Some("it was not built to its end"),
                Some(root) => {
                    let at = root.root.saved().map(|clean| (clean.page().segment, clean.page().offset_granules));
                    let changed = set.map_or(Seq::ZERO, |set| set.changed);
                    let known = at.map(|at| (definition.number, at, changed));
                    let is_known = |known| self.seen.as_ref().is_some_and(|seen| seen.indexes.contains(&known));
                    if known.is_some_and(is_known) {
                        self.steps.skip(if extractor.is_some() { bytes } else { 0 });
                        None
                    } else {
                        let before = self.report.tally.found;
                        let why = self.index(state, definition, &name, extractor.as_ref(), root);
                        let holds = self.report.tally.found == before;
                        if let (Some(seen), Some(known), true) = (&mut self.seen, known, holds) {
                            seen.indexes.insert(known);
                        }
                        why
                    }
                }
            };
            let code = "a program gives its keys by code of its own: verify_index in that program compares it";
            let why = why.or_else(|| extractor.is_none().then_some(code));
            self.report.indexes_not_compared.extend(why.map(|why| NotCompared { index: name, why: why.to_owned() }));
        }
    }

    /// Checks a tree, and compares it with the records. Returns the reason if it does not compare.
    fn index(
        &mut self,
        state: &Arc<State>,
        definition: &crate::format::index::IndexDefinition,
        name: &str,
        extractor: Option<&Extractor>,
        root: &KeyRoot,
    ) -> Option<&'static str> {
        let before = self.report.tally.found;
        let (report, steps) = (&mut *self.report, &mut *self.steps);
        let checked = root.check(&mut |error| report.add(&error), &mut |bytes| steps.add(bytes));
        self.report.indexes += 1;
        self.report.nodes += checked.nodes;
        self.report.entries += checked.entries;
        if self.report.tally.found > before {
            return Some("its tree does not hold");
        }
        let compared = indexing::compare(definition, extractor, state, root, LINES_MAX, &mut |bytes| steps.add(bytes));
        self.compared(compared, name, extractor.is_some())
    }

    fn compared(&mut self, compared: Result<Vec<String>>, name: &str, is_whole: bool) -> Option<&'static str> {
        match compared {
            Ok(lines) => {
                for line in lines {
                    self.problem(String::new(), format!("index {name}: {line}"));
                }
                self.report.indexes_compared += u64::from(is_whole);
                None
            }
            // A record that cannot be read was already reported.
            Err(error) => {
                self.report.add(&error);
                Some("a record of it cannot be read")
            }
        }
    }
}
