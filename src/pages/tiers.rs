//! Small page segments: those that each close leaves, which are written anew together.
//!
//! Owns: which small ones go together. Never: writes; the next snapshot does.
//!
//! As with segments of records there are tiers, by the bytes that live in a segment. Four of one tier make one of a higher
//! tier. So a page that does not change is written anew as often as there are tiers, and a tier has three segments at most
//! that are older than the last snapshots.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::SegmentSeq;
use crate::pages::PageStore;

/// A segment is small when it is shorter than this part of the smallest that are full.
const SMALL_PART: u64 = 4;
/// So many of one tier go together at least.
const FEWEST: usize = 4;
/// So many go together at most.
const MOST: usize = 64;

impl PageStore {
    /// The small segments of the lowest tier that has enough of them, with at most so many live bytes together. Those that would
    /// stay, and those that are damaged, are left alone.
    pub(crate) fn small(
        &self,
        writing: Option<SegmentSeq>,
        live_bytes_max: u64,
        stays: impl Fn(SegmentSeq) -> bool,
    ) -> BTreeSet<SegmentSeq> {
        let least = self.capacity_for(0);
        let suspects = self.suspects();
        let mut tiers: BTreeMap<u32, Vec<(SegmentSeq, u64)>> = BTreeMap::new();
        for (number, row) in self.rows.read().iter().filter(|(_, row)| row.live_bytes > 0 && !row.is_held) {
            let is_small = row.segment.bytes() < least / SMALL_PART;
            if is_small && Some(*number) != writing && !suspects.contains(number) {
                // The logarithm to the base of four.
                tiers.entry(row.live_bytes.ilog2() / 2).or_default().push((*number, row.live_bytes));
            }
        }
        for mut all in tiers.into_values().filter(|all| all.len() >= FEWEST) {
            all.retain(|(number, _)| !stays(*number));
            let mut bytes = 0;
            let fits = |(_, live): &&(SegmentSeq, u64)| {
                bytes += live;
                bytes <= live_bytes_max.min(least)
            };
            let chosen: Vec<SegmentSeq> = all.iter().take(MOST).take_while(fits).map(|(number, _)| *number).collect();
            if chosen.len() >= FEWEST {
                return chosen.into_iter().collect();
            }
        }
        BTreeSet::new()
    }
}
