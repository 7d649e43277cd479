//! Emptying page segments: nodes whose images lie in them are treated as changed, and the next save writes them elsewhere.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::id::SegmentSeq;
use crate::key_index::ledger::Ledger;
use crate::key_index::node::Child;
use crate::key_index::node::Node;
use crate::key_index::tree::KeyTree;
use crate::pages::PageSegments;

struct Pass<'p> {
    from: &'p BTreeSet<SegmentSeq>,
    ledger: &'p mut Ledger,
    segments: &'p PageSegments,
    left: usize,
}

impl KeyTree {
    /// Takes nodes out of page segments, so many in one call. `true` when none is left there.
    pub(crate) fn refresh(&mut self, from: &BTreeSet<SegmentSeq>, nodes: usize) -> Result<bool> {
        let segments = std::sync::Arc::clone(&self.now.segments);
        let mut pass = Pass { from, ledger: &mut self.ledger, segments: &segments, left: nodes };
        pass.node(&mut self.now.root)?;
        Ok(pass.left > 0)
    }
}

impl Pass<'_> {
    fn is_in(&self, child: &Child) -> bool {
        child.saved().is_some_and(|clean| self.from.contains(&clean.page().segment))
    }

    /// Whether the node or one below it lies in the segments.
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

    fn node(&mut self, child: &mut Child) -> Result<()> {
        if self.left == 0 || !self.is_below(child)? {
            return Ok(());
        }
        self.left -= 1;
        if matches!(child.node, Node::Leaf(_) | Node::CleanLeaf(_)) {
            return self.ledger.leaf_mut(child).map(drop);
        }
        for child in &mut self.ledger.inner_mut(child, self.segments)?.children {
            self.node(child)?;
        }
        Ok(())
    }
}
