//! A backing that tells a test of each sync, and that can lose files as soon as they are deleted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::{fmt, io};

use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking};

/// Gets the name of a file and the generation in its header.
type Hook = Box<dyn FnMut(&str, u8) + Send>;

#[derive(Default)]
struct Shared {
    hook: Mutex<Option<Hook>>,
    forgets: AtomicBool,
    deleted: Mutex<BTreeSet<String>>,
}

/// The backing.
#[derive(Clone)]
pub struct Watched {
    inner: FaultBacking,
    shared: Arc<Shared>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched")
    }
}

impl Watched {
    pub fn new(inner: FaultBacking) -> Self {
        Self { inner, shared: Arc::default() }
    }

    pub fn inner(&self) -> &FaultBacking {
        &self.inner
    }

    /// Runs before each sync of a file. Its own syncs do not trigger it.
    pub fn at_sync(&self, hook: impl FnMut(&str, u8) + Send + 'static) {
        *self.shared.hook.lock().expect("not poisoned") = Some(Box::new(hook));
    }

    pub fn take_hook(&self) -> Option<Hook> {
        self.shared.hook.lock().expect("not poisoned").take()
    }

    /// Deleted files cannot be read any more, also through handles that were open.
    pub fn forget_what_is_deleted(&self) {
        self.shared.forgets.store(true, Ordering::Relaxed);
    }

    fn file(&self, name: &str, inner: Arc<dyn BackingFile>) -> Arc<dyn BackingFile> {
        Arc::new(WatchedFile { name: name.to_owned(), inner, shared: Arc::clone(&self.shared) })
    }
}

impl Backing for Watched {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(self.file(name, self.inner.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(self.file(name, self.inner.open(name)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)?;
        self.shared.deleted.lock().expect("not poisoned").insert(name.to_owned());
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        "watched".to_owned()
    }
}

struct WatchedFile {
    name: String,
    inner: Arc<dyn BackingFile>,
    shared: Arc<Shared>,
}

impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl BackingFile for WatchedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let hook = self.shared.hook.lock().expect("not poisoned").take();
        if let Some(mut hook) = hook {
            let mut header = [0; 12];
            self.inner.read_at(0, &mut header)?;
            hook(&self.name, header[11]);
            *self.shared.hook.lock().expect("not poisoned") = Some(hook);
        }
        self.inner.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let forgets = self.shared.forgets.load(Ordering::Relaxed);
        if forgets && self.shared.deleted.lock().expect("not poisoned").contains(&self.name) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was deleted"));
        }
        self.inner.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
