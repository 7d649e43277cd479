//! Cursors: a position in an immutable tree, moved in both directions.
//!
//! Owns: the path from the root, the leaf it ends in, and a copy of the current entry. Never: allocates per entry; the
//! key's buffer is reused.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::node::NodeView;
use crate::id::to_u64;
use crate::key_index::image::in_memory;
use crate::key_index::node::{Child, Inner, Node};
use crate::key_index::position::Position;
use crate::key_index::root::KeyRoot;

/// A leaf in a page is copied once this many of its entries were read: one long copy costs less than finding the page
/// again for each entry. A leaf on the heap is not copied.
const STEPS_BEFORE_COPY: usize = 6;
/// Initial capacity for keys, so that usual ones need no second allocation.
const KEY_BYTES: usize = 64;

/// A position in a tree.
#[derive(Debug)]
pub(crate) struct Cursor {
    root: KeyRoot,
    path: SmallVec<[(Arc<Inner>, usize); 5]>,
    leaf: Option<Child>,
    at: usize,
    count: usize,
    /// Whether `key` starts with the leaf's prefix.
    has_prefix: bool,
    key: Vec<u8>,
    id: u64,
    stands: bool,
    /// Entries read in this leaf.
    steps: usize,
    /// The leaf's bytes, if it is in a page and more than a few of its entries are read.
    copy: Vec<u8>,
}

/// Where to go within a child.
#[derive(Clone, Copy)]
enum Aim<'a> {
    First,
    Last,
    To(&'a Position<'a>),
}

impl Cursor {
    /// A cursor without a position.
    pub(crate) fn new(root: KeyRoot) -> Self {
        Self {
            root,
            path: SmallVec::new(),
            leaf: None,
            at: 0,
            count: 0,
            has_prefix: false,
            key: Vec::with_capacity(KEY_BYTES),
            id: 0,
            stands: false,
            steps: 0,
            copy: Vec::new(),
        }
    }

    /// Whether it is at an entry.
    pub(crate) fn stands(&self) -> bool {
        self.stands
    }

    /// The key of the current entry.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The ID of the current entry.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Moves to the first entry after a position. `false` if there is none.
    pub(crate) fn seek(&mut self, position: &Position<'_>) -> Result<bool> {
        self.descend_from_root(Aim::To(position))?;
        self.settle_forward()
    }

    /// Moves to the last entry before a position. `false` if there is none.
    pub(crate) fn seek_before(&mut self, position: &Position<'_>) -> Result<bool> {
        self.descend_from_root(Aim::To(position))?;
        self.settle_backward()
    }

    /// Moves to the first entry.
    pub(crate) fn first(&mut self) -> Result<bool> {
        self.descend_from_root(Aim::First)?;
        self.settle_forward()
    }

    /// Moves to the last entry.
    pub(crate) fn last(&mut self) -> Result<bool> {
        self.descend_from_root(Aim::Last)?;
        self.settle_backward()
    }

