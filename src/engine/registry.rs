//! The registry: extractors of indexes, and cached lookups about sets.
//!
//! Owns: which extractor an index has in this handle, the indexes known for each set, and the epoch of both. Never: runs an extractor,
//! or changes the catalogue. No other lock is acquired while its own is held.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::catalogue::{Catalogue, Handle};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::index::IndexDefinition;
use crate::id::{IndexNumber, SetNumber};

/// An index of a set, as a writer needs it.
#[derive(Debug, Clone)]
pub(crate) struct SetIndex {
    pub(crate) number: IndexNumber,
    pub(crate) name: Arc<str>,
    pub(crate) is_unique: bool,
    pub(crate) extractor: Extractor,
}

/// The indexes of a set as of an epoch.
#[derive(Debug)]
pub(crate) struct SetIndexes {
    pub(crate) set: SetNumber,
    /// The name of the set; empty if there is no such set.
    pub(crate) name: Arc<str>,
    pub(crate) all: Vec<SetIndex>,
    pub(crate) has_unique: bool,
    pub(crate) epoch: u64,
}

/// Extractors of indexes, and cached lookups about sets.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    extractors: BTreeMap<IndexNumber, Extractor>,
    sets: BTreeMap<SetNumber, Arc<SetIndexes>>,
    /// Incremented when an index of a set is created or dropped.
    epochs: BTreeMap<SetNumber, u64>,
}

impl Known {
    fn epoch_of(&self, set: SetNumber) -> u64 {
        self.epochs.get(&set).copied().unwrap_or_default()
    }
}

impl Registry {
    /// What was looked up about a set.
    fn indexes_of(&self, set: SetNumber) -> Option<Arc<SetIndexes>> {
        self.known.read().sets.get(&set).map(Arc::clone)
    }

    /// Whether anything was looked up about a set.
    fn has_set(&self, set: SetNumber) -> bool {
        self.known.read().sets.contains_key(&set)
    }

    fn epoch_of(&self, set: SetNumber) -> u64 {
        self.known.read().epoch_of(set)
    }

    /// Notes what was looked up about a set, unless it has changed since.
    fn note(&self, found: &Arc<SetIndexes>) {
        let mut known = self.known.write();
        // Creating a set does not change an epoch.
        if known.epoch_of(found.set) == found.epoch && !found.name.is_empty() {
            known.sets.insert(found.set, Arc::clone(found));
        }
    }

    /// What was looked up about sets may have changed.
    pub(crate) fn forget_sets(&self) {
        self.known.write().sets.clear();
    }

    /// The extractor of an index: the registered one, or the one built from its line.
    pub(crate) fn extractor_of(&self, definition: &IndexDefinition, catalogue: &Catalogue) -> Result<Extractor> {
        let known = self.known.read().extractors.get(&definition.number).cloned();
        known.or_else(|| Extractor::from_spec(&definition.spec)).ok_or_else(|| {
            let set = catalogue.set(definition.set).map(|set| set.name.to_string()).unwrap_or_default();
            let (index, extractor) = (definition.name.clone(), definition.extractor.clone());
            Error::NoExtractor { set, index, extractor, version: definition.version }
        })
    }

    /// Indexes of a set, or their extractors, have changed. For an index that is created or dropped the caller excludes
    /// commits.
    pub(crate) fn change(&self, set: SetNumber, change: impl FnOnce(&mut BTreeMap<IndexNumber, Extractor>)) {
        let mut known = self.known.write();
        *known.epochs.entry(set).or_default() += 1;
        known.sets.remove(&set);
        change(&mut known.extractors);
    }

    /// The registered extractors, with the definitions of their indexes.
    fn given(&self, catalogue: &Catalogue) -> Vec<(Arc<IndexDefinition>, Extractor)> {
        let known = self.known.read();
        let given = known.extractors.iter();
        given
            .filter_map(|(number, given)| Some((Arc::clone(&catalogue.index(*number)?.definition), given.clone())))
            .collect()
    }

    /// Drops the extractors: one may hold the store, and so keep it from ever being dropped.
    pub(crate) fn forget(&self) {
        let known = std::mem::take(&mut *self.known.write());
        drop(known);
    }

    /// Whether the extractor of an index is registered. One of the same name and version is equivalent.
    pub(crate) fn has_extractor(&self, index: IndexNumber) -> bool {
        self.known.read().extractors.contains_key(&index)
    }

    /// Whether what was looked up about the indexes of a set still holds.
    pub(crate) fn is_epoch(&self, set: SetNumber, epoch: u64) -> bool {
        self.epoch_of(set) == epoch
    }
}

impl Engine {
    /// The indexes that a write to the set must maintain.
    pub(crate) fn indexes_of(&self, set: SetNumber) -> Result<Arc<SetIndexes>> {
        if let Some(known) = self.registry.indexes_of(set) {
            return Ok(known);
        }
        loop {
            let epoch = self.registry.epoch_of(set);
            let found = match self.find_indexes(set, epoch) {
                Ok(found) => Arc::new(found),
                // The index was created or dropped between reading the catalogue and the extractors.
                Err(Error::NoExtractor { .. }) if !self.registry.is_epoch(set, epoch) => continue,
                Err(error) => return Err(error),
            };
            self.registry.note(&found);
            return Ok(found);
        }
    }

    fn find_indexes(&self, set: SetNumber, epoch: u64) -> Result<SetIndexes> {
        let catalogue = self.heap.catalogue();
        let mut all = Vec::new();
        for index in catalogue.indexes_of(set) {
            let definition = &index.definition;
            let extractor = self.registry.extractor_of(definition, &catalogue)?;
            let (number, name, is_unique) = (definition.number, Arc::from(definition.name.as_str()), definition.unique);
            all.push(SetIndex { number, name, is_unique, extractor });
        }
        let missing = || Error::NoSuchSet { name: catalogue.name_of(set).to_owned() };
        let name = Arc::clone(&catalogue.set(set).ok_or_else(missing)?.name);
        let has_unique = all.iter().any(|index| index.is_unique);
        Ok(SetIndexes { set, name, all, has_unique, epoch })
    }

    /// The number of the set that a handle refers to.
    pub(crate) fn set_of_handle(&self, handle: &Handle<'_>) -> Result<SetNumber> {
        if handle.lineage == self.lineage && self.registry.has_set(handle.number) {
            return Ok(handle.number);
        }
        let found = self.heap.catalogue().set_of_handle(handle);
        found.ok_or_else(|| Error::NoSuchSet { name: handle.name.to_owned() })
    }

    /// The registered extractors, for another handle of the store.
    pub(crate) fn given_extractors(&self) -> Vec<(Arc<IndexDefinition>, Extractor)> {
        let catalogue = self.heap.catalogue();
        self.registry.given(&catalogue)
    }

    /// Takes over another handle's extractors, for the indexes that they belong to.
    pub(crate) fn take_extractors(&self, given: Vec<(Arc<IndexDefinition>, Extractor)>) {
        let catalogue = self.heap.catalogue();
        for (of, extractor) in given {
            let index = catalogue.index_named(of.set, &of.name).filter(|index| index.definition.is_alike(&of));
            if let Some(definition) = index.map(|index| &index.definition) {
                self.registry.change(definition.set, |all| drop(all.insert(definition.number, extractor)));
            }
        }
    }
}
