//! Which version of each record is recovered, which records are lost, and what is uncertain.
//!
//! Owns: weighing what the log says against what can be read of the record index. Never: reads a record's value, except
//! the chunk lists of large values.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::Result;
use crate::format::entry::{ENTRIES_PER_PAGE, State as EntryState};
use crate::format::item::Item;
use crate::format::segment::FileKind;
use crate::format::value::{Head, decode_ids};
use crate::id::{NumberHash, RecordId, Seq, SetNumber, to_u64, to_usize};
use crate::recovery::Remains;
use crate::salvage::report::Lost;
use crate::salvage::source::Source;
use crate::salvage::survey::Survey;
use crate::salvage::version::Version;

/// Contents of segments kept while chunk lists are read.
const KEPT_SEGMENTS: usize = 4;

/// What is recovered.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// By slot. Excludes chunks of incomplete values.
    pub(crate) live: HashMap<u64, Version, NumberHash>,
    pub(crate) lost: Vec<Lost>,
    /// IDs of incomplete commits.
    pub(crate) of_broken_commits: Vec<RecordId>,
    /// Records of commits after the last one that an opening would recover.
    pub(crate) behind_the_end: u64,
    /// Records for which no index could be consulted: they may have been deleted.
    pub(crate) without_index: u64,
    /// Recovered records that may have been deleted.
    pub(crate) doubtful: Vec<RecordId>,
}

/// What the record index says about a slot.
enum Indexed {
    /// It cannot be read.
    Unknown,
    Live,
    NotLive,
}

/// Weighs the evidence.
pub(crate) fn decide(source: &Source, survey: &Survey, remains: Option<&Remains>) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let suspects = suspects_by_id(survey);
    for (slot, found) in survey.slots.iter().filter(|(slot, _)| !survey.is_of_dropped_set(**slot)) {
        let (indexed, base) = indexed(remains, *slot);
        let is_newer =
            found.newest.is_some_and(|version| version.seq > base) || found.freed.is_some_and(|(_, seq)| seq > base);
        let chosen = match indexed {
            Indexed::Live if !is_newer => {
                // If the version is damaged where the index points, a copy of it serves as well. If that file is gone,
                // the collector may have moved the record since the index was saved.
                let copy = |version: &Version| suspects.get(&version.id).is_some_and(|seq| *seq == version.seq);
                let known = found.indexed.or_else(|| found.newest.filter(copy));
                known.or_else(|| survey.moved.find(remains, *slot)).or_else(|| {
                    // It may also be elsewhere: at its place before it was moved, or copied by an opening.
                    let version = found.newest.filter(|version| resembles(remains, version))?;
                    // A chunk has only one version.
                    verdict.lost.extend((!version.is_chunk).then(|| perhaps_lost(source, survey, &version)));
                    Some(version)
                })
            }
            Indexed::NotLive if !is_newer => None,
            _ => found.newest.filter(|_| !found.is_freed()),
        };
        let Some(version) = chosen else { continue };
        if matches!(indexed, Indexed::Unknown) {
            verdict.without_index += 1;
            if !version.is_chunk {
                verdict.doubtful.push(version.id);
            }
        }
        if remains.is_some_and(|remains| remains.is_newest && version.seq > remains.seq) {
            verdict.behind_the_end += 1;
        }
        if !version.is_whole {
            verdict.of_broken_commits.push(version.id);
        }
        verdict.live.insert(*slot, version);
    }
    find_lost_entries(survey, remains, &mut verdict);
    find_lost_suspects(survey, remains, &mut verdict);
    check_heads(source, survey, &mut verdict)?;
    find_doubtful(survey, remains, &mut verdict);
    verdict.of_broken_commits.retain(|id| verdict.live.contains_key(&id.slot()));
    verdict.of_broken_commits.sort_unstable();
    verdict.lost.sort_by(|a, b| (a.slot, &a.file, a.offset).cmp(&(b.slot, &b.file, b.offset)));
    Ok(verdict)
}

/// Whether a version has the count and length of the one that the index points at.
fn resembles(remains: Option<&Remains>, version: &Version) -> bool {
    let entry = remains.and_then(|remains| remains.state.root.entry(version.id.slot()).ok());
    let Some(EntryState::Live(location)) = entry.map(crate::format::entry::Entry::state) else { return false };
    location.bytes() == version.bytes && location.reuse_low == version.id.reuse_count() & 0xf
}

/// A record whose recovered version need not be the newest.
fn perhaps_lost(source: &Source, survey: &Survey, version: &Version) -> Lost {
    let file = source.logs.get(version.log as usize).map(|log| log.name.clone()).unwrap_or_default();
    let (slot, id, offset) = (version.id.slot(), Some(version.id), version.offset);
    let why =
        format!("it is unknown whether there was a newer version; the one of commit {} was recovered", version.seq);
    Lost { slot, id, set: survey.set_of_slot(slot), file, offset, why }
}

