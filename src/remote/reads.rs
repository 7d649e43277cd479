//! Which parts of objects have the bytes that are read, and those that were read lately.
//!
//! Owns: that what several reads need is read once, and what is kept, up to a limit. Never: sends a request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use object_store::path::Path;

use crate::id::{to_u64, to_usize};
use crate::remote::names::Names;
use crate::remote::object::{Piece, Place};
use crate::remote::table::File;

/// What is larger is read in blocks of this size.
const BLOCK_BYTES: u64 = 128 << 10;
/// Bytes of parts that are kept, with what keeping one takes itself.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Names, and nodes of maps.
const KEPT_BYTES_EACH: usize = 512;

/// Parts of objects: the object, where the part begins in it, its bytes.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) parts: BTreeMap<(Path, u64), Arc<Vec<u8>>>,
    order: VecDeque<(Path, u64)>,
    bytes: usize,
}

impl Kept {
    pub(super) fn keep(&mut self, key: (Path, u64), part: &Arc<Vec<u8>>) {
        if part.len() > KEPT_BYTES_MAX / 4 || self.parts.get(&key).is_some_and(|kept| kept.len() >= part.len()) {
            return;
        }
        self.bytes += part.len();
        match self.parts.insert(key.clone(), Arc::clone(part)) {
            // Another read began at the same place, and was shorter.
            Some(shorter) => self.bytes -= shorter.len(),
            None => {
                self.bytes += KEPT_BYTES_EACH;
                self.order.push_back(key);
            }
        }
        while self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.parts.remove(&oldest).map_or(0, |part| part.len() + KEPT_BYTES_EACH);
        }
    }
}

/// A part of a file that is to be read.
#[derive(Debug)]
pub(super) struct Need {
    pub(super) file: Arc<str>,
    pub(super) piece: Piece,
    /// What of the piece: the whole, or some blocks of it.
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) object: Path,
    pub(super) in_object: u64,
}

impl Need {
    /// What has the bytes of a file from an offset on, no more than `wanted` of them.
    pub(super) fn of(names: &Names, file: &Arc<str>, piece: &Piece, at: u64, wanted: u64) -> Self {
        let (object, in_object) = match piece.place {
            Place::Inline { at, offset } => (names.log(at), offset),
            Place::Data { at } => (names.data(file, at, piece.begin), 0),
        };
        let (begin, end) = if piece.bytes <= BLOCK_BYTES {
            (0, piece.bytes)
        } else {
            let inside = at - piece.begin;
            let begin = inside / BLOCK_BYTES * BLOCK_BYTES;
            (begin, (begin + BLOCK_BYTES).max(inside.saturating_add(wanted)).min(piece.bytes))
        };
        Self { file: Arc::clone(file), piece: *piece, begin, end, object, in_object }
    }

    pub(super) fn key(&self) -> (Path, u64) {
        (self.object.clone(), self.in_object + self.begin)
    }

    pub(super) fn is_whole(&self) -> bool {
        (self.begin, self.end) == (0, self.piece.bytes)
    }
}

/// Reads that are answered together. What several of them need is read once.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) needs: Vec<Need>,
    by_key: HashMap<(Path, u64), usize>,
    pub(super) bytes: u64,
}

impl Reads {
    /// Adds a read of a file that has so many bytes. Returns which of the needs have its bytes, in their order; `None` if the head of the
    /// file has them, and they were copied.
    pub(super) fn add(
        &mut self,
        names: &Names,
        name: &Arc<str>,
        (bytes, file): (u64, &File),
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<Option<Vec<usize>>> {
        let end = offset.checked_add(to_u64(buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > bytes.min(file.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if from_head(file, offset, buffer) {
            return Ok(None);
        }
        let first = file.pieces.partition_point(|piece| piece.end() <= offset);
        let pieces = file.pieces.get(first..).unwrap_or_default().iter().take_while(|piece| piece.begin < end);
        let needs = pieces.map(|piece| {
            let at = offset.max(piece.begin);
            self.add_need(Need::of(names, name, piece, at, end - at))
        });
        Ok(Some(needs.collect()))
    }

    fn add_need(&mut self, need: Need) -> usize {
        let at = *self.by_key.entry(need.key()).or_insert(self.needs.len());
        match self.needs.get_mut(at) {
            Some(known) => {
                self.bytes += need.end.saturating_sub(known.end);
                known.end = known.end.max(need.end);
            }
            None => {
                self.bytes += need.end - need.begin;
                self.needs.push(need);
            }
        }
        at
    }

    /// Copies what was read for one of the reads.
    pub(super) fn fill(
        &self,
        parts: &[Arc<Vec<u8>>],
        needs: &[usize],
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buffer);
        for index in needs {
            let (Some(need), Some(part)) = (self.needs.get(*index), parts.get(*index)) else { break };
            let found = part.get(to_usize(at - need.piece.begin - need.begin)..).unwrap_or_default();
            let bytes = found.len().min(rest.len()).min(to_usize(need.piece.end() - at));
            let (now, later) = rest.split_at_mut(bytes);
            now.copy_from_slice(found.get(..bytes).unwrap_or_default());
            (at, rest) = (at + to_u64(bytes), later);
        }
        if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Reads what the head of a file has, which needs no request.
fn from_head(file: &File, offset: u64, buffer: &mut [u8]) -> bool {
    let end = offset.saturating_add(to_u64(buffer.len()));
    let head = file.head.get(to_usize(offset)..to_usize(end));
    if let Some(head) = head {
        buffer.copy_from_slice(head);
    }
    head.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_with_what_keeping_takes() {
        let mut kept = Kept::default();
        let part = Arc::new(vec![1; 10]);
        for number in 0..300_000 {
            kept.keep((Path::from("log"), number), &part);
        }
        assert!(kept.parts.len() <= KEPT_BYTES_MAX / KEPT_BYTES_EACH, "{} parts", kept.parts.len());
        assert!(kept.parts.len() == kept.order.len() && kept.parts.len() > 100_000);
        let longer = Arc::new(vec![1; 5000]);
        let key = (Path::from("log"), 299_999);
        for (part, wanted) in [(&longer, 5000), (&part, 5000)] {
            kept.keep(key.clone(), part);
            assert_eq!(kept.parts[&key].len(), wanted);
        }
        let bytes: usize = kept.parts.values().map(|part| part.len() + KEPT_BYTES_EACH).sum();
        assert_eq!(kept.bytes, bytes);
    }
}
