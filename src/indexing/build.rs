//! Building the tree of an index beside commits.
//!
//! Owns: the keys of the records of a state, and of concurrent commits, in one order; their tree; the last changes
//! before it is published. Never: holds the commit lock while much is left to do.
//! Invariants: 1. The heap is bounded by the limit for gathering, and by the changes made while runs are merged.
//! 2. A unique index is published only if no key has two records then.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::extract::{Extractor, Keys, Reading};
use crate::format::entry::{ENTRIES_PER_PAGE, State as EntryState};
use crate::format::index;
use crate::format::index::IndexDefinition;
use crate::heap::{State, Walk, apply_changes};
use crate::id::{RecordId, SetNumber, to_u64};
use crate::indexing::run::Item;
use crate::indexing::sort::{Sorter, stamp};
use crate::key::Key;
use crate::key_index::{Builder, KeyTree, Position};
use crate::pages::Aside;
use crate::txn::Record;

/// Bytes of changes that are few enough to be applied under the commit lock.
const LAST_BYTES: usize = 64 << 10;
/// Rounds of catching up if commits keep pace.
const ROUNDS_MAX: usize = 64;
/// Maximum number of keys that may temporarily have two records. More are no accident.
const SUSPECTS_MAX: usize = 1024;

/// A tree that no snapshot has. Its pages are deleted with it.
#[derive(Debug)]
pub(super) struct Built<'e> {
    tree: KeyTree,
    pages: Option<Aside<'e>>,
}

/// Passes on the records of one page of the record index, if it belongs to the set. Returns their size.
pub(super) fn records_of_page(
    set: SetNumber,
    page: u64,
    state: &Arc<State>,
    walk: &mut Walk,
    each: &mut dyn FnMut(RecordId, &[u8]) -> Result<()>,
) -> Result<u64> {
    let Some(cell) = state.root.cell(page).filter(|cell| cell.descriptor.set == set.0) else { return Ok(0) };
    let (mut bytes, entries) = (0, cell.entries()?);
    walk.ask(state, &entries);
    for (index, entry) in entries.into_iter().enumerate() {
        let EntryState::Live(location) = entry.state() else { continue };
        let found = state.read(page * to_u64(ENTRIES_PER_PAGE) + to_u64(index), location)?;
        let id = found.id;
        each(id, &Record::in_view(state, found)?.bytes()?)?;
        bytes += location.bytes();
    }
    Ok(bytes)
}

/// The tree of all keys of a state, and of most commits since.
pub(super) fn build_tree<'e>(
    engine: &'e Engine,
    definition: &IndexDefinition,
    extractor: &Extractor,
    state: &Arc<State>,
) -> Result<Built<'e>> {
    let (mut sorter, mut changes, mut keys, mut walk) = (Sorter::new(engine), 0, Keys::default(), Walk::default());
    let named =
        |error: Error, id| error.of_record(id).of_index(state.catalogue.name_of(definition.set), &definition.name);
    for page in 0..state.root.page_end() {
        records_of_page(definition.set, page, state, &mut walk, &mut |id, record| {
            keys.clear();
            extractor.run(&mut Reading::new(record), &mut keys).map_err(|error| named(error, id))?;
            keys.iter().try_for_each(|key| sorter.push(&Item { key, id: id.as_u64(), stamp: stamp(0, true) }))
        })?;
        // Concurrent changes are sorted with the rest, so that they do not pile up.
        for payload in engine.heap.with_indexes(|indexes| indexes.take_missed(definition.number)) {
            for change in index::changes(&payload).map_err(|malformed| malformed.at("log", 0))?.1 {
                let change = change.map_err(|malformed| malformed.at("log", 0))?;
                changes += 1;
                let (id, stamp) = (change.id.as_u64(), stamp(changes, change.put));
                sorter.push(&Item { key: change.key, id, stamp })?;
            }
        }
    }
    if sorter.is_small() {
        let tree = sorted_tree(definition, sorter, Builder::new(None))?;
        return Ok(Built { tree: tree.finish(Arc::default())?, pages: None });
    }
    let mut pages = Aside::new(&engine.pages);
    let timeline = engine.log.timeline();
    let mut write = |image: &[u8]| pages.write(timeline, &|| engine.log.take_segment_number(), image);
    let builder = sorted_tree(definition, sorter, Builder::new(Some(&mut write)))?;
    let mut tree = builder.finish(Arc::default())?;
    pages.finish()?;
    tree.now.segments = engine.pages.segments();
    Ok(Built { tree, pages: Some(pages) })
}

