//! Appending: the tail of the log, and what it holds.
//!
//! Owns: the order of frames. Locks: `tail`, then nothing; that of `group`, then nothing. Neither is held over a sync. Never: decides
//! what a frame has.

mod copies;
mod numbers;
mod prewritten;
mod segments;
mod syncing;

pub(crate) use numbers::{LAST_SEQ, no_commit_left};
pub(crate) use prewritten::Prewritten;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::FORMAT_VERSION;
use crate::format::frame::{COPIED, FrameBuilder, FrameKind, Stamp};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::group::GroupSync;
use crate::log::writer::numbers::{NUMBERS_LEFT_MIN, are_few};
use crate::log::{Poison, Segment, SegmentSource};

const _: () = assert!(FORMAT_VERSION == 2, "the writer writes format version 2");

/// Microseconds since 1970, not used for ordering.
pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Where a frame was appended.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    /// The last commit at that time: its own, if it is one.
    pub(crate) seq: Seq,
}

/// Where the log continues after opening.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogStart {
    pub(crate) timeline: u64,
    pub(crate) last_seq: Seq,
    pub(crate) durable: Seq,
    pub(crate) previous: SegmentSeq,
    pub(crate) next_segment: SegmentSeq,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    len: u64,
    has_commits: bool,
}

#[derive(Debug)]
struct Tail {
    active: Option<Active>,
    spare: Option<Segment>,
    unsynced: Vec<Arc<Segment>>,
    /// Ended segments without a commit: nothing else refers to them.
    bare: Vec<SegmentSeq>,
    /// The segment that the manifest says was started: without its file a reader would report its contents as lost.
    announced: Option<SegmentSeq>,
    /// The segment of a commit that is being written before its turn, and the one after it.
    prewritten: Vec<SegmentSeq>,
    previous: SegmentSeq,
    next_segment: SegmentSeq,
    last_seq: Seq,
    watermark_written: Seq,
}

impl Tail {
    /// Nothing more is appended to the segment, but it is still synced.
    fn end(&mut self, active: Active) {
        active.segment.end_room();
        if !active.has_commits {
            self.bare.push(active.segment.number());
        }
        self.unsynced.push(active.segment);
    }
}

/// The log of generation 0, open for appending.
#[derive(Debug)]
pub(crate) struct Log {
    source: SegmentSource,
    timeline: u64,
    tail: Mutex<Tail>,
    /// Held while a commit is written before its turn, until it counts or is abandoned.
    prewriting: Mutex<()>,
    /// Outside the tail's lock: beginning a transaction reads it, and need not wait for another thread's append.
    appended_bytes: AtomicU64,
    /// How many of them are durable.
    synced_bytes: AtomicU64,
    /// How many of them the log itself records as durable.
    proven_bytes: AtomicU64,
    /// Few file numbers are left; they are reserved for closing and opening the store.
    numbers_are_few: AtomicBool,
    durable: GroupSync,
    poison: Arc<Poison>,
}

impl Log {
    pub(crate) fn new(source: SegmentSource, start: LogStart, poison: Arc<Poison>) -> Self {
        let tail = Tail {
            active: None,
            spare: None,
            unsynced: Vec::new(),
            bare: Vec::new(),
            announced: None,
            prewritten: Vec::new(),
            previous: start.previous,
            next_segment: start.next_segment,
            last_seq: start.last_seq,
            watermark_written: start.durable,
        };
        Self {
            source,
            timeline: start.timeline,
            tail: Mutex::new(tail),
            prewriting: Mutex::default(),
            appended_bytes: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            proven_bytes: AtomicU64::new(0),
            numbers_are_few: AtomicBool::new(are_few(start.next_segment, start.last_seq)),
            durable: GroupSync::new(start.durable),
            poison,
        }
    }

    pub(crate) fn source(&self) -> &SegmentSource {
        &self.source
    }

    pub(crate) fn timeline(&self) -> u64 {
        self.timeline
    }

    pub(crate) fn last_seq(&self) -> Seq {
        self.tail.lock().last_seq
    }

    /// The last durable commit.
    pub(crate) fn durable_seq(&self) -> Seq {
        self.durable.seq()
    }

    /// For a reader: the writer has made this durable.
    pub(crate) fn note_followed(&self, durable: Seq) {
        self.durable.note(durable);
    }

    /// Waits until a commit is durable, without a sync, for this long at most.
    pub(crate) fn wait_for_durable(&self, seq: Seq, timeout: std::time::Duration) {
        #[cfg(not(all(test, loom)))]
        self.durable.wait_for(seq, timeout);
        #[cfg(all(test, loom))]
        drop((seq, timeout));
    }

