//! How a type is encoded as the bytes of a record, and decoded.
//!
//! Owns: the trait, and the adapter for serde. Never: depends on a set.

#[cfg(feature = "json")]
use std::io::BufReader;
use std::io::Read;

use crate::error::{Error, Result};
use crate::txn::from_io;
#[cfg(feature = "json")]
use crate::typed::finite;

/// A type whose values can be stored as records.
///
/// `decode` must read what `encode` writes, in later versions of the program as well: records live long. For bytes that
/// it cannot read, `decode` returns [`Error::bad_value`](crate::Error::bad_value). A typed write decodes what it has
/// encoded, and refuses a value that does not decode again.
///
/// ```
/// use tenure::typed::Value;
///
/// struct Celsius(i32);
///
/// impl Value for Celsius {
///     fn encode(&self, out: &mut Vec<u8>) -> tenure::Result<()> {
///         out.extend_from_slice(&self.0.to_le_bytes());
///         Ok(())
///     }
///     fn decode(bytes: &[u8]) -> tenure::Result<Self> {
///         let bytes = bytes.try_into().map_err(tenure::Error::bad_value::<Self>)?;
///         Ok(Self(i32::from_le_bytes(bytes)))
///     }
/// }
///
/// let mut bytes = Vec::new();
/// Celsius(-3).encode(&mut bytes)?;
/// assert_eq!(Celsius::decode(&bytes)?.0, -3);
/// assert!(Celsius::decode(b"warm and sunny").is_err());
/// # Ok::<(), tenure::Error>(())
/// ```
pub trait Value: Sized + 'static {
    /// Appends the encoded value.
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;

    /// Decodes a record.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// Whether a record is in the form that `encode` writes, as opposed to an older form that `decode` also reads.
    /// [`Store::migrate_set`](crate::Store::migrate_set) rewrites records that are not. Types with one form need not
    /// override it.
    fn is_current(_bytes: &[u8]) -> bool {
        true
    }

    /// Checks that the bytes of a stream decode as a value; [`TypedSet::stage`](crate::typed::TypedSet::stage) calls it. The
    /// default reads them into memory and decodes them. Override it for types that can be checked piece by piece, so that
    /// their values can have any size.
    ///
    /// ```
    /// use std::io::Read;
    /// use tenure::typed::Value;
    ///
    /// /// Samples of two bytes each.
    /// struct Recording(Vec<u8>);
    ///
    /// impl Value for Recording {
    ///     fn encode(&self, out: &mut Vec<u8>) -> tenure::Result<()> {
    ///         out.extend_from_slice(&self.0);
    ///         Ok(())
    ///     }
    ///     fn decode(bytes: &[u8]) -> tenure::Result<Self> {
    ///         Self::check_stream(&mut &*bytes)?;
    ///         Ok(Self(bytes.to_vec()))
    ///     }
    ///     fn check_stream(from: &mut dyn Read) -> tenure::Result<()> {
    ///         let bytes = std::io::copy(from, &mut std::io::sink()).map_err(|source| tenure::Error::Source { source })?;
    ///         if bytes % 2 == 0 { Ok(()) } else { Err(tenure::Error::bad_value::<Self>("half a sample at its end")) }
    ///     }
    /// }
    /// assert!(Recording::decode(&[1, 2, 3]).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::bad_value`](crate::Error::bad_value) if they do not decode.
    fn check_stream(from: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(from_io)?;
        Self::decode(&bytes).map(drop)
    }
}

/// The encoded value, and what it decodes as.
pub(super) fn encoded<T: Value>(value: &T) -> Result<(Vec<u8>, T)> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes)?;
    let again = T::decode(&bytes);
    let again = again.map_err(|error| Error::bad_value::<T>(format!("its bytes do not decode again: {error}")))?;
    Ok((bytes, again))
}

/// A record that is a byte string.
impl Value for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }

    fn check_stream(_from: &mut dyn Read) -> Result<()> {
        Ok(())
    }
}

/// A record that is text.
impl Value for String {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(Error::bad_value::<Self>)
    }

    fn check_stream(from: &mut dyn Read) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut held = 0;
        loop {
            let free = buffer.get_mut(held..).unwrap_or_default();
            let read = match from.read(free) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(from_io)?,
            };
            held += read;
            let text = buffer.get(..held).unwrap_or_default();
            let whole = match std::str::from_utf8(text) {
                Ok(_) => held,
                // The last character may continue in the next piece.
                Err(error) if error.error_len().is_none() && read > 0 => error.valid_up_to(),
                Err(error) => return Err(Error::bad_value::<Self>(error)),
            };
            if read == 0 {
                return Ok(());
            }
            buffer.copy_within(whole..held, 0);
            held -= whole;
        }
    }
}

/// A value stored as JSON, for serde types. The command line reads and writes such records.
///
/// JSON cannot represent infinite floats or NaN: a value that contains one is refused.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tenure::typed::{Json, SetDefinition};
///
/// #[derive(Serialize, Deserialize)]
/// struct Person {
///     name: String,
///     born: u16,
/// }
///
/// const PEOPLE: SetDefinition<Json<Person>> = SetDefinition::new("people");
///
/// let store = tenure::Store::in_memory()?;
/// let people = store.typed_set(PEOPLE)?;
/// let ada = store.write(|tx| people.insert(tx, &Json(Person { name: "Ada".into(), born: 1815 })))?;
/// let view = store.view();
/// assert_eq!(view.fetch(ada)?.born, 1815);
/// assert_eq!(view.get(ada.into())?.as_slice(), Some(&br#"{"name":"Ada","born":1815}"#[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned + 'static> Value for Json<T> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        finite::check(&self.0).map_err(Error::bad_value::<T>)?;
        serde_json::to_writer(out, &self.0).map_err(Error::bad_value::<T>)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map(Self).map_err(Error::bad_value::<T>)
    }

    fn check_stream(from: &mut dyn Read) -> Result<()> {
        // Holds the value in memory, but not its bytes.
        let decoded = serde_json::from_reader::<_, T>(BufReader::new(from));
        decoded
            .map(drop)
            .map_err(|error| if error.is_io() { from_io(error.into()) } else { Error::bad_value::<T>(error) })
    }
}

#[cfg(feature = "json")]
impl<T> Json<T> {
    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

#[cfg(feature = "json")]
impl<T> std::ops::Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(feature = "json")]
impl<T> std::ops::DerefMut for Json<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