/// A builder with all entries.
fn sorted_tree<'b>(definition: &IndexDefinition, sorter: Sorter<'_>, mut builder: Builder<'b>) -> Result<Builder<'b>> {
    let mut before: Option<(Vec<u8>, u64)> = None;
    sorter.finish(&mut |key, id| {
        if definition.unique {
            let (last, holder) = before.get_or_insert_default();
            if *holder != 0 && last == key {
                return Err(violation(definition, key, *holder));
            }
            last.clear();
            last.extend_from_slice(key);
            *holder = id;
        }
        builder.push(key, id)
    })?;
    Ok(builder)
}

pub(super) fn violation(definition: &IndexDefinition, key: &[u8], holder: u64) -> Error {
    let key = Key::from_bytes(key).unwrap_or_default();
    let id = RecordId::from_u64(holder).unwrap_or(RecordId::FIRST);
    // The caller that has the catalogue adds the set's name.
    Error::UniqueViolation { set: String::new(), index: definition.name.clone(), key, id }
}

/// A tree that is catching up with commits.
struct Late<'a> {
    engine: &'a Engine,
    definition: &'a IndexDefinition,
    tree: KeyTree,
    /// Keys of a unique index that had two records when they were examined.
    suspects: BTreeSet<Box<[u8]>>,
}

impl Late<'_> {
    /// Applies what was committed since the last call. Returns the number of bytes.
    fn catch_up(&mut self) -> Result<usize> {
        let missed = self.engine.heap.with_indexes(|indexes| indexes.take_missed(self.definition.number));
        for payload in &missed {
            apply_changes(&mut self.tree, payload, "log")?;
        }
        if self.definition.unique {
            missed.iter().try_for_each(|payload| self.look_for_violations(payload))?;
        }
        Ok(missed.iter().map(Vec::len).sum())
    }

    /// A key has two records only after one was added: every final violation is a suspect by then.
    fn look_for_violations(&mut self, payload: &[u8]) -> Result<()> {
        let (_, changes) = index::changes(payload).map_err(|malformed| malformed.at("log", 0))?;
        for change in changes.flatten().filter(|change| change.put) {
            if self.has_several(change.key)? {
                self.suspects.insert(Box::from(change.key));
                if self.suspects.len() > SUSPECTS_MAX {
                    return Err(violation(self.definition, change.key, change.id.as_u64()));
                }
            }
        }
        Ok(())
    }

    fn has_several(&self, key: &[u8]) -> Result<bool> {
        let (from, to) = (Position::before(key), Position::behind(key));
        Ok(self.tree.now().count(Some(&from), Some(&to))? > 1)
    }

    /// Fails if a key of the tree still has two records.
    fn check_unique(&self) -> Result<()> {
        for key in &self.suspects {
            if self.has_several(key)? {
                let holder = self.tree.now().first(key)?.unwrap_or_default();
                return Err(violation(self.definition, key, holder));
            }
        }
        Ok(())
    }
}

/// Lets a tree catch up with concurrent commits, and publishes it.
pub(super) fn publish(engine: &Engine, definition: &IndexDefinition, built: Built<'_>) -> Result<()> {
    let mut late = Late { engine, definition, tree: built.tree, suspects: BTreeSet::new() };
    // Nearly all of it while commits continue.
    for _ in 0..ROUNDS_MAX {
        if late.catch_up()? <= LAST_BYTES {
            break;
        }
    }
    let guard = engine.lock_commit();
    late.catch_up()?;
    late.check_unique()?;
    if engine.heap.publish_index(definition.number, late.tree)? {
        built.pages.into_iter().for_each(Aside::keep);
    }
    if definition.replaces.is_none() {
        engine.registry.change(definition.set, |_| {});
    }
    drop(guard);
    Ok(())
}
