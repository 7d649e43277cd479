//! The last resort of a repair: a new store of everything intact replaces the damaged one in one step.
//!
//! Owns: the directories beside the store and their names. Never: writes to the damaged store, or deletes anything in
//! it. Invariant: there is always one complete store under the store's own name: the damaged one until both are
//! exchanged, the new one from then on. Whatever an interruption leaves beside it is either marked as unfinished, and
//! deleted by the next repair, or complete, and kept.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backing::{Backing, BackingLock, Files, Parent, UNFINISHED, resemble};
use crate::error::{Error, Result};
use crate::format::segment::FileKind;
use crate::recovery::list;
use crate::repair::look;
use crate::repair::report::{RepairProgress, RepairStep, SetAside};
use crate::reserve;
use crate::salvage::{SalvageReport, salvage_backing};
use crate::verify::{Problem, Scope, verify_backing};

/// Names of files that a store has besides its segments, manifest and reserve.
const OTHER_FILES: [&str; 2] = [UNFINISHED, "lock"];
/// How often opening starts over when another directory replaces this one before its lock is taken.
const ATTEMPTS: u32 = 100;

/// The directories of a repair.
pub(super) struct Place {
    parent: Parent,
    name: OsString,
    /// The name of the new store, and of the damaged one between the exchange and its final renaming.
    beside: OsString,
}

