//! The last resort of a repair: a new store of what is whole, which takes the place of the damaged one in one step.
//!
//! Owns: the directories beside the store and their names. Never: writes to the damaged store, or deletes anything of it.
//! Invariant: under the store's own name there is always one store, whole: the damaged one until both are exchanged, the new one from
//! then on. What an interruption leaves beside it is either marked as unfinished, and deleted by the next repair, or whole, and kept.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::backing::Backing;
use crate::backing::BackingLock;
use crate::backing::Files;
use crate::backing::Parent;
use crate::backing::resemble;
use crate::error::Error;
use crate::error::Result;
use crate::format::segment::FileKind;
use crate::recovery::UNFINISHED;
use crate::recovery::list;
use crate::repair::report::RepairProgress;
use crate::repair::report::RepairStep;
use crate::repair::report::SetAside;
use crate::salvage::salvage_backing;
use crate::verify::verify_backing;

/// Names of files that a store has beside those of its segments and manifest.
const OTHER_FILES: [&str; 3] = [UNFINISHED, "lock", "reserve"];

/// The directories of a repair.
pub(super) struct Place {
    parent: Parent,
    name: OsString,
    /// The name of the new store, and of the damaged one between the exchange and its new name.
    beside: OsString,
}

impl Place {
    /// The place of a store.
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
        let shown = || self.path_of(&self.name).display().to_string();
        let files = Files::open(&self.path_of(&self.name)).map_err(|source| Error::io("open", shown(), source))?;
        let lock = files.lock().map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => Error::Locked { path: shown() },
            _ => Error::io("lock", shown(), source),
        })?;
        Ok((files, lock))
    }

    /// Ends what an interrupted repair has begun. Gives the new name of what it left whole: the damaged store, or one that was never put in
    /// its place.
    pub(super) fn settle(&self) -> Result<Option<PathBuf>> {
        let path = self.path_of(&self.beside);
        let failed = |what: &'static str| {
            let shown = path.display().to_string();
            move |source: io::Error| Error::io(what, shown, source)
        };
        if !self.parent.has(&self.beside).map_err(failed("look at"))? {
            return Ok(None);
        }
        // While another repair makes it, that one has the lock.
        let _lock = self.open_locked()?;
        let files = Files::open(&path).map_err(failed("open"))?;
        let names = files.list().map_err(failed("list"))?;
        if !names.is_empty() && !names.iter().any(|name| name == UNFINISHED) {
            return self.parent.set_aside(&self.beside, &self.name).map(Some).map_err(failed("rename"));
        }
        let is_ours = |name: &String| FileKind::parse_name(name).is_some() || OTHER_FILES.contains(&name.as_str());
        // The mark goes last.
        for name in names.iter().filter(|name| is_ours(name) && *name != UNFINISHED) {
            files.delete(name).map_err(failed("delete from"))?;
        }
        if !names.is_empty() {
            files.delete(UNFINISHED).map_err(failed("delete from"))?;
        }
        self.parent.remove(&self.beside).map_err(failed("delete"))?;
        Ok(None)
    }

    /// Makes a new store of what is whole, and puts it in the place of the damaged one.
    pub(super) fn rebuild(&self, progress: &mut dyn FnMut(RepairProgress)) -> Result<SetAside> {
        let (damaged, new) = (self.path_of(&self.name), self.path_of(&self.beside));
        let failed = |what: &'static str, path: &Path| {
            let shown = path.display().to_string();
            move |source: io::Error| Error::io(what, shown, source)
        };
        let (from, lock) = self.open_locked()?;
        let from: Arc<dyn Backing> = Arc::new(from);
        let to: Arc<dyn Backing> = Arc::new(Files::create(&new).map_err(failed("create", &new))?);
        // From here on an interruption leaves what the next repair deletes.
        to.create(UNFINISHED).map_err(failed("create in", &new))?;
        let step = |step| move |bytes, bytes_total| RepairProgress { step, bytes, bytes_total };
        let salvaged = salvage_backing(&from, &to, &mut |now| {
            progress(step(RepairStep::Rescuing)(now.bytes, now.bytes_total));
        })?;
        progress(step(RepairStep::Checking)(0, salvaged.record_bytes));
        let checked = verify_backing(&to, &mut |now| {
            progress(step(RepairStep::Checking)(now.bytes, salvaged.record_bytes));
        })?;
        if let Some(problem) = checked.problems.into_iter().next() {
            let (file, offset) = (problem.file, problem.offset);
            return Err(Error::corrupt(file, offset, "new store", "what was whole", problem.what));
        }
        // Nobody opens it before all is done.
        let new_lock = to.lock().map_err(failed("lock", &new))?;
        let files = list(&*from)?;
        let manifests = files.manifests.iter().map(|number| FileKind::Manifest.file_name(*number));
        let mut all = manifests.chain(files.logs.iter().map(|number| FileKind::Records.file_name(*number)));
        if let Some(file) = all.next() {
            resemble(&new, &damaged, &file).map_err(failed("set the owner of", &new))?;
        }
        lock.check().map_err(failed("keep the lock of", &damaged))?;
        progress(step(RepairStep::Exchanging)(0, 0));
        self.parent.exchange(&self.beside, &self.name).map_err(|source| match source.kind() {
            io::ErrorKind::Unsupported => {
                let why = "this file system cannot exchange two directories in one step; rename both by hand while nobody has \
                           the store open";
                failed("put in the place of the damaged store:", &new)(io::Error::new(source.kind(), why))
            }
            _ => failed("put in the place of the damaged store:", &new)(source),
        })?;
        progress(step(RepairStep::SettingAside)(0, 0));
        let damaged = self.parent.set_aside(&self.beside, &self.name).map_err(failed("rename", &new))?;
        drop((lock, new_lock));
        Ok(SetAside { damaged, salvaged })
    }
}
