//! The table of files: which files there are, and where their bytes are.
//!
//! Owns: applying events. Never: does I/O. Invariant: the pieces of a file follow each other without gaps from 0.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::remote::object::{Event, Piece};

/// All files of a state of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    files: BTreeMap<String, Vec<Piece>>,
}

impl Table {
    /// The table of a base.
    pub(super) fn of_base(name: &str, files: Vec<(String, Vec<Piece>)>) -> Result<Self> {
        for (file, pieces) in &files {
            let mut end = 0;
            for piece in pieces {
                if piece.begin != end {
                    return Err(gap(name, file, end, piece.begin));
                }
                end = piece.end();
            }
        }
        Ok(Self { files: files.into_iter().collect() })
    }

    /// The files of a base.
    pub(super) fn to_base(&self) -> Vec<(String, Vec<Piece>)> {
        self.files.iter().map(|(name, pieces)| (name.clone(), pieces.clone())).collect()
    }

    /// Applies an event of the object `name`.
    pub(super) fn apply(&mut self, name: &str, event: Event) -> Result<()> {
        match event {
            Event::Create { name } => drop(self.files.insert(name, Vec::new())),
            Event::Delete { name } => drop(self.files.remove(&name)),
            Event::Range { name: file, piece } => {
                let Some(pieces) = self.files.get_mut(&file) else {
                    return Err(Error::corrupt(name, 0, format!("a range of {file}"), "a file that exists", "none"));
                };
                let end = pieces.last().map_or(0, Piece::end);
                if piece.begin != end {
                    return Err(gap(name, &file, end, piece.begin));
                }
                pieces.push(piece);
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[Piece])> {
        self.files.iter().map(|(name, pieces)| (name.as_str(), pieces.as_slice()))
    }

    /// The pieces of a file, if it exists.
    pub(super) fn pieces_of(&self, name: &str) -> Option<&[Piece]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The length of a file, if it exists.
    pub(super) fn len_of(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|pieces| pieces.last().map_or(0, Piece::end))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().filter_map(|pieces| pieces.last()).map(Piece::end).sum()
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }
}

fn gap(object: &str, file: &str, end: u64, begin: u64) -> Error {
    Error::corrupt(object, 0, format!("a range of {file}"), format!("it to begin at byte {end}"), begin)
}
