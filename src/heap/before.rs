//! The state before a large commit that is being applied, for views that are taken meanwhile.
//!
//! Owns: that state, handed out without the writer's lock. Never: outlives the application: it is taken away before the
//! commit counts as applied.
//! Invariants: 1. While it is here, the writer changes nothing that it holds, and readers outside of views see it too.
//! 2. Whoever learns that the commit was applied finds a later state.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::heap::{Effect, Heap, State, Writer};
use crate::id::to_u64;

/// Changes from which on a commit is large: views would wait longer for it than the copies of pages take that
/// it makes for them. A batch of ten thousand records with two indexes has fewer.
const LARGE: u64 = 1 << 15;
/// Bytes of logged changes of an index that count as one change.
const INDEX_CHANGE_BYTES: u64 = 32;
/// How long a view waits for the writer's lock before it looks for the state again.
const LOOK: Duration = Duration::from_micros(20);

/// Whether others should not wait while these are applied.
pub(crate) fn is_large(effects: &[Effect]) -> bool {
    has_changes(effects, LARGE)
}

/// Whether these are so many changes, or more.
pub(super) fn has_changes(effects: &[Effect], least: u64) -> bool {
    let changes = |effect: &Effect| match effect {
        Effect::Index(_, changes) => to_u64(changes.len()) / INDEX_CHANGE_BYTES,
        Effect::Moves(_, _, moves) => to_u64(moves.len()),
        _ => 1,
    };
    let mut count = 0;
    effects.iter().any(|effect| {
        count += changes(effect);
        count >= least
    })
}

/// The state before a large commit, while that is applied.
#[derive(Debug, Default)]
pub(super) struct Before(Mutex<Option<Arc<State>>>);

impl Before {
    pub(super) fn take(&self) -> Option<Arc<State>> {
        self.0.lock().take()
    }

    /// The writer's lock, or the state to be used instead of waiting for it.
    pub(super) fn or_lock<'w>(&self, writer: &'w Mutex<Writer>) -> Result<MutexGuard<'w, Writer>, Arc<State>> {
        if let Some(writer) = writer.try_lock() {
            return Ok(writer);
        }
        loop {
            if let Some(state) = &*self.0.lock() {
                return Err(Arc::clone(state));
            }
            if let Some(writer) = writer.try_lock_for(LOOK) {
                return Ok(writer);
            }
        }
    }
}

impl Heap {
    /// Called before much is changed: views get the state as it is now until `take`. The caller excludes commits.
    pub(super) fn keep_before(&self) {
        // Without readers there is nobody to wait.
        if !self.writer.lock().is_loading {
            let state = self.pin();
            *self.before.0.lock() = Some(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::heap::Indexes;
    use crate::id::Seq;
    use crate::record_index::Root;

    #[test]
    fn a_view_waits_for_the_writer_unless_there_is_a_state_before() {
        let heap = Heap::new(Root::default(), Vec::new(), Catalogue::default(), Indexes::default(), Seq(7));
        let state = heap.pin();
        let writer = heap.writer.lock();
        std::thread::scope(|scope| {
            let (told, views) = mpsc::channel();
            let heap = &heap;
            scope.spawn(move || told.send(heap.pin()));
            assert!(views.recv_timeout(Duration::from_millis(30)).is_err(), "the writer's lock is held");
            *heap.before.0.lock() = Some(Arc::clone(&state));
            let view = views.recv_timeout(Duration::from_mins(1));
            assert!(Arc::ptr_eq(&view.unwrap(), &state));
        });
        drop(writer);
    }

    #[test]
    fn large_is_what_has_many_changes_of_any_kind() {
        let frees =
            |count: u64| (0..count).map(|slot| Effect::Assign(slot, crate::id::SetNumber(7))).collect::<Vec<_>>();
        let keys = |bytes: u64| Effect::Index(crate::id::IndexNumber(1), vec![0; crate::id::to_usize(bytes)]);
        assert!(!is_large(&frees(LARGE - 1)) && is_large(&frees(LARGE)));
        let changes = |count: u64| keys(count * INDEX_CHANGE_BYTES);
        assert!(!is_large(&[changes(LARGE - 1)]) && is_large(&[changes(LARGE - 1), changes(1)]));
    }
}
