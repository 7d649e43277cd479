//! A record read by several extractors.
//!
//! Owns: the decoded value of the record, shared by all extractors that need it. Never: knows a type; the creator of
//! the extractor does.

use std::any::Any;
use std::fmt;

use crate::error::Result;
use crate::extract::Keys;

/// Code that computes keys from a decoded value.
pub(crate) trait OfValue: Send + Sync {
    /// Whether this code accepts values of this type.
    fn takes(&self, value: &dyn Any) -> bool;

    fn decode(&self, record: &[u8]) -> Result<Box<dyn Any>>;

    /// Whether a record that does not decode has no keys.
    fn skips(&self) -> bool;

    /// Adds the keys of a value that this code accepts.
    fn keys(&self, value: &dyn Any, keys: &mut Keys);
}

/// How a type is decoded and its keys are computed.
pub(super) struct Decoding<T, F> {
    pub(super) decode: fn(&[u8]) -> Result<T>,
    pub(super) skips: bool,
    pub(super) keys: F,
}

impl<T: 'static, F: Fn(&T, &mut Keys) + Send + Sync> OfValue for Decoding<T, F> {
    fn takes(&self, value: &dyn Any) -> bool {
        value.is::<T>()
    }

    fn decode(&self, record: &[u8]) -> Result<Box<dyn Any>> {
        Ok(Box::new((self.decode)(record)?))
    }

    fn skips(&self) -> bool {
        self.skips
    }

    fn keys(&self, value: &dyn Any, keys: &mut Keys) {
        value.downcast_ref().into_iter().for_each(|value| (self.keys)(value, keys));
    }
}

/// A record that extractors read one after another.
pub(crate) struct Reading<'r> {
    record: &'r [u8],
    /// The decoded value, if the caller knows it.
    known: Option<&'r dyn Any>,
    decoded: Option<Box<dyn Any>>,
}

impl fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("bytes", &self.record.len()).finish_non_exhaustive()
    }
}

impl<'r> Reading<'r> {
    pub(crate) fn new(record: &'r [u8]) -> Self {
        Self::known(record, None)
    }

    /// A record whose value the caller may have decoded already.
    pub(crate) fn known(record: &'r [u8], known: Option<&'r dyn Any>) -> Self {
        Self { record, known, decoded: None }
    }

    pub(super) fn record(&self) -> &'r [u8] {
        self.record
    }

    /// The decoded value, of the type that this code accepts.
    pub(super) fn value(&mut self, code: &dyn OfValue) -> Result<&dyn Any> {
        if let Some(known) = self.known.filter(|known| code.takes(*known)) {
            return Ok(known);
        }
        let decoded = match self.decoded.take().filter(|decoded| code.takes(&**decoded)) {
            Some(decoded) => decoded,
            None => code.decode(self.record)?,
        };
        Ok(&**self.decoded.insert(decoded))
    }
}
