//! The type of encoded keys, in the lowest layer: errors name keys, and encoding returns errors.
//!
//! Owns: the bytes, up to 32 without an allocation. Never: encodes, decodes or limits them; `key` does.

use std::ops::{Bound, RangeBounds};

use smallvec::SmallVec;

/// An encoded key. Keys sort like their bytes, and their bytes like their values.
///
/// ```
/// use tenure::key::{Key, KeyValue};
///
/// let key = Key::new(&("Ada", 1815))?;
/// assert!(key < Key::new(&("Ada", 1816))?);
/// assert!(key.as_bytes().starts_with(Key::new(&"Ada")?.as_bytes()));
/// assert_eq!(key.values()?, [KeyValue::from("Ada"), KeyValue::from(1815)]);
/// assert_eq!(format!("{key:?}"), r#"Key("Ada", 1815)"#);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    bytes: SmallVec<[u8; 32]>,
}

impl Key {
    pub(crate) fn from_vec(bytes: SmallVec<[u8; 32]>) -> Self {
        Self { bytes }
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it has no component. The empty key sorts before all others and is a prefix of all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Whether a key lies in a range. Says which comparison is meant: dependencies may implement others with bytes.
pub(crate) fn is_within(range: (Bound<&[u8]>, Bound<&[u8]>), key: &[u8]) -> bool {
    RangeBounds::<[u8]>::contains(&range, key)
}
