//! Named consumers of the changes: how far each has come.
//!
//! Owns: their positions. Never: decides which files are kept for them; the collector does.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::id::{Seq, to_u64};

/// A named consumer of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consumer {
    /// The last commit that it has acknowledged.
    pub(crate) seq: Seq,
    /// It was too far behind: nothing is kept for it.
    pub(crate) is_lost: bool,
}

/// Bytes of the row of a consumer.
pub(super) fn consumer_bytes(name: &str) -> u64 {
    11 + to_u64(name.len())
}

impl Catalogue {
    /// Sets what a consumer has acknowledged, or removes it.
    pub(crate) fn set_consumer(&mut self, name: &str, consumer: Option<Consumer>) {
        if self.consumers.contains_key(name) {
            self.bytes = self.bytes.saturating_sub(consumer_bytes(name));
            self.consumers.remove_mut(name);
        }
        if let Some(consumer) = consumer {
            self.bytes += consumer_bytes(name);
            self.consumers.insert_mut(Arc::from(name), consumer);
        }
    }

    pub(crate) fn consumer(&self, name: &str) -> Option<Consumer> {
        self.consumers.get(name).copied()
    }

    pub(crate) fn consumers(&self) -> impl Iterator<Item = (&str, Consumer)> {
        self.consumers.iter().map(|(name, consumer)| (&**name, *consumer))
    }

    /// What the slowest consumer has acknowledged, of those for which the log is kept.
    pub(crate) fn slowest(&self) -> Option<(&str, Seq)> {
        let kept = self.consumers().filter(|(_, consumer)| !consumer.is_lost);
        kept.map(|(name, consumer)| (name, consumer.seq)).min_by_key(|(_, seq)| *seq)
    }
}
