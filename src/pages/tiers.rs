//! Small page segments, such as each close leaves: they are rewritten together.
//!
//! Owns: which small segments are rewritten together. Never: writes; the next snapshot does.
//!
//! As with record segments there are tiers, by live bytes. Four segments of one tier make one of a higher tier. So an
//! unchanged page is rewritten at most as often as there are tiers, and a tier has at most three segments older than
//! the last snapshots.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::SegmentSeq;
use crate::pages::store::PageStore;

/// A segment is small if it is shorter than this fraction of a full one.
const SMALL_PART: u64 = 4;
/// Minimum number of segments of one tier to rewrite.
const FEWEST: usize = 4;
/// Maximum number rewritten together.
const MOST: usize = 64;

impl PageStore {
    /// The small segments of the lowest tier that has enough of them, with at most this many live bytes together.
    /// Segments that would stay anyway, and damaged ones, are skipped.
    pub(crate) fn small(
        &self,
        writing: Option<SegmentSeq>,
        live_bytes_max: u64,
        stays: impl Fn(SegmentSeq) -> bool,
    ) -> BTreeSet<SegmentSeq> {
        let least = self.capacity(0);
        let suspects = self.suspects();
        let mut tiers: BTreeMap<u32, Vec<(SegmentSeq, u64)>> = BTreeMap::new();
        for (number, row) in self.rows.read().iter().filter(|(_, row)| row.live_bytes > 0 && !row.is_held) {
            let is_small = row.segment.bytes() < least / SMALL_PART;
            if is_small && Some(*number) != writing && !suspects.contains(number) {
                // Logarithm to base four.
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
