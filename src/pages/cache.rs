//! A cache of pages from unmapped segments.
//!
//! Owns: its size. Never: holds a page with an unchecked checksum.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::id::SegmentSeq;

/// Maximum bytes of pages, plus one page.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// A page: its segment, and where it begins.
type Key = (SegmentSeq, u32);

/// Pages in two generations. When the young one has half of the bytes it becomes the old one, and the previous old one
/// is dropped, except for pages that were read again.
#[derive(Debug, Default)]
pub(super) struct Cache {
    ages: RwLock<Ages>,
}

#[derive(Debug, Default)]
struct Ages {
    young: HashMap<Key, Arc<[u8]>>,
    old: HashMap<Key, Arc<[u8]>>,
    young_bytes: usize,
}

impl Cache {
    pub(super) fn get(&self, key: Key) -> Option<Arc<[u8]>> {
        let ages = self.ages.read();
        if let Some(bytes) = ages.young.get(&key) {
            return Some(Arc::clone(bytes));
        }
        let bytes = ages.old.get(&key).map(Arc::clone)?;
        drop(ages);
        self.put(key, &bytes);
        Some(bytes)
    }

    pub(super) fn put(&self, key: Key, bytes: &Arc<[u8]>) {
        let mut ages = self.ages.write();
        if ages.young.insert(key, Arc::clone(bytes)).is_none() {
            ages.young_bytes += bytes.len();
        }
        if ages.young_bytes > CACHE_BYTES_MAX / 2 {
            ages.young_bytes = 0;
            let gone = std::mem::take(&mut ages.young);
            let gone = std::mem::replace(&mut ages.old, gone);
            drop(ages);
            drop(gone);
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        let ages = self.ages.read();
        ages.young.values().chain(ages.old.values()).map(|bytes| bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_again_and_again_stays_and_all_together_is_bounded() {
        const PAGE_BYTES: usize = 64 << 10;
        let (cache, page): (_, Arc<[u8]>) = (Cache::default(), vec![7; PAGE_BYTES].into());
        let hot = (SegmentSeq(1), 0);
        cache.put(hot, &page);
        for number in 0..u32::try_from(4 * CACHE_BYTES_MAX / PAGE_BYTES).expect("few") {
            cache.put((SegmentSeq(2), number), &page);
            assert!(cache.get(hot).is_some(), "after {number} others");
            assert!(cache.bytes() <= CACHE_BYTES_MAX + PAGE_BYTES);
        }
        assert!(cache.get((SegmentSeq(2), 0)).is_none());
    }
}
