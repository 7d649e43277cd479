//! A backing store in memory that does something in the middle of an append.

use std::io;
use std::sync::{Arc, Mutex};

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};

pub type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Does something once when a file is appended to.
#[derive(Clone)]
pub struct Hooked {
    memory: Memory,
    /// How the names of these files begin.
    names: &'static str,
    pub hook: Hook,
}

impl Hooked {
    pub fn on(names: &'static str) -> Self {
        Self { memory: Memory::new(), names, hook: Hook::default() }
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

#[derive(Debug)]
struct HookedFile {
    file: Arc<dyn BackingFile>,
    of: Hooked,
}

impl Backing for Hooked {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let file = self.memory.create(name)?;
        if !name.starts_with(self.names) {
            return Ok(file);
        }
        Ok(Arc::new(HookedFile { file, of: self.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.open(name)
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
        self.memory.location()
    }
}

impl BackingFile for HookedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let armed = self.of.hook.lock().unwrap().take();
        if let Some(armed) = armed {
            armed();
        }
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
}
