//! Building, dropping and checking key indexes while readers and writers continue.
//!
//! Owns: the order definition → scan → sort → build → catch up → snapshot → replace; comparing an index with the
//! records. Never: maintains an index; commits do.
//! Invariants: 1. From the commit that defines an index on, every commit carries its changes.
//! 2. Readers see an index only when it is complete.
//! 3. An index that is to be replaced is read and maintained until its successor is complete and in a snapshot.

mod build;
mod load;
mod run;
mod sort;

pub(crate) use load::load;

use std::sync::Arc;

use crate::catalogue::Index as Known;
use crate::engine::{Engine, Need};
use crate::error::{Corruption, Error, Result};
use crate::extract::{Extractor, Keys, Reading};
use crate::format::entry::State as EntryState;
use crate::format::frame::FrameBuilder;
use crate::format::index::IndexDefinition;
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX};
use crate::format::manifest::SnapshotKind;
use crate::heap::{Effect, State, Walk};
use crate::id::{IndexNumber, RecordId, Seq, SetNumber, to_u64};
use crate::indexing::build::{build_tree, publish, records_of_page};
use crate::key::Key;
use crate::key_index::{KeyRoot, Range};
use crate::snapshot;
use crate::txn::check_key_type;

/// Maximum log bytes of a definition besides its texts: an accepted definition can be replaced by a similar one.
const DEFINITION_BYTES: usize = 26;

/// The requested index.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) set: SetNumber,
    pub(crate) name: &'a str,
    pub(crate) is_unique: bool,
    pub(crate) extractor: Extractor,
}

/// The index, if it exists as requested: nothing must be built, and there is nothing to wait for.
pub(crate) fn find(engine: &Engine, wanted: &Wanted<'_>) -> Result<Option<Arc<IndexDefinition>>> {
    let catalogue = engine.heap.catalogue();
    let no_such = |why| Error::NoSuchIndex { index: wanted.name.to_owned(), why };
    let Some(there) = catalogue.index_named(wanted.set, wanted.name) else {
        return if engine.read_only { Err(no_such("is not there, and this handle only reads")) } else { Ok(None) };
    };
    let (definition, extractor) = (&there.definition, &wanted.extractor);
    if definition.unique != wanted.is_unique {
        return Err(no_such(if definition.unique { "is unique" } else { "is not unique" }));
    }
    if !is_made_by(definition, extractor) {
        let why = "was built by another extractor, or another version of it, and this handle is read-only";
        return if engine.read_only { Err(no_such(why)) } else { Ok(None) };
    }
    check_key_type(definition, extractor.key_type())?;
    if !engine.registry.has_extractor(definition.number) {
        engine.registry.change(wanted.set, |all| drop(all.insert(definition.number, extractor.clone())));
    }
    Ok((there.is_ready || engine.read_only).then(|| Arc::clone(definition)))
}

fn is_made_by(definition: &IndexDefinition, extractor: &Extractor) -> bool {
    definition.extractor == extractor.name()
        && definition.version == extractor.version()
        && definition.spec == extractor.spec()
}

/// The index as requested: the existing one, a new one, or a rebuilt one because its extractor differs or it cannot be
/// read.
pub(crate) fn open(engine: &Engine, wanted: &Wanted<'_>) -> Result<Arc<IndexDefinition>> {
    // Another thread may have built it while this one waited.
    if let Some(definition) = find(engine, wanted)? {
        return Ok(definition);
    }
    let there = engine.heap.catalogue().index_named(wanted.set, wanted.name).cloned();
    match there {
        Some(there) if is_begun(&there) && is_made_by(&there.definition, &wanted.extractor) => {
            go_on(engine, &there.definition, &wanted.extractor)
        }
        there => make(engine, wanted, there.map(|there| there.definition.number)),
    }
}

/// Whether the build of an index was started and not completed.
fn is_begun(index: &Known) -> bool {
    !index.is_ready && index.damage.is_none()
}

/// Rebuilds an index from the records, with its own extractor.
pub(crate) fn rebuild(engine: &Engine, number: IndexNumber) -> Result<Arc<IndexDefinition>> {
    let catalogue = engine.heap.catalogue();
    let missing = || Error::NoSuchIndex { index: number.to_string(), why: "does not exist" };
    let index = catalogue.index(number).ok_or_else(missing)?.clone();
    let definition = &index.definition;
    let extractor = engine.registry.extractor_of(definition, &catalogue)?.with_key_type(&definition.key_type);
    drop(catalogue);
    if is_begun(&index) {
        return go_on(engine, definition, &extractor);
    }
    let wanted = Wanted { set: definition.set, name: &definition.name, is_unique: definition.unique, extractor };
    make(engine, &wanted, Some(number))
}

