//! The key indexes of a store: creating, finding, dropping and verifying them.

use crate::catalogue::check_name;
use crate::error::Result;
use crate::extract::Extractor;
use crate::indexing;
use crate::indexing::Wanted;
use crate::key_index::KeyRoot;
use crate::stats::IndexInfo;
use crate::store::Store;
use crate::txn::{Index, RecordSet};
use std::sync::Arc;

impl Store {
    /// Opens a key index in which a key can have many records. If it does not exist, it is built while readers and
    /// writers continue. If its extractor has another name or version, it is rebuilt: the old index stays in use until
    /// the new one replaces it in one commit, and handles stay valid. Returns when the index is complete.
    ///
    /// An extractor that holds the store or a clone of it prevents dropping the last other clone from closing the
    /// store. Close such a store with [`close`](Self::close), which drops all extractors.
    ///
    /// # Errors
    /// `NoSuchIndex` if a unique index has this name, `KeyTooLong` if a record has such a key, `KeysUnknown` if the
    /// extractor cannot determine the keys of a record. An existing index stays as it was; a new one is not created.
    pub fn index(&self, set: &RecordSet, name: &str, extractor: Extractor) -> Result<Index> {
        self.open_index(set, name, false, extractor)
    }

    /// Opens a key index in which a key has at most one record.
    ///
    /// # Errors
    /// As [`index`](Self::index), and `UniqueViolation` if two records have the same key.
    ///
    /// ```
    /// use tenure::extract::Extractor;
    /// let store = tenure::Store::in_memory()?;
    /// let words = store.record_set("words")?;
    /// store.unique_index(&words, "word", Extractor::new("whole", 1, |record, keys| keys.push(record)))?;
    /// store.write(|tx| tx.insert(&words, "once"))?;
    /// let twice = store.write(|tx| tx.insert(&words, "once"));
    /// assert!(matches!(twice, Err(tenure::Error::UniqueViolation { .. })));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn unique_index(&self, set: &RecordSet, name: &str, extractor: Extractor) -> Result<Index> {
        self.open_index(set, name, true, extractor)
    }

    pub(super) fn open_index(
        &self,
        set: &RecordSet,
        name: &str,
        is_unique: bool,
        extractor: Extractor,
    ) -> Result<Index> {
        check_name("index", name)?;
        set.check_store(self.engine().store_id())?;
        self.engine().poison.check_process()?;
        let of = |definition| Index::new(&self.engine().heap.catalogue(), definition);
        let number = self.engine().set_of_handle(&set.handle())?;
        let mut wanted = Wanted { set: number, name, is_unique, extractor };
        if let Some(definition) = indexing::find(self.engine(), &wanted)? {
            return Ok(of(definition));
        }
        let _turn = self.inner.indexing.lock();
        // While this thread waited, the set may have been cleared, and have another number, or dropped.
        wanted.set = self.engine().set_of_handle(&set.handle())?;
        indexing::open(self.engine(), &wanted).map(of)
    }

    /// The index of this name, if it exists. It can be read even if its extractor is not registered.
    pub fn find_index(&self, set: &RecordSet, name: &str) -> Option<Index> {
        let catalogue = self.engine().heap.catalogue();
        let number = catalogue.set_of_handle(&set.handle())?;
        let found = catalogue.index_named(number, name)?;
        Some(Index::new(&catalogue, Arc::clone(&found.definition)))
    }

    /// The indexes of a set.
    pub fn indexes(&self, set: &RecordSet) -> Vec<IndexInfo> {
        let state = self.engine().heap.pin();
        let info = |index: &crate::catalogue::Index| IndexInfo {
            name: index.definition.name.clone(),
            number: index.definition.number,
            unique: index.definition.unique,
            extractor: index.definition.extractor.clone(),
            version: index.definition.version,
            spec: index.definition.spec.clone(),
            key_type: index.definition.key_type.clone(),
            ready: index.is_ready,
            entries: state.indexes.get(&index.definition.number).map_or(0, KeyRoot::len),
        };
        let number = state.catalogue.set_of_handle(&set.handle());
        number.map(|number| state.catalogue.published_of(number).map(info).collect()).unwrap_or_default()
    }

    /// Drops an index. Views that see it stay valid.
    pub fn drop_index(&self, index: &Index) -> Result<()> {
        self.engine().check_writable()?;
        let _turn = self.inner.indexing.lock();
        index.check_store(self.engine().store_id())?;
        let definition = Arc::clone(&index.found_among(&self.engine().heap.catalogue())?.definition);
        let seq = indexing::drop_index(self.engine(), definition.set, definition.number)?;
        self.settle(seq)
    }

    /// Compares an index with the records of its set and returns the differences, at most 100 lines. Holds the keys of
    /// the set in memory.
    pub fn verify_index(&self, index: &Index) -> Result<Vec<String>> {
        index.check_store(self.engine().store_id())?;
        let number = index.found_among(&self.engine().heap.catalogue())?.definition.number;
        indexing::verify(self.engine(), number, 100)
    }

    /// Rebuilds an index from the records, with its own extractor. The old index stays in use until the new one
    /// replaces it, and handles stay valid.
    ///
    /// # Errors
    /// `NoExtractor` if its extractor is code that was not registered, and those of building an index; the index then
    /// stays as it was.
    ///
    /// ```
    /// use tenure::extract::Extractor;
    /// let store = tenure::Store::in_memory()?;
    /// let words = store.record_set("words")?;
    /// let whole = Extractor::new("whole", 1, |record, keys| keys.push(record));
    /// let index = store.index(&words, "word", whole)?;
    /// let once = store.write(|tx| tx.insert(&words, "once"))?;
    /// let index = store.rebuild_index(&index)?;
    /// assert_eq!(index.get(&store.view(), &b"once"[..])?, Some(once));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn rebuild_index(&self, index: &Index) -> Result<Index> {
        self.engine().check_writable()?;
        let _turn = self.inner.indexing.lock();
        index.check_store(self.engine().store_id())?;
        let number = index.found_among(&self.engine().heap.catalogue())?.definition.number;
        let made = indexing::rebuild(self.engine(), number)?;
        Ok(Index::new(&self.engine().heap.catalogue(), made))
    }
}
