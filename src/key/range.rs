//! Ranges of keys with a common prefix.
//!
//! Owns: bounds. Never: looks into a component; bytes suffice.

use std::ops::Bound;

use crate::key::tag::KEY_BYTES_MAX;
use crate::key_bytes::Key;

/// The smallest key greater than all keys with this prefix; `None` if the prefix is all 0xff.
///
/// A prefix longer than the limit of keys is truncated to it: no key starts with it anyway.
///
/// ```
/// use tenure::key::prefix_end;
///
/// assert_eq!(prefix_end(&[1, 2]).unwrap().as_bytes(), [1, 3]);
/// assert_eq!(prefix_end(&[1, 0xff]).unwrap().as_bytes(), [2]);
/// assert_eq!(prefix_end(&[0xff, 0xff]), None);
/// assert_eq!(prefix_end(&[]), None);
/// ```
pub fn prefix_end(prefix: &[u8]) -> Option<Key> {
    let prefix = prefix.get(..KEY_BYTES_MAX).unwrap_or(prefix);
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut bytes: smallvec::SmallVec<[u8; 32]> = prefix.get(..=last)?.into();
    *bytes.last_mut()? += 1;
    Some(Key::from_vec(bytes))
}

/// The range of all keys that start with the components of `prefix`, including `prefix` itself.
///
/// ```
/// use std::ops::RangeBounds;
/// use tenure::key::{Key, prefix_range};
///
/// let range = prefix_range(&Key::new(&"a")?);
/// assert!(range.contains(&Key::new(&"a")?) && range.contains(&Key::new(&("a", 1))?));
/// assert!(!range.contains(&Key::new(&"ab")?));
/// # Ok::<(), tenure::Error>(())
/// ```
pub fn prefix_range(prefix: &Key) -> (Bound<Key>, Bound<Key>) {
    let end = prefix_end(prefix.as_bytes()).map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(prefix.clone()), end)
}
