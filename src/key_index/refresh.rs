//! Emptying page segments: nodes with images in them are treated as changed, and the next save writes them elsewhere.
//!
//! Owns: the walk over a tree, a part per call, bounded by the number of nodes moved out. Never: revisits what an
//! earlier call has passed, unless the tree was changed meanwhile: if its height changed, the walk starts over from the
//! root, and nodes that merges have moved to the left of the walk are left to the next save.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::error::Result;
use crate::id::SegmentSeq;
use crate::key_index::ledger::Ledger;
use crate::key_index::node::{Child, Node, level};
use crate::key_index::tree::KeyTree;
use crate::pages::PageSegments;

/// Where a walk continues.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The number of a child at each level, from the root.
    path: SmallVec<[usize; 8]>,
    root_level: u8,
}

struct Pass<'p> {
    from: &'p BTreeSet<SegmentSeq>,
    ledger: &'p mut Ledger,
    segments: &'p PageSegments,
    left: &'p mut usize,
    passed: &'p mut Passed,
}

impl KeyTree {
    /// Moves nodes out of page segments until `left` nodes have come to the heap, with those above them; the last one may bring
    /// as many more as the tree has levels. `true` when the walk is complete.
    pub(crate) fn refresh(
        &mut self,
        from: &BTreeSet<SegmentSeq>,
        left: &mut usize,
        passed: &mut Passed,
    ) -> Result<bool> {
        let root_level = level(&self.now.root)?;
        if passed.root_level != root_level {
            *passed = Passed { root_level, ..Passed::default() };
        }
        let segments = std::sync::Arc::clone(&self.now.segments);
        let mut pass = Pass { from, ledger: &mut self.ledger, segments: &segments, left, passed };
        pass.node(&mut self.now.root, 0)?;
        Ok(*pass.left > 0)
    }
}

impl Pass<'_> {
    fn is_in(&self, child: &Child) -> bool {
        self.is_base_in(child) || child.saved().is_some_and(|clean| self.from.contains(&clean.page().segment))
    }

    fn is_base_in(&self, child: &Child) -> bool {
        child.base().is_some_and(|base| self.from.contains(&base.clean.page().segment))
    }

    /// Moves a node out of the segments. What continues from an image there will be written whole.
    fn move_out(&mut self, child: &mut Child) -> Result<()> {
        *self.left = self.left.saturating_sub(1);
        if self.is_base_in(child) || matches!(child.node, Node::CleanLeaf(_)) {
            return self.ledger.leave_base(child, self.segments);
        }
        let is_whole = child.base().is_none();
        self.ledger.leave_patch(child, self.segments)?;
        // The image that was whole is its base now.
        if is_whole { self.ledger.leave_base(child, self.segments) } else { Ok(()) }
    }

    /// Whether the node or one below it is in the segments.
    fn is_below(&self, child: &Child) -> Result<bool> {
        if self.is_in(child) {
            return Ok(true);
        }
        for child in child.as_inner(self.segments)?.into_iter().flat_map(|inner| &inner.children) {
            if self.is_below(child)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first child from a number on with anything in the segments.
    fn next_below(&self, child: &Child, from: usize) -> Result<Option<usize>> {
        let children = child.as_inner(self.segments)?.map_or(&[][..], |inner| &inner.children);
        for (number, child) in children.iter().enumerate().skip(from) {
            if self.is_below(child)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    fn node(&mut self, child: &mut Child, depth: usize) -> Result<()> {
        if matches!(child.node, Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_)) {
            self.passed.path.truncate(depth);
            return if self.is_in(child) { self.move_out(child) } else { Ok(()) };
        }
        if self.is_in(child) {
            self.move_out(child)?;
        }
        let mut next = 0;
        loop {
            let number = match self.passed.path.get(depth) {
                Some(begun) => *begun,
                None => match self.next_below(child, next)? {
                    Some(number) => number,
                    None => return Ok(()),
                },
            };
            if self.passed.path.len() == depth {
                self.passed.path.push(number);
            }
            let dirty = self.ledger.dirty();
            let inner = self.ledger.inner_mut(child, self.segments)?;
            *self.left = self.left.saturating_sub(usize::from(self.ledger.dirty() > dirty));
            if let Some(below) = inner.children.get_mut(number) {
                self.node(below, depth + 1)?;
            }
            if *self.left == 0 {
                return Ok(());
            }
            self.passed.path.truncate(depth);
            next = number + 1;
        }
    }
}
