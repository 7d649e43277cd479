//! Files of a directory of which only a limited number can be mapped.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tenure::backing::{Backing, BackingFile, BackingLock, Files, Map};

/// How many maps are left, and how many were asked for in vain.
#[derive(Debug, Default)]
pub struct Left {
    maps: AtomicUsize,
    refused: AtomicUsize,
    /// Whether a refusal is an error, as the operating system's is, or no map.
    fails: bool,
}

impl Left {
    pub fn new(maps: usize, fails: bool) -> Arc<Self> {
        Arc::new(Self { maps: AtomicUsize::new(maps), refused: AtomicUsize::default(), fails })
    }

    pub fn set(&self, maps: usize) {
        self.maps.store(maps, Ordering::Relaxed);
    }

    pub fn maps(&self) -> usize {
        self.maps.load(Ordering::Relaxed)
    }

    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub struct FewMaps {
    files: Files,
    left: Arc<Left>,
}

impl FewMaps {
    /// The directory; it is created if it does not exist.
    pub fn of(path: &Path, left: &Arc<Left>) -> Arc<dyn Backing> {
        let files = if path.exists() { Files::open(path) } else { Files::create(path) };
        Arc::new(Self { files: files.expect("a directory"), left: Arc::clone(left) })
    }

    fn file(&self, file: Arc<dyn BackingFile>) -> Arc<dyn BackingFile> {
        Arc::new(File { file, left: Arc::clone(&self.left) })
    }
}

#[derive(Debug)]
struct File {
    file: Arc<dyn BackingFile>,
    left: Arc<Left>,
}

impl BackingFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        let one_less = |left: usize| left.checked_sub(1);
        if self.left.maps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return self.file.map(capacity);
        }
        self.left.refused.fetch_add(1, Ordering::Relaxed);
        if self.left.fails { Err(io::Error::from_raw_os_error(libc::ENOMEM)) } else { Ok(None) }
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.file.preallocate(bytes)
    }
}

impl Backing for FewMaps {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(self.file(self.files.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(self.file(self.files.open(name)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.files.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.files.lock()
    }

    fn location(&self) -> String {
        self.files.location()
    }

    fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.files.directory()
    }

    fn link(&self, name: &str, into: &dyn Backing) -> io::Result<()> {
        self.files.link(name, into)
    }
}
