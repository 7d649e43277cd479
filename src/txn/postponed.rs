//! Keys that were found taken before the end of a statement.
//!
//! Never: decides whether they are taken then; `unique` does.

use crate::id::{RecordId, SetNumber};
use crate::key::Key;

/// A key found taken during a statement of several records, which may be free at the statement's end.
#[derive(Debug)]
pub(super) struct Postponed {
    pub(super) set: SetNumber,
    /// The position of the index among those of the set.
    pub(super) at: usize,
    pub(super) key: Key,
    pub(super) id: Option<RecordId>,
}
