//! Large values: streamed into chunks of the hidden set before their head is committed.
//!
//! Owns: staging, and finding the chunks of a value, all or a part. Never: holds more than one batch of chunks in memory.
//! Invariant: chunks without a head belong to a stream, and the stream's end is committed with the head or, after an
//! abort or a crash, with the freeing of the chunks.

use std::io::Read;

use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::value::{CHUNK_BYTES, DEPTH_MAX, Head, IDS_PER_LIST, decode_ids, encode_ids};
use crate::heap::{Answer, Effect, State};
use crate::id::{RecordId, SetNumber, low_u32, to_u64, to_usize};
use crate::txn::room::{make_room, pages_of};

/// Chunks per frame.
const CHUNKS_PER_FRAME: usize = 16;
/// A frame may have a segment to itself, but must leave room for the segment header.
pub(crate) const TRANSACTION_BYTES_END: u64 = SEGMENT_BYTES_END - (1 << 20);
/// Maximum number of chunks and lists of one value: as many as one transaction can free. Limits the size of a value.
pub(crate) const CHUNKS_MAX: u64 = 33_000_000;
const _: () = assert!(CHUNKS_MAX * 8 + (1 << 20) < TRANSACTION_BYTES_END, "what is written can be deleted");
/// Chunk IDs that a head can hold directly.
const IDS_PER_HEAD: usize = IDS_PER_LIST;

/// The outcome of reading a source.
pub(crate) enum Staged {
    /// Short enough for one record.
    Short(Vec<u8>),
    /// Chunks in the log that wait for a head with this payload.
    Chunked { head: Vec<u8>, stream: u64 },
}

impl Staged {
    /// The kind of the record, its payload, and the stream that ends with it.
    pub(crate) fn parts(self) -> (Kind, Vec<u8>, Option<u64>) {
        match self {
            Self::Short(bytes) => (Kind::Record, bytes, None),
            Self::Chunked { head, stream } => (Kind::Head, head, Some(stream)),
        }
    }
}

/// Writes the chunks of one value.
pub(crate) struct Stager<'e> {
    engine: &'e Engine,
    stream: u64,
    frame: FrameBuilder,
    effects: Vec<Effect>,
    chunks_in_frame: usize,
    /// Chunks and lists written so far.
    chunks: u64,
    is_begun: bool,
}

impl<'e> Stager<'e> {
    pub(crate) fn new(engine: &'e Engine, stream: u64) -> Self {
        let (frame, effects) = (FrameBuilder::new(), Vec::new());
        Self { engine, stream, frame, effects, chunks_in_frame: 0, chunks: 0, is_begun: false }
    }

    /// Pretends that this many chunks have been written.
    #[cfg(test)]
    pub(crate) fn assume(&mut self, chunks: u64) {
        self.chunks = chunks;
    }

    /// Reads the source to its end. If it fails or panics, the chunks already written are freed.
    pub(crate) fn stage(mut self, source: &mut dyn Read) -> Result<Staged> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut filled = fill(source, &mut buffer)?;
        if filled < CHUNK_BYTES {
            buffer.truncate(filled);
            return Ok(Staged::Short(buffer));
        }
        let (mut total, mut ids) = (0, Vec::new());
        while filled > 0 {
            let chunk = buffer.get(..filled).unwrap_or_default();
            ids.push(self.put(chunk)?);
            total += to_u64(filled);
            filled = if filled == CHUNK_BYTES { fill(source, &mut buffer)? } else { 0 };
        }
        let mut depth = 0;
        while ids.len() > IDS_PER_HEAD {
            if depth == DEPTH_MAX {
                let limit = to_u64(IDS_PER_LIST).pow(3) * to_u64(CHUNK_BYTES);
                return Err(Error::TooLarge { what: "value", bytes: total, limit });
            }
            let mut lists = Vec::new();
            for part in ids.chunks(IDS_PER_LIST) {
                let mut payload = Vec::with_capacity(part.len() * 8);
                encode_ids(part, &mut payload);
                lists.push(self.put(&payload)?);
            }
            ids = lists;
            depth += 1;
        }
        self.flush()?;
        let head = Head { total_bytes: total, chunk_bytes: low_u32(to_u64(CHUNK_BYTES)), depth, ids };
        self.is_begun = false;
        Ok(Staged::Chunked { head: head.encode(), stream: self.stream })
    }

    fn put(&mut self, payload: &[u8]) -> Result<RecordId> {
        if self.frame.is_empty() {
            self.frame.control(Kind::Stream, &self.stream.to_le_bytes());
            self.frame.control(Kind::Run, &SetNumber::CHUNKS.0.to_le_bytes());
        }
        if self.chunks >= CHUNKS_MAX {
            let (bytes, limit) = (self.chunks * to_u64(CHUNK_BYTES), CHUNKS_MAX * to_u64(CHUNK_BYTES));
            return Err(Error::TooLarge { what: "value", bytes, limit });
        }
        self.chunks += 1;
        let id = self.engine.take_id(SetNumber::CHUNKS)?;
        let (offset, bytes) = self.frame.record(Kind::Chunk, id, payload);
        self.effects.push(Effect::Put { id, set: SetNumber::CHUNKS, offset, bytes });
        self.effects.push(Effect::Stream(self.stream, id));
        self.chunks_in_frame += 1;
        if self.chunks_in_frame == CHUNKS_PER_FRAME {
            self.flush()?;
        }
        Ok(id)
    }

    fn flush(&mut self) -> Result<()> {
        if self.chunks_in_frame > 0 {
            let pages = pages_of(&self.effects);
            let room = make_room(self.engine, Need::Ordinary, pages, 0)?;
            self.engine.commit_frame(&mut self.frame, &mut self.effects, Need::Ordinary, &mut || Ok(()))?;
            drop(room);
            self.chunks_in_frame = 0;
            self.is_begun = true;
            self.frame.clear();
            self.effects.clear();
        }
        Ok(())
    }
}

