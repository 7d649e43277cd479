//! The files of a saved snapshot, as the backup will restore them.
//!
//! Owns: which bytes of which files belong to it. Never: writes, or shows bytes that were appended later.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::backing::{Backing, BackingFile, BackingLock, Map, Memory};
use crate::backup::{file_name, write_manifest};
use crate::error::{Error, Result};
use crate::format::manifest::Snapshot;
use crate::id::to_u64;

/// A read-only view of a store's files.
#[derive(Debug)]
pub(super) struct Image {
    from: Arc<dyn Backing>,
    /// Has only the manifest.
    made: Arc<dyn Backing>,
    files: BTreeMap<String, u64>,
}

impl Image {
    pub(super) fn new(
        from: &Arc<dyn Backing>,
        snapshot: &Snapshot,
        uuid: [u8; 16],
        segment_bytes: u64,
    ) -> Result<Self> {
        let made: Arc<dyn Backing> = Arc::new(Memory::new());
        write_manifest(&made, snapshot, uuid, segment_bytes)?;
        let mut files: BTreeMap<_, _> = snapshot.segments.iter().map(|row| (file_name(row), row.bytes)).collect();
        for name in made.list().map_err(|source| Error::io("list", made.location(), source))? {
            let len = made.open(&name).and_then(|file| file.len());
            let len = len.map_err(|source| Error::io("measure", &name, source))?;
            files.insert(name, len);
        }
        Ok(Self { from: Arc::clone(from), made, files })
    }

    /// The files, with their lengths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|(name, bytes)| (&**name, *bytes))
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Backing for Image {
    fn create(&self, _name: &str) -> io::Result<Arc<dyn BackingFile>> {
        read_only()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let bytes = *self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let file = self.made.open(name).or_else(|_| self.from.open(name))?;
        Ok(Arc::new(Part { file, bytes }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn delete(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        read_only()
    }

    fn location(&self) -> String {
        self.from.location()
    }
}

/// The beginning of a file.
#[derive(Debug)]
struct Part {
    file: Arc<dyn BackingFile>,
    bytes: u64,
}

impl BackingFile for Part {
    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(to_u64(buffer.len())).is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.min(self.bytes))
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        self.file.map(capacity.min(self.bytes))
    }

    fn let_go(&self, offset: u64, bytes: u64) {
        self.file.let_go(offset, bytes);
    }
}
