//! The catalogue: everything that a store contains besides records.
//!
//! Owns: the maps of sets, key indexes, marks, consumers and streams as one value, of which a copy shares what does not change; the
//! files below say what each of them means. Never: knows where a record is.

mod consumers;
mod indexes;
mod marks;
mod names;
mod origin;
mod room;
mod rows;
mod sets;
mod streams;
#[cfg(test)]
mod tests;

pub(crate) use consumers::Consumer;
pub(crate) use indexes::Index;
pub(crate) use names::check_name;
pub(crate) use origin::{Handle, Lineage, Origin};
pub(crate) use room::Added;
pub(crate) use sets::Set;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::catalogue::streams::Chunks;
use crate::id::{IndexNumber, Seq, SetNumber};
use crate::shared::{Map, Ordered};

/// Everything the store contains besides records. A copy shares all maps with its original; a change of either copies only
/// the path to what it changes, so that the cost of a commit does not depend on how much there is.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    origin: Origin,
    sets: Map<SetNumber, Set>,
    /// The users' sets of each name that were not dropped. There is never more than one of a name, except while a commit
    /// replaces a set, and in stores that were put together from what was left.
    named: Map<Arc<str>, SmallVec<[SetNumber; 1]>>,
    marks: Map<Arc<str>, Seq>,
    marks_by_seq: Ordered<(Seq, Arc<str>)>,
    consumers: Map<Arc<str>, Consumer>,
    streams: Map<u64, Chunks>,
    indexes: Map<IndexNumber, Index>,
    indexes_by_set: Ordered<(SetNumber, IndexNumber)>,
    next_index: IndexNumber,
    next_set: SetNumber,
    next_stream: u64,
    /// Dropped sets that still have records.
    dropped: usize,
    /// Bytes of the rows of a snapshot.
    bytes: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        let mut catalogue = Self {
            origin: Origin { store: [0; 16], lineage: Lineage(0) },
            sets: Map::default(),
            named: Map::default(),
            marks: Map::default(),
            marks_by_seq: Ordered::default(),
            consumers: Map::default(),
            streams: Map::default(),
            indexes: Map::default(),
            indexes_by_set: Ordered::default(),
            next_index: IndexNumber(1),
            next_set: SetNumber::FIRST_USER,
            next_stream: 1,
            dropped: 0,
            bytes: 0,
        };
        catalogue.create(SetNumber::CHUNKS, "");
        catalogue
    }
}

impl Catalogue {
    /// Numbers assigned by another state of the same store are not assigned again.
    pub(crate) fn begin_behind(&mut self, other: &Self) {
        self.next_set = self.next_set.max(other.next_set);
        self.next_index = self.next_index.max(other.next_index);
        self.next_stream = self.next_stream.max(other.next_stream);
    }

    /// The store's UUID.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.origin.store
    }

    /// The origin of handles from this catalogue.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }
}
