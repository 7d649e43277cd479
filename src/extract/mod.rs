//! Extractors: what takes the keys of an index out of a record.
//!
//! Owns: extractors that are code, and those that are told in a line of text so that programs that do not know the records
//! can keep their indexes. Never: knows indexes or stores; never fails on a record that does not have the expected shape.
//! Invariants: 1. What an extractor finds depends on the record and its line alone. 2. A JSON record gives each key once.

#[cfg(feature = "json")]
mod json;
mod reading;
#[cfg(feature = "json")]
mod walk;

#[cfg(feature = "json")]
pub use json::JsonExtractor;
pub(crate) use reading::Reading;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::extract::reading::{Decoding, OfValue};
use crate::key::{KeyWriter, ToKey};

type Code = dyn Fn(&[u8], &mut Keys) + Send + Sync;

#[derive(Clone)]
enum Kind {
    Code(Arc<Code>),
    OfValue(Arc<dyn OfValue>),
    #[cfg(feature = "json")]
    Json(Arc<JsonExtractor>),
}

/// What takes the keys of one index out of a record: none, one, or many.
///
/// It runs in the thread that writes the record, under no lock. What it finds may depend on nothing but the record: the old
/// keys of a record are found again by running it on the old value. When that changes, raise the version, and
/// the index is made anew.
///
/// ```
/// use tenure::extract::Extractor;
/// let by_length = Extractor::new("length", 1, |record, keys| keys.push(&record.len()));
/// assert_eq!((by_length.name(), by_length.version()), ("length", 1));
/// ```
#[derive(Clone)]
pub struct Extractor {
    name: Arc<str>,
    version: u32,
    key_type: Arc<str>,
    kind: Kind,
}

impl fmt::Debug for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extractor").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Extractor {
    /// An extractor that is code. Its name and version are stored with the index.
    pub fn new(name: &str, version: u32, code: impl Fn(&[u8], &mut Keys) + Send + Sync + 'static) -> Self {
        Self { name: Arc::from(name), version, key_type: Arc::default(), kind: Kind::Code(Arc::new(code)) }
    }

    /// The same with the type of its keys told, as text such as `integer` or `(integer, string)`. It is stored with the index.
    /// An index whose keys are of another type is not opened, so that nobody asks for keys that no entry can have.
    #[must_use]
    pub fn with_key_type(mut self, key_type: &str) -> Self {
        self.key_type = Arc::from(key_type);
        self
    }

    /// An extractor that takes keys from the value that a record decodes as. Of several that decode alike, the first to
    /// look at a record decodes it for all. `skips` says that a record that does not decode has no keys, which is an error else.
    pub(crate) fn of_value<T: 'static>(
        name: &str,
        version: u32,
        decode: fn(&[u8]) -> Result<T>,
        skips: bool,
        keys: impl Fn(&T, &mut Keys) + Send + Sync + 'static,
    ) -> Self {
        let kind = Kind::OfValue(Arc::new(Decoding { decode, skips, keys }));
        Self { name: Arc::from(name), version, key_type: Arc::default(), kind }
    }

    /// An extractor that reads JSON. All of it is stored with the index, so any program can keep that.
    #[cfg(feature = "json")]
    pub fn json(extractor: JsonExtractor) -> Self {
        let key_type = Arc::from(extractor.kind().name());
        Self { name: Arc::from("json"), version: 1, key_type, kind: Kind::Json(Arc::new(extractor)) }
    }

    /// The extractor that is written down in an index, if this build can run it.
    #[cfg(feature = "json")]
    pub(crate) fn from_spec(spec: &str) -> Option<Self> {
        spec.parse().ok().map(Self::json)
    }

    /// The extractor that is written down in an index, if this build can run it.
    #[cfg(not(feature = "json"))]
    pub(crate) fn from_spec(_spec: &str) -> Option<Self> {
        None
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The type of its keys; empty where nobody has told it.
    pub fn key_type(&self) -> &str {
        &self.key_type
    }

    /// The line that tells all of it; empty where it is code.
    pub fn spec(&self) -> String {
        match &self.kind {
            Kind::Code(_) | Kind::OfValue(_) => String::new(),
            #[cfg(feature = "json")]
            Kind::Json(json) => json.to_string(),
        }
    }

    /// Whether it needs the bytes of a record of which the value is known.
    pub(crate) fn needs_bytes(&self, known: Option<&dyn Any>) -> bool {
        match (&self.kind, known) {
            (Kind::OfValue(code), Some(known)) => !code.takes(known),
            _ => true,
        }
    }

    /// Appends the keys of a record.
    pub(crate) fn run(&self, reading: &mut Reading<'_>, keys: &mut Keys) -> Result<()> {
        match &self.kind {
            Kind::Code(code) => code(reading.record(), keys),
            Kind::OfValue(code) => match reading.value(&**code) {
                Ok(value) => code.keys(value, keys),
                Err(_) if code.skips() => {}
                Err(error) => keys.fail(error),
            },
            #[cfg(feature = "json")]
            Kind::Json(json) => json.keys(reading.record(), &mut |key| keys.push_bytes(key.as_bytes()))?,
        }
        keys.failed.take().map_or(Ok(()), Err)
    }
}

/// A record has more than one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Several;

/// Takes the keys that an extractor finds.
#[derive(Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    writer: KeyWriter,
    failed: Option<Error>,
}

impl Keys {
    /// Adds a key. One that is too long makes the write of the record fail.
    pub fn push<T: ToKey + ?Sized>(&mut self, key: &T) {
        self.writer.clear();
        key.write_key(&mut self.writer);
        match self.writer.as_bytes() {
            Ok(bytes) => {
                self.bytes.extend_from_slice(bytes);
                self.ends.push(self.bytes.len());
            }
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// The keys of this record cannot be told: the write of it fails, or the making of the index, with
    /// [`Error::KeysUnknown`], which names the record. To give no key instead says that the record has none.
    pub fn fail(&mut self, why: impl fmt::Display) {
        self.failed.get_or_insert_with(|| Error::KeysUnknown {
            set: String::new(),
            index: String::new(),
            record: None,
            why: why.to_string(),
        });
    }

    #[cfg(feature = "json")]
    fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.failed = None;
    }

    /// Bytes of heap that the keys take.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// Whether others are the same keys in the same order.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.ends == other.ends && self.bytes == other.bytes
    }

    /// The only key, if there are not several; an error if there are.
    #[inline]
    pub(crate) fn only(&self) -> Result<Option<&[u8]>, Several> {
        match self.ends.as_slice() {
            [] => Ok(None),
            [_] => Ok(Some(&self.bytes)),
            _ => Err(Several),
        }
    }

    /// The keys, in the order in which they were found.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).filter_map(|(begin, end)| self.bytes.get(begin..*end))
    }
}
