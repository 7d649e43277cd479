//! Files of a directory.
//!
//! Owns: the only calls of the file system. Never: follows a link, overwrites, or cuts off what was appended; nothing
//! is renamed except a store under repair. Invariant: once the directory is open its path is used only for messages,
//! and for the one check after locking. Everything is looked up relative to the descriptor, so changing the working
//! directory or renaming the directory does not affect which files are used.

mod directory;
mod exchange;
mod file;
mod lock;
mod read;

pub(crate) use directory::is_inside;
pub(crate) use exchange::{Parent, resemble};

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use crate::backing::files::directory::Directory;
use crate::backing::files::file::OpenFile;
use crate::backing::files::lock::FileLock;
use crate::backing::files::read::{Cold, ReadFile, with_descriptors};
use crate::backing::{Backing, BackingFile, BackingLock, check_name};

/// The files of a directory that is held open: a store whose directory is moved keeps working.
///
/// ```
/// use tenure::backing::{Backing, BackingFile, Files};
/// let dir = tempfile::tempdir().unwrap();
/// let files = Files::create(&dir.path().join("store")).unwrap();
/// let file = files.create("log-1").unwrap();
/// file.append(b"abc").unwrap();
/// file.sync().unwrap();
/// assert_eq!(files.list().unwrap(), ["log-1"]);
/// ```
#[derive(Debug, Clone)]
pub struct Files {
    directory: Arc<Directory>,
    cold: Arc<Cold>,
    read_only: bool,
}

impl Files {
    fn of(directory: Directory) -> Self {
        Self { directory: Arc::new(directory), cold: Arc::default(), read_only: false }
    }

    /// Opens an existing directory.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self::of(Directory::open(directory)?))
    }

    /// Opens an existing directory in which nothing will be written.
    pub fn read_only(directory: &Path) -> io::Result<Self> {
        Self::open(directory).map(|files| Self { read_only: true, ..files })
    }

    /// Creates a directory in an existing one. On return it is durable.
    pub fn create(directory: &Path) -> io::Result<Self> {
        Ok(Self::of(Directory::create(directory)?))
    }

    /// Whether the directory is empty, including files of any kind.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        self.directory.is_empty()
    }

    /// Whether the path currently leads to this directory. Checked after taking the lock: a repair replaces a directory
    /// while holding its lock, and then releases the lock.
    pub(crate) fn is_at_its_path(&self) -> io::Result<bool> {
        self.directory.is_at_its_path()
    }

    /// Makes the directory itself durable: an existing one may have been created by a process that was killed before it
    /// did so.
    pub(crate) fn settle(&self) -> io::Result<()> {
        self.directory.settle()
    }

    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

impl Backing for Files {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.writable()?;
        check_name(name)?;
        let file = with_descriptors(|| self.directory.create_file(name))?;
        if let Err(error) = self.directory.sync() {
            // It is ours and empty: nothing is lost with it.
            drop(self.directory.remove(name));
            return Err(error);
        }
        Ok(Arc::new(OpenFile::new(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        check_name(name)?;
        Ok(Arc::new(ReadFile::open(&self.directory, &self.cold, name)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        with_descriptors(|| self.directory.list())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        check_name(name)?;
        self.cold.remove(&self.directory, name)?;
        self.directory.sync()
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.writable()?;
        Ok(Box::new(with_descriptors(|| FileLock::take(&self.directory))?))
    }

    fn location(&self) -> String {
        self.directory.path().display().to_string()
    }

    fn directory(&self) -> Option<BorrowedFd<'_>> {
        Some(self.directory.descriptor())
    }

    fn link(&self, name: &str, into: &dyn Backing) -> io::Result<()> {
        check_name(name)?;
        let into = into.directory().ok_or(io::ErrorKind::Unsupported)?;
        self.directory.link(name, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::to_usize;

    #[test]
    fn a_directory_that_is_moved_stays_the_same_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
        let files = Files::create(&before).expect("files");
        drop(files.create("a").expect("creates"));
        std::process::Command::new("mv").args([&before, &after]).status().expect("moves");
        std::fs::create_dir(&before).expect("another one in its place");
        drop(files.create("b").expect("creates"));
        files.delete("a").expect("deletes");
        assert_eq!(files.list().expect("lists"), ["b"]);
        assert!(after.join("b").exists() && Files::open(&before).expect("files").is_empty().expect("lists"));
        let lock = files.lock().expect("locks");
        assert!(after.join("lock").exists() && lock.check().is_ok());
    }

    #[test]
    fn room_is_made_between_syncs_and_given_back() {
        use crate::backing::files::file::ROOM_BYTES;
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(dir.path()).expect("files");
        let on_disk = || std::fs::metadata(dir.path().join("a")).expect("is there").len();
        let file = files.create("a").expect("creates");
        file.preallocate(2 * ROOM_BYTES).expect("takes it");
        file.append(b"abc").expect("appends");
        assert_eq!(on_disk(), 3, "never synced");
        file.sync().expect("syncs");
        file.append(b"def").expect("appends");
        assert_eq!((on_disk(), file.len().expect("a length")), (6 + ROOM_BYTES, 6));
        let map = file.map(ROOM_BYTES).expect("maps").expect("a map");
        assert_eq!((map.slice(0, 6), map.slice(6, 1)), (Some(&b"abcdef"[..]), None));
        for _ in 0..3 {
            file.append(&vec![1; to_usize(ROOM_BYTES / 2)]).expect("appends");
            file.sync().expect("syncs");
        }
        assert_eq!(on_disk(), 2 * ROOM_BYTES, "no more than was asked for");
        drop(file);
        assert_eq!(on_disk(), 6 + 3 * (ROOM_BYTES / 2));
        let file = files.create("b").expect("creates");
        file.preallocate(ROOM_BYTES).expect("takes it");
        file.sync().expect("syncs");
        file.append(b"abc").expect("appends");
        file.preallocate(0).expect("takes it back");
        file.append(b"def").expect("appends");
        assert_eq!(std::fs::read(dir.path().join("b")).expect("reads"), b"abcdef");
    }
}
