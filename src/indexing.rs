//! Making, dropping and checking key indexes while readers and writers go on.
//!
//! Owns: the order definition → scan → sort → build → catch up → publish → snapshot; comparing an index with the records. Never: keeps an index; commits do.
//! Invariants: 1. From the commit that defines an index on, every commit carries its changes. 2. An index is seen by readers
//! only when it holds everything. 3. One that was not in a snapshot when the process ended is built again.

mod build;
mod run;
mod sort;

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::Need;
use crate::error::Error;
use crate::error::Result;
use crate::extract::Extractor;
use crate::format::entry::State as EntryState;
use crate::format::frame::FrameBuilder;
use crate::format::index::IndexDefinition;
use crate::format::item::Kind;
use crate::format::item::PAYLOAD_BYTES_MAX;
use crate::format::manifest::SnapshotKind;
use crate::heap::Effect;
use crate::heap::State;
use crate::id::IndexNumber;
use crate::id::RecordId;
use crate::id::SetNumber;
use crate::id::to_u64;
use crate::indexing::build::build_tree;
use crate::indexing::build::keys_of_page;
use crate::indexing::build::publish;
use crate::key::Key;
use crate::key_index::KeyRoot;
use crate::key_index::Range;
use crate::snapshot;

/// Bytes of a definition in the log beside its texts.
const DEFINITION_BYTES: usize = 20;

/// What an index is to be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) set: SetNumber,
    pub(crate) name: &'a str,
    pub(crate) is_unique: bool,
    pub(crate) extractor: Extractor,
}

/// The index as it is wanted: as it is there, or made, or made anew because its extractor is another one.
pub(crate) fn open(engine: &Engine, wanted: &Wanted<'_>) -> Result<Arc<IndexDefinition>> {
    let catalogue = engine.heap.catalogue();
    let there = catalogue.indexes_of(wanted.set).find(|index| index.definition.name == wanted.name).cloned();
    drop(catalogue);
    let Some(there) = there else { return make(engine, wanted, None) };
    let definition = there.definition;
    if definition.unique != wanted.is_unique {
        let why = if definition.unique { "is unique" } else { "is not unique" };
        return Err(Error::NoSuchIndex { index: wanted.name.to_owned(), why });
    }
    let extractor = &wanted.extractor;
    let is_same = definition.extractor == extractor.name()
        && definition.version == extractor.version()
        && definition.spec == extractor.spec();
    if !is_same {
        return make(engine, wanted, Some(definition.number));
    }
    let number = definition.number;
    if !engine.has_extractor(number) {
        engine.change_registry(|all| drop(all.insert(number, extractor.clone())));
    }
    if !there.is_ready && !engine.read_only {
        let guard = engine.lock_commit();
        engine.heap.with_indexes(|indexes| indexes.begin_building(number));
        let state = engine.heap.pin();
        drop(guard);
        build(engine, &definition, extractor, &state)?;
    }
    Ok(definition)
}

/// An index made anew from the records, with the extractor that it has.
pub(crate) fn rebuild(engine: &Engine, number: IndexNumber) -> Result<Arc<IndexDefinition>> {
    let catalogue = engine.heap.catalogue();
    let index = catalogue.index(number);
    let missing = || Error::NoSuchIndex { index: number.to_string(), why: "is not there" };
    let definition = Arc::clone(&index.ok_or_else(missing)?.definition);
    let extractor = engine.extractor_of(&definition, &catalogue)?;
    drop(catalogue);
    let wanted = Wanted { set: definition.set, name: &definition.name, is_unique: definition.unique, extractor };
    make(engine, &wanted, Some(number))
}

