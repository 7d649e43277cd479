//! Exchanging the names of two directories in one step.
//!
//! Owns: the renames, durable on return. Never: replaces a name that is taken, or looks into a directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

/// Two directories used to test whether an exchange is possible.
const TRIED: [&str; 2] = ["exchange-1", "exchange-2"];
/// How many names are tried for a directory that is set aside.
const NAMES_MAX: u32 = 10_000;

/// The directory that contains another one, held open.
#[derive(Debug)]
pub(crate) struct Parent {
    path: PathBuf,
    descriptor: OwnedFd,
}

impl Parent {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { path: path.to_owned(), descriptor: rustix::fs::open(path, how, Mode::empty())? })
    }

    /// The path of a directory in it, for messages.
    pub(crate) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the name is taken.
    pub(crate) fn has(&self, name: &OsStr) -> io::Result<bool> {
        match rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Exchanges the names of two directories.
    ///
    /// # Errors
    /// `Unsupported` if the system or the file system cannot do that in one step.
    pub(crate) fn exchange(&self, a: &OsStr, b: &OsStr) -> io::Result<()> {
        exchange(&self.descriptor, a, b)?;
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }

    /// Tests with two empty directories in this one whether it can exchange them, and deletes them.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    pub(crate) fn try_exchange(&self) -> io::Result<()> {
        for name in TRIED {
            rustix::fs::mkdirat(&self.descriptor, name, Mode::RWXU)?;
        }
        let tried = exchange(&self.descriptor, TRIED[0].as_ref(), TRIED[1].as_ref());
        self.remove_tried()?;
        tried
    }

    /// Deletes what an interrupted test has left.
    pub(crate) fn remove_tried(&self) -> io::Result<()> {
        for name in TRIED {
            match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Renames a directory to `name.damaged`, or the first free one of `name.damaged-2`, ….
    pub(crate) fn set_aside(&self, directory: &OsStr, name: &OsStr) -> io::Result<PathBuf> {
        for number in 1..NAMES_MAX {
            let mut to = OsString::from(name);
            to.push(if number == 1 { ".damaged".to_owned() } else { format!(".damaged-{number}") });
            match rename_to_free(&self.descriptor, directory, &to) {
                Ok(()) => {
                    rustix::fs::fsync(&self.descriptor)?;
                    return Ok(self.path_of(&to));
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Deletes an empty directory.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        rustix::fs::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR)?;
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(parent: &OwnedFd, a: &OsStr, b: &OsStr) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(parent, a, parent, b, rustix::fs::RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        result => Ok(result?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(_parent: &OwnedFd, _a: &OsStr, _b: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A directory replaces another only if that is empty, so nothing is lost if a name is taken meanwhile.
fn rename_to_free(parent: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    if rustix::fs::statat(parent, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok(rustix::fs::renameat(parent, from, parent, to)?)
}

/// Gives a directory and its files the owner and permissions of another one and of a file in it, as far as this process
/// may, and makes everything durable.
pub(crate) fn resemble(new: &Path, old: &Path, file: &str) -> io::Result<()> {
    let (of_directory, of_files) = (std::fs::metadata(old)?, std::fs::metadata(old.join(file))?);
    let alike = |path: &Path, of: &std::fs::Metadata| -> io::Result<()> {
        let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (own, file) = (std::fs::metadata(path)?, File::from(rustix::fs::open(path, how, Mode::empty())?));
        if (own.uid(), own.gid()) != (of.uid(), of.gid()) {
            match std::os::unix::fs::fchown(&file, Some(of.uid()), Some(of.gid())) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                result => result?,
            }
        }
        file.set_permissions(of.permissions())?;
        file.sync_all()
    };
    for entry in std::fs::read_dir(new)? {
        let path = entry?.path();
        if path.is_file() {
            alike(&path, &of_files)?;
        }
    }
    alike(new, &of_directory)
}