/// Builds an existing index that was never complete. If that fails, it is as it was.
fn go_on(engine: &Engine, definition: &Arc<IndexDefinition>, extractor: &Extractor) -> Result<Arc<IndexDefinition>> {
    engine.check_writable()?;
    let guard = engine.lock_commit();
    engine.heap.with_indexes(|indexes| indexes.begin_building(definition.number));
    let state = engine.heap.pin();
    drop(guard);
    build(engine, definition, extractor, &state, false)?;
    Ok(Arc::clone(definition))
}

/// Creates an index. If it replaces another one of the same name, that one is read and maintained until the new one is
/// complete, and ends with the commit that replaces it: no crash leaves neither, or both.
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
        key_type: wanted.extractor.key_type().to_owned(),
        replaces: replaced.filter(|_| !is_complete),
    });
    let texts = [&definition.name, &definition.extractor, &definition.spec, &definition.key_type];
    let bytes = DEFINITION_BYTES + texts.into_iter().map(String::len).sum::<usize>();
    if bytes > PAYLOAD_BYTES_MAX {
        let (what, limit) = ("definition of a key index", to_u64(PAYLOAD_BYTES_MAX));
        return Err(Error::TooLarge { what, bytes: to_u64(bytes), limit });
    }
    let mut payload = vec![u8::from(is_complete)];
    definition.encode(&mut payload);
    let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
    let gone = replaced.filter(|_| is_complete);
    if let Some(gone) = gone {
        frame.control(Kind::DropIndex, &gone.0.to_le_bytes());
        effects.push(Effect::DropIndex(gone));
    }
    frame.control(Kind::CreateIndex, &payload);
    effects.push(Effect::CreateIndex(Arc::clone(&definition), is_complete));
    // The extractor is registered before the index becomes visible, and the epoch changes once more when it does.
    let extractor = wanted.extractor.clone();
    engine.registry.change(wanted.set, |all| drop(all.insert(number, extractor)));
    if !is_complete {
        engine.heap.with_indexes(|indexes| indexes.begin_building(number));
    }
    let appended = engine.append_and_apply(&guard, &mut frame, &mut effects, Need::Ordinary);
    engine.registry.change(wanted.set, |all| {
        let gone = if appended.is_err() { Some(number) } else { gone };
        gone.and_then(|number| all.remove(&number));
    });
    if appended.is_err() {
        engine.heap.with_indexes(|indexes| indexes.end_building(number));
    }
    let seq = appended?;
    if is_complete {
        drop(guard);
        // Like one that is built: who has it may rely on it after a power cut.
        return engine.make_durable(seq).map(|()| definition);
    }
    let state = engine.heap.pin();
    drop(guard);
    build(engine, &definition, &wanted.extractor, &state, true)?;
    let now = engine.heap.catalogue().index(number).map(|index| Arc::clone(&index.definition));
    Ok(now.unwrap_or(definition))
}

/// Drops an index and returns the commit. Views that see it stay valid.
pub(crate) fn drop_index(engine: &Engine, set: SetNumber, number: IndexNumber) -> Result<Seq> {
    engine.check_writable()?;
    engine.announce(0, Need::MakesRoom)?;
    let guard = engine.lock_commit();
    let mut frame = FrameBuilder::new();
    frame.control(Kind::DropIndex, &number.0.to_le_bytes());
    let seq = engine.append_and_apply(&guard, &mut frame, &mut vec![Effect::DropIndex(number)], Need::MakesRoom)?;
    engine.registry.change(set, |all| drop(all.remove(&number)));
    drop(guard);
    Ok(seq)
}

/// An index that is being built. If that fails, or its extractor panics, nothing of it stays, unless it existed before.
struct Unfinished<'e> {
    engine: &'e Engine,
    definition: &'e IndexDefinition,
    is_new: bool,
    is_done: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let number = self.definition.number;
        if self.is_done {
            return;
        }
        if !self.is_new {
            self.engine.heap.with_indexes(|indexes| indexes.end_building(number));
            return;
        }
        // The user needs to know what ended the build.
        drop(drop_index(self.engine, self.definition.set, number));
        // Even if dropping it failed: the changes kept for it will not be requested.
        self.engine.heap.with_indexes(|indexes| indexes.drop_index(number));
    }
}

fn build(
    engine: &Engine,
    definition: &IndexDefinition,
    extractor: &Extractor,
    state: &Arc<State>,
    is_new: bool,
) -> Result<()> {
    let mut unfinished = Unfinished { engine, definition, is_new, is_done: false };
    let built = build_tree(engine, definition, extractor, state).and_then(|built| publish(engine, definition, built));
    built.map_err(|error| error.of_set(state.catalogue.name_of(definition.set)))?;
    // Before the snapshot, a crash undoes a successor, and the index that it would replace stays. So the snapshot comes
    // first: once it exists, no crash undoes the successor.
    unfinished.is_done = definition.replaces.is_none();
    snapshot::save(engine, SnapshotKind::Automatic, "")?;
    let Some(replaced) = definition.replaces else { return Ok(()) };
    let seq = put_in_place(engine, definition, replaced)?;
    unfinished.is_done = true;
    drop(unfinished);
    engine.make_durable(seq)
}

