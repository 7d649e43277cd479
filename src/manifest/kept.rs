//! The valid entries of a manifest, and what they keep.
//!
//! Owns: which snapshots are retained, which segments they list, how much may be written before reading would refuse
//! it. Never: reads or writes a file.
//! Invariants: 1. No query costs more with more named snapshots, except listing them.
//! 2. Whatever has been accepted, an unnamed snapshot, a cut and a drop can still be written, and all of it can be
//!    read.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::error::{Error, Result};
use crate::format::manifest::{Body, Snapshot, SnapshotKind};
use crate::id::{NumberHash, SegmentSeq, Seq};
use crate::pages::Fate;
use crate::planted;
use crate::planted::Fault;

/// A manifest larger than this is invalid: its snapshots would list billions of files.
pub(crate) const READ_BYTES_MAX: u64 = 4 << 30;
/// Maximum length of an entry.
pub(crate) const ENTRY_BYTES_MAX: u64 = 640 << 20;
/// Maximum size of named snapshots with reservations and cuts.
pub(crate) const NAMED_BYTES_MAX: u64 = 512 << 20;
/// Maximum size of reservations with named snapshots and cuts.
pub(crate) const RESERVED_BYTES_MAX: u64 = 640 << 20;
/// Maximum size of cuts and drops with named snapshots and reservations: room for millions more.
const FIXED_BYTES_MAX: u64 = 2 << 30;
/// Unnamed snapshots that are retained.
const AUTOMATIC_MAX: usize = 2;
const _: () = assert!(FIXED_BYTES_MAX + 2 * ENTRY_BYTES_MAX < READ_BYTES_MAX, "all that is let in can be read");

/// How many retained snapshots list a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Listed {
    named: u32,
    all: u32,
}

/// Entries by number, and indexes for frequent queries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    entries: BTreeMap<u64, (Body, u64)>,
    /// Bytes of all entries except unnamed snapshots.
    fixed_bytes: u64,
    names: BTreeSet<(String, u64)>,
    /// Unnamed snapshots, oldest first.
    automatic: VecDeque<u64>,
    listed: HashMap<SegmentSeq, Listed, NumberHash>,
    /// Changes when a snapshot is saved or dropped.
    epoch: u64,
}

impl Kept {
    /// Adds an entry of this size. Removes what it supersedes.
    pub(crate) fn insert(&mut self, number: u64, body: Body, bytes: u64) {
        match &body {
            Body::Snapshot(snapshot) => {
                self.epoch += 1;
                let is_named = !snapshot.name.is_empty();
                for row in &snapshot.segments {
                    let listed = self.listed.entry(row.segment).or_default();
                    listed.all += 1;
                    listed.named += u32::from(is_named);
                }
                if is_named {
                    self.fixed_bytes += bytes;
                    self.names.insert((snapshot.name.clone(), number));
                } else {
                    self.automatic.push_back(number);
                }
            }
            Body::Drop(target) => {
                self.remove(*target);
                self.fixed_bytes += bytes;
            }
            Body::Reserve(_) | Body::Cut(_) => self.fixed_bytes += bytes,
        }
        self.entries.insert(number, (body, bytes));
        while self.automatic.len() > AUTOMATIC_MAX
            && let Some(oldest) = self.automatic.front().copied()
        {
            self.remove(oldest);
        }
    }

    /// The snapshot that this one displaces.
    pub(crate) fn superseded_by(&self, body: &Body) -> Option<u64> {
        match body {
            Body::Snapshot(snapshot) if snapshot.name.is_empty() && self.automatic.len() >= AUTOMATIC_MAX => {
                self.automatic.front().copied()
            }
            Body::Drop(target) => Some(*target),
            _ => None,
        }
    }

    /// Pretends that named snapshots, reservations and cuts take this many bytes.
    #[cfg(test)]
    pub(crate) fn assume(&mut self, fixed_bytes: u64) {
        self.fixed_bytes = fixed_bytes;
    }

    /// Removes a snapshot.
    fn remove(&mut self, number: u64) {
        let Some((Body::Snapshot(_), _)) = self.entries.get(&number) else { return };
        let Some((Body::Snapshot(snapshot), bytes)) = self.entries.remove(&number) else { return };
        self.epoch += 1;
        let is_named = !snapshot.name.is_empty();
        for row in &snapshot.segments {
            let Some(listed) = self.listed.get_mut(&row.segment) else { continue };
            listed.all = listed.all.saturating_sub(1);
            listed.named = listed.named.saturating_sub(u32::from(is_named));
            if listed.all == 0 {
                self.listed.remove(&row.segment);
            }
        }
        if is_named {
            self.fixed_bytes = self.fixed_bytes.saturating_sub(bytes);
            self.names.remove(&(snapshot.name, number));
        } else {
            self.automatic.retain(|each| *each != number);
        }
    }