/// Makes an index, in place of another one of the same name if there is one: one commit drops the one and defines the
/// other, so that no crash leaves neither.
fn make(engine: &Engine, wanted: &Wanted<'_>, replaced: Option<IndexNumber>) -> Result<Arc<IndexDefinition>> {
    engine.check_writable()?;
    engine.check_reserve(0)?;
    engine.announce(0, Need::Ordinary)?;
    let guard = engine.lock_commit();
    let catalogue = engine.heap.catalogue();
    let number = catalogue.next_index();
    if number.0 == u32::MAX {
        return Err(Error::Exhausted { what: "key index", limit: u32::MAX.into() });
    }
    let is_complete = catalogue.set(wanted.set).is_some_and(|set| set.records == 0);
    drop(catalogue);
    let definition = Arc::new(IndexDefinition {
        number,
        set: wanted.set,
        unique: wanted.is_unique,
        name: wanted.name.to_owned(),
        extractor: wanted.extractor.name().to_owned(),
        version: wanted.extractor.version(),
        spec: wanted.extractor.spec(),
    });
    let bytes = DEFINITION_BYTES + definition.name.len() + definition.extractor.len() + definition.spec.len();
    if bytes > PAYLOAD_BYTES_MAX {
        let (what, limit) = ("definition of a key index", to_u64(PAYLOAD_BYTES_MAX));
        return Err(Error::TooLarge { what, bytes: to_u64(bytes), limit });
    }
    let mut payload = vec![u8::from(is_complete)];
    definition.encode(&mut payload);
    let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
    if let Some(replaced) = replaced {
        frame.control(Kind::DropIndex, &replaced.0.to_le_bytes());
        effects.push(Effect::DropIndex(replaced));
    }
    frame.control(Kind::CreateIndex, &payload);
    effects.push(Effect::CreateIndex(Arc::clone(&definition), is_complete));
    // The extractor is there before the index is seen, and the epoch changes once more when it is.
    let extractor = wanted.extractor.clone();
    engine.change_registry(|all| drop(all.insert(number, extractor)));
    let appended = engine.append_and_apply(&guard, &mut frame, &mut effects, Need::Ordinary);
    engine.change_registry(|all| {
        let gone = if appended.is_err() { Some(number) } else { replaced };
        gone.and_then(|number| all.remove(&number));
    });
    appended?;
    if is_complete {
        return Ok(definition);
    }
    engine.heap.with_indexes(|indexes| indexes.begin_building(number));
    let state = engine.heap.pin();
    drop(guard);
    build(engine, &definition, &wanted.extractor, &state)?;
    Ok(definition)
}

/// Drops an index. Views that see it go on.
pub(crate) fn drop_index(engine: &Engine, number: IndexNumber) -> Result<()> {
    engine.check_writable()?;
    engine.announce(0, Need::MakesRoom)?;
    let guard = engine.lock_commit();
    let mut frame = FrameBuilder::new();
    frame.control(Kind::DropIndex, &number.0.to_le_bytes());
    engine.append_and_apply(&guard, &mut frame, &mut vec![Effect::DropIndex(number)], Need::MakesRoom)?;
    engine.change_registry(|all| drop(all.remove(&number)));
    drop(guard);
    Ok(())
}

/// An index that is being built. Nothing of it stays when that fails, or when its extractor panics.
struct Unfinished<'e> {
    engine: &'e Engine,
    number: IndexNumber,
    is_done: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            // What ended the building is what its user has to know.
            drop(drop_index(self.engine, self.number));
            // Also where dropping it failed: nobody will ask for the changes that were kept for it.
            self.engine.heap.with_indexes(|indexes| indexes.drop_index(self.number));
        }
    }
}

fn build(engine: &Engine, definition: &IndexDefinition, extractor: &Extractor, state: &Arc<State>) -> Result<()> {
    let mut unfinished = Unfinished { engine, number: definition.number, is_done: false };
    let built = build_tree(engine, definition, extractor, state)?;
    publish(engine, definition, built)?;
    unfinished.is_done = true;
    drop(unfinished);
    // Only now does it stand after a crash without being built again.
    snapshot::save(engine, SnapshotKind::Automatic, "").map(drop)
}

/// The keys of all records of a set, all in memory.
fn entries_of(set: SetNumber, extractor: &Extractor, state: &Arc<State>) -> Result<Vec<(Box<[u8]>, u64)>> {
    let mut entries = Vec::new();
    for page in 0..state.root.page_end() {
        keys_of_page(set, page, extractor, state, &mut |key, id| {
            entries.push((Box::from(key), id));
            Ok(())
        })?;
    }
    Ok(entries)
}

