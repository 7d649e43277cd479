//! Whole files in folders of a directory, for backups.
//!
//! Owns: making a file appear with all its bytes: written beside, synced, then moved to a name that is free. Never: writes into a
//! file that has its name. Invariant: when a call has returned, what it did is durable.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::backing::is_inside;
use crate::backing::steps::{Steps, open_directory};

/// A file in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// When it was written, in microseconds since 1970.
    pub(crate) micros: u64,
}

/// A directory with folders of files.
#[derive(Debug)]
pub(crate) struct Folders {
    path: PathBuf,
    names: &'static [&'static str],
    /// The folder in which files are written before they get their names.
    beside: &'static str,
    steps: Steps,
}

/// Success if it is there already, or gone already.
fn unless(kind: io::ErrorKind, result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == kind { Ok(()) } else { Err(error) })
}

impl Folders {
    pub(crate) fn new(path: &Path, names: &'static [&'static str], beside: &'static str) -> Self {
        Self { path: path.to_owned(), names, beside, steps: Steps::default() }
    }

    /// The changes that were made.
    #[cfg(test)]
    pub(crate) fn made(&self) -> crate::backing::Made {
        self.steps.made()
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file, or a folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn sync_folder_of(&self, name: &str) -> io::Result<()> {
        self.steps.sync_folder(self.at(name).parent().unwrap_or(&self.path))
    }

    /// Whether the directory does not exist, or holds only what an interrupted creation leaves.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let is_ours = self.names.iter().any(|folder| entry.file_name() == *folder);
            let holds_nothing = || fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
            if !(is_ours && (entry.file_name() == self.beside || holds_nothing())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Creates the directory and its folders, as far as they do not exist.
    pub(crate) fn create(&self) -> io::Result<()> {
        unless(io::ErrorKind::AlreadyExists, self.steps.create_folder(&self.path))?;
        for folder in self.names {
            unless(io::ErrorKind::AlreadyExists, self.steps.create_folder(&self.at(folder)))?;
        }
        self.steps.sync_folder(&self.path)?;
        // A parent that cannot be read had this directory before.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        unless(io::ErrorKind::PermissionDenied, self.steps.sync_folder(parent))
    }

    /// Writes a file; false if the name is taken and not to be replaced.
    pub(crate) fn put(&self, name: &str, bytes: &[u8], replaces: bool) -> io::Result<bool> {
        let beside = self.at(self.beside).join(uuid::Uuid::new_v4().simple().to_string());
        let put = || {
            self.steps.write_new(&beside, bytes)?;
            let is_new = if replaces {
                // At no moment there is none.
                self.steps.replace(&beside, &self.at(name))?;
                true
            } else {
                self.steps.move_to_free(&beside, &self.at(name))?
            };
            self.sync_folder_of(name).map(|()| is_new)
        };
        let result = put();
        let swept = unless(io::ErrorKind::NotFound, self.steps.remove(&beside));
        result.and_then(|is_new| swept.map(|()| is_new))
    }

    /// The bytes of a file, if it exists; of one with more than `most` bytes, one more than these.
    pub(crate) fn get(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match OpenOptions::new().read(true).open(self.at(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let most = most.saturating_add(1);
        let expected = usize::try_from(file.metadata()?.len().min(most)).unwrap_or_default();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(expected)?;
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Makes what a folder lists durable, whoever moved it there.
    pub(crate) fn settle(&self, folder: &str) -> io::Result<()> {
        self.steps.sync_folder(&self.at(folder))
    }

    /// The files of a folder.
    pub(crate) fn list(&self, folder: &str) -> io::Result<Vec<Whole>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.at(folder))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let meta = match entry.metadata() {
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            if meta.is_file() {
                let age =
                    meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
                let micros = u64::try_from(age.as_micros()).unwrap_or_default();
                files.push(Whole { name, bytes: meta.len(), micros });
            }
        }
        Ok(files)
    }

    /// Deletes a file, if it exists.
    pub(crate) fn delete(&self, name: &str) -> io::Result<()> {
        unless(io::ErrorKind::NotFound, self.steps.remove(&self.at(name)))?;
        self.sync_folder_of(name)
    }

    /// Creates an empty file with a lock on it, which ends with the process.
    pub(crate) fn create_locked(&self, name: &str) -> io::Result<File> {
        let file = self.steps.create(&self.at(name))?;
        file.lock()?;
        Ok(file)
    }

    /// Whether nobody holds the lock on a file, or it does not exist.
    pub(crate) fn is_unlocked(&self, name: &str) -> io::Result<bool> {
        // Some network file systems lock only what is open for writing.
        let file = match OpenOptions::new().write(true).open(self.at(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a path leads into it.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        open_directory(&self.path).is_ok_and(|directory| is_inside(path, directory.as_fd()))
    }
}