/// Replaces an index with a complete successor: from this commit on views find it under the name.
fn put_in_place(engine: &Engine, definition: &IndexDefinition, replaced: IndexNumber) -> Result<Seq> {
    engine.check_writable()?;
    let (guard, number) = (engine.lock_commit(), definition.number);
    let (is_there, damage) =
        engine.heap.look_at_indexes(|trees| (trees.now(number).is_some(), trees.damage_of(number).cloned()));
    if !is_there {
        let missing = Error::NoSuchIndex { index: definition.name.clone(), why: "does not exist" };
        return Err(damage.map_or(missing, |damage| Error::Corrupt(Box::new(Corruption::clone(&damage)))));
    }
    let (mut frame, mut effects) = (FrameBuilder::new(), vec![Effect::PublishIndex(number)]);
    frame.control(Kind::PublishIndex, &number.0.to_le_bytes());
    let seq = engine.append_and_apply(&guard, &mut frame, &mut effects, Need::MakesRoom)?;
    engine.registry.change(definition.set, |all| drop(all.remove(&replaced)));
    drop(guard);
    Ok(seq)
}

/// Entries that an index must have, and records whose keys cannot be determined.
type Expected = (Vec<(Box<[u8]>, u64)>, Vec<String>);

/// The keys of all records of a set, all in memory. Returns a limited number of lines.
fn entries_of(
    set: SetNumber,
    extractor: &Extractor,
    state: &Arc<State>,
    lines_max: usize,
    read: &mut dyn FnMut(u64),
) -> Result<Expected> {
    let (mut entries, mut problems, mut walk) = (Vec::new(), Vec::new(), Walk::default());
    for page in 0..state.root.page_end() {
        let bytes = records_of_page(set, page, state, &mut walk, &mut |id, record| {
            let mut keys = Keys::default();
            match extractor.run(&mut Reading::new(record), &mut keys) {
                Err(Error::KeysUnknown { why, .. }) if problems.len() < lines_max => {
                    problems.push(format!("record {id} has keys that cannot be determined: {why}"));
                }
                Err(Error::KeysUnknown { .. }) => {}
                result => result?,
            }
            entries.extend(keys.iter().map(|key| (Box::from(key), id.as_u64())));
            Ok(())
        })?;
        read(bytes);
    }
    Ok((entries, problems))
}

/// Checks the tree of an index, and compares its entries with the records of its set. Returns the problems, limited to
/// this many lines.
pub(crate) fn verify(engine: &Engine, number: IndexNumber, lines_max: usize) -> Result<Vec<String>> {
    let state = engine.heap.pin();
    let missing = |why| Error::NoSuchIndex { index: number.to_string(), why };
    let index = state.catalogue.index(number).ok_or_else(|| missing("is not there"))?;
    let root = state.indexes.get(&number).ok_or_else(|| missing("is not complete yet"))?;
    let definition = Arc::clone(&index.definition);
    let extractor = engine.registry.extractor_of(&definition, &state.catalogue)?;
    let mut problems = Vec::new();
    root.check(&mut |error| problems.push(error.to_string()), &mut |_bytes| {});
    if problems.is_empty() {
        problems = compare(&definition, Some(&extractor), &state, root, lines_max, &mut |_bytes| {})?;
    }
    problems.truncate(lines_max);
    Ok(problems)
}

/// Compares the entries of an index with the records of its set: each entry points at a live record of the set, a
/// unique key at only one, and with an extractor each record has exactly the entries of its keys. Returns the problems,
/// limited to this many lines. Reports bytes of records read to `read`.
pub(crate) fn compare(
    definition: &IndexDefinition,
    extractor: Option<&Extractor>,
    state: &Arc<State>,
    root: &KeyRoot,
    lines_max: usize,
    read: &mut dyn FnMut(u64),
) -> Result<Vec<String>> {
    let (mut expected, mut problems) = match extractor {
        Some(extractor) => entries_of(definition.set, extractor, state, lines_max, read)?,
        None => (Vec::new(), Vec::new()),
    };
    expected.sort_unstable();
    expected.dedup();
    let mut expected = expected.into_iter().peekable();
    let mut range = Range::new(root, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)?;
    let mut before = None::<Box<[u8]>>;
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

/// Whether an ID belongs to a live record of the set. Does not read the record itself.
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
