//! Reclaiming space on request.

use crate::error::Result;
use crate::gc::Collected;
use crate::store::Store;
use std::time::Duration;

impl Store {
    /// Reclaims dead space: copies live records out of segments that also hold dead ones and deletes the emptied
    /// segments, until nothing is left to gain or the time budget is spent. Saves up to three snapshots. Readers and
    /// writers continue. Space that a view, named snapshot or mark keeps is reclaimed once they are gone, and space
    /// that a running read uses a moment later.
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
    /// `ReadOnly`, `NoSpace` if there is no room for even one more segment, or an error of the backing store.
    pub fn collect(&self, budget: Option<Duration>) -> Result<Collected> {
        self.collect_with(budget, &mut |_| {})
    }

    /// Like [`collect`](Self::collect), and reports progress repeatedly.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn collect_with(&self, budget: Option<Duration>, progress: &mut dyn FnMut(Collected)) -> Result<Collected> {
        self.engine().check_writable()?;
        if !self.inner.options.background {
            // No background thread continues what a crash interrupted.
            let _turn = self.inner.indexing.lock();
            self.inner.emptying.lock().empty(self.engine())?;
        }
        self.inner.collector.collect(self.engine(), budget, progress)
    }

    /// Turns collecting in the background and in transactions on or off, until the next call or until the store is
    /// closed.
    pub fn set_collecting(&self, collecting: bool) {
        self.inner.collector.pause(!collecting);
    }
}
