//! What a walk that changes a tree carries along, and what it leaves for the level above.
//!
//! Never: changes a node.

use crate::error::Error;
use crate::key_index::ledger::Ledger;
use crate::key_index::node::Child;
use crate::key_index::separator::Separator;
use crate::pages::PageSegments;

/// New right neighbours of a node, each with the lowest entry that it may have.
pub(crate) type Grown = Vec<(Separator, Child)>;

/// Input and result of one walk.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) segments: &'a PageSegments,
    /// Changes that had an effect.
    pub(crate) applied: u64,
    /// Entries inserted, minus entries removed.
    pub(crate) net: i64,
    pub(crate) failed: Option<Error>,
}

impl Work<'_> {
    /// Keeps the first failure.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }
}
