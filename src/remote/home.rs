//! The directory of a bucket in a file system: whether its path still leads to it.
//!
//! Owns: which directory it was. Never: creates one. The client of the object store does, and so would go on in an empty directory
//! where the bucket was moved away or unmounted.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};

/// A directory, kept open so that no other one gets its number.
#[derive(Debug, Clone)]
pub(super) struct Home {
    path: PathBuf,
    opened: Arc<OwnedFd>,
}

/// Whether the path leads to the open directory.
fn leads_to(path: &Path, opened: &OwnedFd) -> io::Result<bool> {
    let (there, here) = (rustix::fs::stat(path)?, rustix::fs::fstat(opened)?);
    Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
}

impl Home {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), opened: Arc::new(opened) })
    }

    /// The path that led to it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if the path leads to another directory now, or to none.
    pub(super) async fn check(&self) -> Result<()> {
        let Self { path, opened } = self.clone();
        // The file system may be one that answers late.
        let looked = tokio::task::spawn_blocking(move || leads_to(&path, &opened));
        let why = match looked.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
            Ok(true) => return Ok(()),
            Ok(false) => io::Error::other("another directory is there now: it was moved, unmounted or replaced"),
            Err(error) => error,
        };
        Err(Error::io("look for the directory of the bucket", self.path.display().to_string(), why))
    }
}
