//! Ranges: the entries between two keys, from both ends.
//!
//! The counts in the inner nodes say how many entries a range has, so that no key is compared on the way.

use std::ops::Bound;

use crate::error::Result;
use crate::key_index::cursor::Cursor;
use crate::key_index::tree::KeyRoot;
use crate::key_index::tree::Position;

/// The entries between two keys that were not handed out yet.
#[derive(Debug)]
pub(crate) struct Range {
    root: KeyRoot,
    front: Option<Cursor>,
    back: Option<Cursor>,
    lower: Option<(Vec<u8>, bool)>,
    upper: Option<(Vec<u8>, bool)>,
    left: u64,
}

/// The key, and whether the position lies behind its entries.
fn edge(bound: Bound<&[u8]>, behind_included: bool) -> Option<(Vec<u8>, bool)> {
    match bound {
        Bound::Included(key) => Some((key.to_vec(), behind_included)),
        Bound::Excluded(key) => Some((key.to_vec(), !behind_included)),
        Bound::Unbounded => None,
    }
}

fn position(edge: &(Vec<u8>, bool)) -> Position<'_> {
    let (key, behind) = edge;
    if *behind { Position::behind(key) } else { Position::before(key) }
}

impl Range {
    /// The entries of all keys between two bounds.
    pub(crate) fn new(root: &KeyRoot, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<Self> {
        let (lower, upper) = (edge(lower, false), edge(upper, true));
        let left = root.count(lower.as_ref().map(position).as_ref(), upper.as_ref().map(position).as_ref())?;
        Ok(Self { root: root.clone(), front: None, back: None, lower, upper, left })
    }

    /// How many entries are left.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next entry from the front. After an error the range is at its end.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], u64)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let left = std::mem::take(&mut self.left);
        let cursor = match &mut self.front {
            Some(cursor) => {
                cursor.next()?;
                cursor
            }
            front => {
                let mut cursor = Cursor::new(self.root.clone());
                match &self.lower {
                    Some(edge) => cursor.seek(&position(edge))?,
                    None => cursor.first()?,
                };
                front.insert(cursor)
            }
        };
        self.left = left - 1;
        Ok(cursor.stands().then(|| (cursor.key(), cursor.id())))
    }

    /// The next entry from the back. After an error the range is at its end.
    pub(crate) fn next_back(&mut self) -> Result<Option<(&[u8], u64)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let left = std::mem::take(&mut self.left);
        let cursor = match &mut self.back {
            Some(cursor) => {
                cursor.prev()?;
                cursor
            }
            back => {
                let mut cursor = Cursor::new(self.root.clone());
                match &self.upper {
                    Some(edge) => cursor.seek_before(&position(edge))?,
                    None => cursor.last()?,
                };
                back.insert(cursor)
            }
        };
        self.left = left - 1;
        Ok(cursor.stands().then(|| (cursor.key(), cursor.id())))
    }
}

/// The lowest key behind all keys that begin with `prefix`; `None` when there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}
