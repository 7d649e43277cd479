//! For tests: a store in memory whose medium fails when it is told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tenure::backing::Backing;
use tenure::backing::BackingFile;
use tenure::backing::BackingLock;
use tenure::backing::Memory;

/// Files in memory whose sync fails while `sync_fails` is set.
#[derive(Debug, Default)]
pub struct Faulty {
    memory: Memory,
    pub sync_fails: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn BackingFile>,
    sync_fails: Arc<AtomicBool>,
}

impl Faulty {
    fn wrap(&self, file: Arc<dyn BackingFile>) -> Arc<dyn BackingFile> {
        Arc::new(FaultyFile { file, sync_fails: Arc::clone(&self.sync_fails) })
    }
}

impl BackingFile for FaultyFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.sync_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the medium is gone"));
        }
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Backing for Faulty {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.create(name).map(|file| self.wrap(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.open(name).map(|file| self.wrap(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.memory.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.memory.lock()
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
