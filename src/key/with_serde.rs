//! Serde support for timestamps.
//!
//! Owns: the two forms: RFC 3339 in human-readable formats, microseconds in others. Never: rounds.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::key::timestamp::Timestamp;

/// As RFC 3339, such as `"2026-01-31T12:00:00Z"`, in human-readable formats; as microseconds since 1970 in others.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() { out.collect_str(self) } else { out.serialize_i64(self.micros()) }
    }
}

/// Human-readable formats also accept integers, as microseconds since 1970.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() { from.deserialize_any(Reader) } else { from.deserialize_i64(Reader) }
    }
}

/// Reads either form.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a moment such as \"2026-01-31T12:00:00Z\", or microseconds since 1970")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, micros: i64) -> Result<Timestamp, E> {
        Ok(Timestamp::from_micros(micros))
    }

    fn visit_u64<E: Error>(self, micros: u64) -> Result<Timestamp, E> {
        i64::try_from(micros).map(Timestamp::from_micros).map_err(E::custom)
    }
}
