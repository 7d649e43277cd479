//! Where a handle comes from.
//!
//! Owns: lineages. Never: knows which sets there are.
//!
//! Copies of a store that diverge assign the same numbers to different sets, so a handle's number identifies a set only within its
//! lineage.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::SetNumber;

/// One opening of a store, with the rollbacks and refreshes that continue it in this process. Within a lineage a number means
/// one set, whatever its name. Two lineages may be diverged copies of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lineage(pub(super) u64);

impl Lineage {
    /// A new lineage.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The origin of a handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The store's UUID, which its copies share.
    pub(crate) store: [u8; 16],
    pub(crate) lineage: Lineage,
}

/// What a handle knows about its set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle<'h> {
    pub(crate) lineage: Lineage,
    pub(crate) number: SetNumber,
    /// Its name when the handle was created.
    pub(crate) name: &'h str,
}