fn suspects_by_id(survey: &Survey) -> HashMap<RecordId, Seq> {
    let mut all = HashMap::new();
    for suspect in &survey.suspects {
        let seq = all.entry(suspect.id).or_insert(suspect.seq);
        *seq = suspect.seq.max(*seq);
    }
    all
}

/// What the index says about a slot, and up to which commit.
fn indexed(remains: Option<&Remains>, slot: u64) -> (Indexed, Seq) {
    let Some(remains) = remains else { return (Indexed::Unknown, Seq::ZERO) };
    match remains.state.root.entry(slot).map(crate::format::entry::Entry::state) {
        Ok(EntryState::Live(_)) => (Indexed::Live, remains.seq),
        Ok(EntryState::Free { .. } | EntryState::Retired) => (Indexed::NotLive, remains.seq),
        Err(_) => (Indexed::Unknown, Seq::ZERO),
    }
}

/// Records that are not intact where the index points.
fn find_lost_entries(survey: &Survey, remains: Option<&Remains>, verdict: &mut Verdict) {
    let Some(remains) = remains else { return };
    let state = &remains.state;
    let mut suspects: HashMap<(&str, u64), RecordId> = HashMap::new();
    for suspect in &survey.suspects {
        suspects.entry((&suspect.file, suspect.offset)).or_insert(suspect.id);
    }
    for page in 0..state.root.page_end() {
        let Some(cell) = state.root.cell(page).filter(|cell| cell.descriptor.set != 0) else { continue };
        let Ok(entries) = cell.entries() else { continue };
        for (index, entry) in (0..).zip(entries) {
            let EntryState::Live(location) = entry.state() else { continue };
            let slot = page * to_u64(ENTRIES_PER_PAGE) + index;
            let found = survey.slots.get(&slot).copied().unwrap_or_default();
            let is_replaced = found.freed.is_some_and(|(_, seq)| seq > remains.seq);
            let is_gone = is_replaced || survey.is_of_dropped_set(slot);
            if verdict.live.contains_key(&slot) || is_gone || cell.descriptor.set == SetNumber::CHUNKS.0 {
                continue;
            }
            let file = state.table.get(location.place).map(|segment| segment.number());
            let file = file.map_or_else(|| "record index".to_owned(), |number| FileKind::Records.file_name(number));
            let offset = location.offset();
            let id = suspects.get(&(file.as_str(), offset)).copied().filter(|id| id.slot() == slot);
            let id = id.or_else(|| found.newest.map(|version| version.id));
            let id = id.filter(|id| id.reuse_count() & 0xf == location.reuse_low);
            let older = found.newest.filter(|version| Some(version.id) == id);
            let why = older.map_or_else(
                || "its bytes are not what was written".to_owned(),
                |version| {
                    format!("its bytes are not what was written; an intact version of commit {} exists", version.seq)
                },
            );
            let set = survey.set_of_slot(slot).unwrap_or(SetNumber(cell.descriptor.set));
            verdict.lost.push(Lost { slot, id, set: Some(set), file, offset, why });
        }
    }
}

/// Records known only from their own damaged header.
fn find_lost_suspects(survey: &Survey, remains: Option<&Remains>, verdict: &mut Verdict) {
    let told: HashSet<(u64, String)> = verdict.lost.iter().map(|lost| (lost.offset, lost.file.clone())).collect();
    for suspect in &survey.suspects {
        let slot = suspect.id.slot();
        let (indexed, base) = indexed(remains, slot);
        let known = survey.slots.get(&slot).copied().unwrap_or_default();
        let is_older = known.newest.is_some_and(|version| version.seq >= suspect.seq)
            || known.freed.is_some_and(|(count, seq)| count >= suspect.id.reuse_count() && seq >= suspect.seq)
            || !matches!(indexed, Indexed::Unknown) && suspect.seq <= base;
        let set = survey.set_of_slot(slot);
        if is_older || set == Some(SetNumber::CHUNKS) || told.contains(&(suspect.offset, suspect.file.clone())) {
            continue;
        }
        let why = match verdict.live.get(&slot) {
            Some(version) => format!("its bytes are not what was written; that of commit {} came back", version.seq),
            None => "its bytes are not what was written".to_owned(),
        };
        let (file, offset) = (suspect.file.clone(), suspect.offset);
        verdict.lost.push(Lost { slot, id: Some(suspect.id), set, file, offset, why });
    }
}