impl Place {
    /// The location of a store.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        let whole = std::fs::canonicalize(path).map_err(|source| Error::io("find", shown(), source))?;
        let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
            return Err(Error::NotAStore { path: shown(), why: "it is the root of the file system".to_owned() });
        };
        let parent = Parent::open(parent).map_err(|source| Error::io("open", parent.display().to_string(), source))?;
        let mut beside = OsString::from(name);
        beside.push(".repairing");
        Ok(Self { parent, name: name.to_owned(), beside })
    }

    fn path_of(&self, name: &OsStr) -> PathBuf {
        self.parent.path_of(name)
    }

    /// The store, with its lock.
    fn open_locked(&self) -> Result<(Files, Box<dyn BackingLock>)> {
        let path = self.path_of(&self.name);
        let shown = || path.display().to_string();
        for _ in 0..ATTEMPTS {
            let files = Files::open(&path).map_err(|source| Error::io("open", shown(), source))?;
            let lock = files.lock().map_err(|source| match source.kind() {
                io::ErrorKind::WouldBlock => Error::Locked { path: shown() },
                _ => Error::io("lock", shown(), source),
            })?;
            // Another repair may have replaced the directory meanwhile.
            if files.is_at_its_path().map_err(|source| Error::io("look at", shown(), source))? {
                return Ok((files, lock));
            }
        }
        let why = "another directory replaces it again and again; stop the programs that do this";
        Err(Error::io("lock", shown(), io::Error::other(why)))
    }

    /// Finishes what an interrupted repair started. Returns the new name of a complete store that it left: the damaged
    /// store, or a new one that was never put in its place.
    pub(super) fn settle(&self) -> Result<Option<PathBuf>> {
        let path = self.path_of(&self.beside);
        let failed = |what: &'static str| {
            let shown = path.display().to_string();
            move |source: io::Error| Error::io(what, shown, source)
        };
        if !self.parent.has(&self.beside).map_err(failed("look at"))? {
            return Ok(None);
        }
        // While another repair creates it, that repair holds the lock.
        let _lock = self.open_locked()?;
        let files = Files::open(&path).map_err(failed("open"))?;
        let names = files.list().map_err(failed("list"))?;
        if !names.is_empty() && !names.iter().any(|name| name == UNFINISHED) {
            return self.parent.set_aside(&self.beside, &self.name).map(Some).map_err(failed("rename"));
        }
        self.delete(&files).map_err(failed("delete"))?;
        Ok(None)
    }

    /// Deletes a new store that did not replace the damaged one.
    fn delete(&self, files: &Files) -> io::Result<()> {
        let is_ours =
            |name: &str| FileKind::parse_name(name).is_some() || reserve::is_piece(name) || OTHER_FILES.contains(&name);
        let names = files.list()?;
        // The marker is deleted last.
        for name in names.iter().filter(|name| is_ours(name) && *name != UNFINISHED) {
            files.delete(name)?;
        }
        Parent::open(&self.path_of(&self.beside))?.remove_tried()?;
        if names.iter().any(|name| name == UNFINISHED) {
            files.delete(UNFINISHED)?;
        }
        self.parent.remove(&self.beside)
    }

    /// Creates a new store of everything intact and puts it in place of the damaged one, unless nothing is damaged
    /// after all: files read beside a writer may be deleted meanwhile. Also returns what was found.
    ///
    /// # Errors
    /// Before the exchange nothing is left of the new store.
    pub(super) fn rebuild(
        &self,
        was_opened: bool,
        progress: &mut dyn FnMut(RepairProgress),
    ) -> Result<Option<(Vec<Problem>, SetAside)>> {
        let (damaged, new) = (self.path_of(&self.name), self.path_of(&self.beside));
        let failed = |what: &'static str, path: &Path| {
            let shown = path.display().to_string();
            move |source: io::Error| Error::io(what, shown, source)
        };
        let (from, lock) = self.open_locked()?;
        let found = look(&damaged, Scope::Everything, progress)?;
        let Some(first) = found.first() else { return Ok(None) };
        if found.iter().all(|problem| !problem.corrupt) {
            // Bytes that cannot be read at the moment are not known to be damaged.
            return Err(failed("read", &damaged)(io::Error::other(first.what.clone())));
        }
        let from: Arc<dyn Backing> = Arc::new(from);
        let to = Files::create(&new).map_err(failed("create", &new))?;
        let made = self.make(&from, &to, progress).and_then(|made| {
            lock.check().map_err(failed("keep the lock of", &damaged))?;
            progress(step(RepairStep::Exchanging)(0, 0));
            self.parent.exchange(&self.beside, &self.name).map_err(exchange_failed(&damaged))?;
            Ok(made)
        });
        let (salvaged, new_lock) = made.inspect_err(|_| {
            // Only if it still has that name: an exchange may have succeeded before it failed. If the process is killed
            // here, the next repair deletes it.
            if to.is_at_its_path().is_ok_and(|is_beside| is_beside) {
                drop(to.create(UNFINISHED));
                drop(self.delete(&to));
            }
        })?;
        progress(step(RepairStep::SettingAside)(0, 0));
        let damaged = self.parent.set_aside(&self.beside, &self.name).map_err(failed("rename", &new))?;
        drop((lock, new_lock));
        Ok(Some((found, SetAside { damaged, was_opened, salvaged })))
    }

    /// Creates the new store. Returns its lock, so that it cannot be opened before everything is done.
    fn make(
        &self,
        from: &Arc<dyn Backing>,
        to: &Files,
        progress: &mut dyn FnMut(RepairProgress),
    ) -> Result<(SalvageReport, Box<dyn BackingLock>)> {
        let (damaged, new) = (self.path_of(&self.name), self.path_of(&self.beside));
        let failed = |what: &'static str| {
            let shown = new.display().to_string();
            move |source: io::Error| Error::io(what, shown, source)
        };
        // From here on, the next repair deletes what an interruption leaves.
        to.create(UNFINISHED).map_err(failed("create in"))?;
        // Before everything is copied.
        Parent::open(&new).and_then(|new| new.try_exchange()).map_err(exchange_failed(&damaged))?;
        let to: Arc<dyn Backing> = Arc::new(to.clone());
        let salvaged = salvage_backing(from, &to, &mut |now| {
            progress(step(RepairStep::Rescuing)(now.bytes, now.bytes_total));
        })?;
        progress(step(RepairStep::Checking)(0, salvaged.record_bytes));
        let checked = verify_backing(&to, &mut |now| {
            progress(step(RepairStep::Checking)(now.bytes, salvaged.record_bytes));
        })?;
        if let Some(problem) = checked.problems.into_iter().next() {
            let (file, offset) = (problem.file, problem.offset);
            return Err(Error::corrupt(file, offset, "new store", "intact contents", problem.what));
        }
        let new_lock = to.lock().map_err(failed("lock"))?;
        let files = list(&**from)?;
        let manifests = files.manifests.iter().map(|number| FileKind::Manifest.file_name(*number));
        let mut all = manifests.chain(files.logs.iter().map(|number| FileKind::Records.file_name(*number)));
        if let Some(file) = all.next() {
            resemble(&new, &damaged, &file).map_err(failed("set the owner of"))?;
        }
        Ok((salvaged, new_lock))
    }
}

fn step(step: RepairStep) -> impl Fn(u64, u64) -> RepairProgress {
    move |bytes, bytes_total| RepairProgress { step, bytes, bytes_total }
}

fn exchange_failed(damaged: &Path) -> impl FnOnce(io::Error) -> Error {
    let shown = damaged.display().to_string();
    move |source| {
        let source = if source.kind() == io::ErrorKind::Unsupported {
            let why = "this file system cannot exchange two directories in one step; make a new store with `tenure salvage`, and \
                       rename both by hand while nobody has the store open";
            io::Error::new(source.kind(), why)
        } else {
            source
        };
        Error::io("put a new store in the place of", shown, source)
    }
}
