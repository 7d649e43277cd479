//! Serde support for record IDs.
//!
//! Owns: the two forms: text in human-readable formats, a number in others. Never: accepts an invalid ID.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::RecordId;

/// As text, such as `"12.1"`, in human-readable formats; as a number in others.
impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() { out.collect_str(self) } else { out.serialize_u64(self.as_u64()) }
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() { from.deserialize_str(Reader) } else { from.deserialize_u64(Reader) }
    }
}

/// Reads an ID in either form.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = RecordId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record ID such as \"12.1\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RecordId, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, raw: u64) -> Result<RecordId, E> {
        RecordId::from_u64(raw).ok_or_else(|| E::custom("a number that is not a record ID"))
    }
}
