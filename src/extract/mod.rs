//! Extractors: computing the index keys of a record.
//!
//! Owns: extractors that are code, and those described by a line of text, which lets programs that do not know the
//! records maintain their indexes. Never: knows indexes or stores; fails on a record of an unexpected shape.
//! Invariants: 1. The keys of a record depend only on the record and the line.
//! 2. A JSON record yields each key once.

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

/// Computes the keys of a record for one index: none, one, or many.
///
/// It runs in the thread that writes the record, without holding a lock. Its result must depend only on the record: the
/// old keys of a record are found by running it again on the old value. Raise the version when its result for a record
/// changes; the index is then rebuilt.
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

    /// Declares the type of its keys, as text such as `integer` or `(integer, string)`. The type is stored with the
    /// index. Opening an index with keys of another type fails, so that no lookup uses keys that cannot match.
    #[must_use]
    pub fn with_key_type(mut self, key_type: &str) -> Self {
        self.key_type = Arc::from(key_type);
        self
    }

    /// An extractor over the decoded value of a record. If several extractors decode a record alike, the first one
    /// decodes it for all. With `skips`, a record that does not decode has no keys; otherwise it is an error.
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

    /// An extractor that reads JSON. It is stored with the index completely, so any program can maintain the index.
    #[cfg(feature = "json")]
    pub fn json(extractor: JsonExtractor) -> Self {
        let key_type = Arc::from(extractor.kind().name());
        Self { name: Arc::from("json"), version: 1, key_type, kind: Kind::Json(Arc::new(extractor)) }
    }

    /// The extractor stored in an index, if this build can run it.
    #[cfg(feature = "json")]
    pub(crate) fn from_spec(spec: &str) -> Option<Self> {
        spec.parse().ok().map(Self::json)
    }

    /// The extractor stored in an index, if this build can run it.
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

    /// The type of its keys; empty if not declared.
    pub fn key_type(&self) -> &str {
        &self.key_type
    }

    /// The line that describes it completely; empty for code.
    pub fn spec(&self) -> String {
        match &self.kind {
            Kind::Code(_) | Kind::OfValue(_) => String::new(),
            #[cfg(feature = "json")]
            Kind::Json(json) => json.to_string(),
        }
    }

    /// Whether it needs the bytes of a record whose decoded value is known.
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

/// The record has more than one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Several;

/// Collects the keys that an extractor finds.
#[derive(Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    writer: KeyWriter,
    failed: Option<Error>,
    /// The version of a unique index in which no other record has any of the keys, if known.
    pub(crate) clear_at: Option<u64>,
}

impl Keys {
    /// Adds a key. A key that is too long makes the write of the record fail.
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

    /// Reports that the keys of this record cannot be determined: its write, or the build of the index, fails with
    /// [`Error::KeysUnknown`], which names the record. Pushing no key instead means that the record has none.
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
        (self.failed, self.clear_at) = (None, None);
    }

    /// Heap bytes that the keys take.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// Whether there are no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether both have the same keys in the same order.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.ends == other.ends && self.bytes == other.bytes
    }

    /// The only key, or `None`; an error if there are several.
    #[inline]
    pub(crate) fn only(&self) -> Result<Option<&[u8]>, Several> {
        match self.ends.as_slice() {
            [] => Ok(None),
            [_] => Ok(Some(&self.bytes)),
            _ => Err(Several),
        }
    }

    /// The keys, in the order in which they were pushed.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).filter_map(|(begin, end)| self.bytes.get(begin..*end))
    }
}
