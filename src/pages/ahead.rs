//! Reading pages ahead, where each read is a request that is waited for.
//!
//! Owns: which pages are asked for together. Never: reports what cannot be read.

use std::sync::Arc;

use crate::backing::ReadAt;
use crate::format::descriptor::PageRef;
use crate::pages::store::PageStore;

/// Bytes of pages that are read ahead at once.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

impl PageStore {
    /// Brings pages that are not in memory to the cache, several at once, where each read is a request that is waited for. What cannot
    /// be read is left to whoever reads it.
    pub(crate) fn read_ahead(&self, pages: impl Iterator<Item = PageRef>) {
        let backing = &self.source.backing;
        if backing.reads_at_once() <= 1 {
            return;
        }
        let (mut wanted, mut sum) = (Vec::new(), 0);
        for page in pages.filter(PageRef::is_written) {
            let (offset, bytes) = (page.offset(), u64::from(page.bytes));
            let Ok(segment) = self.segment(&page) else { continue };
            if segment.is_mapped(&page) || offset.saturating_add(bytes) > segment.bytes() {
                continue;
            }
            sum += bytes;
            if sum > AHEAD_BYTES_MAX {
                break;
            }
            wanted.push((segment, page, vec![0; page.bytes as usize]));
        }
        let reads = wanted.iter_mut().map(|(segment, page, buffer)| ReadAt {
            name: segment.segment.name(),
            offset: page.offset(),
            buffer,
        });
        let mut reads: Vec<_> = reads.collect();
        if reads.len() < 2 || backing.read_many(&mut reads).is_err() {
            return;
        }
        for (segment, page, bytes) in wanted {
            if segment.check(&page, &bytes).is_ok() {
                segment.cache.put((segment.number(), page.offset_granules), &Arc::from(bytes));
            }
        }
    }
}