impl Drop for Stager<'_> {
    fn drop(&mut self) {
        // These never reached the log: the next commit burns their IDs.
        let ids = |effect: &Effect| if let Effect::Put { id, .. } = effect { Some(*id) } else { None };
        self.engine.slots.abandon(self.effects.iter().filter_map(ids));
        if self.is_begun {
            // The next opening frees what cannot be freed now.
            drop(self.engine.drop_streams(&[self.stream]));
        }
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read.min(rest.len()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Source { source }),
        }
    }
    Ok(filled)
}

/// All chunks and lists of a value.
pub(crate) fn chunks_of(state: &State, head: &[u8]) -> Result<Vec<RecordId>> {
    let head = Head::decode(head).map_err(|malformed| malformed.at("record", 0))?;
    // Each chunk is a record of the hidden set, so a value cannot have more chunks than that set has records.
    let there = state.catalogue.set(SetNumber::CHUNKS).map_or(0, |set| set.records);
    if head.chunks() > there {
        return Err(Error::corrupt(
            "record",
            0,
            "head of a large value",
            format!("at most {there} chunks"),
            head.chunks(),
        ));
    }
    let (mut all, mut level) = (Vec::new(), head.ids.clone());
    for below in (0..head.depth).rev() {
        let ids = ids_in(state, &level, head.ids_at(below), below)?;
        all.extend(level);
        level = ids;
    }
    all.extend(level);
    Ok(all)
}

/// The IDs in these lists, of which there must be so many. `below` is the level of what they name.
fn ids_in(state: &State, lists: &[RecordId], expected: u64, below: u8) -> Result<Vec<RecordId>> {
    let mut ids = Vec::new();
    for id in lists {
        let Answer::Live(found) = state.lookup(*id)? else {
            return Err(Error::corrupt("record", 0, format!("list {id} of chunks"), "a list", "none"));
        };
        ids.extend(decode_ids(state.payload(&found.place)).map_err(|malformed| malformed.at("list of chunks", 0))?);
        if to_u64(ids.len()) > expected {
            break;
        }
    }
    if to_u64(ids.len()) != expected {
        let what = format!("lists of chunks at level {below}");
        return Err(Error::corrupt("record", 0, what, format!("{expected} IDs"), ids.len()));
    }
    Ok(ids)
}

/// A value whose chunks are found a part at a time. Some of them may be gone; its lists are there.
pub(crate) struct InChunks {
    head: Head,
    /// From the top down.
    lists: Vec<RecordId>,
    /// Where those of the lowest level begin, which name the chunks.
    lowest: usize,
}

impl InChunks {
    /// Of a value with this head.
    pub(crate) fn of(state: &State, head: &[u8]) -> Result<Self> {
        let head = Head::decode(head).map_err(|malformed| malformed.at("record", 0))?;
        // Each list is a record of the hidden set.
        let there = state.catalogue.set(SetNumber::CHUNKS).map_or(0, |set| set.records);
        let wanted = (1..=head.depth).map(|level| head.ids_at(level)).fold(0, u64::saturating_add);
        if wanted > there {
            let what = "head of a large value";
            return Err(Error::corrupt("record", 0, what, format!("at most {there} lists"), wanted));
        }
        let mut level = if head.depth > 0 { head.ids.clone() } else { Vec::new() };
        let mut lists = Vec::new();
        for below in (1..head.depth).rev() {
            let ids = ids_in(state, &level, head.ids_at(below), below)?;
            lists.extend(level);
            level = ids;
        }
        let lowest = lists.len();
        lists.extend(level);
        Ok(Self { head, lists, lowest })
    }

    /// All its lists.
    pub(crate) fn lists(&self) -> &[RecordId] {
        &self.lists
    }

    /// Its chunks from this one on, as many at most; none behind the last.
    pub(crate) fn chunks(&self, state: &State, from: u64, count: usize) -> Result<Vec<RecordId>> {
        let per_list = to_u64(IDS_PER_LIST);
        let end = self.head.chunks().min(from.saturating_add(to_u64(count)));
        if self.head.depth == 0 {
            return Ok(self.head.ids.get(to_usize(from)..to_usize(end)).unwrap_or_default().to_vec());
        }
        let mut chunks = Vec::new();
        for list in from / per_list..end.div_ceil(per_list) {
            let (first, lowest) = (list * per_list, self.lists.get(self.lowest..).unwrap_or_default());
            let id = lowest.get(to_usize(list)..=to_usize(list)).unwrap_or_default();
            let ids = ids_in(state, id, per_list.min(self.head.chunks() - first), 0)?;
            let wanted = from.max(first)..end.min(first + per_list);
            chunks.extend_from_slice(
                ids.get(to_usize(wanted.start - first)..to_usize(wanted.end - first)).unwrap_or_default(),
            );
        }
        Ok(chunks)
    }
}
