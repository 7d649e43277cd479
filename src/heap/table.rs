//! The segments of a state, by place.
//!
//! Owns: the table. Never: changes another state's table: a table shares everything unchanged with the one that it came
//! from.

use std::sync::Arc;

use crate::log::Segment;

/// Places copied together when one of them changes.
const CHUNK: usize = 256;

type Chunk = [Option<Arc<Segment>>; CHUNK];

/// Segments by place.
#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentTable {
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

impl SegmentTable {
    #[inline]
    pub(crate) fn get(&self, place: u32) -> Option<&Arc<Segment>> {
        self.chunks.get(place as usize / CHUNK)?.get(place as usize % CHUNK)?.as_ref()
    }

    /// Places, used or not.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Places and segments.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Segment>)> {
        let places = self.chunks.iter().flat_map(|chunk| chunk.iter());
        (0..).zip(places).filter_map(|(place, segment)| Some((place, segment.as_ref()?)))
    }

    /// Unused places below the end.
    pub(super) fn unused(&self) -> impl Iterator<Item = u32> {
        let places = self.chunks.iter().flat_map(|chunk| chunk.iter());
        (0..).zip(places).take(self.len).filter(|(_, segment)| segment.is_none()).map(|(place, _)| place)
    }

    /// Extends the table to this many places.
    pub(super) fn extend_to(&mut self, len: usize) {
        if len.div_ceil(CHUNK) > self.chunks.len() {
            let empty: Arc<Chunk> = Arc::new(std::array::from_fn(|_| None));
            self.chunks.resize(len.div_ceil(CHUNK), empty);
        }
        self.len = self.len.max(len);
    }

    /// Sets or clears a place and returns its old segment. Updates the counts.
    pub(super) fn set(&mut self, place: u32, segment: Option<&Arc<Segment>>) -> Option<Arc<Segment>> {
        self.extend_to(place as usize + 1);
        let chunk = Arc::make_mut(self.chunks.get_mut(place as usize / CHUNK)?);
        let cell = chunk.get_mut(place as usize % CHUNK)?;
        let before = std::mem::replace(cell, segment.map(Arc::clone));
        if let Some(before) = &before {
            before.leave_sizes();
        }
        if let Some(segment) = segment {
            segment.join_sizes();
        }
        before
    }
}