    /// Bytes appended through this handle.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// Bytes appended through this handle that may not be durable.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.appended_bytes().saturating_sub(self.synced_bytes.load(Ordering::Acquire))
    }

    /// Bytes appended through this handle that the next opening would copy if the process were killed now.
    pub(crate) fn unproven_bytes(&self) -> u64 {
        self.appended_bytes().saturating_sub(self.proven_bytes.load(Ordering::Acquire))
    }

    /// The store is closing with a snapshot of its last commit, so the next opening copies nothing.
    pub(crate) fn closes_with_snapshot(&self) {
        self.proven_bytes.fetch_max(self.appended_bytes(), Ordering::AcqRel);
    }

    /// Segments that are being appended to, prepared, or not synced yet.
    pub(crate) fn in_hand(&self) -> Vec<SegmentSeq> {
        let tail = self.tail.lock();
        let active = tail.active.as_ref().map(|active| active.segment.number());
        let spare = tail.spare.as_ref().map(Segment::number);
        active
            .into_iter()
            .chain(spare)
            .chain(tail.unsynced.iter().map(|segment| segment.number()))
            .chain(tail.bare.iter().copied())
            .chain(tail.prewritten.iter().copied())
            .collect()
    }

    /// Ended segments without a commit, since the last call. Replay may need the watermarks in them.
    pub(crate) fn take_bare(&self) -> Vec<SegmentSeq> {
        std::mem::take(&mut self.tail.lock().bare)
    }

    /// The earliest place of the next frame: replay of later commits starts here.
    pub(crate) fn head(&self) -> (SegmentSeq, u64) {
        let tail = self.tail.lock();
        match (&tail.active, &tail.spare) {
            (Some(active), _) => (active.segment.number(), active.len),
            (None, Some(spare)) => (spare.number(), to_u64(SEGMENT_HEADER_BYTES)),
            (None, None) => (tail.next_segment, to_u64(SEGMENT_HEADER_BYTES)),
        }
    }

    /// Seals the frame, appends it, and counts its commit. The caller holds the commit lock, so frames are appended in
    /// commit order. On `NoSpace`, or if a segment cannot be created, nothing of the frame remains; any other failure
    /// ends the handle.
    pub(crate) fn append(&self, frame: &mut FrameBuilder, kind: FrameKind, copied: Option<Seq>) -> Result<Appended> {
        self.poison.check_alive()?;
        // First, so that the watermark is not too high.
        let proven = self.synced_bytes.load(Ordering::Acquire);
        let durable = self.durable_seq();
        let mut guard = self.room_for(self.tail.lock(), frame.bytes())?;
        let tail = &mut *guard;
        let Some(active) = tail.active.as_mut() else {
            return Err(Error::Poisoned { reason: "no active segment".to_owned() });
        };
        if kind == FrameKind::Commit && copied.is_none() && tail.last_seq >= LAST_SEQ {
            return Err(no_commit_left());
        }
        let seq = match (kind, copied) {
            (_, Some(seq)) => seq,
            (FrameKind::Commit, None) => tail.last_seq.next(),
            _ => tail.last_seq,
        };
        let stamp = Stamp {
            kind,
            seq,
            durable,
            timeline: self.timeline,
            time_micros: now_micros(),
            move_number: if copied.is_some() { COPIED } else { 0 },
        };
        let offset = active.len;
        let bytes = frame.seal(&stamp, active.segment.seed(), offset);
        let segment = self.write(tail, bytes, kind)?;
        self.appended_bytes.fetch_add(frame.bytes(), Ordering::Relaxed);
        self.proven_bytes.fetch_max(proven, Ordering::Release);
        tail.watermark_written = tail.watermark_written.max(durable);
        if kind == FrameKind::Commit {
            tail.last_seq = seq;
            if seq.0 >= LAST_SEQ.0 - NUMBERS_LEFT_MIN {
                self.numbers_are_few.store(true, Ordering::Relaxed);
            }
        }
        Ok(Appended { segment, offset, seq: tail.last_seq })
    }

    /// Writes sealed frames to the end of the active segment.
    fn write(&self, tail: &mut Tail, bytes: &[u8], kind: FrameKind) -> Result<Arc<Segment>> {
        let Some(active) = tail.active.as_mut() else {
            return Err(Error::Poisoned { reason: "no active segment".to_owned() });
        };
        if let Err(source) = active.segment.append(bytes) {
            let error = Error::io("append to", active.segment.name(), source);
            let end = active.len + to_u64(bytes.len());
            let is_partial = active.segment.len().is_ok_and(|len| len < end);
            if matches!(error, Error::NoSpace { .. }) && is_partial {
                self.give_up_full(tail);
            } else {
                self.give_up(tail);
                self.poison.set(&error);
            }
            return Err(error);
        }
        active.len += to_u64(bytes.len());
        active.has_commits |= kind == FrameKind::Commit;
        Ok(Arc::clone(&active.segment))
    }
}
