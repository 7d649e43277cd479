//! Dropping, clearing and renaming record sets.
//!
//! Owns: the single commit of each operation. Never: frees records; `emptying` does that in later commits.

use std::sync::Arc;

use crate::catalogue::check_name;
use crate::engine::Need;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::format::frame::FrameBuilder;
use crate::format::index::IndexDefinition;
use crate::format::item::Kind;
use crate::heap::Effect;
use crate::id::{IndexNumber, Seq, SetNumber};
use crate::store::Store;
use crate::txn::{RecordSet, make_sure};

impl Store {
    /// Drops a set with its records and indexes in one small commit, however many records it has. From then on its
    /// record IDs are *deleted*, forever. Existing views stay valid, and named snapshots keep what they see. A
    /// transaction that wrote to the set and commits later gets a conflict.
    ///
    /// The background thread then reclaims the space of the records in commits of bounded size; without a background
    /// thread, this call does so before it returns. After a crash, the next opening continues.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let note = store.write(|tx| tx.insert(&notes, "old"))?;
    /// store.drop_set(&notes)?;
    /// assert!(matches!(store.get(note), Err(tenure::Error::Deleted { .. })));
    /// assert!(store.find_set("notes").is_none());
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NoSuchSet` if the set is already gone, `ReadOnly`, `Closed`, or an error of the log.
    pub fn drop_set(&self, set: &RecordSet) -> Result<()> {
        let _turn = self.inner.indexing.lock();
        let old = self.number_of(set)?;
        let change = || {
            let mut change = Change::default();
            change.drop_set(old, self.indexes_with_extractors(old).into_iter().map(|(index, _)| index.number));
            Ok(change)
        };
        self.commit_change(old, change).map(drop)
    }

    /// Deletes all records of a set in one small commit, like [`drop_set`](Self::drop_set). The set, its name, its
    /// indexes and its handles stay valid.
    ///
    /// The set gets a new number. Returns a handle with that number; existing handles work as well.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let old = store.write(|tx| tx.insert(&notes, "old"))?;
    /// store.clear_set(&notes)?;
    /// store.write(|tx| tx.insert(&notes, "new"))?;
    /// assert!(matches!(store.get(old), Err(tenure::Error::Deleted { .. })));
    /// assert_eq!(store.view().len(&notes), 1);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`drop_set`](Self::drop_set).
    pub fn clear_set(&self, set: &RecordSet) -> Result<RecordSet> {
        let _turn = self.inner.indexing.lock();
        let old = self.number_of(set)?;
        let change = self.commit_change(old, || self.cleared(old))?;
        let (number, name) = change.made.ok_or_else(|| Error::NoSuchSet { name: set.name().to_owned() })?;
        Ok(RecordSet::new(self.engine().origin(), number, Arc::from(name)))
    }

    /// What takes the place of a set when it is cleared.
    fn cleared(&self, old: SetNumber) -> Result<Change> {
        let catalogue = self.engine().heap.catalogue();
        let (new, name, first) = (catalogue.next_set(), catalogue.name_of(old).to_owned(), catalogue.next_index());
        drop(catalogue);
        if new.0 == u32::MAX {
            return Err(Error::Exhausted { what: "record set", limit: u32::MAX.into() });
        }
        let indexes = self.indexes_with_extractors(old);
        let mut change = Change::default();
        change.drop_set(old, indexes.iter().map(|(index, _)| index.number));
        let mut payload = new.0.to_le_bytes().to_vec();
        payload.extend_from_slice(name.as_bytes());
        change.put(Kind::CreateSet, &payload, Effect::CreateSet(new, name.clone()));
        for (number, (index, extractor)) in (first.0..u32::MAX).map(IndexNumber).zip(indexes) {
            let definition = IndexDefinition { number, set: new, replaces: None, ..IndexDefinition::clone(&index) };
            let mut payload = vec![1];
            definition.encode(&mut payload);
            change.put(Kind::CreateIndex, &payload, Effect::CreateIndex(Arc::new(definition), true));
            change.given.extend(extractor.map(|extractor| (number, extractor)));
        }
        change.made = Some((new, name));
        Ok(change)
    }

    /// Renames a set. Its records, IDs and indexes stay, and its handles stay valid.
    ///
    /// # Errors
    /// `BadName` if the name is taken or invalid; `NoSuchSet`, `ReadOnly`, `Closed`, or an error of the log.
    pub fn rename_set(&self, set: &RecordSet, name: &str) -> Result<RecordSet> {
        check_name("record set", name)?;
        let _turn = self.inner.indexing.lock();
        let number = self.number_of(set)?;
        let mut change = Change::default();
        let mut payload = number.0.to_le_bytes().to_vec();
        payload.extend_from_slice(name.as_bytes());
        change.put(Kind::RenameSet, &payload, Effect::RenameSet(number, name.to_owned()));
        self.commit_rename(number, name, change)?;
        Ok(RecordSet::new(self.engine().origin(), number, Arc::from(name)))
    }

    fn number_of(&self, set: &RecordSet) -> Result<SetNumber> {
        let engine = self.engine();
        engine.check_writable()?;
        set.check_store(engine.store_id())?;
        engine.set_of_handle(&set.handle())
    }

    /// The indexes of a set with their registered extractors. The caller holds the turn, so no index comes or goes.
    fn indexes_with_extractors(&self, set: SetNumber) -> Vec<(Arc<IndexDefinition>, Option<Extractor>)> {
        let (engine, catalogue) = (self.engine(), self.engine().heap.catalogue());
        let with =
            |index: &Arc<IndexDefinition>| (Arc::clone(index), engine.registry.extractor_of(index, &catalogue).ok());
        catalogue.indexes_of(set).map(|index| with(&index.definition)).collect()
    }

    /// Makes a change and commits it. Numbers that it gives are free, since it is made while no other commit is.
    fn commit_change(&self, old: SetNumber, make: impl FnOnce() -> Result<Change>) -> Result<Change> {
        let engine = self.engine();
        engine.announce(0, Need::MakesRoom)?;
        let guard = engine.lock_commit();
        engine.check_writable()?;
        let mut change = make()?;
        let seq = engine.append_and_apply(&guard, &mut change.frame, &mut change.effects, Need::MakesRoom)?;
        engine.registry.change(old, |all| all.retain(|number, _| !change.dropped.contains(number)));
        if let Some((new, _)) = change.made {
            engine.registry.change(new, |all| all.extend(std::mem::take(&mut change.given)));
        }
        drop(guard);
        self.settle(seq)?;
        if !self.inner.options.background {
            self.inner.emptying.lock().empty(engine)?;
        }
        Ok(change)
    }

    fn commit_rename(&self, number: SetNumber, name: &str, mut change: Change) -> Result<()> {
        let engine = self.engine();
        engine.check_reserve(0)?;
        engine.announce(0, Need::Ordinary)?;
        let guard = engine.lock_commit();
        engine.check_writable()?;
        if engine.heap.catalogue().find(name).is_some_and(|(other, _)| other != number) {
            return Err(Error::BadName { what: "record set", name: name.to_owned(), why: "the name is taken" });
        }
        let seq = engine.append_and_apply(&guard, &mut change.frame, &mut change.effects, Need::Ordinary)?;
        drop(guard);
        self.settle(seq)
    }

    /// Makes a commit durable if the options of the store say so.
    pub(super) fn settle(&self, seq: Seq) -> Result<()> {
        make_sure(self.engine(), seq, self.inner.options.durability)
    }
}

/// The changes that one commit makes to sets.
#[derive(Default)]
struct Change {
    frame: FrameBuilder,
    effects: Vec<Effect>,
    dropped: Vec<IndexNumber>,
    /// The set in the place of the one that is dropped.
    made: Option<(SetNumber, String)>,
    /// The extractors of its indexes.
    given: Vec<(IndexNumber, Extractor)>,
}

impl Change {
    fn put(&mut self, kind: Kind, payload: &[u8], effect: Effect) {
        self.frame.control(kind, payload);
        self.effects.push(effect);
    }

    fn drop_set(&mut self, set: SetNumber, indexes: impl Iterator<Item = IndexNumber>) {
        for number in indexes {
            self.put(Kind::DropIndex, &number.0.to_le_bytes(), Effect::DropIndex(number));
            self.dropped.push(number);
        }
        self.put(Kind::DropSet, &set.0.to_le_bytes(), Effect::DropSet(set));
    }
}
