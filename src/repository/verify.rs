//! Verifying a repository: every list, and every piece that one names.
//!
//! Owns: the notes about damaged pieces, by which the next backup replaces them. Never: opens a backup as a store, or changes a
//! list or a piece.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::repository::names::{BackupId, DATA, NOTES, Piece};
use crate::repository::place::Put;
use crate::repository::{OnProgress, Repository, RepositoryProgress, tell};

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
        for (id, object) in self.ids()? {
            report.backups += 1;
            match self.read_list(id, &object) {
                Ok(Some(list)) => {
                    for (file, piece) in list.pieces() {
                        needed.entry((file.to_owned(), *piece)).or_default().push(id);
                    }
                }
                Ok(None) => report.backups -= 1,
                Err(error) => report.problems.push(problem(id.object(), &error, vec![id])),
            }
        }
        let there = self.place.list(DATA)?;
        let is_needed = |name: &str| {
            let piece = Piece::of_name(name);
            piece.is_some_and(|(file, piece)| needed.contains_key(&(file.to_owned(), piece)))
        };
        report.unneeded = to_u64(there.iter().filter(|object| !is_needed(&object.name)).count());
        let notes: Vec<String> = self.place.list(NOTES)?.into_iter().map(|note| note.name).collect();
        report.pieces = to_u64(needed.len());
        report.bytes = needed.keys().map(|(_, piece)| piece.bytes).sum();
        let mut now = RepositoryProgress { bytes_total: report.bytes, ..RepositoryProgress::default() };
        for ((file, piece), backups) in needed {
            tell(progress, now, "the verification")?;
            let name = piece.name(&file);
            let note = format!("{NOTES}/{name}");
            match self.piece(&file, &piece) {
                // It was replaced.
                Ok(_) if notes.contains(&name) => self.place.delete(&note)?,
                Ok(_) => {}
                Err(error) => {
                    if error.is_corruption() && !notes.contains(&name) {
                        // Not everyone who may read may write. The report is what counts.
                        drop(self.place.put(&note, error.to_string().as_bytes(), Put::New));
                    }
                    report.problems.push(problem(piece.object(&file), &error, backups));
                }
            }
            now.bytes += piece.bytes;
        }
        tell(progress, now, "the verification")?;
        Ok(report)
    }
}

fn problem(object: String, error: &Error, backups: Vec<BackupId>) -> RepositoryProblem {
    RepositoryProblem { object, what: error.to_string(), backups, corrupt: error.is_corruption() }
}
