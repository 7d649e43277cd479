//! Space: collecting on request.

use crate::error::Result;
use crate::gc::Collected;
use crate::store::{Store, emptying};
use std::time::Duration;

impl Store {
    /// Gives dead space back to the file system: records that live in segments with dead ones are copied together, and what is
    /// emptied is deleted, until nothing is left to gain or the time is over. Saves up to three snapshots. Readers and
    /// writers go on. What a view, a named snapshot or a mark keeps stays until they are gone, and what a
    /// read under way looks at until a moment later.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let ids = store.write(|tx| (0..9_000).map(|_| tx.insert(&notes, [7; 900])).collect::<tenure::Result<Vec<_>>>())?;
    /// store.write(|tx| ids.iter().skip(9).try_for_each(|id| tx.delete(*id)))?;
    /// let collected = store.collect(None)?;
    /// assert!(collected.bytes_deleted > 8_000_000);
    /// assert_eq!(store.get(ids[0])?.len(), 900);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ReadOnly`, `NoSpace` if not even one segment more can be made, or what the backing store says.
    pub fn collect(&self, budget: Option<Duration>) -> Result<Collected> {
        self.collect_with(budget, &mut |_| {})
    }

    /// As [`collect`](Self::collect); tells what has been done so far, again and again.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn collect_with(&self, budget: Option<Duration>, progress: &mut dyn FnMut(Collected)) -> Result<Collected> {
        self.engine().check_writable()?;
        if !self.inner.options.background {
            // What a crash has left: no thread goes on with it.
            let _turn = self.inner.indexing.lock();
            emptying::empty(self.engine(), &|| false)?;
        }
        self.inner.collector.collect(self.engine(), budget, progress)
    }

    /// Whether space is collected in the background and in transactions, until this is said again or the store is closed.
    pub fn set_collecting(&self, collecting: bool) {
        self.inner.collector.pause(!collecting);
    }
}
