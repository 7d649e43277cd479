//! Keys of secondary indexes: values encoded as bytes that sort like the values.
//!
//! Owns: the encoding published in `docs/keys.md`, its text form, and ranges of keys. Never: knows records, indexes or
//! pages; compares anything but bytes at run time.
//! Invariants: 1. Two keys sort as bytes like their values.
//! 2. Each list of values has exactly one encoding, and decoded values encode to the same bytes again.
//! 3. A component ends where it says, without a look at what follows, so the encoding of a list begins with the
//!    encodings of all its prefixes.
//! 4. No byte string makes decoding panic or recurse deeper than [`DEPTH_MAX`].
//!
//! A key is a list of components. A single value is a list of one component; a Rust tuple has one component per
//! element, so a key of the first elements alone is a prefix of it.
//!
//! ```
//! use tenure::key::{Desc, Key, prefix_range};
//!
//! // By city, then from the oldest to the youngest.
//! let ada = Key::new(&("London", Desc(36)))?;
//! let alan = Key::new(&("London", Desc(41)))?;
//! let emmy = Key::new(&("Erlangen", Desc(53)))?;
//! assert!(emmy < alan && alan < ada);
//! assert_eq!(ada.to_string(), r#""London", desc 36"#);
//!
//! // Everyone in London, of any age.
//! let mut index = std::collections::BTreeMap::from([(ada, 1), (alan, 2), (emmy, 3)]);
//! let london = Key::new(&"London")?;
//! let found: Vec<i32> = index.range(prefix_range(&london)).map(|(_, id)| *id).collect();
//! assert_eq!(found, [2, 1]);
//! # Ok::<(), tenure::Error>(())
//! ```

mod buffer;
mod decode;
mod float;
mod integer;
mod kind;
mod owned;
mod parse;
mod range;
mod tag;
mod text;
mod timestamp;
mod to_key;
mod value;
#[cfg(feature = "serde")]
mod with_serde;
mod writer;

pub use crate::key_bytes::Key;
pub use decode::decode;
pub use integer::Integer;
pub use kind::KeyKind;
pub use range::{prefix_end, prefix_range, text_range};
pub use tag::{DEPTH_MAX, KEY_BYTES_MAX};
pub use timestamp::Timestamp;
pub use to_key::{Desc, ToKey};
pub use value::KeyValue;
pub use writer::KeyWriter;