    /// Fails if an entry of this size would make the manifest unreadable, now or with the entries that must be possible
    /// later.
    pub(crate) fn check(&self, body: &Body, bytes: u64) -> Result<()> {
        if bytes > ENTRY_BYTES_MAX {
            return Err(Error::Exhausted { what: "room for a snapshot in the manifest", limit: ENTRY_BYTES_MAX });
        }
        let (what, limit) = match body {
            Body::Snapshot(snapshot) if snapshot.name.is_empty() => return Ok(()),
            Body::Snapshot(_) => ("room for named snapshots in the manifest", NAMED_BYTES_MAX),
            Body::Reserve(_) => ("room for reservations in the manifest", RESERVED_BYTES_MAX),
            Body::Cut(_) | Body::Drop(_) => ("room in the manifest", FIXED_BYTES_MAX),
        };
        let is_dropped = matches!(body, Body::Drop(target) if self.entries.contains_key(target));
        if self.fixed_bytes + bytes > limit && !is_dropped {
            return Err(Error::Exhausted { what, limit });
        }
        Ok(())
    }

    /// Removes reservations and cuts that only dropped snapshots needed. The drop of a snapshot is repeated while an
    /// existing file may contain the snapshot: a crash may leave all of them. `begun_at` is the number from which
    /// entries are only in the newest file.
    pub(crate) fn forget_what_no_snapshot_needs(&mut self, begun_at: u64, files: usize) {
        let named = self.names.iter().map(|(_, number)| *number).min();
        let Some(oldest) = named.into_iter().chain(self.automatic.front().copied()).min() else { return };
        let reserved_from = self.snapshot(oldest).map_or(0, |snapshot| snapshot.reserved_from);
        let fixed_bytes = &mut self.fixed_bytes;
        self.entries.retain(|number, (body, bytes)| {
            let stays = match body {
                Body::Snapshot(_) => true,
                Body::Reserve(_) => *number >= reserved_from,
                // A snapshot saved after a cut is based on the log after it.
                Body::Cut(_) => *number > oldest,
                Body::Drop(_) => *number >= begun_at || files > 1,
            };
            if !stays {
                *fixed_bytes = fixed_bytes.saturating_sub(*bytes);
            }
            stays
        });
    }

    /// Entries by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Body)> {
        self.entries.iter().map(|(number, (body, _))| (*number, body))
    }

    /// The newest entry.
    pub(crate) fn newest(&self) -> Option<&Body> {
        self.entries.last_key_value().map(|(_, (body, _))| body)
    }

    /// A retained snapshot by number.
    pub(crate) fn snapshot(&self, number: u64) -> Option<&Snapshot> {
        match self.entries.get(&number) {
            Some((Body::Snapshot(snapshot), _)) => Some(snapshot),
            _ => None,
        }
    }

    /// Retained snapshots, oldest first.
    pub(crate) fn snapshots(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.entries
            .values()
            .filter_map(|(body, _)| if let Body::Snapshot(snapshot) = body { Some(&**snapshot) } else { None })
    }

    /// Whether no entry says that the log continues after the newest snapshot, and one is needed. In a new store the
    /// first record needs a reservation, which says so.
    pub(crate) fn ends_with_a_close(&self) -> bool {
        let Some(newest) = self.snapshots().next_back() else { return false };
        let mut later = self.entries.range(newest.number..).map(|(_, (body, _))| body);
        let is_new = newest.seq == Seq::ZERO;
        newest.kind != SnapshotKind::Automatic
            && !is_new
            && !later.any(|body| matches!(body, Body::Reserve(_) | Body::Cut(_)))
    }

    /// The newest retained snapshot of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Snapshot> {
        let mut all = self.names.range((name.to_owned(), 0)..=(name.to_owned(), u64::MAX));
        all.next_back().and_then(|(_, number)| self.snapshot(*number))
    }

    /// Retained unnamed snapshots: those from which recovery replays.
    fn automatic(&self) -> impl Iterator<Item = &Snapshot> {
        self.automatic.iter().filter_map(|number| self.snapshot(*number))
    }

    /// The first log segment that replay may need, from the older of the two automatic snapshots.
    pub(crate) fn replay_from(&self) -> SegmentSeq {
        let heads = self.automatic().map(|snapshot| snapshot.head_segment);
        let needed = if planted::is(Fault::OlderSnapshotDoesNotCount) { heads.max() } else { heads.min() };
        needed.unwrap_or_default()
    }

    /// The commit of the older of the two automatic snapshots: this commit and later ones can be rolled back to.
    pub(crate) fn oldest_automatic(&self) -> Option<Seq> {
        self.automatic().map(|snapshot| snapshot.seq).min()
    }

    /// Whether a named snapshot lists the segment.
    pub(crate) fn is_kept_by_name(&self, segment: SegmentSeq) -> bool {
        self.listed.get(&segment).is_some_and(|listed| listed.named > 0)
    }

    /// Whether a retained snapshot lists the segment.
    pub(crate) fn is_listed(&self, segment: SegmentSeq) -> bool {
        self.listed.contains_key(&segment)
    }

    /// Page segments that retained snapshots list.
    pub(crate) fn listed_pages(&self) -> BTreeSet<SegmentSeq> {
        let rows = self.snapshots().flat_map(|snapshot| &snapshot.segments);
        rows.filter(|row| row.pages).map(|row| row.segment).collect()
    }

    /// What happens to a page segment that the newest state does not need.
    pub(crate) fn fate(&self, segment: SegmentSeq) -> Fate {
        match self.listed.get(&segment) {
            None => Fate::Delete,
            Some(listed) if listed.named == listed.all => Fate::LetGo,
            Some(_) => Fate::Stay,
        }
    }

    /// A number that changes when a snapshot is saved or dropped.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }
}
