//! Marks: names of commits.
//!
//! Owns: which commit a mark names. Never: keeps what leads to that commit.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::id::{Seq, to_u64};

/// Bytes of the row of a mark.
pub(super) fn mark_bytes(name: &str) -> u64 {
    10 + to_u64(name.len())
}

impl Catalogue {
    pub(crate) fn mark(&mut self, name: &str, seq: Seq) {
        let name: Arc<str> = Arc::from(name);
        if let Some(before) = self.marks.get(&name).copied() {
            self.marks_by_seq.remove_mut(&(before, Arc::clone(&name)));
        } else {
            self.bytes += mark_bytes(&name);
        }
        self.marks.insert_mut(Arc::clone(&name), seq);
        self.marks_by_seq.insert_mut((seq, name));
    }

    /// A missing mark is no error: replay may start after it was set.
    pub(crate) fn drop_mark(&mut self, name: &str) {
        if let Some(seq) = self.marks.get(name).copied() {
            self.marks.remove_mut(name);
            self.marks_by_seq.remove_mut(&(seq, Arc::from(name)));
            self.bytes = self.bytes.saturating_sub(mark_bytes(name));
        }
    }

    /// Whether a mark of this name exists.
    pub(crate) fn has_mark(&self, name: &str) -> bool {
        self.marks.contains_key(name)
    }

    pub(crate) fn marks(&self) -> impl Iterator<Item = (&str, Seq)> {
        self.marks.iter().map(|(name, seq)| (&**name, *seq))
    }

    /// The oldest commit from this one on that a mark names.
    pub(crate) fn oldest_mark_from(&self, seq: Seq) -> Option<Seq> {
        self.marks_by_seq.range((seq, Arc::default())..).next().map(|(seq, _)| *seq)
    }
}
