//! A backing that counts its calls.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::backing::{Backing, BackingFile, BackingLock, Map};

/// Calls that reach the file system, and bytes.
#[derive(Debug, Default)]
pub struct Counts {
    calls: AtomicU64,
    syncs: AtomicU64,
    written: AtomicU64,
}

/// The counts at a moment, or since another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub calls: u64,
    pub syncs: u64,
    pub written: u64,
}

impl Figures {
    pub fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls - before.calls,
            syncs: self.syncs - before.syncs,
            written: self.written - before.written,
        }
    }
}

/// A backing whose calls are counted.
#[derive(Debug, Clone)]
pub struct Counted {
    inner: Arc<dyn Backing>,
    counts: Arc<Counts>,
}

impl Counted {
    pub fn new(inner: Arc<dyn Backing>) -> Self {
        Self { inner, counts: Arc::default() }
    }

    pub fn figures(&self) -> Figures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        Figures { calls: of(&counts.calls), syncs: of(&counts.syncs), written: of(&counts.written) }
    }

    fn call(&self) {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn file(&self, inner: Arc<dyn BackingFile>) -> Arc<dyn BackingFile> {
        Arc::new(CountedFile { inner, counts: Arc::clone(&self.counts) })
    }
}

impl Backing for Counted {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.call();
        self.inner.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.call();
        self.inner.open(name).map(|file| self.file(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.call();
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.call();
        self.inner.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[derive(Debug)]
struct CountedFile {
    inner: Arc<dyn BackingFile>,
    counts: Arc<Counts>,
}

impl CountedFile {
    fn call(&self) {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl BackingFile for CountedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.call();
        let len = u64::try_from(bytes.len()).expect("fits");
        self.counts.written.fetch_add(len, Ordering::Relaxed);
        self.inner.append(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.call();
        self.inner.allocate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.call();
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.call();
        self.inner.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.call();
        self.inner.len()
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        self.call();
        self.inner.map(capacity)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.preallocate(bytes)
    }
}
