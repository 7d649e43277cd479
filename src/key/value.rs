//! Decoded components of keys.
//!
//! Owns: the kinds of components, and the order of components by their values. Never: looks at encoded bytes, so that
//! tests can compare the two orders.

use std::cmp::Ordering;
use std::fmt;

use crate::key::integer::Integer;
use crate::key::timestamp::Timestamp;
use crate::key::to_key::ToKey;
use crate::key::writer::KeyWriter;

/// A component of a key.
///
/// Components of different types sort in the order of the variants. All descending components sort after all ascending
/// ones. Floats are equal if their bits are.
///
/// ```
/// use tenure::key::{Key, KeyValue};
///
/// let values = [KeyValue::from("Ada"), KeyValue::Desc(Box::new(KeyValue::from(1815)))];
/// let key = Key::new(&values)?;
/// assert_eq!(key.values()?, values);
/// assert!(KeyValue::Null < KeyValue::from(false) && KeyValue::from(7) < KeyValue::from("7"));
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone)]
pub enum KeyValue {
    /// Nothing.
    Null,
    /// A Boolean.
    Bool(bool),
    /// An integer of any width.
    Integer(Integer),
    /// A float.
    Float(f64),
    /// A timestamp.
    Timestamp(Timestamp),
    /// A string.
    String(String),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A tuple inside a key.
    Tuple(Vec<KeyValue>),
    /// A component that sorts in descending order.
    Desc(Box<KeyValue>),
}

impl KeyValue {
    /// The value and whether it is descending; two nested `Desc` cancel out.
    fn direction(&self) -> (bool, &Self) {
        let (mut descends, mut value) = (false, self);
        while let Self::Desc(inner) = value {
            (descends, value) = (!descends, inner);
        }
        (descends, value)
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Integer(_) => 2,
            Self::Float(_) => 3,
            Self::Timestamp(_) => 4,
            Self::String(_) => 5,
            Self::Bytes(_) => 6,
            Self::Tuple(_) => 7,
            Self::Desc(_) => 8,
        }
    }
}

impl Ord for KeyValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.direction(), other.direction()) {
            ((true, own), (true, other)) => other.cmp(own),
            ((false, own), (false, other)) => match (own, other) {
                (Self::Bool(own), Self::Bool(other)) => own.cmp(other),
                (Self::Integer(own), Self::Integer(other)) => own.cmp(other),
                (Self::Float(own), Self::Float(other)) => own.total_cmp(other),
                (Self::Timestamp(own), Self::Timestamp(other)) => own.cmp(other),
                (Self::String(own), Self::String(other)) => own.cmp(other),
                (Self::Bytes(own), Self::Bytes(other)) => own.cmp(other),
                (Self::Tuple(own), Self::Tuple(other)) => own.cmp(other),
                _ => own.rank().cmp(&other.rank()),
            },
            ((own, _), (other, _)) => own.cmp(&other),
        }
    }
}

impl PartialOrd for KeyValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for KeyValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for KeyValue {}

impl ToKey for KeyValue {
    fn write_key(&self, out: &mut KeyWriter) {
        match self {
            Self::Null => out.null(),
            Self::Bool(value) => out.bool(*value),
            Self::Integer(value) => out.integer(*value),
            Self::Float(value) => out.float(*value),
            Self::Timestamp(value) => out.timestamp(*value),
            Self::String(value) => out.string(value),
            Self::Bytes(value) => out.bytes(value),
            Self::Tuple(values) => out.tuple(|out| values.write_key(out)),
            Self::Desc(value) => out.descending(|out| value.write_key(out)),
        };
    }
}

impl ToKey for [KeyValue] {
    fn write_key(&self, out: &mut KeyWriter) {
        for value in self {
            value.write_component(out);
        }
    }

    fn write_component(&self, out: &mut KeyWriter) {
        out.tuple(|out| self.write_key(out));
    }
}

impl ToKey for Vec<KeyValue> {
    fn write_key(&self, out: &mut KeyWriter) {
        self.as_slice().write_key(out);
    }

    fn write_component(&self, out: &mut KeyWriter) {
        self.as_slice().write_component(out);
    }
}

impl<const LEN: usize> ToKey for [KeyValue; LEN] {
    fn write_key(&self, out: &mut KeyWriter) {
        self.as_slice().write_key(out);
    }

    fn write_component(&self, out: &mut KeyWriter) {
        self.as_slice().write_component(out);
    }
}

macro_rules! from {
    ($($kind:ty: $value:ident => $made:expr;)*) => {$(
        impl From<$kind> for KeyValue {
            fn from($value: $kind) -> Self {
                $made
            }
        }
    )*};
}

from! {
    bool: value => Self::Bool(value);
    Integer: value => Self::Integer(value);
    i32: value => Self::Integer(value.into());
    i64: value => Self::Integer(value.into());
    u32: value => Self::Integer(value.into());
    u64: value => Self::Integer(value.into());
    f64: value => Self::Float(value);
    Timestamp: value => Self::Timestamp(value);
    &str: value => Self::String(value.to_owned());
    String: value => Self::String(value);
    &[u8]: value => Self::Bytes(value.to_owned());
    Vec<u8>: value => Self::Bytes(value);
    Vec<KeyValue>: values => Self::Tuple(values);
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
