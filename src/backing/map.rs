//! map
use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// m
#[derive(Debug)]
pub struct Map { raw: Option<memmap2::MmapRaw>, len: Arc<AtomicU64>, heap: Option<Arc<[u8]>> }
impl Map {
    pub(super) fn new(file: &std::fs::File, capacity: u64, len: Arc<AtomicU64>) -> std::io::Result<Self> {
        let raw = memmap2::MmapOptions::new().len(usize::try_from(capacity.max(1)).unwrap_or(1)).map_raw_read_only(file)?;
        Ok(Self { raw: Some(raw), len, heap: None })
    }
    /// s
    #[inline]
    #[expect(unsafe_code, reason = "tmp")]
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        if let Some(h) = &self.heap { return h.get(usize::try_from(offset).ok()?..)?.get(..len); }
        let raw = self.raw.as_ref()?;
        let end = offset.checked_add(len as u64)?;
        if end > self.len.load(Ordering::Acquire) || end > raw.len() as u64 { return None; }
        // SAFETY: tmp
        let start = unsafe { raw.as_ptr().add(usize::try_from(offset).ok()?) };
        // SAFETY: tmp
        Some(unsafe { std::slice::from_raw_parts(start, len) })
    }
}
