//! Key indexes of a store: making, finding, dropping and checking them.

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
    /// A key index of a set in which a key can have many records. Made if it is not there, while readers and writers go on;
    /// made anew if its extractor has another name or version; then the one that is there is read and kept until the new one takes
    /// its place, with one commit, and handles go on. Returns when it is complete.
    ///
    /// An extractor that holds the store, or a clone of it, keeps it from being closed when the last other clone is dropped: close such a store with
    /// [`close`](Self::close), which lets go of all extractors.
    ///
    /// # Errors
    /// `NoSuchIndex` if there is a unique index of this name, `KeyTooLong` if a record has such a key, `KeysUnknown` if the extractor
    /// cannot tell the keys of a record. The index that was there stays, and none is made where there was none.
    pub fn index(&self, set: &RecordSet, name: &str, extractor: Extractor) -> Result<Index> {
        self.open_index(set, name, false, extractor)
    }

    /// A key index of a set in which a key has one record at most.
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
        let number = self.engine().set_of_handle(set.number(), set.name())?;
        let wanted = Wanted { set: number, name, is_unique, extractor };
        if let Some(definition) = indexing::find(self.engine(), &wanted)? {
            return Ok(of(definition));
        }
        let _turn = self.inner.indexing.lock();
        indexing::open(self.engine(), &wanted).map(of)
    }

    /// The index of this name, if there is one. It can be read whether its extractor is there or not.
    pub fn find_index(&self, set: &RecordSet, name: &str) -> Option<Index> {
        let catalogue = self.engine().heap.catalogue();
        let number = catalogue.set_of_handle(set.number(), set.name())?;
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
            ready: index.is_ready,
            entries: state.indexes.get(&index.definition.number).map_or(0, KeyRoot::len),
        };
        let number = state.catalogue.set_of_handle(set.number(), set.name());
        number.map(|number| state.catalogue.published_of(number).map(info).collect()).unwrap_or_default()
    }

    /// Drops an index. Views that see it go on.
    pub fn drop_index(&self, index: &Index) -> Result<()> {
        self.engine().check_writable()?;
        let _turn = self.inner.indexing.lock();
        index.check_store(self.engine().store_id())?;
        let definition = Arc::clone(&index.found_among(&self.engine().heap.catalogue())?.definition);
        indexing::drop_index(self.engine(), definition.set, definition.number)
    }

    /// Compares an index with the records of its set; gives what differs, at most 100 lines. Holds the keys of the set in
    /// memory.
    pub fn verify_index(&self, index: &Index) -> Result<Vec<String>> {
        index.check_store(self.engine().store_id())?;
        let number = index.found_among(&self.engine().heap.catalogue())?.definition.number;
        indexing::verify(self.engine(), number, 100)
    }

    /// Makes an index anew from the records, with the extractor that it has. The one that is there is read and kept until the
    /// new one takes its place. Handles go on.
    ///
    /// # Errors
    /// `NoExtractor` if its extractor is code that was not given, and those of making one: then the index is as it was.
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