    /// Moves to the next entry. `false` if there is none; the cursor then has no position.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<bool> {
        if !self.stands {
            return Ok(false);
        }
        self.at += 1;
        self.settle_forward()
    }

    /// Advances by at most this many entries within the leaf, and appends their IDs to `ids`. Returns the number.
    pub(crate) fn skim(&mut self, max: usize, ids: &mut Vec<u64>) -> Result<u64> {
        let (begin, end) = (self.at + 1, self.count.min((self.at + 1).saturating_add(max)));
        let Some(leaf) = self.leaf.as_ref().filter(|_| self.stands && begin < end) else { return Ok(0) };
        let before = ids.len();
        let read = leaf.with_leaf(|view| {
            for index in begin..end {
                ids.push(view.id(index)?);
            }
            Some(())
        });
        if let Err(error) = read {
            ids.truncate(before);
            return Err(error);
        }
        self.at = end - 1;
        self.read()?;
        Ok(to_u64(end - begin))
    }

    /// Moves to the previous entry. `false` if there is none; the cursor then has no position.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<bool> {
        if !self.stands {
            return Ok(false);
        }
        self.settle_backward()
    }

    /// Moves to the first entry after a position, if that is after this one and in the same leaf. Returns the distance
    /// in entries; `None` if the entry must be searched from the root.
    pub(crate) fn step_to(&mut self, position: &Position<'_>) -> Result<Option<u64>> {
        let Some(leaf) = self.leaf.as_ref().filter(|_| self.stands) else { return Ok(None) };
        let at = leaf.with_leaf(|view| view.search(&position.entry, position.behind))?;
        if at >= self.count {
            return Ok(None);
        }
        self.step(at, at.saturating_sub(self.at)).map(Some)
    }

    /// Moves to the last entry before a position, if that is before this one and in the same leaf. Like
    /// [`step_to`](Self::step_to).
    pub(crate) fn step_back_to(&mut self, position: &Position<'_>) -> Result<Option<u64>> {
        let Some(leaf) = self.leaf.as_ref().filter(|_| self.stands) else { return Ok(None) };
        let behind = leaf.with_leaf(|view| view.search(&position.entry, position.behind))?;
        let Some(at) = behind.checked_sub(1) else { return Ok(None) };
        self.step(at, self.at.saturating_sub(at)).map(Some)
    }

    fn step(&mut self, at: usize, steps: usize) -> Result<u64> {
        if steps > 0 {
            self.at = at;
            self.read()?;
        }
        Ok(to_u64(steps))
    }

    fn descend_from_root(&mut self, aim: Aim<'_>) -> Result<()> {
        self.path.clear();
        self.stands = false;
        let root = self.root.root.clone();
        self.descend(root, aim)
    }

    fn descend(&mut self, mut child: Child, aim: Aim<'_>) -> Result<()> {
        while let Some(inner) = child.as_inner(&self.root.segments)? {
            let inner = Arc::clone(inner);
            let index = match aim {
                Aim::First => 0,
                Aim::Last => inner.children.len().saturating_sub(1),
                Aim::To(position) => inner.find(&position.entry)?,
            };
            let below = inner.children.get(index);
            child =
                below.ok_or_else(|| Error::corrupt("memory", 0, "node of a key index", "children", "none"))?.clone();
            self.path.push((inner, index));
        }
        if let Some(merged) = child.merged() {
            child.node = Node::Leaf(Arc::new(merged?));
        }
        (self.at, self.count) = child.with_leaf(|view| {
            let at = match aim {
                Aim::First => 0,
                Aim::Last => view.count(),
                Aim::To(position) => view.search(&position.entry, position.behind)?,
            };
            Some((at, view.count()))
        })?;
        self.has_prefix = false;
        self.steps = 0;
        self.copy.clear();
        self.leaf = Some(child);
        Ok(())
    }

    /// Moves to the entry at `at`, or the first one after this leaf.
    fn settle_forward(&mut self) -> Result<bool> {
        while self.at >= self.count {
            if !self.turn(|index, count| index.checked_add(1).filter(|index| *index < count), Aim::First)? {
                return Ok(false);
            }
        }
        self.read()
    }

    /// Moves to the entry before `at`, or the last one before this leaf.
    fn settle_backward(&mut self) -> Result<bool> {
        while self.at == 0 {
            if !self.turn(|index, _| index.checked_sub(1), Aim::Last)? {
                return Ok(false);
            }
        }
        self.at -= 1;
        self.read()
    }

    /// Moves to a neighbouring leaf: up until a node has such a neighbour, and down again.
    fn turn(&mut self, neighbour: impl Fn(usize, usize) -> Option<usize>, aim: Aim<'_>) -> Result<bool> {
        while let Some((inner, index)) = self.path.pop() {
            let next = neighbour(index, inner.children.len());
            if let Some((next, child)) = next.and_then(|next| Some((next, inner.children.get(next)?.clone()))) {
                self.path.push((inner, next));
                self.descend(child, aim)?;
                return Ok(true);
            }
        }
        self.stands = false;
        Ok(false)
    }

    fn read(&mut self) -> Result<bool> {
        let Self { leaf, at, key, has_prefix, steps, copy, .. } = self;
        self.stands = false;
        let read = |view: &NodeView<'_>, key: &mut Vec<u8>| match has_prefix {
            true => view.read_behind_prefix(*at, key),
            false => view.read(*at, key),
        };
        self.id = if let Some(view) = NodeView::open(copy) {
            read(&view, key).ok_or_else(|| in_memory(view.broken()))?
        } else {
            let Some(leaf) = leaf else { return Ok(false) };
            *steps += 1;
            let copies = *steps == STEPS_BEFORE_COPY && matches!(leaf.node, Node::CleanLeaf(_));
            leaf.with_leaf(|view| {
                if copies {
                    copy.extend_from_slice(view.bytes());
                }
                read(view, key)
            })?
        };
        self.has_prefix = true;
        self.stands = true;
        Ok(true)
    }
}