/// Records named by a deletion that is not intact.
fn find_doubtful(survey: &Survey, remains: Option<&Remains>, verdict: &mut Verdict) {
    let is_newest = remains.is_some_and(|remains| remains.is_newest);
    verdict.doubtful.extend(survey.suspect_frees.iter().filter(|_| !is_newest));
    let live = &verdict.live;
    let comes_back = |id: &RecordId| live.get(&id.slot()).is_some_and(|version| version.id == *id && !version.is_chunk);
    verdict.doubtful.retain(comes_back);
    verdict.doubtful.sort_unstable();
    verdict.doubtful.dedup();
}

/// Contents of recently read segments.
struct Contents<'s> {
    source: &'s Source,
    kept: Vec<(u32, Vec<u8>)>,
}

impl Contents<'_> {
    fn payload(&mut self, version: &Version) -> Result<Option<Vec<u8>>> {
        let place = self.kept.iter().position(|(log, _)| *log == version.log);
        let kept = match place {
            Some(place) => self.kept.remove(place),
            None => {
                let Some(log) = self.source.logs.get(version.log as usize) else { return Ok(None) };
                (version.log, self.source.contents(log)?)
            }
        };
        let item = kept.1.get(to_usize(version.offset)..).and_then(|bytes| Item::parse(bytes).ok());
        let payload = item.map(|item| item.payload.to_vec());
        self.kept.push(kept);
        if self.kept.len() > KEPT_SEGMENTS {
            self.kept.remove(0);
        }
        Ok(payload)
    }
}

/// Leaves out large values with a missing chunk, and chunks that belong to no value.
fn check_heads(source: &Source, survey: &Survey, verdict: &mut Verdict) -> Result<()> {
    let mut contents = Contents { source, kept: Vec::new() };
    let mut heads: Vec<Version> = verdict.live.values().filter(|version| version.is_head).copied().collect();
    heads.sort_unstable_by_key(|version| (version.log, version.offset));
    let mut wanted: HashSet<u64, NumberHash> = HashSet::default();
    for head in heads {
        match chunks(&mut contents, verdict, &wanted, &head)? {
            Ok(slots) => wanted.extend(slots),
            Err(why) => {
                verdict.live.remove(&head.id.slot());
                let file = source.logs.get(head.log as usize).map(|log| log.name.clone()).unwrap_or_default();
                let (slot, id, set) = (head.id.slot(), Some(head.id), survey.set_of_slot(head.id.slot()));
                verdict.lost.push(Lost { slot, id, set, file, offset: head.offset, why });
            }
        }
    }
    verdict.live.retain(|slot, version| !version.is_chunk || wanted.contains(slot));
    Ok(())
}

/// The slots of all chunks and lists of a large value, or why it is incomplete. None of them is in `met`: a chunk
/// belongs to one value, in one place.
fn chunks(
    contents: &mut Contents<'_>,
    verdict: &Verdict,
    met: &HashSet<u64, NumberHash>,
    head: &Version,
) -> Result<std::result::Result<HashSet<u64, NumberHash>, String>> {
    let payload = contents.payload(head)?.unwrap_or_default();
    let decoded = match Head::decode(&payload) {
        Ok(decoded) => decoded,
        Err(malformed) => return Ok(Err(format!("{}: expected {}", malformed.what, malformed.expected))),
    };
    let missing = |id: &RecordId| format!("chunk {id} of its value is not there");
    let whole = |id: &RecordId| verdict.live.get(&id.slot()).filter(|version| version.id == *id).copied();
    let (mut slots, mut level) = (HashSet::default(), decoded.ids.clone());
    for depth in (0..=decoded.depth).rev() {
        let expected = decoded.ids_at(depth);
        if to_u64(level.len()) != expected {
            return Ok(Err(format!("its lists name {} chunks at level {depth}: expected {expected}", level.len())));
        }
        let mut below = Vec::new();
        for id in &level {
            let Some(version) = whole(id) else { return Ok(Err(missing(id))) };
            if met.contains(&id.slot()) || !slots.insert(id.slot()) {
                return Ok(Err(format!("chunk {id} of its value has another place, too")));
            }
            if depth > 0 {
                let payload = contents.payload(&version)?.unwrap_or_default();
                let Ok(ids) = decode_ids(&payload) else { return Ok(Err(missing(id))) };
                below.extend(ids);
            }
        }
        level = below;
    }
    Ok(Ok(slots))
}

/// What is recovered, by segment and place: each segment is read once.
pub(crate) fn by_segment(verdict: &Verdict) -> BTreeMap<u32, Vec<Version>> {
    let mut all: BTreeMap<u32, Vec<Version>> = BTreeMap::new();
    for version in verdict.live.values() {
        all.entry(version.log).or_default().push(*version);
    }
    for versions in all.values_mut() {
        versions.sort_unstable_by_key(|version| version.offset);
    }
    all
}
