//! Writes keys component by component.
//!
//! Owns: the encoding, the complement of descending components, the limits. Never: allocates for a key of up to 32
//! bytes, or for any key no longer than an earlier one. Invariant: an error is kept until `finish`, so that writing
//! itself cannot fail.

use crate::error::{Error, Result};
use crate::id::{low_byte, to_u64};
use crate::key::buffer::Buffer;
use crate::key::integer::Integer;
use crate::key::tag::{DEPTH_MAX, KEY_BYTES_MAX};
use crate::key::timestamp::Timestamp;
use crate::key::{float, tag};
use crate::key_bytes::Key;

/// Builds a key. Errors are reported by [`finish`](Self::finish) or [`as_bytes`](Self::as_bytes).
///
/// ```
/// use tenure::key::{Desc, Key, KeyWriter};
///
/// let mut writer = KeyWriter::new();
/// writer.string("London").descending(|out| {
///     out.integer(36);
/// });
/// assert_eq!(writer.as_bytes()?, Key::new(&("London", Desc(36)))?.as_bytes());
///
/// // Reuses the memory.
/// writer.clear();
/// writer.null();
/// assert_eq!(writer.finish()?.as_bytes(), [0x01]);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeyWriter {
    bytes: Buffer,
    /// Bytes over the limit.
    over_bytes: usize,
    /// All ones inside an odd number of descending components.
    mask: u8,
    depth: usize,
    too_deep: bool,
}

/// The position of the first byte that needs escaping.
fn first_to_escape(value: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    const { assert!(tag::ESCAPE == 1, "the bytes that are escaped are 0 and 1") };
    let (words, rest) = value.as_chunks::<8>();
    // Eight bytes at once (Mycroft 1987): taking 2 from a byte below 2 borrows, and sets its highest bit.
    let any_below_two = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        word.wrapping_sub(2 * ONES) & !word & HIGH != 0
    };
    let begin = words.iter().position(any_below_two).unwrap_or(words.len()) * 8;
    let behind = if begin < words.len() * 8 { value.get(begin..)? } else { rest };
    behind.iter().position(|byte| *byte <= tag::ESCAPE).map(|at| begin + at)
}

impl KeyWriter {
    /// An empty key.
    pub fn new() -> Self {
        Self::default()
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.over_bytes > 0 || self.bytes.len() + bytes.len() > KEY_BYTES_MAX {
            self.over_bytes = self.over_bytes.saturating_add(bytes.len());
        } else if self.mask == 0 {
            self.bytes.push(bytes);
        } else {
            for byte in bytes {
                self.bytes.push(&[!byte]);
            }
        }
    }

    /// Null: sorts before everything else.
    pub fn null(&mut self) -> &mut Self {
        self.put(&[tag::NULL]);
        self
    }

