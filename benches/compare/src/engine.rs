//! What an engine has to do to take part.
//!
//! Owns: the traits, and what is the same for all when a store is opened. Never: measures.
//! Values are shown to a closure in place, as far as the engine can, so that nobody pays for a copy that its user would
//! not make.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;

use crate::data::Key;

/// Memory for caches and write buffers, where an engine has a setting for it.
const CACHE_BYTES: usize = 256 << 20;

/// Share of the memory that a process may use, for the same.
const CACHE_SHARE: usize = 4;

/// How a store is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// With the unique and the other index.
    pub indexed: bool,
    /// Each commit is on the medium when it is acknowledged. Otherwise it need not be before `sync`.
    pub durable: bool,
    /// Nothing is checkpointed, so that the log has a long tail when the process is killed.
    pub long_tail: bool,
    /// Bytes of memory that the process may use, page cache included, if there is a limit.
    pub memory: Option<usize>,
}

impl Setup {
    /// Memory for caches and write buffers, where an engine has a setting for it.
    pub fn cache_bytes(self) -> usize {
        self.memory.map_or(CACHE_BYTES, |memory| memory / CACHE_SHARE)
    }
}

/// Records that are inserted in one transaction.
#[derive(Debug)]
pub struct Batch {
    pub first: u32,
    pub value_bytes: usize,
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Each record with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (u64::from(self.first)..).zip(self.bytes.chunks_exact(self.value_bytes))
    }
}

/// An engine, opened.
pub trait Engine: Sized + Send + Sync {
    /// How a record is found.
    type Id: Copy + Send + Sync;
    /// What one thread uses.
    type Session<'e>: Session<Id = Self::Id>
    where
        Self: 'e;

    const NAME: &'static str;
    /// The settings, and what they promise. Stands in the report.
    const SETTINGS: &'static str;

    fn open(path: &Path, setup: Setup) -> Result<Self>;
    fn session(&self) -> Result<Self::Session<'_>>;
    /// Makes what was committed durable.
    fn sync(&self) -> Result<()>;
    /// Brings the store to rest: what is written later anyway is written now.
    fn settle(&self) -> Result<()>;
    fn close(self) -> Result<()>;
    /// Opens the store anew, in another way.
    fn reopen(self, path: &Path, setup: Setup) -> Result<Self> {
        self.close()?;
        Self::open(path, setup)
    }
    fn to_word(id: Self::Id) -> u64;
    fn from_word(word: u64) -> Result<Self::Id>;
}

/// What one thread uses. Each call that writes is one transaction.
pub trait Session {
    type Id;
    type View<'s>: View<Id = Self::Id>
    where
        Self: 's;

    /// Inserts records and appends their IDs. With indexes, a key that is there already is an error.
    fn insert(&mut self, batch: &Batch, ids: &mut Vec<Self::Id>) -> Result<()>;
    /// Shows the newest version of one record, as a caller would who wants one record.
    fn get(&mut self, id: Self::Id, visit: &mut impl FnMut(&[u8])) -> Result<()>;
    /// A consistent state for several questions.
    fn view(&mut self) -> Result<Self::View<'_>>;
    /// Replaces records whose keys stay.
    fn update(&mut self, changes: &[(Self::Id, &[u8])]) -> Result<()>;
    /// Reads a record and replaces it, its keys stay. `change` is shown the old value and fills in the new one. In one transaction
    /// where the engine's own code says so; else another thread may come between.
    fn modify(&mut self, id: Self::Id, change: &mut impl FnMut(&[u8], &mut Vec<u8>)) -> Result<()>
    where
        Self::Id: Copy,
    {
        let mut new = Vec::new();
        self.view()?.get(id, &mut |old| change(old, &mut new))?;
        self.update(&[(id, &new)])
    }
    /// Replaces records whose unique key changes; the other key stays. A new key that is there already is an error.
    fn update_keys(&mut self, changes: &[(Self::Id, &[u8])]) -> Result<()>;
    /// Deletes records, with their keys.
    fn delete(&mut self, ids: &[Self::Id]) -> Result<()>;
}

/// A consistent state.
pub trait View {
    type Id;

    fn get(&self, id: Self::Id, visit: &mut impl FnMut(&[u8])) -> Result<()>;
    /// The record of a unique key.
    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()>;
    /// The records of some sections, in their order.
    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()>;
    /// All records.
    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()>;
}
