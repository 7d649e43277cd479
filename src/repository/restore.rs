//! Restoring a backup of a repository.
//!
//! Owns: which backup is meant. Never: declares a store complete that it has not read back.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::backing::Backing;
use crate::backup::{BackupReport, begin, directory, finish};
use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::repository::at_once::{at_once, some_of};
use crate::repository::list::{FilePieces, List, Numbered};
use crate::repository::names::{At, BackupId, Piece};
use crate::repository::{OnProgress, Repository, RepositoryProgress, tell};

impl Repository {
    /// Restores a backup to a new or empty directory, and reads it back. The store is the one that was backed up, as
    /// [`backup::restore`](crate::backup::restore) restores it.
    ///
    /// # Errors
    /// `NotAStore` if there is no repository, `PointGone` if it has no such backup, `Exists` if the directory is not empty,
    /// `BadDestination` if it is inside the repository, and `Corrupt` if a piece is damaged; then the directory stays marked as
    /// unfinished.
    pub fn restore(&self, at: At, to: impl AsRef<Path>, progress: &mut OnProgress<'_>) -> Result<BackupReport> {
        self.need_store()?;
        let Numbered { id, list } = self.find(at)?;
        if self.place.contains(to.as_ref()) {
            let path = to.as_ref().display().to_string();
            return Err(Error::BadDestination { path, why: "it is inside the repository" });
        }
        let into: Arc<dyn Backing> = Arc::new(directory(to.as_ref())?);
        begin(&*into)?;
        let bytes = list.bytes();
        let mut now = RepositoryProgress { bytes_total: bytes, ..RepositoryProgress::default() };
        tell(progress, now, "the restoring")?;
        self.restore_files(id, &list, &*into, &mut now, progress)?;
        let verified = finish(&into)?;
        Ok(BackupReport { seq: list.seq, files: files_of(&list), linked: 0, bytes, verified })
    }

    fn restore_files(
        &self,
        id: BackupId,
        list: &List,
        into: &dyn Backing,
        now: &mut RepositoryProgress,
        progress: &mut OnProgress<'_>,
    ) -> Result<()> {
        let mut ahead = Ahead { repository: self, id, left: &list.pieces().collect::<Vec<_>>(), read: VecDeque::new() };
        for FilePieces { name, bytes, pieces } in &list.files {
            let copy = into.create(name).map_err(|source| Error::io("create", name, source))?;
            for piece in pieces {
                copy.append(&ahead.next()?).map_err(|source| Error::io("append to", name, source))?;
                now.bytes += piece.bytes;
                now.written += piece.bytes;
                tell(progress, *now, "the restoring")?;
            }
            copy.sync().map_err(|source| Error::io("sync", name, source))?;
            copy.let_go(0, *bytes);
        }
        Ok(())
    }

    /// The backup that is meant.
    fn find(&self, at: At) -> Result<Numbered> {
        let gone = |point: String, why: &str| Error::PointGone { point, why: why.to_owned() };
        let ids = self.ids()?;
        let mut damaged = None;
        for (id, object) in ids.iter().rev() {
            let is_other = matches!(at, At::Id(wanted) if wanted != *id);
            if is_other {
                continue;
            }
            let list = match self.read_list(*id, object) {
                // It may be the one that is meant, unless another is.
                Err(error) if error.is_corruption() && matches!(at, At::Seq(_)) => {
                    damaged.get_or_insert(error);
                    continue;
                }
                list => list?,
            };
            let Some(list) = list else { continue };
            if !matches!(at, At::Seq(seq) if seq != list.seq) {
                return Ok(Numbered { id: *id, list });
            }
        }
        if let Some(damaged) = damaged {
            return Err(damaged);
        }
        Err(match at {
            At::Newest => gone(format!("a backup in {}", self.place.shown()), "it has none"),
            At::Id(id) => gone(format!("backup {id}"), "it never was, or was pruned"),
            At::Seq(seq) => gone(format!("commit {seq}"), "no backup ends with it"),
        })
    }
}

/// The pieces of a backup in their order, of which several are read at once.
struct Ahead<'r> {
    repository: &'r Repository,
    id: BackupId,
    left: &'r [(&'r str, &'r Piece)],
    read: VecDeque<Result<Vec<u8>>>,
}

impl Ahead<'_> {
    fn next(&mut self) -> Result<Vec<u8>> {
        if self.read.is_empty() {
            let (some, left) = some_of(self.left, |(_, piece)| piece.bytes);
            self.read = at_once(some, |(file, piece)| self.repository.piece(file, piece)).into();
            self.left = left;
        }
        let read = self.read.pop_front().unwrap_or_else(|| Ok(Vec::new()));
        if read.is_err() && self.repository.is_gone(self.id)? {
            let (point, why) = (format!("backup {}", self.id), "it was pruned meanwhile".to_owned());
            return Err(Error::PointGone { point, why });
        }
        read
    }
}

/// Files without the manifest, as other backups count them.
fn files_of(list: &List) -> u64 {
    to_u64(list.files.iter().filter(|file| !file.name.starts_with("manifest-")).count())
}
