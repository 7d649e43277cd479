//! Component types by name, and values from the plain text of a command line.
//!
//! Owns: the names. Never: needs quotes or prefixes, since the type comes separately from the text.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::id::RecordId;
use crate::key::parse;
use crate::key::timestamp::Timestamp;
use crate::key::value::KeyValue;
use crate::key_bytes::Key;

/// A component type that can be parsed from plain text.
///
/// ```
/// use tenure::key::{Key, KeyKind};
///
/// let kind: KeyKind = "string".parse()?;
/// assert_eq!(kind.key("12")?, Key::new("12")?);
/// assert_eq!(KeyKind::Integer.key("12")?, Key::new(&12)?);
/// assert!(KeyKind::Integer.key("twelve").is_err());
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `string`: the text as it is.
    String,
    /// `integer`: decimal, of any width.
    Integer,
    /// `float`: decimal, or `inf`, `-inf`, `nan`.
    Float,
    /// `bool`: `true` or `false`.
    Bool,
    /// `timestamp`: RFC 3339, or microseconds since 1970.
    Timestamp,
    /// `bytes`: two hexadecimal digits per byte, with or without a leading `0x`.
    Bytes,
    /// `id`: a record ID such as `1024.1`, whose key is the integer [`RecordId::as_u64`].
    Id,
}

impl KeyKind {
    /// All types.
    pub const ALL: [Self; 7] =
        [Self::String, Self::Integer, Self::Float, Self::Bool, Self::Timestamp, Self::Bytes, Self::Id];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp",
            Self::Bytes => "bytes",
            Self::Id => "id",
        }
    }

    /// Parses plain text as a value of this type.
    pub fn value(self, text: &str) -> Result<KeyValue> {
        let refused = |why| Error::bad_key_text(text, self.name(), why);
        match self {
            Self::String => Ok(KeyValue::String(text.to_owned())),
            Self::Integer => {
                let number = parse::integer(text).map(KeyValue::Integer);
                number.ok_or_else(|| refused("write it with decimal digits, within 128 bits"))
            }
            Self::Float => {
                parse::float(text).map(KeyValue::Float).ok_or_else(|| refused("write it as -1.5e3, or as inf or nan"))
            }
            Self::Bool => text.parse().map(KeyValue::Bool).map_err(|_other| refused("write true or false")),
            Self::Timestamp => {
                let micros = text.parse().map(Timestamp::from_micros);
                micros.or_else(|_no_number| text.parse()).map(KeyValue::Timestamp)
            }
            Self::Bytes => {
                let bytes = parse::hex(text.strip_prefix("0x").unwrap_or(text)).map(KeyValue::Bytes);
                bytes.ok_or_else(|| refused("write two hexadecimal digits for each byte"))
            }
            Self::Id => {
                let id = text.parse::<RecordId>();
                let why = "write it as SLOT.COUNT, for example 12.1";
                id.map(|id| KeyValue::from(id.as_u64())).map_err(|_other| Error::bad_key_text(text, "record ID", why))
            }
        }
    }

    /// Parses plain text as a key of one value of this type.
    pub fn key(self, text: &str) -> Result<Key> {
        Key::new(&self.value(text)?)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let why = "choose string, integer, float, bool, timestamp, bytes or id";
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| Error::bad_key_text(text, "type of keys", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_becomes_a_value_of_its_type() {
        let text = |kind: KeyKind, text: &str| kind.key(text).map(|key| key.to_string()).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(text(KeyKind::String, " \"a\" "), some(r#"" \"a\" ""#));
        assert_eq!(text(KeyKind::Integer, "-7"), some("-7"));
        assert_eq!(text(KeyKind::Float, "7"), some("7.0"));
        assert_eq!(text(KeyKind::Float, "nan"), some("nan"));
        assert_eq!(text(KeyKind::Bool, "true"), some("true"));
        assert_eq!(text(KeyKind::Timestamp, "1000000"), some("@1970-01-01T00:00:01Z"));
        assert_eq!(text(KeyKind::Timestamp, "1970-01-01 00:00:01Z"), some("@1970-01-01T00:00:01Z"));
        assert_eq!(text(KeyKind::Bytes, "0x00ff"), some("0x00ff"));
        assert_eq!(text(KeyKind::Bytes, "00FF"), some("0x00ff"));
        assert_eq!(text(KeyKind::Id, "1.2"), some("16777218"));
        for (kind, wrong) in [
            (KeyKind::Integer, "1.0"),
            (KeyKind::Integer, ""),
            (KeyKind::Float, "x"),
            (KeyKind::Bool, "yes"),
            (KeyKind::Timestamp, "now"),
            (KeyKind::Bytes, "abc"),
            (KeyKind::Bytes, "éé"),
            (KeyKind::Id, "12"),
            (KeyKind::Id, "1.0"),
        ] {
            assert_eq!(text(kind, wrong), None, "{wrong} as {kind}");
        }
    }

    #[test]
    fn names_lead_to_types() {
        for kind in KeyKind::ALL {
            assert_eq!(kind.to_string().parse::<KeyKind>().unwrap(), kind);
        }
        assert!("int".parse::<KeyKind>().is_err());
    }
}
