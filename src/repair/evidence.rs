//! Reconstructing the slots of damaged pages from what can still be read.
//!
//! Owns: telling live records from deleted ones. Never: decides by the log alone if counts say more.

use std::collections::{BTreeMap, HashMap};

use crate::engine::Engine;
use crate::error::Result;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, State as EntryState};
use crate::format::segment::FileKind;
use crate::heap::State;
use crate::id::{NumberHash, SegmentSeq, SetNumber, reuse_max, to_u64};
use crate::repair::report::{Doubt, RepairReport};
use crate::salvage::{Lost, Source, Survey, Version};

/// The new state of a page.
#[derive(Debug, Default)]
pub(super) struct Rebuilt {
    pub(super) entries: Vec<Entry>,
    pub(super) records: u64,
    pub(super) records_expected: Option<u64>,
    pub(super) doubts: Vec<Doubt>,
}

/// A segment, as the damaged pages knew it.
#[derive(Debug, Default, Clone, Copy)]
struct Account {
    place: u32,
    /// Live bytes in it that no readable page points at.
    left: u64,
    /// Bytes of records that may account for those.
    claimed: u64,
}

/// What can still be read, compared with the counts.
pub(super) struct Evidence<'e> {
    source: &'e Source,
    state: &'e State,
    /// By slot of damaged pages: the version that counts.
    candidates: HashMap<u64, Version, NumberHash>,
    accounts: BTreeMap<SegmentSeq, Account>,
    /// Records that the page may have, by page.
    per_page: HashMap<u64, u64, NumberHash>,
}

impl<'e> Evidence<'e> {
    pub(super) fn new(source: &'e Source, survey: &Survey, state: &'e State) -> Self {
        let mut accounts: BTreeMap<SegmentSeq, Account> = BTreeMap::new();
        for (place, segment) in state.table.iter() {
            let left = segment.live_bytes();
            accounts.insert(segment.number(), Account { place, left, claimed: 0 });
        }
        let mut point_at = |entry: Entry| {
            let EntryState::Live(location) = entry.state() else { return };
            let number = state.table.get(location.place).map(|segment| segment.number());
            if let Some(account) = number.and_then(|number| accounts.get_mut(&number)) {
                account.left = account.left.saturating_sub(location.bytes());
            }
        };
        for cell in state.root.cells() {
            cell.entries().unwrap_or_default().into_iter().for_each(&mut point_at);
        }
        state.root.known_entries().for_each(|(_, entry)| point_at(entry));
        let (candidates, per_page) = (HashMap::default(), HashMap::default());
        let mut evidence = Self { source, state, candidates, accounts, per_page };
        evidence.find_candidates(survey);
        evidence
    }

    fn number_of(&self, version: &Version) -> Option<SegmentSeq> {
        self.source.logs.get(version.log as usize).map(|log| log.number)
    }

    fn find_candidates(&mut self, survey: &Survey) {
        for (slot, versions) in &survey.unknown {
            if self.state.root.entry(*slot).is_ok() {
                continue;
            }
            let freed = survey.slots.get(slot).and_then(|found| found.freed);
            let mut versions = versions.clone();
            versions.sort_unstable_by_key(|version| std::cmp::Reverse(version.rank()));
            // Versions in a segment without live bytes of a damaged page were deleted, replaced, or abandoned by a
            // rollback.
            let may_live = |version: &&Version| {
                let account = self.number_of(version).and_then(|number| self.accounts.get(&number));
                account.is_some_and(|account| account.left >= version.bytes)
            };
            let Some(version) = versions.iter().find(may_live).copied() else { continue };
            if freed.is_some_and(|(count, seq)| count >= version.id.reuse_count() && seq >= version.seq) {
                continue;
            }
            let number = self.number_of(&version);
            if let Some(account) = number.and_then(|number| self.accounts.get_mut(&number)) {
                account.claimed += version.bytes;
            }
            self.candidates.insert(*slot, version);
            *self.per_page.entry(slot / to_u64(ENTRIES_PER_PAGE)).or_default() += 1;
        }
    }