    /// A Boolean: false before true.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.put(&[if value { tag::TRUE } else { tag::FALSE }]);
        self
    }

    /// An integer of any width.
    pub fn integer(&mut self, value: impl Into<Integer>) -> &mut Self {
        let value = value.into();
        let bits = u128::from_be_bytes(value.bytes());
        // Bytes that only repeat the sign are dropped. A negative number keeps at least one byte.
        let idle_bits = if value.is_negative() { bits.leading_ones().min(15 * 8) } else { bits.leading_zeros() };
        let idle = idle_bits / 8;
        let len = tag::INTEGER_BYTES_MAX - low_byte(idle.into());
        let tag = match bits {
            _ if value.is_negative() => tag::NEGATIVE_END - len,
            small if small < u128::from(tag::SMALL_END) => {
                self.put(&[tag::SMALL + bits.to_le_bytes()[0]]);
                return self;
            }
            _ => tag::POSITIVE + len,
        };
        // The low bytes are shifted up to follow the tag.
        let mut encoded = [tag; 1 + tag::INTEGER_BYTES_MAX as usize];
        encoded[1..].copy_from_slice(&(bits << (8 * idle)).to_be_bytes());
        self.put(encoded.get(..=usize::from(len)).unwrap_or_default());
        self
    }

    /// A float, in the total order of IEEE 754. An `f32` is encoded as the `f64` of the same value.
    pub fn float(&mut self, value: f64) -> &mut Self {
        self.put(&[tag::FLOAT]);
        self.put(&float::to_ordered(value).to_be_bytes());
        self
    }

    /// A timestamp.
    pub fn timestamp(&mut self, value: impl Into<Timestamp>) -> &mut Self {
        self.put(&[tag::TIMESTAMP]);
        self.put(&(value.into().micros().cast_unsigned() ^ (1 << 63)).to_be_bytes());
        self
    }

    /// A string, in the order of its Unicode scalar values.
    pub fn string(&mut self, value: &str) -> &mut Self {
        self.text(tag::STRING, value.as_bytes());
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.text(tag::BYTES, value);
        self
    }

    fn text(&mut self, tag: u8, value: &[u8]) {
        // The usual case: nothing to complement, nothing to escape, and enough room inline.
        if self.mask == 0
            && self.over_bytes == 0
            && first_to_escape(value).is_none()
            && let Some([first, behind @ .., last]) = self.bytes.more(value.len() + 2)
        {
            (*first, *last) = (tag, tag::END);
            behind.copy_from_slice(value);
            return;
        }
        self.put(&[tag]);
        self.escaped(value);
        self.put(&[tag::END]);
    }

    fn escaped(&mut self, mut value: &[u8]) {
        while let Some(at) = first_to_escape(value) {
            let (plain, rest) = value.split_at(at);
            self.put(plain);
            if let Some((byte, rest)) = rest.split_first() {
                self.put(&[tag::ESCAPE, byte + 1]);
                value = rest;
            }
        }
        self.put(value);
    }

    /// A tuple as one component, with the elements that the closure writes.
    pub fn tuple(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        if self.depth >= DEPTH_MAX {
            self.too_deep = true;
            return self;
        }
        self.put(&[tag::TUPLE]);
        self.depth += 1;
        write(self);
        self.depth -= 1;
        self.put(&[tag::END]);
        self
    }

    /// Reverses the order of each component that the closure writes. Nested calls cancel out.
    pub fn descending(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.mask = !self.mask;
        write(self);
        self.mask = !self.mask;
        self
    }

    /// Empties the writer and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.over_bytes, self.mask, self.depth, self.too_deep) = (0, 0, 0, false);
    }

    fn check(&self) -> Result<()> {
        if self.over_bytes > 0 {
            let bytes = self.bytes.len().saturating_add(self.over_bytes);
            return Err(Error::KeyTooLong { bytes: to_u64(bytes), limit: to_u64(KEY_BYTES_MAX), of: None });
        }
        if self.too_deep {
            return Err(Error::KeyTooDeep { limit: to_u64(DEPTH_MAX) });
        }
        Ok(())
    }

    /// The bytes written so far.
    pub fn as_bytes(&self) -> Result<&[u8]> {
        self.check()?;
        Ok(self.bytes.as_slice())
    }

    /// The finished key.
    pub fn finish(self) -> Result<Key> {
        self.check()?;
        Ok(Key::from_vec(self.bytes.into_vec()))
    }

    /// A prefix of all keys that continue with a string starting with `start`; for
    /// [`prefix_range`](crate::key::prefix_range).
    ///
    /// ```
    /// use tenure::key::{Key, KeyWriter, prefix_range};
    ///
    /// let lon = KeyWriter::new().finish_with_start_of_string("Lon")?;
    /// let range = prefix_range(&lon);
    /// let holds = |city: &str| Ok::<_, tenure::Error>(std::ops::RangeBounds::contains(&range, &Key::new(city)?));
    /// assert!(holds("London")? && holds("Lon")? && !holds("Lom")? && !holds("Loo")?);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn finish_with_start_of_string(mut self, start: &str) -> Result<Key> {
        self.put(&[tag::STRING]);
        self.escaped(start.as_bytes());
        self.finish()
    }

    /// A prefix of all keys that continue with a byte string starting with `start`.
    pub fn finish_with_start_of_bytes(mut self, start: &[u8]) -> Result<Key> {
        self.put(&[tag::BYTES]);
        self.escaped(start);
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Result<Key> {
        fn write(out: &mut KeyWriter, depth: usize) {
            if depth > 0 {
                out.tuple(|out| write(out, depth - 1));
            }
        }
        let mut writer = KeyWriter::new();
        write(&mut writer, depth);
        writer.finish()
    }

    #[test]
    fn the_deepest_tuple_and_one_more() {
        assert!(nested(DEPTH_MAX).unwrap().values().is_ok());
        assert!(matches!(nested(DEPTH_MAX + 1), Err(Error::KeyTooDeep { limit: 16 })));
    }

    #[test]
    fn what_is_too_long_is_counted_and_can_be_cleared() {
        let mut writer = KeyWriter::new();
        writer.string(&"\0".repeat(1000)).integer(7);
        assert!(matches!(writer.as_bytes(), Err(Error::KeyTooLong { bytes: 2003, .. })));
        writer.clear();
        assert_eq!(writer.integer(7).as_bytes().unwrap(), [0x27]);
    }

    #[test]
    fn bytes_to_escape_are_found_wherever_they_stand() {
        for len in 0..40 {
            for fill in [2, 0x7f, 0x80, 0x81, 0xff] {
                let mut value = vec![fill; len];
                assert_eq!(first_to_escape(&value), None);
                for at in (0..len).rev() {
                    for byte in [0, 1] {
                        value[at] = byte;
                        assert_eq!(first_to_escape(&value), Some(at));
                    }
                }
            }
        }
    }

    #[test]
    fn descending_twice_is_ascending() {
        let mut writer = KeyWriter::new();
        writer.descending(|out| {
            out.descending(|out| {
                out.string("a\0b");
            });
        });
        assert_eq!(writer.finish().unwrap(), Key::new("a\0b").unwrap());
    }
}
