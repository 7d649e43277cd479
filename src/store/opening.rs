//! Opening a store: a directory or another backing, in its newest state or a past one.

use crate::backing::{Backing, Files, refuse_unfinished};
use crate::error::{Error, Result};
use crate::format::segment::FileKind;
use crate::id::Seq;
use crate::options::Options;
use crate::recovery;
use crate::recovery::Point;
use crate::store::Store;
use crate::store::guard::Guard;
use std::path::Path;
use std::sync::Arc;

/// How often opening starts over when another directory replaces this one before its lock is taken.
const ATTEMPTS: u32 = 100;

impl Options {
    /// Opens the store in a directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// `NotAStore`, `Locked`, `Unsupported`, `Corrupt`, or an error of the file system.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        self.check()?;
        let path = path.as_ref();
        for _ in 0..ATTEMPTS {
            let files = self.files(path)?;
            let backing: Arc<dyn Backing> = Arc::new(files.clone());
            if self.read_only {
                return Store::start(&backing, self);
            }
            refuse_unfinished(&*backing)?;
            let guard = Guard::take(&backing)?;
            let shown = || path.display().to_string();
            if files.is_at_its_path().map_err(|source| Error::io("look at", shown(), source))? {
                return Store::start_locked(guard, self);
            }
        }
        let why = "another directory replaces it again and again; stop the programs that do this";
        Err(Error::io("open", path.display().to_string(), std::io::Error::other(why)))
    }

    /// The directory of the store to open, created if the options allow it.
    fn files(&self, path: &Path) -> Result<Files> {
        let shown = path.display().to_string();
        let refused = |why: &str| Error::NotAStore { path: shown.clone(), why: why.to_owned() };
        match Files::open(path) {
            Ok(_) if self.read_only => Files::read_only(path).map_err(|source| Error::io("open", &shown, source)),
            Ok(files) => {
                let listed = |source| Error::io("list", &shown, source);
                let (empty, names) = (files.is_empty().map_err(listed)?, files.list().map_err(listed)?);
                if !empty && !names.iter().any(|name| is_store_file(name)) {
                    return Err(refused("it contains other files but no manifest"));
                }
                if empty && !self.create {
                    return Err(refused("it is empty"));
                }
                if empty {
                    // Its creator may not have synced it.
                    files.settle().map_err(|source| Error::io("sync", &shown, source))?;
                }
                Ok(files)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Err(refused("it is not a directory")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if self.read_only || !self.create {
                    return Err(refused("it does not exist"));
                }
                Files::create(path).map_err(|source| Error::io("open", &shown, source))
            }
            Err(source) => Err(Error::io("open", shown, source)),
        }
    }

    /// Opens the store in a directory read-only, as of a point in its past. A writer may have it open at the same time.
    ///
    /// # Errors
    /// `PointGone` if that state is no longer kept, and those of [`open`](Self::open).
    pub fn open_at(&self, path: impl AsRef<Path>, point: &Point) -> Result<Store> {
        let (path, shown) = (path.as_ref(), path.as_ref().display().to_string());
        let backing = Files::read_only(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotAStore { path: shown, why: "it does not exist".to_owned() },
            std::io::ErrorKind::NotADirectory => {
                Error::NotAStore { path: shown, why: "it is not a directory".to_owned() }
            }
            _ => Error::io("open", shown, source),
        })?;
        self.open_backing_at(Arc::new(backing), point)
    }

    /// Like [`open_at`](Self::open_at), in any backing store.
    ///
    /// # Errors
    /// As [`open_at`](Self::open_at).
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps it")]
    pub fn open_backing_at(&self, backing: Arc<dyn Backing>, point: &Point) -> Result<Store> {
        self.check()?;
        refuse_unfinished(&*backing)?;
        Store::run(self, None, recovery::open_at(&backing, &self.settings(), point)?, Some(point.clone()))
    }

    /// Opens the store in any backing store.
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps it")]
    pub fn open_backing(&self, backing: Arc<dyn Backing>) -> Result<Store> {
        self.check()?;
        Store::start(&backing, self)
    }
}

impl Store {
    /// Advances a read-only handle to what a writer has committed since the handle was opened or last refreshed.
    /// Returns the last commit it now sees.
    ///
    /// A refresh replays what the log has since the last one. If the log alone does not lead to the newest state, it costs as much as
    /// opening the store; so it does while the handle has clones, which are not advanced. Existing views, set and index handles, and
    /// registered extractors stay valid. On a handle open for writing, or opened at a point in the past, this does nothing. For a
    /// handle that goes on by itself see [`Store::follow`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("things.tenure");
    /// use tenure::{Options, Store};
    /// let writer = Store::open(&path)?;
    /// let notes = writer.record_set("notes")?;
    /// let mut reader = Options::new().read_only(true).open(&path)?;
    /// let note = writer.write(|tx| tx.insert(&notes, "later"))?;
    /// assert!(reader.get(note).is_err());
    /// reader.refresh()?;
    /// assert_eq!(reader.get(note)?.as_slice(), Some(&b"later"[..]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`, or an error of opening; the handle then keeps its state.
    pub fn refresh(&mut self) -> Result<Seq> {
        self.engine().poison.check()?;
        if self.engine().read_only && self.inner.past.is_none() {
            if Arc::strong_count(&self.inner) == 1 {
                recovery::advance(self.engine(), &self.inner.options.settings(), true)?;
                return Ok(self.view().seq());
            }
            let (given, backing) = (self.engine().given_extractors(), Arc::clone(&self.engine().backing));
            let mut options = self.inner.options.clone();
            options.lineage = Some(self.engine().lineage);
            let next = Self::start(&backing, &options)?;
            next.engine().take_extractors(given);
            *self = next;
        }
        Ok(self.view().seq())
    }
}

/// The file that carries the writer's lock, where there is one.
pub(super) const LOCK: &str = "lock";

/// Whether a store uses files of this name.
pub(super) fn is_store_file(name: &str) -> bool {
    name == LOCK || FileKind::parse_name(name).is_some()
}
