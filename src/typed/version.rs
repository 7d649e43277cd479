//! Values that know the version of their form, and how older versions become the newest.
//!
//! Owns: the trait of one step, the number in front of bytes or inside JSON, and walking the steps. Never: rewrites a record;
//! `migrate` does.
//! Invariant: a record of any version is read as the newest, and what is written is the newest.

use std::cmp::Ordering;
use std::ops::{Deref, DerefMut};

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Error, Result};
use crate::format::put_u32;
use crate::typed::value::Value;

/// Bytes of the version in front of a value.
const VERSION_BYTES: usize = 4;

/// A version of a type, and the step from the version before it.
///
/// A record says which version it has. [`Versioned`] puts the number in front of the bytes of a [`Value`];
/// [`VersionedJson`](crate::typed::VersionedJson) puts it into the JSON object. Reading takes a record of any version through
/// all steps up to the newest, in memory. [`Store::migrate_set`](crate::Store::migrate_set) rewrites what is older.
///
/// Older versions stay in the program as types of their own, for as long as records of them may be met. The first version
/// comes from [`NoOlder`].
///
/// ```
/// use tenure::typed::{Migrate, NoOlder, SetDefinition, Value, Versioned};
///
/// struct Celsius(i32);
/// struct Kelvin(u32);
///
/// impl Migrate for Celsius {
///     const VERSION: u32 = 1;
///     type Older = NoOlder;
///     fn migrate(older: NoOlder) -> tenure::Result<Self> {
///         match older {}
///     }
/// }
///
/// impl Migrate for Kelvin {
///     const VERSION: u32 = 2;
///     type Older = Celsius;
///     fn migrate(Celsius(degrees): Celsius) -> tenure::Result<Self> {
///         let kelvin = degrees.checked_add(273).and_then(|kelvin| kelvin.try_into().ok());
///         kelvin.map(Self).ok_or_else(|| tenure::Error::bad_value::<Self>("below absolute zero"))
///     }
/// }
/// # impl Value for Celsius {
/// #     fn encode(&self, out: &mut Vec<u8>) -> tenure::Result<()> {
/// #         out.extend_from_slice(&self.0.to_le_bytes());
/// #         Ok(())
/// #     }
/// #     fn decode(bytes: &[u8]) -> tenure::Result<Self> {
/// #         Ok(Self(i32::from_le_bytes(bytes.try_into().map_err(tenure::Error::bad_value::<Self>)?)))
/// #     }
/// # }
/// # impl Value for Kelvin {
/// #     fn encode(&self, out: &mut Vec<u8>) -> tenure::Result<()> {
/// #         out.extend_from_slice(&self.0.to_le_bytes());
/// #         Ok(())
/// #     }
/// #     fn decode(bytes: &[u8]) -> tenure::Result<Self> {
/// #         Ok(Self(u32::from_le_bytes(bytes.try_into().map_err(tenure::Error::bad_value::<Self>)?)))
/// #     }
/// # }
///
/// const OLD: SetDefinition<Versioned<Celsius>> = SetDefinition::new("temperatures");
/// const NEW: SetDefinition<Versioned<Kelvin>> = SetDefinition::new("temperatures");
///
/// let store = tenure::Store::in_memory()?;
/// let old = store.typed_set(OLD)?;
/// let id = store.write(|tx| old.insert(tx, &Versioned(Celsius(20))))?;
///
/// // A later program.
/// let new = store.typed_set(NEW)?;
/// let id = new.id(&store.view(), id.into())?;
/// assert_eq!(store.fetch(id)?.0.0, 293);
/// assert_eq!(store.migrate_set(&new)?.rewritten, 1);
/// assert_eq!(store.migrate_set(&new)?.rewritten, 0);
/// # Ok::<(), tenure::Error>(())
/// ```
pub trait Migrate: Sized + 'static {
    /// The number of this version. It is above that of the older one, and at least 1.
    const VERSION: u32;

    /// The version before this one.
    type Older: Migrate;

    /// A value of this version, made of one of the version before.
    ///
    /// # Errors
    /// Whatever keeps a value from becoming one of this version. The record then cannot be read as this type.
    fn migrate(older: Self::Older) -> Result<Self>;
}

/// What comes before the first version: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOlder {}

impl Migrate for NoOlder {
    const VERSION: u32 = 0;
    type Older = Self;

    fn migrate(older: Self) -> Result<Self> {
        match older {}
    }
}

/// A type whose versions are all values by their own codecs. It is implemented for what is [`Migrate`] and [`Value`] through
/// all its versions.
pub trait ValueVersions: Migrate {
    #[doc(hidden)]
    fn decode_version(version: u32, bytes: &[u8]) -> Result<Self>;
}

impl ValueVersions for NoOlder {
    fn decode_version(version: u32, _bytes: &[u8]) -> Result<Self> {
        Err(unknown::<Self>(version))
    }
}

impl<T: Migrate + Value> ValueVersions for T
where
    T::Older: ValueVersions,
{
    fn decode_version(version: u32, bytes: &[u8]) -> Result<Self> {
        step(version, || T::decode(bytes), || T::Older::decode_version(version, bytes))
    }
}

/// One step down the versions: the value itself, or made of what the step below finds.
pub(super) fn step<T: Migrate>(
    version: u32,
    own: impl FnOnce() -> Result<T>,
    older: impl FnOnce() -> Result<T::Older>,
) -> Result<T> {
    const { assert!(T::VERSION > T::Older::VERSION, "the number of a version is above that of the older one") };
    match version.cmp(&T::VERSION) {
        Ordering::Equal => own(),
        Ordering::Greater => Err(unknown::<T>(version)),
        Ordering::Less => T::migrate(older()?),
    }
}

/// A version that no step leads from.
fn unknown<T: Migrate>(version: u32) -> Error {
    let newest = T::VERSION;
    Error::bad_value::<T>(format!("version {version} is not known here; the newest that leads to it is {newest}"))
}

/// A value by its own codec, with the number of its version in front of its bytes. See [`Migrate`].
///
/// The number takes four bytes. A set whose records were written without it cannot be read like this: wrap a type from its
/// first version on, or tell the versions apart in a codec of your own, with [`Value::is_current`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versioned<T>(pub T);

impl<T: ValueVersions + Value> Value for Versioned<T> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        put_u32(out, T::VERSION);
        self.0.encode(out)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, bytes) = parts(bytes).ok_or_else(|| Error::bad_value::<T>("it has no version in front"))?;
        T::decode_version(version, bytes).map(Self)
    }

    fn is_current(bytes: &[u8]) -> bool {
        parts(bytes).is_some_and(|(version, bytes)| version == T::VERSION && T::is_current(bytes))
    }
}

/// The version, and the value behind it.
fn parts(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (version, value) = bytes.split_first_chunk::<VERSION_BYTES>()?;
    Some((LittleEndian::read_u32(version), value))
}

impl<T> Versioned<T> {
    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Versioned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
