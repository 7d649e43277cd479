//! How far a reader has followed the log of a writer.
//!
//! Owns: where it goes on, and taking over what a new opening has found. Never: reads a file.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::engine::Engine;
use crate::id::{SegmentSeq, Seq};

/// Where a reader goes on, and what it has seen of the files.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// The snapshot from which its state was loaded.
    pub(crate) base: u64,
    /// The newest snapshot that the manifest had.
    pub(crate) newest: u64,
    /// The end of the last frame.
    pub(crate) at: (SegmentSeq, u64),
    /// Whether that frame is the last one of its segment.
    pub(crate) is_sealed: bool,
    /// The commit that the last one names: the segment to which it was written ahead, and its number.
    pub(crate) prewritten: Option<(SegmentSeq, Seq)>,
    pub(crate) timeline: u64,
    /// The manifest's files, and the length of the newest.
    pub(crate) manifest: (Vec<SegmentSeq>, u64),
    /// The last entry of the manifest.
    pub(crate) last_entry: u64,
    /// The number after every file that the manifest knows.
    pub(crate) known: SegmentSeq,
    /// Later segments than that of the last frame that do not belong to the log.
    pub(crate) older: BTreeSet<SegmentSeq>,
    /// Of a backing that shows states, of which nothing changes between two looks: the number of the one that was seen last.
    pub(crate) shown: Option<u64>,
    /// How often in a row there was nothing new.
    pub(crate) idle: u32,
    /// Whether only a new opening can go on.
    pub(crate) is_lost: bool,
}

/// A reader that follows a writer.
#[derive(Debug)]
pub(crate) struct Following {
    /// How far it has come.
    followed: Mutex<Followed>,
    /// The timeline that it has reached.
    timeline: AtomicU64,
    /// How often it has loaded the newest state as a whole.
    reloads: AtomicU64,
}

impl Following {
    /// It begins here.
    pub(crate) fn from(followed: Followed) -> Self {
        let timeline = AtomicU64::new(followed.timeline);
        Self { followed: Mutex::new(followed), timeline, reloads: AtomicU64::new(0) }
    }

    /// How far it has come; others that go on wait.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock()
    }

    /// The same, unless another goes on just now.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Followed>> {
        self.followed.try_lock()
    }

    /// The newest state has been loaded as a whole.
    pub(crate) fn count_reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has loaded the newest state as a whole.
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Takes over the timeline of a new opening.
    fn take_over(&self, next: Self) {
        self.timeline.store(next.timeline.into_inner(), Ordering::Relaxed);
    }
}

impl Engine {
    /// The timeline of the log.
    pub(crate) fn timeline(&self) -> u64 {
        if self.read_only { self.following.timeline.load(Ordering::Relaxed) } else { self.log.timeline() }
    }

    /// Goes on with what a new opening of the same store has found. Views and handles stay valid.
    pub(crate) fn take_over(&self, next: Self) {
        let given = self.given_extractors();
        let Self { heap, manifest, pages, left, log, growth, following, .. } = next;
        self.pages.take_over(pages);
        self.manifest.take_over(manifest);
        self.left.take_over(left);
        self.growth.take_over(growth);
        self.following.take_over(following);
        self.log.note_followed(log.durable_seq());
        self.heap.take_over(heap);
        self.registry.forget_sets();
        self.take_extractors(given);
    }
}
