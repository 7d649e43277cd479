//! Repositories: many backups of one store in one place, which share what did not change.
//!
//! Owns: the objects of a repository, adding a backup, restoring, pruning, verifying. `docs/repository.md` describes objects
//! and protocols. Never: writes into an object that is there, or trusts a name, a length or a time instead of the bytes.
//! Invariants: 1. A backup counts once its list is there, and every piece that it names was there before.
//! 2. A piece is deleted only if no list names it and no backup is at work.
//! 3. A backup reads every byte of the store: only equal bytes are shared.

mod add;
mod at_once;
#[cfg(feature = "remote")]
mod bucket;
#[cfg(test)]
mod cuts;
mod directory;
mod image;
mod list;
mod marks;
mod names;
mod place;
mod prune;
mod restore;
mod sum;
mod verify;

pub use add::{AddOptions, Added};
pub use names::{At, BackupId};
pub use prune::{Keep, Pruned};
pub use verify::{RepositoryProblem, RepositoryReport};

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::id::{Seq, to_u64};
#[cfg(feature = "remote")]
use crate::remote::Bucket;
use crate::repository::at_once::at_once;
use crate::repository::directory::Directory;
use crate::repository::list::{LIST_BYTES_MAX, List, Numbered, read_header};
use crate::repository::names::{HEADER, LISTS, Piece};
use crate::repository::place::{Object, Place};
use crate::repository::sum::Sum;

/// A place with backups of one store. Each backup is complete by itself, and adds only the bytes that earlier ones lack.
///
/// ```
/// use std::ops::ControlFlow;
/// use tenure::repository::{AddOptions, At, Keep, Repository};
/// # let dir = tempfile::tempdir().unwrap();
/// # let [path, backups, restored] = ["things.tenure", "backups", "restored.tenure"].map(|name| dir.path().join(name));
/// let store = tenure::Store::open(&path)?;
/// let notes = store.record_set("notes")?;
/// let id = store.write(|tx| tx.insert(&notes, "a"))?;
///
/// let repository = Repository::in_directory(&backups);
/// let mut go_on = |_| ControlFlow::Continue(());
/// let first = repository.add(&store, &AddOptions::new(), &mut go_on)?;
/// store.write(|tx| tx.delete(id))?;
/// repository.add(&store, &AddOptions::new(), &mut go_on)?;
///
/// repository.restore(At::Id(first.id), &restored, &mut go_on)?;
/// assert_eq!(tenure::Store::open(&restored)?.get(id)?.as_slice(), Some(&b"a"[..]));
/// repository.prune(&Keep::newest(1))?;
/// assert!(repository.verify(&mut go_on)?.is_ok());
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Repository {
    place: Arc<dyn Place>,
}

/// Progress of an operation on a repository. Whoever is told it may end the operation with `ControlFlow::Break`: what was
/// done stays, and doing it again goes on from there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepositoryProgress {
    /// Bytes read so far: of the store for a backup, of the repository otherwise.
    pub bytes: u64,
    /// Bytes to read.
    pub bytes_total: u64,
    /// Bytes written so far.
    pub written: u64,
}

/// What an object holds that is not there.
const GONE: &str = "nothing: it is gone";
/// A longer header is none.
const HEADER_BYTES_MAX: u64 = 4 << 10;
/// Lists that are read at once.
const LISTS_AT_ONCE: usize = 8;

/// What is told progress.
pub type OnProgress<'a> = dyn FnMut(RepositoryProgress) -> ControlFlow<()> + 'a;

/// A backup in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupInfo {
    /// Its number in the repository.
    pub id: BackupId,
    /// When it was made.
    pub time: SystemTime,
    /// The last commit in it.
    pub seq: Seq,
    /// The store's timeline.
    pub timeline: u64,
    /// Files of the store.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of it that no backup before it in the repository has.
    pub own_bytes: u64,
}

/// Tells progress; an error if the operation is to end.
fn tell(progress: &mut OnProgress<'_>, now: RepositoryProgress, what: &'static str) -> Result<()> {
    match progress(now) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            let source = std::io::Error::new(std::io::ErrorKind::Interrupted, "it was cancelled");
            Err(Error::io("finish", what, source))
        }
    }
}

impl Repository {
    /// The repository in a directory, which may not exist yet or be empty: the first backup creates it.
    pub fn in_directory(path: impl AsRef<Path>) -> Self {
        Self { place: Arc::new(Directory::new(path.as_ref())) }
    }

    /// The repository in a bucket of an object store, which may be empty: the first backup creates it.
    #[cfg(feature = "remote")]
    pub fn in_bucket(bucket: Bucket) -> Self {
        Self { place: Arc::new(bucket) }
    }

    /// Whether there is a repository.
    ///
    /// # Errors
    /// Those of the place, and damage of its header.
    pub fn exists(&self) -> Result<bool> {
        self.store().map(|store| store.is_some())
    }

    /// The backups, oldest first.
    ///
    /// # Errors
    /// `NotAStore` if there is no repository, `Corrupt` if a list is damaged, and those of the place.
    pub fn list(&self) -> Result<Vec<BackupInfo>> {
        self.infos(|_, error| Err(error))
    }

