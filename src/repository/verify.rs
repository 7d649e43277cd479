//! Verifying a repository: every list, and every piece that one names.
//!
//! Owns: the notes about damaged pieces, by which the next backup replaces them. Never: opens a backup as a store, or changes a
//! list or a piece.

use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::repository::at_once::{at_once, some_of};
use crate::repository::names::{BackupId, DATA, NOTES, Piece};
use crate::repository::place::Put;
use crate::repository::{GONE, LISTS_AT_ONCE, OnProgress, Repository, RepositoryProgress, tell};

/// A problem found in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryProblem {
    /// The object at fault.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// The backups that need it.
    pub backups: Vec<BackupId>,
    /// Whether it is damage; other problems are read errors.
    pub corrupt: bool,
}

impl RepositoryProblem {
    pub(super) fn of(object: String, error: &Error, backups: Vec<BackupId>) -> Self {
        Self { object, what: error.to_string(), backups, corrupt: error.is_corruption() }
    }
}

/// The result of verifying a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepositoryReport {
    /// Backups.
    pub backups: u64,
    /// Pieces that they need.
    pub pieces: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Pieces that no backup needs: of interrupted backups, or to be deleted by the next pruning.
    pub unneeded: u64,
    /// What is wrong.
    pub problems: Vec<RepositoryProblem>,
}

impl RepositoryReport {
    /// Whether there is no problem.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Repository {
    /// Reads all lists and all pieces that they name, and compares them with their checksums. Notes which pieces are damaged: the
    /// next backup writes them anew if the store still has their bytes.
    ///
    /// # Errors
    /// `NotAStore` if there is no repository, and those of the place; damage is in the report.
    pub fn verify(&self, progress: &mut OnProgress<'_>) -> Result<RepositoryReport> {
        self.need_store()?;
        let mut report = RepositoryReport::default();
        let mut needed: BTreeMap<(String, Piece), Vec<BackupId>> = BTreeMap::new();
        for some in self.ids()?.chunks(LISTS_AT_ONCE) {
            for (read, (id, _)) in at_once(some, |(id, object)| self.read_list(*id, object)).into_iter().zip(some) {
                report.backups += 1;
                match read {
                    Ok(Some(list)) => {
                        for (file, piece) in list.pieces() {
                            needed.entry((file.to_owned(), *piece)).or_default().push(*id);
                        }
                    }
                    Ok(None) => report.backups -= 1,
                    Err(error) => report.problems.push(RepositoryProblem::of(id.object(), &error, vec![*id])),
                }
            }
        }
        let there = self.place.list(DATA)?;
        let is_needed = |name: &str| {
            let piece = Piece::of_name(name);
            piece.is_some_and(|(file, piece)| needed.contains_key(&(file.to_owned(), piece)))
        };
        report.unneeded = to_u64(there.iter().filter(|object| !is_needed(&object.name)).count());
        let notes: HashSet<String> = self.place.list(NOTES)?.into_iter().map(|note| note.name).collect();
        report.pieces = to_u64(needed.len());
        report.bytes = needed.keys().fold(0, |sum, (_, piece)| sum.saturating_add(piece.bytes));
        let mut now = RepositoryProgress { bytes_total: report.bytes, ..RepositoryProgress::default() };
        let needed: Vec<_> = needed.into_iter().collect();
        let mut left = &needed[..];
        while !left.is_empty() {
            tell(progress, now, "the verification")?;
            let (some, others) = some_of(left, |((_, piece), _)| piece.bytes);
            left = others;
            let read = at_once(some, |((file, piece), _)| self.check_piece(file, piece, &notes));
            for (checked, ((file, piece), backups)) in read.into_iter().zip(some) {
                if let Some(error) = checked? {
                    report.problems.push(RepositoryProblem::of(piece.object(file), &error, backups.clone()));
                }
                now.bytes = now.bytes.saturating_add(piece.bytes);
            }
        }
        if !report.problems.is_empty() {
            // What a pruning has deleted meanwhile is not missed.
            let ids: HashSet<BackupId> = self.ids()?.into_iter().map(|(id, _)| id).collect();
            for problem in &mut report.problems {
                problem.backups.retain(|id| ids.contains(id));
            }
            report.problems.retain(|problem| !problem.backups.is_empty());
        }
        tell(progress, now, "the verification")?;
        Ok(report)
    }

    /// Reads a piece. Returns what is wrong with it, and notes that it is damaged, or not any more.
    fn check_piece(&self, file: &str, piece: &Piece, notes: &HashSet<String>) -> Result<Option<Error>> {
        let name = piece.name(file);
        let note = format!("{NOTES}/{name}");
        match self.piece(file, piece) {
            Ok(_) => {
                // It was replaced.
                if notes.contains(&name) {
                    self.place.delete(&note)?;
                }
                Ok(None)
            }
            Err(error) => {
                // What is not there is put again without a note.
                let is_there = !matches!(&error, Error::Corrupt(damage) if damage.got == GONE);
                if error.is_corruption() && is_there && !notes.contains(&name) {
                    // Not everyone who may read may write. The report is what counts.
                    drop(self.place.put(&note, error.to_string().as_bytes(), Put::New));
                }
                Ok(Some(error))
            }
        }
    }
}
