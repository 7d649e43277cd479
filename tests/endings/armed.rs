//! A backing that panics when it is told to: code of a user that has a fault.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use tenure::backing::Backing;
use tenure::backing::BackingFile;
use tenure::backing::BackingLock;
use tenure::backing::Memory;

/// What panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    Create = 1,
    Append = 2,
    Sync = 3,
    Read = 4,
}

/// Files in memory. Once armed, each call of one kind for files of one kind panics.
#[derive(Debug, Clone, Default)]
pub struct Armed {
    memory: Memory,
    fault: Arc<AtomicU32>,
}

impl Armed {
    pub fn arm(&self, fault: Fault) {
        self.fault.store(fault as u32, Ordering::SeqCst);
    }

    fn meet(&self, fault: Fault) {
        assert!(self.fault.load(Ordering::SeqCst) != fault as u32, "a planned panic in {fault:?}");
    }

    fn file(&self, file: Arc<dyn BackingFile>) -> Arc<dyn BackingFile> {
        Arc::new(ArmedFile { backing: self.clone(), file })
    }
}

impl Backing for Armed {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.meet(Fault::Create);
        self.memory.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.open(name).map(|file| self.file(file))
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
        "armed".to_owned()
    }
}

#[derive(Debug)]
struct ArmedFile {
    backing: Armed,
    file: Arc<dyn BackingFile>,
}

impl BackingFile for ArmedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.backing.meet(Fault::Append);
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.backing.meet(Fault::Sync);
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.backing.meet(Fault::Read);
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
