//! Values of any size, written and read as a stream.
//!
//! Owns: staging values for typed sets, readers by typed IDs. Never: holds a value in memory.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use crate::error::{Error, Result};
use crate::store::Store;
use crate::txn::{RecordReader, StagedValue, Transaction, View};
use crate::typed::id::Id;
use crate::typed::set::TypedSet;
use crate::typed::value::Value;

/// A staged value that decodes as a `T`: the result of [`TypedSet::stage`]. It is not a record yet.
pub struct TypedStaged<T> {
    value: StagedValue,
    of: PhantomData<fn() -> T>,
}

impl<T> TypedStaged<T> {
    /// The value without its type.
    pub fn staged(&self) -> &StagedValue {
        &self.value
    }
}

impl<T> fmt::Debug for TypedStaged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedStaged").field(&self.value).finish()
    }
}

impl<T: Value> TypedSet<T> {
    /// Reads a source to its end, as [`Store::stage`] does, and checks that its bytes decode as a `T`.
    ///
    /// How much memory the check takes depends on [`Value::check_stream`]: a buffer for `Vec<u8>` and `String`, the decoded
    /// value for `Json`. If the set has indexes, inserting decodes the value for its keys.
    ///
    /// ```
    /// use tenure::typed::SetDefinition;
    /// const SCANS: SetDefinition<Vec<u8>> = SetDefinition::new("scans");
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let scans = store.typed_set(SCANS)?;
    /// let value = scans.stage(&store, std::io::Read::take(std::io::repeat(7), 3 << 20))?;
    /// // After a conflict the closure runs again with the same value.
    /// let id = store.write(|tx| scans.insert_staged(tx, &value))?;
    /// assert_eq!(store.fetch(id)?.len(), 3 << 20);
    ///
    /// let shorter = scans.stage(&store, &b"nothing was found"[..])?;
    /// store.write(|tx| scans.update_staged(tx, id, &shorter))?;
    /// assert_eq!(store.fetch(id)?, b"nothing was found");
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BadValue` if the bytes do not decode as a `T`; otherwise as for [`Store::stage`]. Nothing of the value remains.
    pub fn stage(&self, store: &Store, source: impl Read) -> Result<TypedStaged<T>> {
        let value = store.stage(source)?;
        let refused = |error| match error {
            Error::BadValue { .. } => Error::bad_value::<T>(format!("the bytes of the source do not decode: {error}")),
            other => other,
        };
        T::check_stream(&mut value.reader()?).map_err(refused)?;
        Ok(TypedStaged { value, of: PhantomData })
    }

    /// Inserts a staged value into the set.
    ///
    /// # Errors
    /// As [`Transaction::insert_staged`].
    pub fn insert_staged(&self, tx: &mut Transaction, value: &TypedStaged<T>) -> Result<Id<T>> {
        tx.insert_staged(self.record_set(), &value.value).map(Id::from)
    }

    /// Updates a record of the set to a staged value. Its ID does not change.
    ///
    /// # Errors
    /// `WrongSet` if the record is in another set, and those of [`Transaction::update_staged`].
    pub fn update_staged(&self, tx: &mut Transaction, id: Id<T>, value: &TypedStaged<T>) -> Result<()> {
        tx.check_in(self.record_set(), id.record_id())?;
        tx.update_staged(id.record_id(), &value.value)
    }
}

impl View {
    /// Reads the bytes of a record from their beginning. The reader borrows neither the view nor the store: it can move
    /// to another thread and live as long as needed.
    pub fn reader<T: Value>(&self, id: Id<T>) -> Result<RecordReader<'static>> {
        Ok(self.get(id.record_id())?.into_reader())
    }
}

impl Store {
    /// Reads the bytes of the newest version of a record, like [`View::reader`].
    pub fn reader<T: Value>(&self, id: Id<T>) -> Result<RecordReader<'static>> {
        Ok(self.get(id.record_id())?.into_reader())
    }
}