    /// The backups whose lists can be read, oldest first, and what is wrong with the other lists. What only a backup without a list had
    /// before counts as own bytes of the next one that has it.
    ///
    /// # Errors
    /// `NotAStore` if there is no repository, and those of the place.
    pub fn list_readable(&self) -> Result<(Vec<BackupInfo>, Vec<RepositoryProblem>)> {
        let mut problems = Vec::new();
        let infos = self.infos(|id, error| {
            problems.push(RepositoryProblem::of(id.object(), &error, vec![id]));
            Ok(())
        })?;
        Ok((infos, problems))
    }

    /// The backups. `unreadable` decides about lists that cannot be read.
    fn infos(&self, mut unreadable: impl FnMut(BackupId, Error) -> Result<()>) -> Result<Vec<BackupInfo>> {
        self.need_store()?;
        let mut seen = std::collections::HashSet::new();
        let mut infos = Vec::new();
        self.each_readable_list(&self.ids()?, &mut unreadable, |Numbered { id, list }| {
            let own = list.pieces().filter(|(file, piece)| seen.insert(piece.name(file)));
            let own_bytes = own.fold(0, |sum: u64, (_, piece)| sum.saturating_add(piece.bytes));
            infos.push(BackupInfo {
                id,
                time: UNIX_EPOCH + Duration::from_micros(list.micros),
                seq: list.seq,
                timeline: list.timeline,
                files: to_u64(list.files.len()),
                bytes: list.bytes(),
                own_bytes,
            });
            Ok(())
        })?;
        Ok(infos)
    }

    /// The store whose backups are here; `None` if there is no repository.
    fn store(&self) -> Result<Option<[u8; 16]>> {
        match self.place.get(HEADER, HEADER_BYTES_MAX)? {
            Some(bytes) => read_header(&self.shown(HEADER), &bytes).map(Some),
            None => Ok(None),
        }
    }

    fn need_store(&self) -> Result<[u8; 16]> {
        let why = "it is not a repository of backups: `tenure backup --incremental` makes one".to_owned();
        self.store()?.ok_or_else(|| Error::NotAStore { path: self.place.shown(), why })
    }

    /// An object, for messages.
    fn shown(&self, object: &str) -> String {
        format!("{object} in {}", self.place.shown())
    }

    /// The IDs of the backups, oldest first.
    fn ids(&self) -> Result<Vec<(BackupId, Object)>> {
        let listed = self.place.list(LISTS)?.into_iter();
        let mut ids: Vec<_> = listed.filter_map(|object| Some((BackupId::of_file(&object.name)?, object))).collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        Ok(ids)
    }

    /// The list of a backup; `None` if it is gone meanwhile.
    fn read_list(&self, id: BackupId, object: &Object) -> Result<Option<List>> {
        let shown = self.shown(&id.object());
        if object.bytes > LIST_BYTES_MAX {
            return Err(Error::corrupt(shown, 0, "list", format!("at most {LIST_BYTES_MAX} bytes"), object.bytes));
        }
        let Some(bytes) = self.place.get(&id.object(), object.bytes)? else { return Ok(None) };
        List::decode(&shown, &bytes).map(Some)
    }

    /// Reads some lists, in this order, several at once. No more of them are in memory.
    fn each_list(&self, ids: &[(BackupId, Object)], each: impl FnMut(Numbered) -> Result<()>) -> Result<()> {
        self.each_readable_list(ids, &mut |_, error| Err(error), each)
    }

    /// The same. `unreadable` decides about lists that cannot be read.
    fn each_readable_list(
        &self,
        ids: &[(BackupId, Object)],
        unreadable: &mut dyn FnMut(BackupId, Error) -> Result<()>,
        mut each: impl FnMut(Numbered) -> Result<()>,
    ) -> Result<()> {
        for some in ids.chunks(LISTS_AT_ONCE) {
            for (read, (id, _)) in at_once(some, |(id, object)| self.read_list(*id, object)).into_iter().zip(some) {
                match read {
                    Ok(Some(list)) => each(Numbered { id: *id, list })?,
                    Ok(None) => {}
                    Err(error) => unreadable(*id, error)?,
                }
            }
        }
        Ok(())
    }

    /// The bytes of a piece, checked.
    fn piece(&self, file: &str, piece: &Piece) -> Result<Vec<u8>> {
        let name = piece.object(file);
        let shown = || self.shown(&name);
        let what = || format!("bytes {} to {} of {file}", piece.begin, piece.begin + piece.bytes);
        let expected = || format!("{} bytes with the sum {}", piece.bytes, piece.sum);
        let Some(bytes) = self.place.get(&name, piece.bytes)? else {
            return Err(Error::corrupt(shown(), 0, what(), expected(), GONE));
        };
        if to_u64(bytes.len()) > piece.bytes {
            return Err(Error::corrupt(shown(), 0, what(), expected(), "more bytes"));
        }
        let sum = Sum::of(&bytes);
        if to_u64(bytes.len()) != piece.bytes || sum != piece.sum {
            let got = format!("{} bytes with the sum {sum}", bytes.len());
            return Err(Error::corrupt(shown(), 0, what(), expected(), got));
        }
        Ok(bytes)
    }

    /// Whether a backup is not there any more.
    fn is_gone(&self, id: BackupId) -> Result<bool> {
        Ok(self.ids()?.iter().all(|(found, _)| *found != id))
    }
}
