//! Values of any size, read as a stream.
//!
//! Owns: readers by typed IDs. Never: holds a value in memory.

use crate::error::Result;
use crate::store::Store;
use crate::txn::{RecordReader, View};
use crate::typed::id::Id;
use crate::typed::value::Value;

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