    /// The page as it must be.
    pub(super) fn page(&self, page: u64) -> Rebuilt {
        let first = page * to_u64(ENTRIES_PER_PAGE);
        let descriptor = self.state.root.cell(page).map(|cell| cell.descriptor).unwrap_or_default();
        let mut known = 0;
        let mut rebuilt = Rebuilt::default();
        for slot in first..first + to_u64(ENTRIES_PER_PAGE) {
            let entry = self.state.root.entry(slot).inspect(|_| known += 1).unwrap_or_else(|_| self.entry(slot));
            rebuilt.records += u64::from(entry.is_live());
            rebuilt.entries.push(entry);
        }
        // The count is that of the snapshot: if the log has changed slots since, it says nothing about the others.
        let is_counted = descriptor.page.is_written() && known == 0;
        rebuilt.records_expected = is_counted.then_some(u64::from(descriptor.live));
        let is_certain_by_count = rebuilt.records_expected == self.per_page.get(&page).copied();
        for slot in (first..first + to_u64(ENTRIES_PER_PAGE)).filter(|_| !is_certain_by_count) {
            rebuilt.doubts.extend(self.doubt(slot));
        }
        rebuilt
    }

    /// The entry of a slot that no page describes.
    fn entry(&self, slot: u64) -> Entry {
        let live = self.candidates.get(&slot).and_then(|version| {
            let account = self.accounts.get(&self.number_of(version)?)?;
            Entry::live(account.place, version.offset, version.bytes, version.id.reuse_count())
        });
        // It is unknown which IDs of a free slot have been seen.
        live.unwrap_or_else(|| Entry::freed_after(reuse_max()))
    }

    /// Whether a segment may have more records than are live in it.
    fn doubt(&self, slot: u64) -> Option<Doubt> {
        let version = self.candidates.get(&slot)?;
        let number = self.number_of(version)?;
        let account = self.accounts.get(&number)?;
        if account.claimed <= account.left {
            return None;
        }
        let why = format!("of {} bytes in its segment that may be live, {} are", account.claimed, account.left);
        Some(Doubt { id: version.id, file: FileKind::Records.file_name(number), offset: version.offset, why })
    }

    /// Entries that point into segments without a file: those records are lost.
    pub(super) fn lose_what_is_absent(&self, engine: &Engine, report: &mut RepairReport) -> Result<()> {
        for (page, cell) in (0..).zip(self.state.root.cells()) {
            for (index, entry) in (0..).zip(cell.entries().unwrap_or_default()) {
                let EntryState::Live(location) = entry.state() else { continue };
                let segment = self.state.table.get(location.place).filter(|segment| segment.is_absent());
                let Some(segment) = segment else { continue };
                let slot = page * to_u64(ENTRIES_PER_PAGE) + index;
                engine.heap.with_tree(|tree| tree.set(slot, Entry::freed_after(reuse_max())).map(drop))?;
                let (file, offset) = (segment.name().to_owned(), location.offset());
                let (set, why) = (
                    Some(SetNumber(cell.descriptor.set)),
                    "its file is not there, or ends within its header".to_owned(),
                );
                report.lost.push(Lost { slot, id: None, set, file, offset, why });
            }
        }
        Ok(())
    }
}

/// Recomputes live bytes of segments, and record counts of sets, from the pages.
pub(super) fn count_again(engine: &Engine) -> Result<()> {
    let state = engine.heap.pin();
    let mut live: HashMap<u32, u64> = HashMap::new();
    let mut sets: BTreeMap<SetNumber, (u64, u64)> = BTreeMap::new();
    for cell in state.root.cells().filter(|cell| cell.descriptor.set != 0) {
        let count = sets.entry(SetNumber(cell.descriptor.set)).or_default();
        for entry in cell.entries()? {
            let EntryState::Live(location) = entry.state() else { continue };
            *live.entry(location.place).or_default() += location.bytes();
            (count.0, count.1) = (count.0 + 1, count.1 + location.bytes());
        }
    }
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    for (place, segment) in state.table.iter() {
        let counted = live.get(&place).copied().unwrap_or_default();
        segment.add_live(signed(counted) - signed(segment.live_bytes()));
    }
    engine.heap.with_catalogue(|catalogue| {
        let known: Vec<SetNumber> = catalogue.numbers().collect();
        for number in known {
            let (records, bytes) = sets.get(&number).copied().unwrap_or_default();
            catalogue.set_counts(number, records, bytes);
        }
    });
    Ok(())
}
