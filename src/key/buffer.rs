//! The bytes of a key being written.
//!
//! Owns: their location: inline while they are few, on the heap otherwise. Never: frees heap memory before it is
//! dropped. Invariant: up to `INLINE_BYTES` bytes are inline, more are all on the heap.

use smallvec::SmallVec;

/// Maximum number of bytes stored inline.
const INLINE_BYTES: usize = 32;

/// A byte buffer, filled from the front.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffer {
    inline: [u8; INLINE_BYTES],
    len: usize,
    spilled: Vec<u8>,
}

impl Buffer {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends this many bytes and returns them for writing, if they fit inline.
    #[inline]
    pub(super) fn more(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let more = self.inline.get_mut(self.len..self.len + bytes)?;
        self.len += bytes;
        Some(more)
    }

    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self.more(bytes.len()) {
            Some(more) => more.copy_from_slice(bytes),
            None => self.spill(bytes),
        }
    }

    #[inline(never)]
    fn spill(&mut self, bytes: &[u8]) {
        if let Some(inline) = self.inline.get(..self.len) {
            self.spilled.clear();
            self.spilled.extend_from_slice(inline);
        }
        self.spilled.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Empties the buffer and keeps its memory.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        self.inline.get(..self.len).unwrap_or(&self.spilled)
    }

    #[inline]
    pub(super) fn into_vec(self) -> SmallVec<[u8; INLINE_BYTES]> {
        if self.len <= INLINE_BYTES {
            SmallVec::from_buf_and_len(self.inline, self.len)
        } else {
            SmallVec::from_vec(self.spilled)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_was_pushed(rounds in vec(vec(vec(any::<u8>(), 0..20), 0..6), 1..4)) {
            let mut buffer = Buffer::default();
            for parts in rounds {
                buffer.clear();
                for part in &parts {
                    buffer.push(part);
                }
                let all = parts.concat();
                prop_assert_eq!((buffer.len(), buffer.as_slice()), (all.len(), &all[..]));
                let vec = buffer.clone().into_vec();
                prop_assert_eq!(&vec[..], &all[..]);
            }
        }
    }
}
