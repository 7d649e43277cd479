//! Rust values that can be keys.
//!
//! Owns: the trait and its implementations. Never: knows the bytes of the encoding; `KeyWriter` does.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::id::RecordId;
use crate::key::float;
use crate::key::integer::Integer;
use crate::key::timestamp::Timestamp;
use crate::key::writer::KeyWriter;

/// A value that can be a key.
///
/// Implemented for `bool`, integers and floats of all widths, `str`, byte slices, `SystemTime`, [`Timestamp`], [`RecordId`]
/// (as an integer), `Option` (`None` is null), [`Desc`], and tuples of up to eight of these.
///
/// ```
/// use tenure::key::{Key, KeyWriter, ToKey};
///
/// struct Version(u16, u16);
///
/// impl ToKey for Version {
///     fn write_key(&self, out: &mut KeyWriter) {
///         out.integer(self.0).integer(self.1);
///     }
///     fn write_component(&self, out: &mut KeyWriter) {
///         out.tuple(|out| self.write_key(out));
///     }
/// }
///
/// assert!(Key::new(&Version(1, 9))? < Key::new(&Version(1, 10))?);
/// assert_eq!(Key::new(&("serde", Version(1, 9)))?.to_string(), r#""serde", (1, 9)"#);
/// # Ok::<(), tenure::Error>(())
/// ```
pub trait ToKey {
    /// Writes the value as a whole key: a tuple as one component per element.
    fn write_key(&self, out: &mut KeyWriter);

    /// Writes the value as one component of a key. Values with several components override it, using
    /// [`KeyWriter::tuple`].
    fn write_component(&self, out: &mut KeyWriter) {
        self.write_key(out);
    }
}

/// A value that sorts in descending order.
///
/// ```
/// use tenure::key::{Desc, Key};
///
/// assert!(Key::new(&Desc("b"))? < Key::new(&Desc("a"))?);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Desc<T>(pub T);

impl<T: ToKey> ToKey for Desc<T> {
    fn write_key(&self, out: &mut KeyWriter) {
        out.descending(|out| self.0.write_component(out));
    }
}

impl<T: ToKey + ?Sized> ToKey for &T {
    fn write_key(&self, out: &mut KeyWriter) {
        (**self).write_key(out);
    }

    fn write_component(&self, out: &mut KeyWriter) {
        (**self).write_component(out);
    }
}

impl<T: ToKey> ToKey for Option<T> {
    fn write_key(&self, out: &mut KeyWriter) {
        match self {
            Some(value) => value.write_key(out),
            None => _ = out.null(),
        }
    }

    fn write_component(&self, out: &mut KeyWriter) {
        match self {
            Some(value) => value.write_component(out),
            None => _ = out.null(),
        }
    }
}

macro_rules! simple {
    ($($kind:ty: $value:ident, $out:ident => $write:expr;)*) => {$(
        impl ToKey for $kind {
            fn write_key(&self, $out: &mut KeyWriter) {
                let $value = self;
                $write;
            }
        }
    )*};
}

simple! {
    bool: value, out => out.bool(*value);
    f64: value, out => out.float(*value);
    f32: value, out => out.float(float::widen(*value));
    str: value, out => out.string(value);
    String: value, out => out.string(value);
    Cow<'_, str>: value, out => out.string(value);
    [u8]: value, out => out.bytes(value);
    Vec<u8>: value, out => out.bytes(value);
    Cow<'_, [u8]>: value, out => out.bytes(value);
    Timestamp: value, out => out.timestamp(*value);
    SystemTime: value, out => out.timestamp(*value);
    RecordId: value, out => out.integer(value.as_u64());
    Integer: value, out => out.integer(*value);
}

impl<const LEN: usize> ToKey for [u8; LEN] {
    fn write_key(&self, out: &mut KeyWriter) {
        out.bytes(self);
    }
}

macro_rules! integers {
    ($($number:ty),*) => {$(
        impl ToKey for $number {
            fn write_key(&self, out: &mut KeyWriter) {
                out.integer(*self);
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);

impl ToKey for () {
    fn write_key(&self, _out: &mut KeyWriter) {}

    fn write_component(&self, out: &mut KeyWriter) {
        out.tuple(|_empty| ());
    }
}

macro_rules! tuples {
    ($($($name:ident $index:tt),*;)*) => {$(
        impl<$($name: ToKey),*> ToKey for ($($name,)*) {
            fn write_key(&self, out: &mut KeyWriter) {
                $(self.$index.write_component(out);)*
            }

            fn write_component(&self, out: &mut KeyWriter) {
                out.tuple(|out| self.write_key(out));
            }
        }
    )*};
}

tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_bytes::Key;

    fn text<T: ToKey + ?Sized>(value: &T) -> String {
        Key::new(value).unwrap().to_string()
    }

    #[test]
    fn every_type_writes_what_it_is() {
        let id: RecordId = "1.2".parse().unwrap();
        assert_eq!(text(&(true, 1_u8, -1_i128, 0.5_f32, "a", String::from("b"), [1_u8], vec![2_u8])), {
            r#"true, 1, -1, 0.5, "a", "b", 0x01, 0x02"#
        });
        assert_eq!(text(&(Some(1), None::<i32>, Cow::from("c"), SystemTime::UNIX_EPOCH, id)), {
            r#"1, null, "c", @1970-01-01T00:00:00Z, 16777218"#
        });
        assert_eq!(text(&Cow::from(&b"x"[..])), "0x78");
    }

    #[test]
    fn a_tuple_is_flat_as_a_key_and_nested_as_a_component() {
        assert_eq!(text(&(1, (2, 3))), "1, (2, 3)");
        assert_eq!(text(&((1, 2),)), "(1, 2)");
        assert_eq!(text(&Some((1, 2))), "1, 2");
        assert_eq!(text(&(Some((1, 2)), ())), "(1, 2), ()");
        assert_eq!(text(&Desc((1, 2))), "desc (1, 2)");
        assert_eq!(text(&()), "");
        assert_eq!(text(&&(1, 2)), "1, 2");
    }
}
