//! The table of files: which files there are, and where their bytes are.
//!
//! Owns: applying events. Never: does I/O. Invariant: the pieces of a file follow each other without gaps from 0.
//! Versions share what did not change: a reader keeps one while it goes on to the next, at the cost of the change.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::remote::object::{BaseFile, Event, Head, Piece};
use crate::shared::Map;

/// All files of a state of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    files: Map<Arc<str>, Arc<File>>,
}

/// A file: its first bytes, and its pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) head: Head,
    pub(super) pieces: Vec<Piece>,
}

impl File {
    pub(super) fn len(&self) -> u64 {
        self.pieces.last().map_or(0, Piece::end)
    }

    /// Whether these are the bytes of an earlier state of the file, and perhaps more, wherever they are: not those of another file of its name.
    pub(super) fn goes_on_from(&self, earlier: &Self) -> bool {
        let mut rest = &earlier.pieces[..];
        for piece in &self.pieces {
            let covered = rest.iter().take_while(|part| part.end() <= piece.end()).count();
            let Some((covered, after)) = rest.split_at_checked(covered) else { return false };
            let Some((first, more)) = covered.split_first() else { return rest.is_empty() };
            let mut hasher = crc32fast::Hasher::new_with_initial_len(first.checksum, first.bytes);
            for part in more {
                hasher.combine(&crc32fast::Hasher::new_with_initial_len(part.checksum, part.bytes));
            }
            let is_checked = covered.last().is_some_and(|last| last.end() == piece.end());
            // One that reaches beyond the earlier state has a checksum of more.
            if piece.begin != first.begin
                || is_checked && hasher.finalize() != piece.checksum
                || !is_checked && !after.is_empty()
            {
                return false;
            }
            rest = after;
        }
        rest.is_empty()
    }
}

impl Table {
    /// The table of a base.
    pub(super) fn of_base(name: &str, base: Vec<BaseFile>) -> Result<Self> {
        let mut files = Map::default();
        for BaseFile { name: file, head, pieces } in base {
            let mut end = 0;
            for piece in &pieces {
                if piece.begin != end {
                    return Err(gap(name, &file, end, piece.begin));
                }
                end = piece.end();
            }
            files.insert_mut(Arc::from(file), Arc::new(File { head, pieces }));
        }
        Ok(Self { files })
    }

    /// The files of a base.
    pub(super) fn to_base(&self) -> Vec<BaseFile> {
        let file = |(name, file): (&Arc<str>, &Arc<File>)| BaseFile {
            name: (**name).to_owned(),
            head: file.head.clone(),
            pieces: file.pieces.clone(),
        };
        self.files.iter().map(file).collect()
    }

    /// Applies an event of the object `name`.
    pub(super) fn apply(&mut self, name: &str, event: Event) -> Result<()> {
        match event {
            Event::Create { name } => self.files.insert_mut(Arc::from(name), Arc::default()),
            Event::Delete { name } => drop(self.files.remove_mut(&*name)),
            Event::Range { name: file, piece, head } => {
                let Some(found) = self.files.get_mut(&*file) else {
                    return Err(Error::corrupt(name, 0, format!("a range of {file}"), "a file that exists", "none"));
                };
                let end = found.len();
                if piece.begin != end {
                    return Err(gap(name, &file, end, piece.begin));
                }
                let found = Arc::make_mut(found);
                if piece.begin == 0 {
                    found.head = head;
                }
                found.pieces.push(piece);
            }
        }
        Ok(())
    }

    /// Puts one piece in the place of those that cover the same bytes.
    pub(super) fn replace(&mut self, name: &str, piece: Piece) {
        let Some(file) = self.files.get_mut(name) else { return };
        let File { pieces, .. } = Arc::make_mut(file);
        let first = pieces.partition_point(|found| found.begin < piece.begin);
        let end = pieces.partition_point(|found| found.begin < piece.end());
        let covers = pieces.get(first).is_some_and(|found| found.begin == piece.begin)
            && end.checked_sub(1).and_then(|last| pieces.get(last)).is_some_and(|found| found.end() == piece.end());
        if covers {
            pieces.splice(first..end, [piece]);
        }
    }

    /// Only these files.
    pub(super) fn only(&self, names: &[String]) -> Self {
        let files = names.iter().filter_map(|name| Some((Arc::from(&**name), Arc::clone(self.file(name)?))));
        Self { files: files.collect() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[Piece])> {
        self.files.iter().map(|(name, file)| (&**name, file.pieces.as_slice()))
    }

    /// A file, if it exists.
    pub(super) fn file(&self, name: &str) -> Option<&Arc<File>> {
        self.files.get(name)
    }

    /// The length of a file, if it exists.
    pub(super) fn len_of(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|file| file.len())
    }

    /// Whether two tables have the same files with as many bytes.
    pub(super) fn has_the_files_of(&self, other: &Self) -> bool {
        self.files() == other.files()
            && self.files.iter().all(|(name, file)| other.file(name).is_some_and(|found| found.len() == file.len()))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.len()).fold(0, u64::saturating_add)
    }

    pub(super) fn files(&self) -> usize {
        self.files.size()
    }
}

fn gap(object: &str, file: &str, end: u64, begin: u64) -> Error {
    Error::corrupt(object, 0, format!("a range of {file}"), format!("it to begin at byte {end}"), begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::to_u64;
    use crate::remote::object::{LogPoint, Place};

    /// A file whose bytes are in parts.
    fn file(parts: &[&str]) -> File {
        let mut file = File::default();
        for part in parts {
            let (begin, place) = (file.len(), Place::Data { at: LogPoint { epoch: 1, number: 1 } });
            let checksum = crc32fast::hash(part.as_bytes());
            file.pieces.push(Piece { begin, bytes: to_u64(part.len()), checksum, place });
        }
        file
    }

    #[test]
    fn a_later_state_of_a_file_has_its_bytes_whatever_was_merged() {
        let earlier = file(&["abc", "d", "efgh", "ij"]);
        let later = [
            &["abc", "d", "efgh", "ij"][..],
            &["abcdefghij"],
            &["abcd", "efgh", "ij", "more"],
            &["abc", "defgh", "ijmore", "and more"],
        ];
        for parts in later {
            assert!(file(parts).goes_on_from(&earlier), "{parts:?}");
            assert!(file(parts).goes_on_from(&File::default()), "{parts:?}");
        }
        let others = [
            &["abc", "d", "efgh"][..],
            &["abc", "d", "efgh", "i"],
            &["abc", "d", "efgh", "i", "j"],
            &["abc", "d", "efgh", "xx"],
            &["abx", "d", "efghij"],
            &["abcx", "efgh", "ij"],
            &["abcde", "fgh", "ij"],
            &["abcdefghix"],
            &[],
        ];
        for parts in others {
            assert!(!file(parts).goes_on_from(&earlier), "{parts:?}");
        }
    }
}
