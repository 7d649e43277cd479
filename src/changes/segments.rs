//! Segments that a feed reads beside the one where it is: with parts of large values, and with old values.
//!
//! Owns: which of them stay open for the next value. Never: keeps one of this process from being deleted.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::item::{Item, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::format::segment::FileKind;
use crate::id::{RecordId, SegmentSeq, to_u64};
use crate::log::{Segment, SegmentSource};

/// How many stay open.
const OPEN_MAX: usize = 4;

/// Finds segments by number.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) engine: Arc<Engine>,
    source: Arc<SegmentSource>,
    /// The last one was used last.
    open: Mutex<Vec<Arc<Segment>>>,
}

impl Segments {
    pub(super) fn new(engine: &Arc<Engine>, source: &Arc<SegmentSource>) -> Self {
        Self { engine: Arc::clone(engine), source: Arc::clone(source), open: Mutex::new(Vec::new()) }
    }

    /// A segment that has something at this offset; `None` if there is none any more.
    pub(super) fn get(&self, number: SegmentSeq, offset: u64) -> Result<Option<Arc<Segment>>> {
        let has_it = |segment: &Segment| segment.len().is_ok_and(|len| len > offset);
        // Those of a reader may be shorter than their files are now.
        let own = self.engine.heap.segment(number).filter(|own| !own.is_absent() && has_it(own));
        if own.is_some() {
            return Ok(own);
        }
        let mut open = self.open.lock();
        if let Some(index) = open.iter().position(|known| known.number() == number) {
            let known = open.remove(index);
            if has_it(&known) {
                open.push(Arc::clone(&known));
                return Ok(Some(known));
            }
        }
        let segment = match self.source.open(FileKind::Records, number) {
            Ok(segment) => Arc::new(segment),
            Err(error) if is_gone(&error) || error.is_corruption() => return Ok(None),
            Err(error) => return Err(error),
        };
        if !has_it(&segment) {
            return Ok(None);
        }
        if open.len() == OPEN_MAX {
            open.remove(0);
        }
        open.push(Arc::clone(&segment));
        Ok(Some(segment))
    }

    /// Closes those that stayed open: their files may be deleted, and take space until then.
    pub(super) fn close(&self) {
        self.open.lock().clear();
    }
}

/// Whether there is no file any more.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// The item at a place, if it is a whole one of this record.
pub(super) fn item_at<T>(
    segment: &Segment,
    offset: u64,
    id: RecordId,
    with: impl FnOnce(&Item<'_>) -> T,
) -> Result<Option<T>> {
    let left = segment.len()?.saturating_sub(offset);
    let most = to_u64(RECORD_HEADER_BYTES + PAYLOAD_BYTES_MAX);
    let bytes = match segment.read(offset, left.min(most)) {
        Ok(bytes) => bytes,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let item = Item::parse(&bytes).ok().filter(|item| item.raw_id == id.as_u64());
    Ok(item.filter(|item| item.verify(segment.seed().at(offset)).is_ok()).map(|item| with(&item)))
}