/// Checks the tree of an index, and compares its entries with the records of its set. Gives what is wrong, at most so
/// many lines.
pub(crate) fn verify(engine: &Engine, number: IndexNumber, lines_max: usize) -> Result<Vec<String>> {
    let state = engine.heap.pin();
    let missing = |why| Error::NoSuchIndex { index: number.to_string(), why };
    let index = state.catalogue.index(number).ok_or_else(|| missing("is not there"))?;
    let root = state.indexes.get(&number).ok_or_else(|| missing("is not complete yet"))?;
    let definition = Arc::clone(&index.definition);
    let indexes = engine.indexes_of(definition.set)?;
    let known = indexes.all.iter().find(|index| index.number == number);
    let extractor = known.map(|index| index.extractor.clone()).ok_or_else(|| missing("has changed meanwhile"))?;
    let mut problems = Vec::new();
    root.check(&mut |error| problems.push(error.to_string()));
    if problems.is_empty() {
        problems = compare(&definition, Some(&extractor), &state, root, lines_max)?;
    }
    problems.truncate(lines_max);
    Ok(problems)
}

/// Compares the entries of an index with the records of its set: each entry leads to a live record of the set, a unique
/// key to one only, and with an extractor each record has exactly the entries of its keys. Gives what is wrong, at most so
/// many lines.
pub(crate) fn compare(
    definition: &IndexDefinition,
    extractor: Option<&Extractor>,
    state: &Arc<State>,
    root: &KeyRoot,
    lines_max: usize,
) -> Result<Vec<String>> {
    let mut expected = match extractor {
        Some(extractor) => entries_of(definition.set, extractor, state)?,
        None => Vec::new(),
    };
    expected.sort_unstable();
    expected.dedup();
    let mut expected = expected.into_iter().peekable();
    let mut range = Range::new(root, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)?;
    let (mut problems, mut before) = (Vec::new(), None::<Box<[u8]>>);
    while problems.len() < lines_max {
        let found = range.next()?.map(|(key, id)| (Box::<[u8]>::from(key), id));
        let Some(found) = found else { break };
        while let Some((key, id)) = expected.next_if(|entry| *entry < found) {
            problems.push(format!("record {} has key {} and no entry", shown_id(id), shown(&key)));
        }
        let has_key = expected.next_if(|entry| *entry == found).is_some();
        if !is_live(found.1, definition.set, state)? {
            problems.push(format!("entry {} leads to {}, which is no record", shown(&found.0), shown_id(found.1)));
        } else if extractor.is_some() && !has_key {
            problems.push(format!(
                "entry {} leads to record {}, which has no such key",
                shown(&found.0),
                shown_id(found.1)
            ));
        }
        if definition.unique && before.as_ref() == Some(&found.0) {
            problems.push(format!("unique key {} has several entries", shown(&found.0)));
        }
        before = Some(found.0);
    }
    let rest = expected.map(|(key, id)| format!("record {} has key {} and no entry", shown_id(id), shown(&key)));
    let more = lines_max.saturating_sub(problems.len());
    problems.extend(rest.take(more));
    problems.truncate(lines_max);
    Ok(problems)
}

/// Whether an ID is that of a live record of the set. The record itself is not read.
fn is_live(id: u64, set: SetNumber, state: &State) -> Result<bool> {
    let Some(id) = RecordId::from_u64(id) else { return Ok(false) };
    let is_live = match state.root.entry(id.slot())?.state() {
        EntryState::Live(location) => location.reuse_low == id.reuse_count() & 0xf,
        EntryState::Free { .. } | EntryState::Retired => false,
    };
    Ok(is_live && state.root.set_of_slot(id.slot()) == set)
}

fn shown(key: &[u8]) -> String {
    Key::from_bytes(key).map_or_else(|_| format!("{key:02x?}"), |key| key.to_string())
}

fn shown_id(id: u64) -> String {
    RecordId::from_u64(id).map_or_else(|| format!("{id:#x}"), |id| id.to_string())
}
