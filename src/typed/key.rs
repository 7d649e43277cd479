//! Types that definitions name as key types.
//!
//! Owns: how a key is passed in, how it is read back, and the name of its type. Never: encodes; `ToKey` does.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::id::RecordId;
use crate::key::{Desc, KeyValue, Timestamp, ToKey};
use crate::typed::id::Id;

/// A type that a definition can name as the type of its keys.
///
/// Borrowed keys appear as `&str` and `&[u8]` in the definition; the keys passed in can have any lifetime. Byte arrays,
/// `Option`, [`Desc`] and tuples of up to eight components are keys, as in the untyped interface. A type of your own
/// that implements [`ToKey`] needs two lines: `type Given<'a> = Self`, and the key type, which is that of the value
/// that it writes: `fn key_type() -> String { <&str>::key_type() }`.
pub trait IndexKey: 'static {
    /// The key as an extractor emits it, or as a lookup takes it.
    type Given<'a>: ToKey;

    /// The name of the key type: `integer` for integers of any width, `(integer, string)` for a pair. It is part of the
    /// index definition, so it must not change unless the keys do.
    fn key_type() -> String;
}

/// A key type that can be read back from an index.
///
/// For your own types, implement how to read one component of a key:
///
/// ```
/// use tenure::key::{KeyValue, KeyWriter, ToKey};
/// use tenure::typed::{IndexKey, ReadKey};
///
/// struct Email(String);
///
/// impl ToKey for Email {
///     fn write_key(&self, out: &mut KeyWriter) {
///         out.string(&self.0);
///     }
/// }
///
/// impl IndexKey for Email {
///     type Given<'a> = Self;
///     fn key_type() -> String {
///         <&str>::key_type()
///     }
/// }
///
/// impl ReadKey for Email {
///     type Read = Self;
///     fn read(value: KeyValue) -> Option<Self> {
///         if let KeyValue::String(text) = value { Some(Self(text)) } else { None }
///     }
/// }
/// ```
pub trait ReadKey: IndexKey {
    /// The key as it is read back: an owned form of `Given`.
    type Read;

    /// Converts one component; `None` if it has another type.
    fn read(value: KeyValue) -> Option<Self::Read>;

    /// Converts a whole key. Override it for types that are written as several components.
    fn read_all(values: Vec<KeyValue>) -> Option<Self::Read> {
        let [value] = <[KeyValue; 1]>::try_from(values).ok()?;
        Self::read(value)
    }
}

macro_rules! simple {
    ($($key:ty, $given:ty, $kind:literal, $read:ty: $pattern:pat => $value:expr;)*) => {$(
        impl IndexKey for $key {
            type Given<'a> = $given;

            fn key_type() -> String {
                $kind.to_owned()
            }
        }

        impl ReadKey for $key {
            type Read = $read;

            fn read(value: KeyValue) -> Option<$read> {
                if let $pattern = value { $value } else { None }
            }
        }
    )*};
}

simple! {
    bool, Self, "bool", Self: KeyValue::Bool(value) => Some(value);
    f64, Self, "float", Self: KeyValue::Float(value) => Some(value);
    String, Self, "string", Self: KeyValue::String(text) => Some(text);
    &'static str, &'a str, "string", String: KeyValue::String(text) => Some(text);
    Cow<'static, str>, Cow<'a, str>, "string", String: KeyValue::String(text) => Some(text);
    Vec<u8>, Self, "bytes", Self: KeyValue::Bytes(bytes) => Some(bytes);
    &'static [u8], &'a [u8], "bytes", Vec<u8>: KeyValue::Bytes(bytes) => Some(bytes);
    Timestamp, Self, "timestamp", Self: KeyValue::Timestamp(moment) => Some(moment);
    SystemTime, Self, "timestamp", Self: KeyValue::Timestamp(moment) => moment.to_system_time();
    RecordId, Self, "id", Self: KeyValue::Integer(raw) => RecordId::from_u64(u64::try_from(raw).ok()?);
}

macro_rules! integers {
    ($($key:ty),*) => {
        simple! {$(
            $key, Self, "integer", Self: KeyValue::Integer(number) => Self::try_from(number).ok();
        )*}
    };
}

