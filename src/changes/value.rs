//! Values of a change: those that are stored in one piece, and those in parts.
//!
//! Owns: where the parts of large values are that were written before their heads, and putting them together. Never: holds
//! the bytes of a value that was not asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::changes::segments::{Segments, is_gone, item_at};
use crate::error::Result;
use crate::format::Frame;
use crate::format::item::Kind;
use crate::format::value::{Head, decode_ids};
use crate::id::{RecordId, SegmentSeq, to_u64};
use crate::log::Segment;

/// Frames with parts of values whose heads have not come yet, of which a feed remembers the place.
const FRAMES_MAX: usize = 1 << 16;

/// A value of a change, before or after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeValue<'c> {
    /// There is none: a deleted record has no new value, a new record no old one, and a set none at all.
    Nothing,
    /// The value, in place where it can be.
    Bytes(Cow<'c, [u8]>),
    /// There was a value, and its bytes have been reclaimed since. Not of new values up to 65,504 bytes, which are in the
    /// commit itself. Of a new value it also means that the change that replaced it follows.
    Gone,
    /// There was a value, and the commit does not say where: the store was not open with
    /// [`Options::old_values`](crate::Options::old_values). Only of old values.
    Unrecorded,
}

impl<'c> ChangeValue<'c> {
    /// The bytes, if they are there.
    pub fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The bytes, if they are there.
    pub fn into_bytes(self) -> Option<Cow<'c, [u8]>> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

/// A frame: its segment, and its offset there.
pub(super) type FramePlace = (SegmentSeq, u64);

/// Frames with parts of values whose heads have not come yet.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<u64, Vec<FramePlace>>,
    frames: usize,
}

impl Streams {
    /// A frame has parts of this stream.
    pub(super) fn note(&mut self, stream: u64, frame: FramePlace) {
        if self.frames < FRAMES_MAX {
            let known = self.open.entry(stream).or_default();
            if known.last() != Some(&frame) {
                known.push(frame);
                self.frames += 1;
            }
        }
    }

    /// The stream has its head, or is gone.
    pub(super) fn end(&mut self, stream: u64) -> Vec<FramePlace> {
        let known = self.open.remove(&stream).unwrap_or_default();
        self.frames -= known.len();
        known
    }
}

/// Where parts of values are.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<RecordId, (Arc<Segment>, u64)>);

impl Parts {
    /// The parts in these frames, as far as those are there.
    pub(super) fn in_frames(segments: &Segments, frames: &[FramePlace]) -> Result<Self> {
        let mut parts = Self::default();
        for (number, offset) in frames {
            if let Some(segment) = segments.get(*number, *offset)? {
                match parts.add(&segment, *offset) {
                    Err(error) if !is_gone(&error) => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(parts)
    }

    fn add(&mut self, segment: &Arc<Segment>, offset: u64) -> Result<()> {
        let bytes = segment.read(offset, segment.len()?.saturating_sub(offset))?;
        let Ok(frame) = Frame::parse(&bytes, segment.seed(), offset) else { return Ok(()) };
        for (offset, item) in frame.items().flatten().filter(|(_, item)| item.kind == Kind::Chunk as u8) {
            if let Ok(id) = item.id() {
                self.0.insert(id, (Arc::clone(segment), offset));
            }
        }
        Ok(())
    }

    /// A part's place, if it is known.
    fn read(&self, id: RecordId) -> Result<Option<Vec<u8>>> {
        let Some((segment, offset)) = self.0.get(&id) else { return Ok(None) };
        item_at(segment, *offset, id, |item| item.payload.to_vec())
    }

    /// The value of a head; `None` if not all its parts are there.
    pub(super) fn value(&self, head: &[u8]) -> Result<Option<Vec<u8>>> {
        let Ok(head) = Head::decode(head) else { return Ok(None) };
        if head.chunks() > to_u64(self.0.len()) {
            return Ok(None);
        }
        let mut level = head.ids;
        for _ in 0..head.depth {
            let mut below = Vec::new();
            for id in level {
                let ids = self.read(id)?.and_then(|list| decode_ids(&list).ok());
                let Some(ids) = ids.filter(|ids| below.len() + ids.len() <= self.0.len()) else { return Ok(None) };
                below.extend(ids);
            }
            level = below;
        }
        let mut value = Vec::new();
        for id in level {
            let Some(part) = self.read(id)? else { return Ok(None) };
            value.extend_from_slice(&part);
        }
        Ok((to_u64(value.len()) == head.total_bytes).then_some(value))
    }
}
