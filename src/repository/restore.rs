//! Restoring a backup of a repository.
//!
//! Owns: which backup is meant. Never: declares a store complete that it has not read back.

use std::path::Path;
use std::sync::Arc;

use crate::backing::Backing;
use crate::backup::{BackupReport, begin, directory, finish};
use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::repository::list::{FilePieces, List, Numbered};
use crate::repository::names::At;
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
        let Numbered { list, .. } = self.find(at)?;
        if self.place.contains(to.as_ref()) {
            let path = to.as_ref().display().to_string();
            return Err(Error::BadDestination { path, why: "it is inside the repository" });
        }
        let into: Arc<dyn Backing> = Arc::new(directory(to.as_ref())?);
        begin(&*into)?;
        let bytes = list.bytes();
        let mut now = RepositoryProgress { bytes_total: bytes, ..RepositoryProgress::default() };
        tell(progress, now, "the restoring")?;
        for file in &list.files {
            self.restore_file(file, &*into, &mut now, progress)?;
        }
        let verified = finish(&into)?;
        Ok(BackupReport { seq: list.seq, files: files_of(&list), linked: 0, bytes, verified })
    }

    fn restore_file(
        &self,
        file: &FilePieces,
        into: &dyn Backing,
        now: &mut RepositoryProgress,
        progress: &mut OnProgress<'_>,
    ) -> Result<()> {
        let name = &*file.name;
        let copy = into.create(name).map_err(|source| Error::io("create", name, source))?;
        for piece in &file.pieces {
            let bytes = self.piece(name, piece)?;
            copy.append(&bytes).map_err(|source| Error::io("append to", name, source))?;
            now.bytes += piece.bytes;
            now.written += piece.bytes;
            tell(progress, *now, "the restoring")?;
        }
        copy.sync().map_err(|source| Error::io("sync", name, source))?;
        copy.let_go(0, file.bytes);
        Ok(())
    }

    /// The backup that is meant.
    fn find(&self, at: At) -> Result<Numbered> {
        let gone = |point: String, why: &str| Error::PointGone { point, why: why.to_owned() };
        let ids = self.ids()?;
        for (id, object) in ids.iter().rev() {
            let is_other = matches!(at, At::Id(wanted) if wanted != *id);
            if is_other {
                continue;
            }
            let Some(list) = self.read_list(*id, object)? else { continue };
            if !matches!(at, At::Seq(seq) if seq != list.seq) {
                return Ok(Numbered { id: *id, list });
            }
        }
        Err(match at {
            At::Newest => gone(format!("a backup in {}", self.place.shown()), "it has none"),
            At::Id(id) => gone(format!("backup {id}"), "it never was, or was pruned"),
            At::Seq(seq) => gone(format!("commit {seq}"), "no backup ends with it"),
        })
    }
}

/// Files without the manifest, as other backups count them.
fn files_of(list: &List) -> u64 {
    to_u64(list.files.iter().filter(|file| !file.name.starts_with("manifest-")).count())
}
