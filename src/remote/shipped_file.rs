//! A file that the store appends to, whose syncs are noted for the bucket.
//!
//! Owns: which of its bytes were noted. Never: notes bytes that no successful sync covers.

use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::backing::{BackingFile, Map};
use crate::remote::journal::{Journal, Noted};

/// A file that the store appends to.
#[derive(Debug)]
pub(super) struct ShippedFile {
    file: Arc<dyn BackingFile>,
    name: Arc<str>,
    /// How many of its bytes were noted; none ever again after a failed sync.
    noted: Mutex<Option<u64>>,
    /// Ends with the opening for writing.
    journal: Weak<Journal>,
}

impl ShippedFile {
    /// A file that was just created.
    pub(super) fn new(file: Arc<dyn BackingFile>, name: Arc<str>, journal: &Arc<Journal>) -> Self {
        Self { file, name, noted: Mutex::new(Some(0)), journal: Arc::downgrade(journal) }
    }

    /// Syncs and notes what was appended since the last sync, when the store is closed.
    pub(super) fn settle(&self) {
        let noted = *self.noted.lock();
        if noted.is_some_and(|noted| self.file.len().is_ok_and(|len| noted < len)) {
            // What cannot be synced is not shipped: the next opening recovers, as after a crash.
            drop(self.sync());
        }
    }
}

impl BackingFile for ShippedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.journal.upgrade().is_some_and(|journal| journal.is_full()) {
            let why = "the bucket is too far behind: see RemoteOptions::backlog_bytes_max";
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // Over the sync: of two threads that sync at once only one is told of a failure, and the other would note what is lost.
        let mut noted = self.noted.lock();
        // What is appended while the sync runs may not be covered by it.
        let end = self.file.len()?;
        if let Err(error) = self.file.sync() {
            *noted = None;
            return Err(error);
        }
        if let Some(begin) = *noted
            && begin < end
            && let Some(journal) = self.journal.upgrade()
        {
            journal.note([(Arc::clone(&self.name), Noted::Range { file: Arc::clone(&self.file), begin, end })]);
            *noted = Some(end);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        self.file.map(capacity)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.file.preallocate(bytes)
    }

    fn seal(&self) -> io::Result<()> {
        self.file.seal()
    }

    fn let_go(&self, offset: u64, bytes: u64) {
        self.file.let_go(offset, bytes);
    }
}
