//! Key indexes: their definitions, and which of them can be used.
//!
//! Owns: which indexes a set has, which are complete, and which replace others. Never: knows an entry of one.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::error::Corruption;
use crate::format::index::IndexDefinition;
use crate::id::{IndexNumber, SetNumber, to_u64};

/// A key index.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) definition: Arc<IndexDefinition>,
    /// Whether all of its entries exist.
    pub(crate) is_ready: bool,
    /// Damage found when it was last read. It is not ready until it is rebuilt.
    pub(crate) damage: Option<Arc<Corruption>>,
}

/// Bytes of the row of an index.
pub(super) fn index_bytes(definition: &IndexDefinition) -> u64 {
    let texts = [&definition.name, &definition.extractor, &definition.spec, &definition.key_type];
    54 + texts.into_iter().map(|text| to_u64(text.len())).sum::<u64>()
}

impl Catalogue {
    pub(crate) fn create_index(&mut self, definition: &Arc<IndexDefinition>, is_ready: bool) {
        let number = definition.number;
        self.drop_index(number);
        self.bytes += index_bytes(definition);
        self.indexes_by_set.insert_mut((definition.set, number));
        self.indexes.insert_mut(number, Index { definition: Arc::clone(definition), is_ready, damage: None });
        self.next_index = self.next_index.max(IndexNumber(number.0.saturating_add(1)));
    }

    /// An index cannot be read, and must be rebuilt.
    pub(crate) fn damage_index(&mut self, number: IndexNumber, damage: Arc<Corruption>) {
        if let Some(index) = self.indexes.get_mut(&number) {
            (index.is_ready, index.damage) = (false, Some(damage));
        }
    }

    /// Numbers of complete indexes.
    pub(crate) fn ready_indexes(&self) -> impl Iterator<Item = IndexNumber> {
        self.indexes.values().filter(|index| index.is_ready).map(|index| index.definition.number)
    }

    /// Indexes that cannot be read.
    pub(crate) fn damaged_indexes(&self) -> impl Iterator<Item = (&Index, &Corruption)> {
        self.indexes.values().filter_map(|index| Some((index, &**index.damage.as_ref()?)))
    }

    pub(crate) fn drop_index(&mut self, number: IndexNumber) {
        if let Some(definition) = self.indexes.get(&number).map(|index| &index.definition) {
            self.bytes = self.bytes.saturating_sub(index_bytes(definition));
            self.indexes_by_set.remove_mut(&(definition.set, number));
            self.indexes.remove_mut(&number);
        }
    }

    pub(crate) fn next_index(&self) -> IndexNumber {
        self.next_index
    }

    pub(crate) fn index(&self, number: IndexNumber) -> Option<&Index> {
        self.indexes.get(&number)
    }

    pub(crate) fn indexes(&self) -> impl Iterator<Item = &Index> {
        self.indexes.values()
    }

    /// Successors that will replace other indexes once they are complete.
    pub(crate) fn successors(&self) -> impl Iterator<Item = &Index> {
        self.indexes.values().filter(|index| index.definition.replaces.is_some())
    }

    /// The index of a set with this name, complete or not.
    pub(crate) fn index_named(&self, set: SetNumber, name: &str) -> Option<&Index> {
        self.published_of(set).find(|index| index.definition.name == name)
    }

    /// The indexes of a set that can be found by name.
    pub(crate) fn published_of(&self, set: SetNumber) -> impl Iterator<Item = &Index> {
        self.indexes_of(set).filter(|index| index.definition.replaces.is_none())
    }

    /// A successor replaces its predecessor, whose number is returned.
    pub(crate) fn publish(&mut self, number: IndexNumber) -> Option<IndexNumber> {
        let definition = &self.indexes.get(&number)?.definition;
        let replaced = definition.replaces?;
        let definition = IndexDefinition { replaces: None, ..IndexDefinition::clone(definition) };
        self.drop_index(replaced);
        self.create_index(&Arc::new(definition), true);
        Some(replaced)
    }

    /// The indexes of a set, including successors: writers maintain them all.
    pub(crate) fn indexes_of(&self, set: SetNumber) -> impl Iterator<Item = &Index> {
        let of_set = self.indexes_by_set.range((set, IndexNumber(0))..=(set, IndexNumber(u32::MAX)));
        of_set.filter_map(|(_, number)| self.indexes.get(number))
    }
}
