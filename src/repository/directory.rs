//! A repository in a directory.
//!
//! Owns: errors that name the file. Never: touches files itself.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::backing::{Backing, Folders, Whole};
use crate::backup::refuse_inside;
use crate::error::{Error, Result};
use crate::repository::marks::{is_renewed, is_too_old};
use crate::repository::names::{FOLDERS, HEADER, TEMPORARY};
use crate::repository::place::{Object, Place, Put};

/// A directory.
#[derive(Debug)]
pub(super) struct Directory {
    folders: Folders,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self { folders: Folders::new(path, &FOLDERS, TEMPORARY) }
    }

    /// The changes that were made.
    #[cfg(test)]
    pub(super) fn made(&self) -> crate::backing::Made {
        self.folders.made()
    }

    /// Does something in a folder. A copy of a repository may lack folders that were empty.
    fn within<T>(&self, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folders.at(HEADER).exists() => {
                self.folders.create()?;
                work()
            }
            result => result,
        }
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error + use<> {
        let file = if name.is_empty() { self.shown() } else { self.folders.at(name).display().to_string() };
        move |source| Error::io(action, file, source)
    }
}

impl Place for Directory {
    fn shown(&self) -> String {
        self.folders.path().display().to_string()
    }

    fn is_empty(&self) -> Result<bool> {
        self.folders.is_empty().map_err(self.failed("list", ""))
    }

    fn create(&self) -> Result<()> {
        self.folders.create().map_err(self.failed("create", ""))
    }

    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<bool> {
        self.within(|| self.folders.put(name, bytes, put == Put::Replacement)).map_err(self.failed("write", name))
    }

    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        self.folders.get(name, most).map_err(self.failed("read", name))
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.folders.settle(folder).map_err(self.failed("sync", folder))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>> {
        let files = match self.folders.list(folder) {
            // As `within`, but it may be that nothing can be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folders.at(HEADER).exists() => Vec::new(),
            files => files.map_err(self.failed("list", folder))?,
        };
        let files = files.into_iter();
        Ok(files.map(|Whole { name, bytes, micros }| Object { name, bytes, micros }).collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        match self.folders.delete(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folders.at(HEADER).exists() => Ok(()),
            result => result.map_err(self.failed("delete", name)),
        }
    }

    fn hold(&self, name: &str) -> Result<Option<File>> {
        self.within(|| self.folders.create_locked(name)).map(Some).map_err(self.failed("lock", name))
    }

    fn is_abandoned(&self, name: &str, mark: &Object, now: u64) -> Result<bool> {
        // Its owner uses this directory as a bucket, and has no lock.
        if is_renewed(name, mark) {
            return Ok(is_too_old(mark, now));
        }
        self.folders.is_unlocked(name).map_err(self.failed("lock", name))
    }

    fn marks_age(&self) -> bool {
        false
    }

    fn check_outside(&self, store: &dyn Backing) -> Result<()> {
        refuse_inside(self.folders.path(), store)
    }

    fn contains(&self, path: &Path) -> bool {
        self.folders.contains(path)
    }

    fn sweep(&self) -> Result<()> {
        for left in self.list(TEMPORARY)? {
            self.delete(&format!("{TEMPORARY}/{}", left.name))?;
        }
        Ok(())
    }
}
