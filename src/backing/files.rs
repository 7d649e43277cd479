//! Files of a directory.
//!
//! Owns: the only calls of the file system; room behind what was appended. Never: follows a link, overwrites, renames, or cuts
//! off what was appended.
//!
//! Where a file becomes longer with each sync, the file system writes its length into its journal each time. So a file that is
//! synced again and again, and for which `preallocate` was called, is made longer in steps, and the room that is left
//! is given back when it is said that no more comes, or the handle is dropped. A process that is killed leaves zeros there.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::backing::Backing;
use crate::backing::BackingFile;
use crate::backing::BackingLock;
use crate::backing::Map;
use crate::backing::check_name;
use crate::id::to_u64;

/// The file whose lock the writer holds.
const LOCK_NAME: &str = "lock";

/// The step in which a file is made longer.
const ROOM_BYTES: u64 = 256 << 10;

/// The files of one directory.
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
    directory: PathBuf,
    read_only: bool,
}

impl Files {
    /// An existing directory.
    pub fn open(directory: &Path) -> io::Result<Self> {
        if std::fs::metadata(directory)?.is_dir() {
            Ok(Self { directory: directory.to_owned(), read_only: false })
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// An existing directory in which nothing will be written.
    pub fn read_only(directory: &Path) -> io::Result<Self> {
        Self::open(directory).map(|files| Self { read_only: true, ..files })
    }

    /// A new directory below one that exists. On return it is on the medium.
    pub fn create(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir(directory)?;
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new(".")))?;
        Self::open(directory)
    }

    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.directory.join(name))
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).open(directory)?.sync_all()
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Bytes that were appended, or that were there.
    len: Arc<AtomicU64>,
    writable: bool,
    room: Room,
}

/// Room behind what was appended.
#[derive(Debug, Default)]
struct Room {
    /// How long the file may be made; zero where no room is wanted.
    bytes_max: AtomicU64,
    /// How long it was made.
    bytes: AtomicU64,
    /// Whether it was synced: a file that never is gains nothing.
    is_wanted: AtomicBool,
}

impl Room {
    /// Sees to it that the file is long enough for so many bytes, and more. That it cannot be is of no concern.
    fn make(&self, file: &File, bytes: u64) {
        let (end, max) = (self.bytes.load(Ordering::Relaxed), self.bytes_max.load(Ordering::Relaxed));
        if bytes <= end || bytes >= max || !self.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        let end = (bytes + ROOM_BYTES).min(max);
        // Noted before it is tried: a failure may have had its effect all the same.
        self.bytes.store(end, Ordering::Relaxed);
        if file.set_len(end).is_err() {
            self.bytes_max.store(0, Ordering::Relaxed);
        }
    }

    /// Takes it back. Only zeros go, of which nobody has read any: maps end where something was appended. If that fails they
    /// stay, and whoever opens the file passes over them.
    fn take_back(&self, file: &File, len: u64) {
        self.bytes_max.store(0, Ordering::Relaxed);
        if self.bytes.load(Ordering::Relaxed) > len && file.set_len(len).is_ok() {
            self.bytes.store(len, Ordering::Relaxed);
        }
    }
}

/// What a failed append is reported as. Where zeros, which may stand behind it on the medium, could complete what was appended
/// in part, it is not certain that it failed.
fn failed_append(error: io::Error, missing: &[u8], had_room: bool) -> io::Error {
    if had_room && missing.iter().all(|byte| *byte == 0) {
        return io::Error::other(format!("{error}, and what is missing is zeros, as is the room behind it"));
    }
    error
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.room.take_back(&self.file, self.len.load(Ordering::Acquire));
    }
}

impl OpenFile {
    fn wrap(file: File, writable: bool) -> io::Result<Arc<dyn BackingFile>> {
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let len = Arc::new(AtomicU64::new(found.len()));
        Ok(Arc::new(Self { file, len, writable, room: Room::default() }))
    }
}

impl BackingFile for OpenFile {
    fn append(&self, mut bytes: &[u8]) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut at = self.len.load(Ordering::Relaxed);
        self.room.make(&self.file, at + to_u64(bytes.len()));
        while !bytes.is_empty() {
            match self.file.write_at(bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    at += to_u64(written);
                    // Published as it is written, so that what follows a failure leaves no hole.
                    self.len.store(at, Ordering::Release);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let had_room = self.room.bytes.load(Ordering::Relaxed) > at;
                    self.room.take_back(&self.file, at);
                    return Err(failed_append(error, bytes, had_room));
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.room.is_wanted.store(true, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        Map::of_file(&self.file, capacity, Arc::clone(&self.len)).map(Some)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            self.room.take_back(&self.file, self.len.load(Ordering::Acquire));
        } else {
            self.room.bytes_max.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FileLock {
    file: File,
}

impl BackingLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child that another thread is just starting, until that runs its program.
        drop(self.file.unlock());
    }
}

impl Backing for Files {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.writable()?;
        let path = self.path(name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        if let Err(error) = sync_directory(&self.directory) {
            // It is ours and empty: nothing is lost with it.
            drop(std::fs::remove_file(&path));
            return Err(error);
        }
        OpenFile::wrap(file, true)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let path = self.path(name)?;
        // Looked at first, because opening a pipe would wait for its other end.
        if !std::fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        OpenFile::wrap(OpenOptions::new().read(true).open(path)?, false)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        std::fs::remove_file(self.path(name)?)?;
        sync_directory(&self.directory)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.writable()?;
        let path = self.directory.join(LOCK_NAME);
        // Neither a link is followed nor a pipe waited on.
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "its lock is not a regular file"));
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(FileLock { file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn location(&self) -> String {
        self.directory.display().to_string()
    }

    fn link(&self, name: &str, into: &Path) -> io::Result<()> {
        std::fs::hard_link(self.path(name)?, into.join(name))?;
        sync_directory(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::to_usize;

    #[test]
    fn a_lock_that_a_child_has_inherited_goes_with_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(dir.path()).expect("files");
        let path = dir.path().join(LOCK_NAME);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a file");
        file.try_lock().expect("locked");
        let inherited = file.try_clone().expect("a copy");
        assert!(files.lock().is_err());
        drop(FileLock { file });
        drop(files.lock().expect("free again"));
        drop(inherited);
    }

    #[test]
    fn room_is_made_between_syncs_and_given_back() {
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

    #[test]
    fn what_zeros_could_complete_is_not_reported_as_no_space() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let kinds = [(&[0, 0][..], true), (&[0, 1], true), (&[0, 0], false)]
            .map(|(missing, had_room)| failed_append(full(), missing, had_room).kind());
        assert_eq!(kinds, [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::StorageFull]);
    }
}
