//! Decodes keys.
//!
//! Owns: which bytes are a valid encoding. Never: panics, whatever the bytes; recurses deeper than the limit; accepts
//! bytes that the encoder would not have written.

use std::fmt;

use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::key::integer::Integer;
use crate::key::tag::{DEPTH_MAX, KEY_BYTES_MAX};
use crate::key::timestamp::Timestamp;
use crate::key::value::KeyValue;
use crate::key::{float, tag};

/// The components of an encoded key.
///
/// Accepts exactly what [`KeyWriter`](crate::key::KeyWriter) writes: each list of values has one encoding. Safe for
/// untrusted bytes.
///
/// ```
/// use tenure::key::{KeyValue, decode};
///
/// assert_eq!(decode(&[0x25, 0x60, b'a', 0x00])?, [KeyValue::from(5), KeyValue::from("a")]);
/// let error = decode(&[0x25, 0x60, b'a']).unwrap_err();
/// assert_eq!(error.to_string(), "not a key: at byte 3 expected a byte 0x00 that ends the string, got the end");
/// # Ok::<(), tenure::Error>(())
/// ```
pub fn decode(bytes: &[u8]) -> Result<Vec<KeyValue>> {
    if bytes.len() > KEY_BYTES_MAX {
        return Err(Error::KeyTooLong { bytes: to_u64(bytes.len()), limit: to_u64(KEY_BYTES_MAX), of: None });
    }
    let mut reader = Reader { bytes, at: 0 };
    let mut values = Vec::new();
    while let Some(first) = reader.peek(0) {
        values.push(reader.component(first, 0, 0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next byte, with the complement undone.
    fn peek(&self, mask: u8) -> Option<u8> {
        self.bytes.get(self.at).map(|byte| byte ^ mask)
    }

    fn error<T>(&self, expected: impl Into<String>, got: impl fmt::Display) -> Result<T> {
        Err(Error::BadKey { offset: to_u64(self.at), expected: expected.into(), got: got.to_string() })
    }

    /// Shows the complement of what is expected, as it would appear in the key.
    fn unexpected<T>(&self, expected: impl Into<String>) -> Result<T> {
        match self.bytes.get(self.at) {
            Some(byte) => self.error(expected, format_args!("0x{byte:02x}")),
            None => self.error(expected, "the end"),
        }
    }

    /// A component whose first byte, with the enclosing complement undone, is `first`.
    fn component(&mut self, first: u8, mask: u8, depth: usize) -> Result<KeyValue> {
        if first < tag::DESCENDING {
            return self.plain(first, mask, depth);
        }
        Ok(KeyValue::Desc(Box::new(self.plain(!first, !mask, depth)?)))
    }

    fn plain(&mut self, first: u8, mask: u8, depth: usize) -> Result<KeyValue> {
        let start = self.at;
        self.at += 1;
        Ok(match first {
            tag::NULL => KeyValue::Null,
            tag::FALSE => KeyValue::Bool(false),
            tag::TRUE => KeyValue::Bool(true),
            0x10..0x20 => KeyValue::Integer(self.negative(tag::NEGATIVE_END - first, mask)?),
            0x20..0x40 => KeyValue::Integer(Integer::from(first - tag::SMALL)),
            0x40..0x50 => KeyValue::Integer(self.positive(first - tag::POSITIVE, mask)?),
            tag::FLOAT => KeyValue::Float(float::from_ordered(self.fixed(mask)?)),
            tag::TIMESTAMP => {
                KeyValue::Timestamp(Timestamp::from_micros((self.fixed(mask)? ^ (1 << 63)).cast_signed()))
            }
            tag::STRING => {
                let begin = self.at;
                let bytes = self.escaped(mask, "the string")?;
                match String::from_utf8(bytes) {
                    Ok(text) => KeyValue::String(text),
                    Err(error) => {
                        self.at = begin;
                        return self.error("a string of UTF-8", error.utf8_error());
                    }
                }
            }
            tag::BYTES => KeyValue::Bytes(self.escaped(mask, "the byte string")?),
            tag::TUPLE if depth < DEPTH_MAX => KeyValue::Tuple(self.tuple(mask, depth + 1)?),
            tag::TUPLE => return self.error(format!("at most {DEPTH_MAX} tuples in each other"), "one more"),
            _ => {
                self.at = start;
                return self.unexpected("a tag");
            }
        })
    }

    fn tuple(&mut self, mask: u8, depth: usize) -> Result<Vec<KeyValue>> {
        let mut values = Vec::new();
        loop {
            match self.peek(mask) {
                Some(tag::END) => {
                    self.at += 1;
                    return Ok(values);
                }
                Some(first) => values.push(self.component(first, mask, depth)?),
                None => return self.unexpected("a component, or the end of the tuple"),
            }
        }
    }

    /// The next `len` bytes, at most 16, padded in front with `fill` to 16 bytes.
    fn wide(&mut self, len: u8, fill: u8, mask: u8) -> Result<[u8; 16]> {
        let len = usize::from(len);
        let Some(low) = self.bytes.get(self.at..self.at + len) else {
            return self.error(format!("{len} bytes"), format_args!("{}", self.bytes.len() - self.at));
        };
        let mut wide = [fill; 16];
        for (to, from) in wide.iter_mut().rev().zip(low.iter().rev()) {
            *to = from ^ mask;
        }
        Ok(wide)
    }

    fn negative(&mut self, len: u8, mask: u8) -> Result<Integer> {
        let number = i128::from_be_bytes(self.wide(len, 0xff, mask)?);
        let first = self.peek(mask);
        if (len > 1 && first == Some(0xff)) || number >= 0 {
            return self.unexpected(format!("the first of {len} bytes of an integer below zero, no less than needed"));
        }
        self.at += usize::from(len);
        Ok(Integer::from(number))
    }

    fn positive(&mut self, len: u8, mask: u8) -> Result<Integer> {
        let number = u128::from_be_bytes(self.wide(len, 0, mask)?);
        if self.peek(mask) == Some(0) || number < u128::from(tag::SMALL_END) {
            return self.unexpected(format!("the first of {len} bytes of an integer from 32 on, no less than needed"));
        }
        self.at += usize::from(len);
        Ok(Integer::from(number))
    }

    fn fixed(&mut self, mask: u8) -> Result<u64> {
        let wide = self.wide(8, 0, mask)?;
        self.at += 8;
        Ok(wide.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// The bytes up to the terminator.
    fn escaped(&mut self, mask: u8, what: &str) -> Result<Vec<u8>> {
        let mut found = Vec::new();
        loop {
            let Some(byte) = self.peek(mask) else {
                return self.unexpected(format!("a byte {:#04x} that ends {what}", tag::END ^ mask));
            };
            self.at += 1;
            match byte {
                tag::END => return Ok(found),
                tag::ESCAPE => match self.peek(mask) {
                    Some(raised @ 1..=2) => {
                        self.at += 1;
                        found.push(raised - 1);
                    }
                    _ => return self.unexpected("the second byte of an escape"),
                },
                plain => found.push(plain),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_nobody_writes_are_refused() {
        let cases: &[&[u8]] = &[
            &[0x00],                      // an end without a beginning
            &[0xff],                      // the same, descending
            &[0x02],                      // no tag
            &[0x7f],                      // no tag
            &[0x80],                      // its complement
            &[0x40],                      // no byte
            &[0x40, 31],                  // is its own tag
            &[0x41, 0, 32],               // one byte too many
            &[0x41, 1],                   // one byte too few
            &[0x1e, 0xff, 0xff],          // one byte too many
            &[0xbf, !31],                 // descending, is its own tag
            &[0x50, 0, 0, 0, 0, 0, 0, 0], // seven bytes
            &[0x58],                      // none
            &[0x60],                      // no end
            &[0x60, 0xff, 0x00],          // not UTF-8
            &[0x60, 0x01, 0x00],          // half an escape
            &[0x68, 0x01, 0x03, 0x00],    // an escape that nobody needs
            &[0x68, 0x01],                // half an escape, and the end
            &[0x70],                      // no end
            &[0x70, 0x25],                // no end
            &[0x70, 0xff],                // the end of another direction
            &[0x8f, 0x00],                // the same
        ];
        for bytes in cases {
            assert!(matches!(decode(bytes), Err(Error::BadKey { .. })), "{bytes:02x?}: {:?}", decode(bytes));
        }
        // Sixteen bytes of a number below `i128::MIN`.
        let mut low = vec![0x10, 0x7f];
        low.extend([0xff; 15]);
        assert!(decode(&low).is_err());
        low[1] = 0x80;
        assert!(decode(&low).is_ok());
    }

    #[test]
    fn depth_and_length_have_an_end() {
        assert!(decode(&[0x70; 1024]).is_err());
        assert!(decode(&[[0x70; 16], [0x00; 16]].concat()).is_ok());
        assert!(decode(&[[0x70; 17], [0x00; 17]].concat()).is_err());
        assert!(matches!(decode(&[0x25; 1025]), Err(Error::KeyTooLong { bytes: 1025, .. })));
    }
}
