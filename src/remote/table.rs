//! The table of files: which files there are, and where their bytes are.
//!
//! Owns: applying events. Never: does I/O. Invariant: the pieces of a file follow each other without gaps from 0.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::remote::object::{BaseFile, Event, Head, Piece};

/// All files of a state of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    files: BTreeMap<String, File>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct File {
    head: Head,
    pieces: Vec<Piece>,
}

impl File {
    fn len(&self) -> u64 {
        self.pieces.last().map_or(0, Piece::end)
    }
}

impl Table {
    /// The table of a base.
    pub(super) fn of_base(name: &str, base: Vec<BaseFile>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for BaseFile { name: file, head, pieces } in base {
            let mut end = 0;
            for piece in &pieces {
                if piece.begin != end {
                    return Err(gap(name, &file, end, piece.begin));
                }
                end = piece.end();
            }
            files.insert(file, File { head, pieces });
        }
        Ok(Self { files })
    }

    /// The files of a base.
    pub(super) fn to_base(&self) -> Vec<BaseFile> {
        let file = |(name, File { head, pieces }): (&String, &File)| BaseFile {
            name: name.clone(),
            head: head.clone(),
            pieces: pieces.clone(),
        };
        self.files.iter().map(file).collect()
    }

    /// Applies an event of the object `name`.
    pub(super) fn apply(&mut self, name: &str, event: Event) -> Result<()> {
        match event {
            Event::Create { name } => drop(self.files.insert(name, File::default())),
            Event::Delete { name } => drop(self.files.remove(&name)),
            Event::Range { name: file, piece, head } => {
                let Some(found) = self.files.get_mut(&file) else {
                    return Err(Error::corrupt(name, 0, format!("a range of {file}"), "a file that exists", "none"));
                };
                let end = found.len();
                if piece.begin != end {
                    return Err(gap(name, &file, end, piece.begin));
                }
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
        let Some(File { pieces, .. }) = self.files.get_mut(name) else { return };
        let first = pieces.partition_point(|found| found.begin < piece.begin);
        let end = pieces.partition_point(|found| found.begin < piece.end());
        let covers = pieces.get(first).is_some_and(|found| found.begin == piece.begin)
            && end.checked_sub(1).and_then(|last| pieces.get(last)).is_some_and(|found| found.end() == piece.end());
        if covers {
            pieces.splice(first..end, [piece]);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[Piece])> {
        self.files.iter().map(|(name, file)| (name.as_str(), file.pieces.as_slice()))
    }

    /// The head and the pieces of a file, if it exists.
    pub(super) fn file(&self, name: &str) -> Option<(&Head, &[Piece])> {
        self.files.get(name).map(|file| (&file.head, file.pieces.as_slice()))
    }

    /// The length of a file, if it exists.
    pub(super) fn len_of(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(File::len)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(File::len).fold(0, u64::saturating_add)
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }
}

fn gap(object: &str, file: &str, end: u64, begin: u64) -> Error {
    Error::corrupt(object, 0, format!("a range of {file}"), format!("it to begin at byte {end}"), begin)
}
