//! Single changes of a directory tree.
//!
//! Owns: each call by which whole files and folders come and go; in unit tests, which calls there were, so that they can be cut
//! off after any of them. Never: knows what the files are for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The calls.
#[derive(Debug, Default, Clone)]
pub(super) struct Steps {
    #[cfg(test)]
    made: tests::Made,
}

pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        result => Ok(result?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_to_free(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Steps {
    pub(super) fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        self.note(|| Step::Folder(path.to_owned()));
        Ok(())
    }

    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        self.note(|| Step::Wrote(path.to_owned(), Vec::new()));
        Ok(file)
    }

    pub(super) fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        self.note(|| Step::Wrote(path.to_owned(), bytes.to_owned()));
        file.sync_all()?;
        self.note(|| Step::Synced(path.to_owned()));
        Ok(())
    }

    /// Gives a file another's name.
    pub(super) fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        rustix::fs::rename(from, to)?;
        self.note(|| Step::Moved(from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// Gives a file a name, if that is free.
    pub(super) fn move_to_free(&self, from: &Path, to: &Path) -> io::Result<bool> {
        let moved = match rename_to_free(from, to) {
            // File systems that cannot do that have links.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => fs::hard_link(from, to),
            other => other,
        };
        match moved {
            Ok(()) => {
                self.note(|| Step::Moved(from.to_owned(), to.to_owned()));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        self.note(|| Step::Removed(path.to_owned()));
        Ok(())
    }

    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        rustix::fs::fsync(open_directory(path)?)?;
        self.note(|| Step::SyncedFolder(path.to_owned()));
        Ok(())
    }

    #[cfg(test)]
    fn note(&self, step: impl FnOnce() -> Step) {
        self.made.lock().push(step());
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "unit tests use it")]
    fn note(&self, _step: impl FnOnce() -> Step) {}
}

/// A change that was made.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), expect(dead_code, reason = "only unit tests look at steps"))]
pub(crate) enum Step {
    /// A folder was made.
    Folder(std::path::PathBuf),
    /// A new file has these bytes.
    Wrote(std::path::PathBuf, Vec<u8>),
    /// A file's bytes are durable.
    Synced(std::path::PathBuf),
    /// A file has another name.
    Moved(std::path::PathBuf, std::path::PathBuf),
    /// A name is gone.
    Removed(std::path::PathBuf),
    /// What a folder lists is durable.
    SyncedFolder(std::path::PathBuf),
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::Step;

    pub(crate) type Made = Arc<Mutex<Vec<Step>>>;

    impl super::Steps {
        pub(crate) fn made(&self) -> Made {
            Arc::clone(&self.made)
        }
    }

    /// A change of a name that is not durable yet: the file that it leads to, or nothing.
    type Change = (String, Option<usize>);

    #[derive(Debug, Default)]
    struct Folder {
        durable: BTreeMap<String, usize>,
        changed: Vec<Change>,
    }

    impl Folder {
        fn now(&self, name: &str) -> Option<usize> {
            let changed = self.changed.iter().rev().find(|(changed, _)| changed == name);
            changed.map_or_else(|| self.durable.get(name).copied(), |(_, to)| *to)
        }
    }

    #[derive(Debug)]
    enum File {
        Bytes { bytes: Vec<u8>, is_durable: bool },
        Folder(Folder),
    }

    /// What a power cut after some steps may leave: names and bytes that were not synced are there or not, each for itself.
    #[derive(Debug)]
    pub(crate) struct Cut {
        root: PathBuf,
        files: Vec<File>,
    }

    impl Cut {
        /// In a directory that is durable and empty.
        pub(crate) fn in_directory(root: &Path) -> Self {
            Self { root: root.to_owned(), files: vec![File::Folder(Folder::default())] }
        }

        fn folder(&mut self, at: usize) -> &mut Folder {
            match &mut self.files[at] {
                File::Folder(folder) => folder,
                File::Bytes { .. } => panic!("a folder"),
            }
        }

        /// The file of a path.
        fn find(&mut self, path: &Path) -> usize {
            let below = path.strip_prefix(&self.root).expect("a path in the directory").to_owned();
            below.iter().fold(0, |at, name| self.folder(at).now(name.to_str().expect("text")).expect("it exists"))
        }

        /// Changes what the name of a path leads to.
        fn name(&mut self, path: &Path, to: Option<usize>) {
            let folder = self.find(path.parent().expect("a folder"));
            let name = path.file_name().expect("a name").to_str().expect("text").to_owned();
            self.folder(folder).changed.push((name, to));
        }

        fn add(&mut self, path: &Path, file: File) {
            self.files.push(file);
            self.name(path, Some(self.files.len() - 1));
        }

        pub(crate) fn step(&mut self, step: &Step) {
            match step {
                Step::Folder(path) => self.add(path, File::Folder(Folder::default())),
                Step::Wrote(path, bytes) => self.add(path, File::Bytes { bytes: bytes.clone(), is_durable: false }),
                Step::Synced(path) => {
                    let at = self.find(path);
                    let File::Bytes { is_durable, .. } = &mut self.files[at] else { panic!("a file") };
                    *is_durable = true;
                }
                Step::Moved(from, to) => {
                    let file = self.find(from);
                    self.name(from, None);
                    self.name(to, Some(file));
                }
                Step::Removed(path) => self.name(path, None),
                Step::SyncedFolder(path) => {
                    // Also of what was there before the first step.
                    if let Ok(_below) = path.strip_prefix(&self.root) {
                        let at = self.find(path);
                        let folder = self.folder(at);
                        for (name, to) in std::mem::take(&mut folder.changed) {
                            match to {
                                Some(file) => drop(folder.durable.insert(name, file)),
                                None => drop(folder.durable.remove(&name)),
                            }
                        }
                    }
                }
            }
        }

        /// Writes what is left to an empty directory. `choose` picks a number below its argument.
        pub(crate) fn leave(&self, at: &Path, choose: &mut dyn FnMut(usize) -> usize) {
            self.leave_one(0, at, choose);
        }

        fn leave_one(&self, file: usize, at: &Path, choose: &mut dyn FnMut(usize) -> usize) {
            match &self.files[file] {
                File::Bytes { bytes, is_durable } => {
                    let left = if *is_durable { bytes.len() } else { choose(bytes.len() + 1) };
                    let mut left = bytes[..left].to_vec();
                    if !*is_durable && choose(2) == 0 {
                        // The length came, the bytes did not.
                        left.fill(0);
                    }
                    fs::write(at, left).expect("writes");
                }
                File::Folder(folder) => {
                    if !at.exists() {
                        fs::create_dir(at).expect("makes a folder");
                    }
                    let mut names = folder.durable.clone();
                    for (name, to) in folder.changed.iter().filter(|_| choose(2) == 0) {
                        match to {
                            Some(file) => drop(names.insert(name.clone(), *file)),
                            None => drop(names.remove(name)),
                        }
                    }
                    for (name, file) in names {
                        self.leave_one(file, &at.join(name), choose);
                    }
                }
            }
        }
    }
}
