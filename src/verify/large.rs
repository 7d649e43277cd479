//! Large values: each chunk that a head refers to exists, once and with the expected bytes, and each chunk has a head.
//!
//! Owns: following heads and lists. Chunks are read as the records that they are; this module compares the results.
//! Never: reads the data of a chunk again.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::entry::Location;
use crate::format::value::{Head, decode_ids};
use crate::heap::{Answer, State};
use crate::id::{RecordId, to_u64};

/// What the records say about large values.
#[derive(Debug, Default)]
pub(super) struct LargeValues {
    heads: Vec<(u64, Location)>,
    /// Those of dropped sets.
    of_dropped: Vec<(u64, Location)>,
    /// Size of each chunk that could be read.
    chunks: HashMap<RecordId, usize>,
}

impl LargeValues {
    /// Adds the records of a page. Of the values of a dropped set, chunks may be freed already.
    pub(super) fn add(&mut self, heads: &[(u64, Location)], chunks: &[(RecordId, usize)], is_dropped: bool) {
        if is_dropped { &mut self.of_dropped } else { &mut self.heads }.extend_from_slice(heads);
        self.chunks.extend(chunks.iter().copied());
    }

    /// Follows all heads.
    pub(super) fn check(self, state: &State, problem: &mut dyn FnMut(Error)) {
        let Self { heads, of_dropped, chunks } = self;
        let mut pass = Pass { state, chunks: &chunks, met: HashSet::new() };
        let mut all_were_followed = true;
        let heads = heads.into_iter().map(|head| (head, false));
        for ((slot, location), is_dropped) in heads.chain(of_dropped.into_iter().map(|head| (head, true))) {
            if let Err(why) = pass.head(slot, location, is_dropped) {
                all_were_followed = false;
                problem(located(state, location, why));
            }
        }
        let mut met = pass.met;
        met.extend(state.catalogue.streams().flat_map(|stream| state.catalogue.chunks(stream)));
        let mut without: Vec<RecordId> = chunks.keys().filter(|id| !met.contains(id)).copied().collect();
        without.sort_unstable();
        // Chunks of a broken head cannot be told from chunks without a head.
        if let Some(first) = without.first().filter(|_| all_were_followed) {
            let got = format!("none for {} of them, the first {first}", without.len());
            problem(Error::corrupt("record index", 0, "chunks of large values", "a value for each", got));
        }
    }
}

/// The problem of a value.
struct Wrong {
    id: Option<RecordId>,
    expected: String,
    got: String,
}

fn wrong(expected: impl Into<String>, got: impl Into<String>) -> Wrong {
    Wrong { id: None, expected: expected.into(), got: got.into() }
}

fn located(state: &State, location: Location, why: Wrong) -> Error {
    let file = state.table.get(location.place).map(|segment| segment.name().to_owned()).unwrap_or_default();
    let value = why.id.map(|id| format!("large value {id}"));
    Error::corrupt(file, location.offset(), value.unwrap_or_else(|| "large value".to_owned()), why.expected, why.got)
}

struct Pass<'p> {
    state: &'p State,
    chunks: &'p HashMap<RecordId, usize>,
    /// The number of chunks of a value.
    met: HashSet<RecordId>,
}

impl Pass<'_> {
    fn head(&mut self, slot: u64, location: Location, is_dropped: bool) -> Result<(), Wrong> {
        let found = self.state.read(slot, location).map_err(|error| wrong("a head", error.to_string()))?;
        self.value(self.state.payload(&found.place), is_dropped).map_err(|why| Wrong { id: Some(found.id), ..why })
    }

    fn value(&mut self, payload: &[u8], is_dropped: bool) -> Result<(), Wrong> {
        let head = Head::decode(payload).map_err(|malformed| wrong(malformed.expected, malformed.got))?;
        let there = to_u64(self.chunks.len());
        // Lists are freed with the head.
        let lists = (1..=head.depth).map(|level| head.ids_at(level)).fold(0, u64::saturating_add);
        let wanted = if is_dropped { lists } else { head.chunks() };
        // The IDs in the head itself fit into a record, so each can be followed.
        if head.depth > 0 && wanted > there {
            let what = if is_dropped { "lists" } else { "chunks" };
            return Err(wrong(format!("at most {there} {what}"), wanted.to_string()));
        }
        let (mut level, depth) = (head.ids.clone(), head.depth);
        for below in (0..depth).rev() {
            let (mut ids, expected) = (Vec::new(), head.ids_at(below));
            for id in &level {
                ids.extend(self.list(*id)?);
                if to_u64(ids.len()) > expected {
                    break;
                }
            }
            if to_u64(ids.len()) != expected {
                return Err(wrong(format!("{expected} IDs in lists at level {below}"), ids.len().to_string()));
            }
            level = ids;
        }
        let mut rest = head.total_bytes;
        for id in level {
            let bytes = rest.min(head.chunk_bytes.into());
            if is_dropped && !self.chunks.contains_key(&id) && matches!(self.state.lookup(id), Ok(Answer::Deleted)) {
                rest -= bytes;
                continue;
            }
            let got = self.chunk(id)?;
            if to_u64(got) != bytes {
                return Err(wrong(format!("{bytes} bytes in chunk {id}"), got.to_string()));
            }
            rest -= bytes;
        }
        Ok(())
    }

    /// A chunk, which belongs to one value. Returns its size.
    fn chunk(&mut self, id: RecordId) -> Result<usize, Wrong> {
        let bytes =
            self.chunks.get(&id).copied().ok_or_else(|| wrong(format!("chunk {id}"), "none that can be read"))?;
        if !self.met.insert(id) {
            return Err(wrong(format!("chunk {id} in one place"), "in two"));
        }
        Ok(bytes)
    }

    fn list(&mut self, id: RecordId) -> Result<Vec<RecordId>, Wrong> {
        self.chunk(id)?;
        let unread = |error: Error| wrong(format!("list {id} of chunks"), error.to_string());
        let Answer::Live(found) = self.state.lookup(id).map_err(unread)? else {
            return Err(wrong(format!("list {id} of chunks"), "none"));
        };
        decode_ids(self.state.payload(&found.place)).map_err(|malformed| wrong(malformed.expected, malformed.got))
    }
}
