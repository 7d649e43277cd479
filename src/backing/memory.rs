//! Files in memory: for tests, and for stores that need not outlive the process.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::backing::{Backing, BackingFile, BackingLock, check_name};
use crate::id::to_u64;

/// Files in memory. Clones share them, so a store can be closed and opened again.
///
/// ```
/// use std::sync::Arc;
/// use tenure::{Options, backing::Memory};
/// let memory = Memory::new();
/// let store = Options::new().open_backing(Arc::new(memory.clone()))?;
/// let notes = store.record_set("notes")?;
/// let id = store.write(|tx| tx.insert(&notes, "kept"))?;
/// store.close()?;
/// let store = Options::new().open_backing(Arc::new(memory))?;
/// assert_eq!(store.get(id)?.as_slice(), Some(&b"kept"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<String, Arc<Content>>>>,
    locked: Arc<AtomicBool>,
}

impl Memory {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Debug, Default)]
struct Content {
    bytes: RwLock<Vec<u8>>,
}

#[derive(Debug)]
struct Handle {
    content: Arc<Content>,
    writable: bool,
}

impl BackingFile for Handle {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.content.bytes.write().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.content.bytes.read();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = bytes.get(begin..begin.saturating_add(buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(to_u64(self.content.bytes.read().len()))
    }
}

#[derive(Debug)]
struct MemoryLock {
    locked: Arc<AtomicBool>,
}

impl BackingLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.locked.store(false, Ordering::Release);
    }
}

impl Backing for Memory {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        check_name(name)?;
        let mut files = self.files.lock();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content: Arc<Content> = Arc::default();
        files.insert(name.to_owned(), Arc::clone(&content));
        Ok(Arc::new(Handle { content, writable: true }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        check_name(name)?;
        let content = self.files.lock().get(name).map(Arc::clone).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Handle { content, writable: false }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.files.lock().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        if self.locked.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { locked: Arc::clone(&self.locked) }))
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
