//! Deleting old backups, and the pieces that no backup needs any more.
//!
//! Owns: which backups a policy keeps, the order lists before pieces. Never: deletes the newest backup, a whole one in favour of one that
//! lacks pieces, or anything while a list cannot be read or a backup is at work.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::at_once::{PIECES_AT_ONCE, at_once};
use crate::repository::list::Numbered;
use crate::repository::marks::{Mark, Work};
use crate::repository::names::{BackupId, DATA, NOTES, Piece};

/// Deletions between two checks that nobody has taken this pruning for dead.
const BATCH: usize = 256;

const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

/// Which backups stay. The newest always does. One that lacks pieces stays beside those that would stay without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    newest: u64,
    daily: u64,
}

impl Keep {
    /// Keeps this many of the newest backups, and no others.
    pub fn newest(number: u64) -> Self {
        Self { newest: number, daily: 0 }
    }

    /// Also keeps the newest backup of each of the last days that have one; days are those of UTC.
    #[must_use]
    pub fn daily(self, days: u64) -> Self {
        Self { daily: days, ..self }
    }

    /// The backups that stay, of all in the order of their numbers.
    fn of(self, all: &[(BackupId, u64)]) -> BTreeSet<BackupId> {
        let newest = usize::try_from(self.newest.max(1)).unwrap_or(usize::MAX);
        let mut kept: BTreeSet<_> = all.iter().rev().take(newest).map(|(id, _)| *id).collect();
        let mut days = BTreeSet::new();
        let mut by_time: Vec<_> = all.iter().collect();
        by_time.sort_unstable_by_key(|(id, micros)| std::cmp::Reverse((*micros, *id)));
        for (id, micros) in by_time {
            let is_new_day = !days.contains(&(micros / DAY_MICROS));
            if is_new_day && u64::try_from(days.len()).is_ok_and(|days| days < self.daily) {
                days.insert(micros / DAY_MICROS);
                kept.insert(*id);
            }
        }
        kept
    }
}

/// What was deleted from a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// The backups that are gone.
    pub backups: Vec<BackupId>,
    /// Pieces that no backup needed any more.
    pub pieces: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Repository {
    /// Deletes the backups that are not to be kept, then every piece that no other backup names. An interrupted pruning leaves
    /// all kept backups whole, and the next one goes on.
    ///
    /// # Errors
    /// `NotAStore` if there is no repository, `Locked` while a backup or another pruning is at work, `Fenced` if others took this one
    /// for dead, `Corrupt` if a list is damaged; nothing is deleted then. And those of the place.
    pub fn prune(&self, keep: &Keep) -> Result<Pruned> {
        self.need_store()?;
        let mut mark = Mark::put(&*self.place, Work::Prune)?;
        // Before the lists: a piece that is put meanwhile seems to be missing, and more is kept.
        let listed = self.place.list(DATA)?.into_iter().filter(|found| Piece::of_name(&found.name).is_some());
        let pieces: BTreeMap<_, _> = listed.map(|found| (found.name, found.bytes)).collect();
        // Read twice, because all lists together may be more than memory holds.
        let ids = self.ids()?;
        let (mut all, mut whole) = (Vec::new(), Vec::new());
        let noted = self.each_list(&ids, |Numbered { id, list }| {
            all.push((id, list.micros));
            if list.pieces().all(|(file, piece)| pieces.get(&piece.name(file)) == Some(&piece.bytes)) {
                whole.push((id, list.micros));
            }
            Ok(())
        });
        noted.map_err(explained)?;
        let mut kept = keep.of(&all);
        // One that lacks pieces takes the place of none that has them.
        kept.extend(keep.of(&whole));
        let ids: Vec<_> = ids.into_iter().filter(|(id, _)| kept.contains(id)).collect();
        let mut needed = HashSet::new();
        let noted = self.each_list(&ids, |Numbered { list, .. }| {
            needed.extend(list.pieces().map(|(file, piece)| piece.name(file)));
            Ok(())
        });
        noted.map_err(explained)?;
        let mut pruned = Pruned::default();
        mark.check()?;
        for (id, _) in all.iter().filter(|(id, _)| !kept.contains(id)) {
            self.place.delete(&id.object())?;
            pruned.backups.push(*id);
        }
        self.place.sweep()?;
        let doomed: Vec<_> = pieces.into_iter().filter(|(name, _)| !needed.contains(name)).collect();
        for batch in doomed.chunks(BATCH) {
            mark.renew()?;
            mark.check()?;
            for some in batch.chunks(PIECES_AT_ONCE) {
                let deleted = at_once(some, |(name, _)| self.place.delete(&format!("{DATA}/{name}")));
                for (result, (_, bytes)) in deleted.into_iter().zip(some) {
                    result?;
                    pruned.pieces += 1;
                    pruned.bytes += bytes;
                }
            }
        }
        for note in self.place.list(NOTES)?.into_iter().filter(|note| !needed.contains(&note.name)) {
            self.place.delete(&format!("{NOTES}/{}", note.name))?;
        }
        Ok(pruned)
    }
}

/// A list that cannot be read may name any piece.
fn explained(error: Error) -> Error {
    match error {
        Error::Corrupt(mut damage) => {
            damage
                .got
                .push_str("; nothing is deleted while it may name any piece: delete this list to give the backup up");
            Error::Corrupt(damage)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_the_last_of_each_day_stay() {
        let at = |id, hour: u64| (BackupId(id), hour * 60 * 60 * 1_000_000);
        let all = [at(1, 1), at(2, 20), at(3, 25), at(4, 30), at(5, 100), at(6, 101)];
        let kept = |keep: Keep| keep.of(&all).into_iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(kept(Keep::newest(0)), [6], "never none");
        assert_eq!(kept(Keep::newest(2)), [5, 6]);
        assert_eq!(kept(Keep::newest(1).daily(2)), [4, 6]);
        assert_eq!(kept(Keep::newest(2).daily(9)), [2, 4, 5, 6]);
        assert_eq!(kept(Keep::newest(u64::MAX)), [1, 2, 3, 4, 5, 6]);
        assert!(Keep::newest(3).daily(3).of(&[]).is_empty());
    }
}
