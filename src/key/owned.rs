//! Owned keys.
//!
//! Owns: building keys from values, bytes and text, and reading their values. Never: changes them.

use std::borrow::Borrow;
use std::fmt;
use std::fmt::Write;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::key::decode::decode;
use crate::key::tag::KEY_BYTES_MAX;
use crate::key::text;
use crate::key::to_key::ToKey;
use crate::key::value::KeyValue;
use crate::key::writer::KeyWriter;
use crate::key_bytes::Key;

impl Key {
    /// Encodes a value as a key. A Rust tuple yields one component per element.
    ///
    /// Fails if the key would be longer than [`KEY_BYTES_MAX`], or nested deeper than
    /// [`DEPTH_MAX`](crate::key::DEPTH_MAX).
    pub fn new<T: ToKey + ?Sized>(value: &T) -> Result<Self> {
        let mut writer = KeyWriter::new();
        value.write_key(&mut writer);
        writer.finish()
    }

    /// Builds a key from raw bytes: a stored key, or a bound between keys. The bytes need not decode; only the length
    /// is checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong { bytes: to_u64(bytes.len()), limit: to_u64(KEY_BYTES_MAX), of: None });
        }
        Ok(Self::from_vec(SmallVec::from_slice(bytes)))
    }

    /// The components. Fails if the bytes are not a valid encoding, which those of a bound may not be.
    pub fn values(&self) -> Result<Vec<KeyValue>> {
        decode(self.as_bytes())
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// The values as text that [`str::parse`] reads; `bytes 0x…` if they do not decode.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.values() {
            Ok(values) => text::list(&values, f),
            Err(_no_encoding) => {
                f.write_str("bytes ")?;
                text::hex(self.as_bytes(), f)
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self}")?;
        f.write_char(')')
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    #[test]
    fn a_key_is_found_by_its_bytes() {
        let key = Key::new("name").unwrap();
        let bytes = key.as_bytes().to_vec();
        assert_eq!(BTreeMap::from([(key.clone(), 1)]).get(bytes.as_slice()), Some(&1));
        assert_eq!(HashMap::from([(key, 1)]).get(bytes.as_slice()), Some(&1));
    }

    #[test]
    fn the_longest_key_and_one_byte_more() {
        // A tag and a terminator.
        assert_eq!(Key::new(&"a".repeat(KEY_BYTES_MAX - 2)).unwrap().as_bytes().len(), KEY_BYTES_MAX);
        let error = Key::new(&"a".repeat(KEY_BYTES_MAX - 1)).unwrap_err();
        assert!(matches!(error, Error::KeyTooLong { bytes: 1025, limit: 1024, .. }), "{error}");
        assert!(Key::from_bytes(&[7; KEY_BYTES_MAX]).is_ok());
        assert!(matches!(Key::from_bytes(&[7; 2000]), Err(Error::KeyTooLong { bytes: 2000, .. })));
    }

    #[test]
    fn bytes_that_do_not_decode_are_shown() {
        assert_eq!(format!("{:?}", Key::from_bytes(&[0xff, 0x00]).unwrap()), "Key(bytes 0xff00)");
    }
}