integers!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);

impl IndexKey for f32 {
    type Given<'a> = Self;

    fn key_type() -> String {
        f64::key_type()
    }
}

impl ReadKey for f32 {
    type Read = Self;

    #[expect(clippy::cast_possible_truncation, reason = "what an f32 was widened to is narrowed back without loss")]
    fn read(value: KeyValue) -> Option<Self> {
        if let KeyValue::Float(value) = value { Some(value as Self) } else { None }
    }
}

impl<T: 'static> IndexKey for Id<T> {
    type Given<'a> = Self;

    fn key_type() -> String {
        RecordId::key_type()
    }
}

impl<T: 'static> ReadKey for Id<T> {
    type Read = Self;

    fn read(value: KeyValue) -> Option<Self> {
        RecordId::read(value).map(Self::from)
    }
}

impl<const LEN: usize> IndexKey for [u8; LEN] {
    type Given<'a> = Self;

    fn key_type() -> String {
        Vec::<u8>::key_type()
    }
}

impl<const LEN: usize> ReadKey for [u8; LEN] {
    type Read = Self;

    fn read(value: KeyValue) -> Option<Self> {
        Vec::<u8>::read(value)?.try_into().ok()
    }
}

impl<K: IndexKey> IndexKey for Option<K> {
    type Given<'a> = Option<K::Given<'a>>;

    fn key_type() -> String {
        format!("optional {}", K::key_type())
    }
}

impl<K: ReadKey> ReadKey for Option<K> {
    type Read = Option<K::Read>;

    fn read(value: KeyValue) -> Option<Self::Read> {
        if matches!(value, KeyValue::Null) { Some(None) } else { K::read(value).map(Some) }
    }

    fn read_all(values: Vec<KeyValue>) -> Option<Self::Read> {
        if matches!(values[..], [KeyValue::Null]) { Some(None) } else { K::read_all(values).map(Some) }
    }
}

impl<K: IndexKey> IndexKey for Desc<K> {
    type Given<'a> = Desc<K::Given<'a>>;

    fn key_type() -> String {
        format!("descending {}", K::key_type())
    }
}

impl<K: ReadKey> ReadKey for Desc<K> {
    type Read = Desc<K::Read>;

    fn read(value: KeyValue) -> Option<Self::Read> {
        let inner = match value {
            KeyValue::Desc(inner) => *inner,
            // Descending twice is ascending.
            ascending => KeyValue::Desc(Box::new(ascending)),
        };
        K::read(inner).map(Desc)
    }
}

impl IndexKey for () {
    type Given<'a> = Self;

    fn key_type() -> String {
        "()".to_owned()
    }
}

impl ReadKey for () {
    type Read = Self;

    fn read(value: KeyValue) -> Option<Self> {
        if let KeyValue::Tuple(values) = value { Self::read_all(values) } else { None }
    }

    fn read_all(values: Vec<KeyValue>) -> Option<Self> {
        values.is_empty().then_some(())
    }
}

macro_rules! tuples {
    ($($($name:ident),*;)*) => {$(
        impl<$($name: IndexKey),*> IndexKey for ($($name,)*) {
            type Given<'a> = ($($name::Given<'a>,)*);

            fn key_type() -> String {
                format!("({})", [$($name::key_type()),*].join(", "))
            }
        }

        impl<$($name: ReadKey),*> ReadKey for ($($name,)*) {
            type Read = ($($name::Read,)*);

            fn read(value: KeyValue) -> Option<Self::Read> {
                if let KeyValue::Tuple(values) = value { Self::read_all(values) } else { None }
            }

            fn read_all(values: Vec<KeyValue>) -> Option<Self::Read> {
                let mut values = values.into_iter();
                let read = ($($name::read(values.next()?)?,)*);
                if values.len() == 0 { Some(read) } else { None }
            }
        }
    )*};
}

tuples! {
    A;
    A, B;
    A, B, C;
    A, B, C, D;
    A, B, C, D, E;
    A, B, C, D, E, F;
    A, B, C, D, E, F, G;
    A, B, C, D, E, F, G, H;
}
