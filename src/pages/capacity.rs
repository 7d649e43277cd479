//! How large page segments are, and which of them are rewritten because little in them is live.
//!
//! Owns: those two choices. Never: writes; the next snapshot does.

use std::collections::BTreeSet;

use crate::id::SegmentSeq;
use crate::log::SEGMENT_BYTES_MIN;
use crate::pages::segment::PAGE_ALIGN_BYTES;
use crate::pages::store::PageStore;

/// Between the smallest and the largest size, the live bytes would fill this many segments.
const SEGMENTS: u64 = 16;
/// Segments are at least this many times smaller than the store's largest, unless the live bytes would not even fill a few.
const SMALLEST_PART: u64 = 16;
/// How many segments of less than that the live bytes would fill; none is below the minimum size.
const FEW_SEGMENTS: u64 = 4;

impl PageStore {
    /// Size of a new segment, given the bytes written since the last snapshot.
    pub(super) fn capacity(&self, unsettled: u64) -> u64 {
        let rows = self.rows.read();
        self.capacity_for(rows.values().fold(unsettled, |sum, row| sum.saturating_add(row.live_bytes)))
    }

    /// Size of a new segment, given the live bytes. A segment is deleted as a whole, so it is small compared with all
    /// of them together; a small store would otherwise be one segment after another, each nearly empty when it is full.
    fn capacity_for(&self, live_bytes: u64) -> u64 {
        let most = self.source.segment_bytes;
        let of_small_store = (live_bytes / FEW_SEGMENTS).min(most / SMALLEST_PART);
        let least = of_small_store.max(SEGMENT_BYTES_MIN);
        (live_bytes / SEGMENTS).max(least).min(most).next_multiple_of(PAGE_ALIGN_BYTES)
    }

    /// Segments with few live bytes, if page segments take twice their live bytes: the emptiest, until they have so many
    /// live bytes together. The last one may have more: what is left in it after one snapshot the next ones move.
    pub(crate) fn emptiest(&self, writing: Option<SegmentSeq>, live_bytes_max: u64) -> BTreeSet<SegmentSeq> {
        let rows = self.rows.read();
        let all = rows.iter().filter(|(number, row)| row.live_bytes > 0 && Some(**number) != writing);
        let mut all: Vec<(SegmentSeq, u64, u64)> =
            all.map(|(number, row)| (*number, row.segment.segment.len().unwrap_or_default(), row.live_bytes)).collect();
        let mut bytes = all.iter().fold(0_u64, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
        let live = all.iter().fold(0_u64, |sum, (.., live)| sum.saturating_add(*live));
        // By live share, in thousandths.
        all.sort_unstable_by_key(|(_, bytes, live)| live.saturating_mul(1_000) / (*bytes).max(1));
        let (mut chosen, mut moved) = (BTreeSet::new(), 0);
        for (number, in_all, in_use) in all {
            let is_enough = bytes <= live.saturating_mul(2).saturating_add(self.capacity_for(live));
            if is_enough || in_use > in_all / 2 || moved >= live_bytes_max {
                break;
            }
            chosen.insert(number);
            moved += in_use;
            bytes = bytes.saturating_sub(in_all) + in_use;
        }
        chosen
    }
}
