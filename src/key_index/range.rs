//! Ranges: the entries between two keys, from both ends.
//!
//! The counts in inner nodes give the number of entries in a range, so that iterating compares no keys. For the same
//! reason both ends know their rank in the tree, even after they have moved to another key.

use std::ops::Bound;

use crate::error::Result;
use crate::format::node::KeyEntry;
use crate::id::{to_u64, to_usize};
use crate::key_index::cursor::Cursor;
use crate::key_index::position::Position;
use crate::key_index::root::KeyRoot;

/// A position between entries: a key and an ID, and whether it is after that entry.
#[derive(Debug)]
struct Edge {
    key: Vec<u8>,
    id: u64,
    behind: bool,
}

impl Edge {
    fn at(position: &Position<'_>) -> Self {
        Self { key: position.entry.key.to_vec(), id: position.entry.id, behind: position.behind }
    }

    fn position(&self) -> Position<'_> {
        Position { entry: KeyEntry { key: &self.key, id: self.id }, behind: self.behind }
    }
}

/// One end of a range.
#[derive(Debug, Default)]
struct End {
    /// Where the range ends on this side before the cursor is positioned; `None` at the end of the tree.
    edge: Option<Edge>,
    cursor: Option<Cursor>,
    /// Whether the cursor is at the entry to return next, and not at the one returned last.
    is_ahead: bool,
}

/// The entries between two keys that have not been returned yet.
#[derive(Debug)]
pub(crate) struct Range {
    root: KeyRoot,
    front: End,
    back: End,
    /// Ranks of the entries left.
    left: std::ops::Range<u64>,
}

fn edge(bound: Bound<&[u8]>, behind_included: bool) -> Option<Edge> {
    let edge = |key, behind| Edge::at(&if behind { Position::behind(key) } else { Position::before(key) });
    match bound {
        Bound::Included(key) => Some(edge(key, behind_included)),
        Bound::Excluded(key) => Some(edge(key, !behind_included)),
        Bound::Unbounded => None,
    }
}

impl Range {
    /// The entries of all keys between two bounds.
    pub(crate) fn new(root: &KeyRoot, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<Self> {
        let (lower, upper) = (edge(lower, false), edge(upper, true));
        let start = lower.as_ref().map_or(Ok(0), |edge| root.rank(&edge.position()))?;
        let end = upper.as_ref().map_or(Ok(root.len()), |edge| root.rank(&edge.position()))?;
        let [front, back] = [lower, upper].map(|edge| End { edge, ..End::default() });
        Ok(Self { root: root.clone(), front, back, left: start..end.max(start) })
    }

    /// The number of entries left.
    pub(crate) fn left(&self) -> u64 {
        self.left.end - self.left.start
    }

    /// Skips all entries left.
    pub(crate) fn end(&mut self) {
        self.left = 0..0;
    }

    /// The next entry from the front. After an error the range has ended.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], u64)>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let left = std::mem::take(&mut self.left);
        let cursor = match &mut self.front.cursor {
            Some(cursor) => {
                if !std::mem::take(&mut self.front.is_ahead) {
                    cursor.next()?;
                }
                cursor
            }
            front => {
                let mut cursor = Cursor::new(self.root.clone());
                match &self.front.edge {
                    Some(edge) => cursor.seek(&edge.position())?,
                    None => cursor.first()?,
                };
                front.insert(cursor)
            }
        };
        self.left = left.start + 1..left.end;
        Ok(cursor.stands().then(|| (cursor.key(), cursor.id())))
    }

    /// Appends the IDs of at most this many entries from the front to `ids`. Builds only the last key. After an error
    /// the range has ended; the IDs before it were appended.
    pub(crate) fn next_ids(&mut self, max: usize, ids: &mut Vec<u64>) -> Result<()> {
        let end = ids.len() + max;
        while ids.len() < end {
            // The first one of a leaf, or the cursor has moved ahead.
            let Some((_, id)) = self.next()? else { return Ok(()) };
            ids.push(id);
            let left = std::mem::take(&mut self.left);
            let wanted = to_usize((left.end - left.start).min(to_u64(end - ids.len())));
            let cursor = self.front.cursor.as_mut().filter(|_| wanted > 0);
            let skimmed = cursor.map_or(Ok(0), |cursor| cursor.skim(wanted, ids))?;
            self.left = left.start + skimmed..left.end;
        }
        Ok(())
    }

    /// The next entry from the back. After an error the range has ended.
    pub(crate) fn next_back(&mut self) -> Result<Option<(&[u8], u64)>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let left = std::mem::take(&mut self.left);
        let cursor = match &mut self.back.cursor {
            Some(cursor) => {
                if !std::mem::take(&mut self.back.is_ahead) {
                    cursor.prev()?;
                }
                cursor
            }
            back => {
                let mut cursor = Cursor::new(self.root.clone());
                match &self.back.edge {
                    Some(edge) => cursor.seek_before(&edge.position())?,
                    None => cursor.last()?,
                };
                back.insert(cursor)
            }
        };
        self.left = left.start..left.end - 1;
        Ok(cursor.stands().then(|| (cursor.key(), cursor.id())))
    }

    /// Skips the remaining entries before a key; with `behind`, those of the key too. Like [`seek_to`](Self::seek_to).
    pub(crate) fn seek(&mut self, key: &[u8], behind: bool) -> Result<()> {
        self.seek_to(&if behind { Position::behind(key) } else { Position::before(key) })
    }

    /// Skips the remaining entries before a position. An entry in the same leaf is found there, any other with two
    /// descents of the tree. After an error the range has ended.
    pub(crate) fn seek_to(&mut self, to: &Position<'_>) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let left = std::mem::take(&mut self.left);
        let End { edge, cursor, is_ahead } = &mut self.front;
        let near = cursor.as_mut().map(|cursor| cursor.step_to(to)).transpose()?.flatten();
        let start = if let Some(steps) = near {
            if steps == 0 { left.start } else { (left.start + steps) - u64::from(!std::mem::replace(is_ahead, true)) }
        } else {
            let rank = self.root.rank(to)?;
            match cursor {
                _ if !left.contains(&rank) || rank == left.start => {}
                Some(cursor) => *is_ahead = cursor.seek(to)?,
                None => *edge = Some(Edge::at(to)),
            }
            rank.max(left.start)
        };
        self.left = start.min(left.end)..left.end;
        Ok(())
    }

    /// Skips the remaining entries after a key; with `before`, those of the key too.
    pub(crate) fn seek_back(&mut self, key: &[u8], before: bool) -> Result<()> {
        self.seek_back_to(&if before { Position::before(key) } else { Position::behind(key) })
    }

    /// Skips the remaining entries after a position. Like [`seek_to`](Self::seek_to), from the back.
    pub(crate) fn seek_back_to(&mut self, to: &Position<'_>) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let left = std::mem::take(&mut self.left);
        let End { edge, cursor, is_ahead } = &mut self.back;
        let near = cursor.as_mut().map(|cursor| cursor.step_back_to(to)).transpose()?.flatten();
        let end = if let Some(steps) = near {
            if steps == 0 { left.end } else { left.end + u64::from(!std::mem::replace(is_ahead, true)) - steps }
        } else {
            let rank = self.root.rank(to)?;
            match cursor {
                _ if !left.contains(&rank) || rank == left.start => {}
                Some(cursor) => *is_ahead = cursor.seek_before(to)?,
                None => *edge = Some(Edge::at(to)),
            }
            rank.min(left.end)
        };
        self.left = left.start..end.max(left.start);
        Ok(())
    }
}
