//! A directory that is held open, and calls relative to it.
//!
//! Owns: the descriptor. Never: looks anything up by the path from which the directory was opened; that is only for
//! messages.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The identity of a file, under any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    device: rustix::fs::Dev,
    inode: u64,
}

impl Identity {
    pub(super) fn of(found: &Stat) -> Self {
        Self { device: found.st_dev, inode: found.st_ino }
    }

    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }
}

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
}

/// The permissions of a new file and of a new directory, before the process's umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// Does not follow links or block on pipes.
const SAFELY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const AS_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, AS_DIRECTORY, Mode::empty())?)
}

pub(super) fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

fn not_a_file(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Whether a path leads to this directory, or into it. For a path that does not exist yet, checks its nearest ancestor.
pub(crate) fn is_inside(path: &Path, directory: BorrowedFd<'_>) -> bool {
    let Ok(directory) = rustix::fs::fstat(directory).map(|found| Identity::of(&found)) else { return false };
    let mut there = path.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let Some(there) = there.find_map(|path| path.canonicalize().ok()) else { return false };
    there.ancestors().any(|path| rustix::fs::stat(path).is_ok_and(|found| Identity::of(&found) == directory))
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), descriptor: open_directory(path)? })
    }

    /// Creates a directory in an existing one. On return its entry is durable.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let name: &OsStr = path.file_name().ok_or(io::ErrorKind::AlreadyExists)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = open_directory(parent)?;
        rustix::fs::mkdirat(&parent, name, DIRECTORY_MODE)?;
        let descriptor = rustix::fs::fsync(&parent)
            .and_then(|()| rustix::fs::openat(&parent, name, AS_DIRECTORY | OFlags::NOFOLLOW, Mode::empty()));
        if descriptor.is_err() {
            // It is ours and empty: nothing is lost with it. The caller needs the first error.
            rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).unwrap_or_default();
        }
        Ok(Self { path: path.to_owned(), descriptor: descriptor? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path currently leads to it.
    pub(super) fn is_at_its_path(&self) -> io::Result<bool> {
        match rustix::fs::stat(&self.path) {
            Ok(found) => Ok(Identity::of(&found) == Identity::of(&rustix::fs::fstat(&self.descriptor)?)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn look_at(&self, name: &str) -> rustix::io::Result<Stat> {
        rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The file that currently has this name.
    pub(super) fn identity(&self, name: &str) -> io::Result<Identity> {
        Ok(Identity::of(&self.look_at(name)?))
    }

    pub(super) fn create_file(&self, name: &str) -> io::Result<File> {
        let how = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | SAFELY;
        Ok(rustix::fs::openat(&self.descriptor, name, how, FILE_MODE)?.into())
    }

    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        // Checked first: opening a device may have side effects.
        if !is_file(&self.look_at(name)?) {
            return Err(not_a_file("not a regular file"));
        }
        Ok(rustix::fs::openat(&self.descriptor, name, OFlags::RDONLY | SAFELY, Mode::empty())?.into())
    }

    /// Opens an existing file only for its lock, or creates it.
    pub(super) fn open_lock(&self, name: &str) -> io::Result<File> {
        let refused = || not_a_file("its lock is not a regular file");
        if self.look_at(name).is_ok_and(|found| !is_file(&found)) {
            return Err(refused());
        }
        let how = OFlags::WRONLY | OFlags::CREATE | SAFELY;
        let file = rustix::fs::openat(&self.descriptor, name, how, FILE_MODE)?;
        if !is_file(&rustix::fs::fstat(&file)?) {
            return Err(refused());
        }
        Ok(file.into())
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty())?)
    }

    /// Makes the directory's entries durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }

    /// Makes the directory itself durable. If its parent cannot be opened or synced, it cannot have been created just
    /// now.
    pub(super) fn settle(&self) -> io::Result<()> {
        let parent = rustix::fs::openat(&self.descriptor, "..", AS_DIRECTORY, Mode::empty());
        match parent.and_then(|parent| rustix::fs::fsync(&parent)) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::INVAL) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Creates a hard link of the same name in another directory. On return it is durable.
    pub(super) fn link(&self, name: &str, into: BorrowedFd<'_>) -> io::Result<()> {
        rustix::fs::linkat(&self.descriptor, name, into, name, AtFlags::empty())?;
        Ok(rustix::fs::fsync(into)?)
    }

    /// Names of regular files.
    pub(super) fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_file = match entry.file_type() {
                // Some file systems do not return the type of an entry.
                FileType::Unknown => match self.look_at(name) {
                    Ok(found) => is_file(&found),
                    Err(Errno::NOENT) => false,
                    Err(error) => return Err(error.into()),
                },
                kind => kind == FileType::RegularFile,
            };
            if is_file {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Whether it is empty, including files of any kind.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        for entry in Dir::read_from(&self.descriptor)? {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
