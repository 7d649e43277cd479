//! Values stored as JSON with a version number.
//!
//! Owns: the member that holds the number. Never: requires it in a record of the first version, so that a set of plain
//! JSON can become a versioned set as it is.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::typed::finite;
use crate::typed::value::Value;
use crate::typed::version::{Migrate, NoOlder, step};

/// The member that holds the version.
const MEMBER: &str = "_version";
/// How an object written by this module begins.
const BEGIN: &[u8] = b"{\"_version\":";
/// The version of an object without the member.
const FIRST: u32 = 1;

/// A type whose versions are all serde types. Implemented for every type that is [`Migrate`] and deserializes through
/// all its versions.
pub trait JsonVersions: Migrate {
    #[doc(hidden)]
    fn decode_version(version: u32, json: &[u8]) -> Result<Self>;
}

impl JsonVersions for NoOlder {
    fn decode_version(version: u32, _json: &[u8]) -> Result<Self> {
        Err(Error::bad_value::<Self>(format!("version {version} is not known here")))
    }
}

impl<T: Migrate + DeserializeOwned> JsonVersions for T
where
    T::Older: JsonVersions,
{
    fn decode_version(version: u32, json: &[u8]) -> Result<Self> {
        let own = || serde_json::from_slice(json).map_err(Error::bad_value::<T>);
        step(version, own, || T::Older::decode_version(version, json))
    }
}

/// A value stored as JSON, like [`Json`](crate::typed::Json), with a version. See [`Migrate`].
///
/// The version is a member `_version`, the first of the object. An object without it has version 1, and version 1 is
/// not written: a set of [`Json`](crate::typed::Json) can become versioned later, as it is. The type itself does not
/// see the member.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tenure::typed::{Json, Migrate, NoOlder, SetDefinition, VersionedJson};
///
/// #[derive(Serialize, Deserialize)]
/// struct PersonV1 {
///     name: String,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Person {
///     given_name: String,
///     family_name: String,
/// }
///
/// impl Migrate for PersonV1 {
///     const VERSION: u32 = 1;
///     type Older = NoOlder;
///     fn migrate(older: NoOlder) -> tenure::Result<Self> {
///         match older {}
///     }
/// }
///
/// impl Migrate for Person {
///     const VERSION: u32 = 2;
///     type Older = PersonV1;
///     fn migrate(PersonV1 { name }: PersonV1) -> tenure::Result<Self> {
///         let (given_name, family_name) = name.rsplit_once(' ').unwrap_or((&name, ""));
///         Ok(Self { given_name: given_name.to_owned(), family_name: family_name.to_owned() })
///     }
/// }
///
/// const OLD: SetDefinition<Json<PersonV1>> = SetDefinition::new("people");
/// const PEOPLE: SetDefinition<VersionedJson<Person>> = SetDefinition::new("people");
///
/// let store = tenure::Store::in_memory()?;
/// let old = store.typed_set(OLD)?;
/// let ada = store.write(|tx| old.insert(tx, &Json(PersonV1 { name: "Ada Lovelace".into() })))?;
///
/// let people = store.typed_set(PEOPLE)?;
/// let ada = people.id(&store.view(), ada.into())?;
/// assert_eq!(store.fetch(ada)?.family_name, "Lovelace");
/// store.migrate_set(&people)?;
/// let text = br#"{"_version":2,"given_name":"Ada","family_name":"Lovelace"}"#;
/// assert_eq!(store.get(ada.into())?.as_slice(), Some(&text[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionedJson<T>(pub T);

impl<T: JsonVersions + Serialize> Value for VersionedJson<T> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        finite::check(&self.0).map_err(Error::bad_value::<T>)?;
        if T::VERSION == FIRST {
            return serde_json::to_writer(out, &self.0).map_err(Error::bad_value::<T>);
        }
        let json = serde_json::to_vec(&self.0).map_err(Error::bad_value::<T>)?;
        let Some(members) = json.strip_prefix(b"{") else {
            return Err(Error::bad_value::<T>("only a JSON object has room for a version"));
        };
        out.extend_from_slice(BEGIN);
        out.extend_from_slice(T::VERSION.to_string().as_bytes());
        out.extend_from_slice(if members == b"}" { b"" } else { b"," });
        out.extend_from_slice(members);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let version = stamp(bytes).map_err(Error::bad_value::<T>)?;
        let Some(version) = version else { return T::decode_version(FIRST, bytes).map(Self) };
        let json = without_stamp(bytes).map_err(Error::bad_value::<T>)?;
        T::decode_version(version, &json).map(Self)
    }

    fn is_current(bytes: &[u8]) -> bool {
        stamp(bytes).is_ok_and(|version| version.unwrap_or(FIRST) == T::VERSION)
    }
}

/// The version at the front of an object written by this module, and the rest after it.
fn front(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let rest = bytes.strip_prefix(BEGIN)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (version, rest) = rest.split_at_checked(digits)?;
    let version = std::str::from_utf8(version).ok()?.parse().ok()?;
    if matches!(rest.first(), Some(b',' | b'}')) { Some((version, rest)) } else { None }
}

/// The version of an object, wherever the member stands.
fn stamp(bytes: &[u8]) -> serde_json::Result<Option<u32>> {
    if let Some((version, _)) = front(bytes) {
        return Ok(Some(version));
    }
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    serde_json::from_slice::<Stamp>(bytes).map(|stamp| stamp.0)
}

/// The object without its version.
fn without_stamp(bytes: &[u8]) -> serde_json::Result<Vec<u8>> {
    if let Some((_, rest)) = front(bytes) {
        return Ok([b"{", rest.strip_prefix(b",").unwrap_or(rest)].concat());
    }
    // Another program wrote it.
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)?;
    object.remove(MEMBER);
    serde_json::to_vec(&object)
}

/// The version that an object states.
struct Stamp(Option<u32>);

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader)
    }
}

/// Reads the version, and whether a member's name is that of the version.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Stamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Stamp, A::Error> {
        let mut version = None;
        while let Some(is_version) = members.next_key_seed(IsVersion)? {
            if is_version {
                version = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Stamp(version))
    }
}

struct IsVersion;

impl<'de> DeserializeSeed<'de> for IsVersion {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for IsVersion {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == MEMBER)
    }
}

impl<T> VersionedJson<T> {
    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for VersionedJson<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for VersionedJson<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
