//! Ranges of keys with a common prefix.
//!
//! Owns: bounds. Never: looks into a component for more than its type; bytes suffice.

use std::ops::Bound;

use crate::error::{Error, Result};
use crate::key::tag::KEY_BYTES_MAX;
use crate::key::value::KeyValue;
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

/// The range of all keys that start with the components of `start`; the last one, a string or a byte string, matches as
/// a prefix.
///
/// ```
/// use std::ops::RangeBounds;
/// use tenure::key::{Key, text_range};
///
/// let range = text_range(&Key::new(&"an")?)?;
/// assert!(range.contains(&Key::new(&"an")?) && range.contains(&Key::new(&"anna")?));
/// assert!(!range.contains(&Key::new(&"bob")?));
/// assert!(text_range(&Key::new(&12)?).is_err());
/// # Ok::<(), tenure::Error>(())
/// ```
///
/// # Errors
/// `BadKeyText` if the last component is neither, and `BadKey` if the bytes are not a key.
pub fn text_range(start: &Key) -> Result<(Bound<Key>, Bound<Key>)> {
    let last = start.values()?.pop();
    let mut value = last.as_ref();
    while let Some(KeyValue::Desc(inner)) = value {
        value = Some(inner);
    }
    if !matches!(value, Some(KeyValue::String(_) | KeyValue::Bytes(_))) {
        let why = "its last component is neither a string nor a byte string";
        return Err(Error::bad_key_text(&start.to_string(), "beginning of keys", why));
    }
    // The last byte ends the string.
    let open = start.as_bytes().split_last().map_or(&[][..], |(_end, open)| open);
    Ok(prefix_range(&Key::from_bytes(open)?))
}
