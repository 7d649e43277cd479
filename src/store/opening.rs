//! Opening: a directory or another backing, now or at a point of the past.

use crate::backing::Backing;
use crate::backing::Files;
use crate::error::Error;
use crate::error::Result;
use crate::format::segment::FileKind;
use crate::options::Options;
use crate::recovery;
use crate::recovery::Point;
use crate::store::Store;
use std::path::Path;
use std::sync::Arc;

impl Options {
    /// Opens the store in a directory, making it where there is none.
    ///
    /// # Errors
    /// `NotAStore`, `Locked`, `Unsupported`, `Corrupt`, or what the file system says.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        self.check()?;
        let refused = |why: &str| Error::NotAStore { path: shown.clone(), why: why.to_owned() };
        let backing = match Files::open(path) {
            Ok(_) if self.read_only => Files::read_only(path).map_err(|source| Error::io("open", &shown, source))?,
            Ok(files) => {
                let listed = |source| Error::io("list", &shown, source);
                let (empty, names) = (files.is_empty().map_err(listed)?, files.list().map_err(listed)?);
                if !empty && !names.iter().any(|name| is_store_file(name)) {
                    return Err(refused("it holds other files and no manifest"));
                }
                if empty && !self.create {
                    return Err(refused("it is empty"));
                }
                if empty {
                    // Whoever made it may not have synced it.
                    files.settle().map_err(|source| Error::io("sync", &shown, source))?;
                }
                files
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(refused("it is not a directory"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if self.read_only || !self.create {
                    return Err(refused("there is nothing"));
                }
                Files::create(path).map_err(|source| Error::io("open", &shown, source))?
            }
            Err(source) => return Err(Error::io("open", shown, source)),
        };
        self.open_backing(Arc::new(backing))
    }

    /// Opens the store in a directory for reading, as it was at a point of its past. A writer may go on beside it.
    ///
    /// # Errors
    /// `PointGone` if there is no way to that state, and what [`open`](Self::open) says.
    pub fn open_at(&self, path: impl AsRef<Path>, point: &Point) -> Result<Store> {
        let (path, shown) = (path.as_ref(), path.as_ref().display().to_string());
        let backing = Files::read_only(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotAStore { path: shown, why: "there is nothing".to_owned() },
            std::io::ErrorKind::NotADirectory => {
                Error::NotAStore { path: shown, why: "it is not a directory".to_owned() }
            }
            _ => Error::io("open", shown, source),
        })?;
        self.open_backing_at(Arc::new(backing), point)
    }

    /// The same in any backing store.
    ///
    /// # Errors
    /// As [`open_at`](Self::open_at).
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps it")]
    pub fn open_backing_at(&self, backing: Arc<dyn Backing>, point: &Point) -> Result<Store> {
        self.check()?;
        recovery::refuse_unfinished(&*backing)?;
        Store::run(self, None, recovery::open_at(&backing, &self.settings(), point)?)
    }

    /// Opens the store in any backing store.
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps it")]
    pub fn open_backing(&self, backing: Arc<dyn Backing>) -> Result<Store> {
        self.check()?;
        Store::start(&backing, self)
    }
}

/// Whether a file name is one that a store uses.
pub(super) fn is_store_file(name: &str) -> bool {
    name == "lock" || FileKind::parse_name(name).is_some()
}
