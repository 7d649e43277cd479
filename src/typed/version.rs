//! Versioned values, and migrating older versions to the newest.
//!
//! Owns: the trait of one migration step, the version number before the bytes or inside the JSON, and running the
//! steps. Never: rewrites a record; `migrate` does. Invariant: a record of any version is read as the newest, and every
//! write is of the newest.

use std::cmp::Ordering;
use std::ops::{Deref, DerefMut};

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Error, Result};
use crate::format::put_u32;
use crate::typed::value::Value;

/// Bytes of the version number before a value.
const VERSION_BYTES: usize = 4;

/// A version of a type, and the migration from the version before it.
///
/// Each record stores its version. [`Versioned`] puts the number before the bytes of a [`Value`];
/// [`VersionedJson`](crate::typed::VersionedJson) puts it into the JSON object. Reading runs a record of any version
/// through all steps up to the newest, in memory. [`Store::migrate_set`](crate::Store::migrate_set) rewrites older
/// records.
///
/// Keep older versions in the program as types of their own for as long as records of them may exist. The first version
/// migrates from [`NoOlder`].
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
/// // A later version of the program.
/// let new = store.typed_set(NEW)?;
/// let id = new.id(&store.view(), id.into())?;
/// assert_eq!(store.fetch(id)?.0.0, 293);
/// assert_eq!(store.migrate_set(&new)?.rewritten, 1);
/// assert_eq!(store.migrate_set(&new)?.rewritten, 0);
/// # Ok::<(), tenure::Error>(())
/// ```
pub trait Migrate: Sized + 'static {
    /// The number of this version: higher than the older version's, and at least 1.
    const VERSION: u32;

    /// The version before this one.
    type Older: Migrate;

    /// Migrates a value of the previous version to this one.
    ///
    /// # Errors
    /// Any reason why the value cannot be migrated. The record then cannot be read as this type.
    fn migrate(older: Self::Older) -> Result<Self>;
}

/// The predecessor of the first version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOlder {}

impl Migrate for NoOlder {
    const VERSION: u32 = 0;
    type Older = Self;

    fn migrate(older: Self) -> Result<Self> {
        match older {}
    }
}

/// A type whose versions all have their own codecs. Implemented for every type that is [`Migrate`] and [`Value`]
/// through all its versions.
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

/// One step down the versions: the value itself, or migrated from the result of the step below.
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

/// A version from which no step leads.
fn unknown<T: Migrate>(version: u32) -> Error {
    let newest = T::VERSION;
    Error::bad_value::<T>(format!("version {version} is not known here; the newest that leads to it is {newest}"))
}

/// A value encoded by its own codec, with its version number before the bytes. See [`Migrate`].
///
/// The number takes four bytes. Records written without it cannot be read this way: wrap a type from its first version
/// on, or distinguish the versions in a codec of your own, with [`Value::is_current`].
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

/// The version, and the value after it.
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
