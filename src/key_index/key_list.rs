//! Keys in one buffer.
//!
//! Owns: where each of them ends, and how many bytes they may take. Never: sorts them.

use crate::id::{low_u32, to_u64, to_usize};

/// Keys one after the other. No two neighbours are the same.
#[derive(Debug, Default)]
pub(crate) struct KeyList {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl KeyList {
    /// Heap bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |end| {
            let key = begin..to_usize(u64::from(*end));
            begin = key.end;
            self.bytes.get(key).unwrap_or_default()
        })
    }

    /// Adds a key, unless it is the last one already. `false` if the list would take more bytes than that.
    pub(super) fn push(&mut self, key: &[u8], bytes_max: usize) -> bool {
        let end_of = |end: &u32| to_usize(u64::from(*end));
        let begin = self.ends.iter().rev().nth(1).map_or(0, end_of);
        if !self.ends.is_empty() && self.bytes.get(begin..) == Some(key) {
            return true;
        }
        let bytes = self.heap_bytes() + key.len() + size_of::<u32>();
        let has_room = bytes <= bytes_max && u32::try_from(bytes).is_ok();
        if has_room {
            self.bytes.extend_from_slice(key);
            self.ends.push(low_u32(to_u64(self.bytes.len())));
        }
        has_room
    }

    /// No more are added.
    pub(super) fn close(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}
