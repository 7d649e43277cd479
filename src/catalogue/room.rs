//! How much the catalogue may have: a snapshot lists all of it.
//!
//! Owns: the limit, and what an addition takes of it. Never: adds anything.

use crate::catalogue::Catalogue;
use crate::catalogue::consumers::consumer_bytes;
use crate::catalogue::indexes::index_bytes;
use crate::catalogue::marks::mark_bytes;
use crate::catalogue::sets::set_bytes;
use crate::catalogue::streams::{CHUNK_ROW_BYTES, STREAM_BYTES};
use crate::error::{Error, Result};
use crate::format::index::IndexDefinition;

/// Maximum size of the rows of sets, marks, indexes and waiting chunks in a snapshot, which lists all of them.
pub(crate) const CATALOGUE_BYTES_MAX: u64 = 384 << 20;
/// An addition to the catalogue by a commit.
#[derive(Debug)]
pub(crate) enum Added<'a> {
    /// A set with this name.
    Set(&'a str),
    /// A mark with this name.
    Mark(&'a str),
    /// A consumer with this name.
    Consumer(&'a str),
    /// An index.
    Index(&'a IndexDefinition),
    /// A chunk that waits for its head.
    Chunk,
}

impl Catalogue {
    /// Fails if the catalogue would become too large for a snapshot.
    pub(crate) fn check_room<'a>(&self, added: impl Iterator<Item = Added<'a>>) -> Result<()> {
        let more: u64 = added.map(|added| self.bytes_of(&added)).sum();
        if more > 0 && self.bytes + more > CATALOGUE_BYTES_MAX {
            return Err(Error::Exhausted { what: "room in the catalogue", limit: CATALOGUE_BYTES_MAX });
        }
        Ok(())
    }

    fn bytes_of(&self, added: &Added<'_>) -> u64 {
        match added {
            Added::Set(name) => set_bytes(name),
            Added::Consumer(name) if self.consumers.contains_key(*name) => 0,
            Added::Consumer(name) => consumer_bytes(name),
            Added::Mark(name) if self.marks.contains_key(*name) => 0,
            Added::Mark(name) => mark_bytes(name),
            Added::Index(definition) => index_bytes(definition),
            Added::Chunk => STREAM_BYTES + CHUNK_ROW_BYTES,
        }
    }
}
