//! A transaction's buffers, reused by later transactions of the thread.
//!
//! Owns: the buffers, emptying them, keeping one set per thread. Never: keeps contents: kept buffers are empty. The
//! memory of a large transaction goes back to the allocator.

use std::cell::Cell;
use std::sync::Arc;

use crate::extract::Keys;
use crate::format::frame::FrameBuilder;
use crate::heap::Effect;
use crate::id::RecordId;
use crate::txn::changes::KeyChanges;
use crate::txn::claimed::Claimed;
use crate::txn::own_writes::{Own, OwnWrites, Seen};

/// Maximum size of a frame that is kept: a batch of a thousand small records.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Maximum size of any other buffer that is kept.
const KEPT_BYTES_MAX: usize = 1 << 17;
/// Maximum capacity of tables that are kept. Emptying a table takes time proportional to its capacity.
const KEPT_ENTRIES_MAX: usize = 1 << 10;

/// A transaction's buffers.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) frame: FrameBuilder,
    pub(crate) effects: Vec<Effect>,
    pub(crate) own: OwnWrites,
    pub(crate) seen: Seen,
    pub(crate) frees: Vec<RecordId>,
    /// Flags of the item that lists them.
    pub(crate) frees_flags: u8,
    /// Records that were written or deleted after the transaction had written them.
    pub(crate) again: Vec<RecordId>,
    pub(crate) handed: Vec<RecordId>,
    pub(crate) staged: Vec<Arc<Claimed>>,
    pub(crate) keys: KeyChanges,
    pub(crate) undo: Vec<(RecordId, Option<Own>)>,
    /// The keys of the newest record, kept for their memory.
    pub(crate) new_keys: Vec<Keys>,
    /// The keys of the last replaced value, likewise.
    pub(crate) old_keys: Vec<Keys>,
}

thread_local! {
    static KEPT: Cell<Option<Box<Parts>>> = const { Cell::new(None) };
}

fn empty<T>(buffer: &mut Vec<T>) {
    buffer.clear();
    if buffer.capacity() * size_of::<T>() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    }
}

impl Parts {
    /// Empties all buffers, and frees those that are large.
    fn clear(&mut self) {
        let Self { frame, effects, own, seen, frees, frees_flags, again, handed, staged, keys, undo, .. } = self;
        let Self { new_keys, old_keys, .. } = self;
        *frees_flags = 0;
        frame.clear();
        if frame.capacity() > FRAME_BYTES_MAX {
            *frame = FrameBuilder::new();
        }
        empty(effects);
        own.clear();
        if own.capacity() > KEPT_ENTRIES_MAX {
            *own = OwnWrites::default();
        }
        seen.clear();
        if seen.capacity() > KEPT_ENTRIES_MAX {
            *seen = Seen::default();
        }
        empty(frees);
        empty(again);
        empty(handed);
        empty(staged);
        keys.clear(KEPT_BYTES_MAX);
        empty(undo);
        for keys in [new_keys, old_keys] {
            keys.iter_mut().for_each(Keys::clear);
            keys.retain(|keys| keys.heap_bytes() <= KEPT_BYTES_MAX);
        }
    }
}

#[cold]
fn new_parts() -> Box<Parts> {
    Box::default()
}

/// The buffers of one transaction, emptied and kept when it ends.
#[derive(Debug)]
pub(crate) struct KeptParts(Option<Box<Parts>>);

impl KeptParts {
    /// Takes the buffers that the thread has kept, or new ones.
    pub(crate) fn take() -> Self {
        Self(KEPT.try_with(Cell::take).ok().flatten())
    }

    #[inline]
    pub(crate) fn get(&mut self) -> &mut Parts {
        self.0.get_or_insert_with(new_parts)
    }
}

impl Drop for KeptParts {
    fn drop(&mut self) {
        if let Some(mut parts) = self.0.take() {
            parts.clear();
            // A thread that is ending keeps nothing.
            KEPT.try_with(|kept| kept.set(Some(parts))).unwrap_or_default();
        }
    }
}
