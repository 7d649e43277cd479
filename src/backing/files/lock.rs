//! The writer's lock of a directory: a locked file, and the identity of that file.
//!
//! Owns: the file `lock`. Never: deletes it, or treats a lock as held if its file has lost its name. A lock is on a
//! file, and others look up the file by name. If the name is gone, or belongs to another file, two writers can each
//! hold a lock. Both checks below are for that: a newly taken lock counts only if the name still leads to it, and its
//! holder checks again before operations that would harm another writer.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::Arc;

use crate::backing::BackingLock;
use crate::backing::files::directory::{Directory, Identity};

/// The file that carries the writer's lock.
const LOCK_NAME: &str = "lock";
/// How often taking the lock is retried if its file was replaced meanwhile.
const ATTEMPTS: u32 = 100;

#[derive(Debug)]
pub(super) struct FileLock {
    directory: Arc<Directory>,
    file: File,
    identity: Identity,
    /// The process that holds it. A child shares the open file, and could release its parent's lock.
    process: u32,
}

impl FileLock {
    pub(super) fn take(directory: &Arc<Directory>) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let file = directory.open_lock(LOCK_NAME)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let identity = Identity::of_file(&file)?;
            let lock = Self { directory: Arc::clone(directory), file, identity, process: std::process::id() };
            if lock.has_its_name() {
                return Ok(lock);
            }
        }
        Err(io::Error::other("its file `lock` is replaced again and again by another program"))
    }

    fn has_its_name(&self) -> bool {
        self.directory.identity(LOCK_NAME).is_ok_and(|found| found == self.identity)
    }
}

impl BackingLock for FileLock {
    fn check(&self) -> io::Result<()> {
        if std::process::id() != self.process {
            return Err(io::Error::other(format!("it is held by process {}, not by this child of it", self.process)));
        }
        let what = match self.directory.identity(LOCK_NAME) {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_) => "another file has taken the place of the file `lock`".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "the file `lock` was deleted".to_owned(),
            Err(error) => format!("the file `lock` cannot be looked at: {error}"),
        };
        let why = "another process may be writing to the store now";
        let then = "keep other programs from its files, and open the store again";
        Err(io::Error::other(format!("{what} while the store was open: {why}; {then}")))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child that another thread is just starting, until that executes its
        // program. A forked child only closes: unlocking would take the lock away from its parent.
        if std::process::id() == self.process {
            drop(self.file.unlock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Arc<Directory>) {
        let dir = tempfile::tempdir().expect("a directory");
        let directory = Arc::new(Directory::open(dir.path()).expect("opens"));
        (dir, directory)
    }

    fn is_held(directory: &Arc<Directory>) -> bool {
        FileLock::take(directory).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn a_lock_that_a_child_has_inherited_goes_with_its_owner() {
        let (_dir, directory) = directory();
        let lock = FileLock::take(&directory).expect("locks");
        let inherited = lock.file.try_clone().expect("a copy");
        assert!(is_held(&directory));
        drop(lock);
        drop(FileLock::take(&directory).expect("free again"));
        drop(inherited);
    }

    #[test]
    fn another_process_releases_nothing() {
        let (_dir, directory) = directory();
        let lock = FileLock::take(&directory).expect("locks");
        let file = lock.file.try_clone().expect("a copy");
        let (identity, process) = (lock.identity, lock.process + 1);
        let of_a_child = FileLock { directory: Arc::clone(&directory), file, identity, process };
        assert!(of_a_child.check().is_err());
        drop(of_a_child);
        assert!(is_held(&directory) && lock.check().is_ok());
    }

    #[test]
    fn a_lock_whose_file_has_lost_its_name_is_not_held() {
        let (dir, directory) = directory();
        let path = dir.path().join(LOCK_NAME);
        let first = FileLock::take(&directory).expect("locks");
        assert!(first.check().is_ok());
        std::fs::remove_file(&path).expect("deletes");
        assert!(first.check().expect_err("is gone").to_string().contains("was deleted"));
        let second = FileLock::take(&directory).expect("locks another file");
        assert!(second.check().is_ok());
        assert!(first.check().expect_err("is another").to_string().contains("has taken the place"));
        drop(first);
        assert!(is_held(&directory), "the first one releases what it has locked, and no more");
    }
}
