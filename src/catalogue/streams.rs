//! Streams: chunks of large values whose head is not committed yet.
//!
//! Owns: the chunks of each stream. Never: frees one.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::id::{RecordId, to_u64};

/// Bytes of a stream's row, not counting its chunks.
pub(super) const STREAM_BYTES: u64 = 12;
/// Bytes of a chunk in that row.
pub(super) const CHUNK_ROW_BYTES: u64 = 8;

/// Chunks per shared part.
const CHUNKS_PER_PART: usize = 4096;

/// Chunks of one stream. Full parts are shared, so that a state that still holds the list does not force a copy with
/// every commit.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks {
    full: Vec<Arc<[RecordId]>>,
    rest: Vec<RecordId>,
}

impl Chunks {
    fn push(&mut self, chunk: RecordId) {
        self.rest.push(chunk);
        if self.rest.len() == CHUNKS_PER_PART {
            self.full.push(Arc::from(std::mem::take(&mut self.rest)));
        }
    }

    fn len(&self) -> usize {
        self.full.len() * CHUNKS_PER_PART + self.rest.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = RecordId> {
        self.full.iter().flat_map(|part| part.iter()).chain(&self.rest).copied()
    }
}

impl Catalogue {
    pub(crate) fn stream(&mut self, stream: u64, chunk: RecordId) {
        if !self.streams.contains_key(&stream) {
            self.streams.insert_mut(stream, Chunks::default());
        }
        if let Some(chunks) = self.streams.get_mut(&stream) {
            self.bytes += if chunks.len() == 0 { STREAM_BYTES + CHUNK_ROW_BYTES } else { CHUNK_ROW_BYTES };
            chunks.push(chunk);
        }
        self.next_stream = self.next_stream.max(stream.saturating_add(1));
    }

    pub(crate) fn end_stream(&mut self, stream: u64) {
        if let Some(chunks) = self.streams.get(&stream) {
            let bytes = STREAM_BYTES + CHUNK_ROW_BYTES * to_u64(chunks.len());
            self.bytes = self.bytes.saturating_sub(bytes);
            self.streams.remove_mut(&stream);
        }
        self.next_stream = self.next_stream.max(stream.saturating_add(1));
    }

    /// Streams whose head has not been committed yet.
    pub(crate) fn streams(&self) -> impl Iterator<Item = u64> {
        self.streams.keys().copied()
    }

    /// Chunks of a stream, in order.
    pub(crate) fn chunks(&self, stream: u64) -> impl Iterator<Item = RecordId> {
        self.streams.get(&stream).into_iter().flat_map(Chunks::iter)
    }

    pub(crate) fn next_stream(&self) -> u64 {
        self.next_stream
    }
}
