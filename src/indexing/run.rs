//! Runs: sorted items, in files of their own.
//!
//! Owns: the bytes of items, blocks with checksums, merging. Never: knows the meaning of an item, or outlives the
//! build. Invariants: 1. A block that is read is the one that was written. 2. The file is deleted with its run.
//!
//! ```text
//! an item:   ID u64, stamp u64, key length u16, key
//! a block:   bytes of items u32, checksum of them u32, items
//! ```

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::{checksum, put_u16, put_u32, put_u64};
use crate::id::{low_u16, low_u32, to_u64};
use crate::key::KEY_BYTES_MAX;
use crate::log::Segment;

/// Bytes of an item, not counting its key.
pub(super) const ITEM_HEADER_BYTES: usize = 18;
const BLOCK_HEADER_BYTES: usize = 8;
/// Items are buffered up to this size before they are written.
const BLOCK_BYTES: usize = 32 << 10;
/// Maximum size of a block.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + ITEM_HEADER_BYTES + KEY_BYTES_MAX;

/// What a record, or a commit since, says about an entry. Of several items the one with the highest stamp counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item<'a> {
    pub(super) key: &'a [u8],
    pub(super) id: u64,
    pub(super) stamp: u64,
}

impl<'a> Item<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.id);
        put_u64(out, self.stamp);
        put_u16(out, low_u16(to_u64(self.key.len())));
        out.extend_from_slice(self.key);
    }

    /// The item that starts at an offset.
    pub(super) fn at(bytes: &'a [u8], begin: usize) -> Option<Self> {
        let header = bytes.get(begin..)?.first_chunk::<ITEM_HEADER_BYTES>()?;
        let [id, stamp] = [0, 8].map(|at| header.get(at..).map(LittleEndian::read_u64));
        let len = header.get(16..).map(LittleEndian::read_u16)?;
        let key = bytes.get(begin + ITEM_HEADER_BYTES..)?.get(..usize::from(len))?;
        Some(Self { key, id: id?, stamp: stamp? })
    }

    pub(super) fn bytes(&self) -> usize {
        ITEM_HEADER_BYTES + self.key.len()
    }
}

/// A written run.
#[derive(Debug)]
pub(super) struct Run<'e> {
    engine: &'e Engine,
    segment: Arc<Segment>,
    end: u64,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // The next opening deletes what cannot be deleted now.
        drop(self.engine.pages.delete_file(self.segment.number()));
    }
}

impl Run<'_> {
    /// Bytes of its file.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }
}

/// Writes a run.
#[derive(Debug)]
pub(super) struct RunWriter<'e> {
    run: Run<'e>,
    block: Vec<u8>,
}

impl<'e> RunWriter<'e> {
    /// Starts a run of items with roughly this total size.
    pub(super) fn new(engine: &'e Engine, bytes: u64) -> Result<Self> {
        let blocks = bytes / to_u64(BLOCK_BYTES) + 2;
        let capacity = to_u64(SEGMENT_HEADER_BYTES) + bytes + blocks * to_u64(BLOCK_HEADER_BYTES);
        let (number, timeline) = (engine.log.take_segment_number()?, engine.log.timeline());
        let segment = Arc::new(engine.pages.create_scratch(number, timeline, capacity)?);
        let run = Run { engine, segment, end: to_u64(SEGMENT_HEADER_BYTES) };
        Ok(Self { run, block: vec![0; BLOCK_HEADER_BYTES] })
    }

    /// Adds an item. They must be in order.
    pub(super) fn push(&mut self, item: &Item<'_>) -> Result<()> {
        item.encode(&mut self.block);
        if self.block.len() < BLOCK_HEADER_BYTES + BLOCK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let segment = &self.run.segment;
        let (header, items) = self.block.split_at_mut(BLOCK_HEADER_BYTES);
        if items.is_empty() {
            return Ok(());
        }
        let mut written = Vec::with_capacity(BLOCK_HEADER_BYTES);
        put_u32(&mut written, low_u32(to_u64(items.len())));
        put_u32(&mut written, checksum(segment.seed().at(self.run.end), items));
        header.copy_from_slice(&written);
        segment.append(&self.block).map_err(|source| Error::io("append to", segment.name(), source))?;
        self.run.end += to_u64(self.block.len());
        self.block.truncate(BLOCK_HEADER_BYTES);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Run<'e>> {
        self.flush()?;
        Ok(self.run)
    }
}

/// Reads a run, a block at a time.
struct RunReader<'e> {
    run: Run<'e>,
    offset: u64,
    block: Vec<u8>,
    /// The current item, and where the next one starts.
    begin: usize,
    next: usize,
}

impl<'e> RunReader<'e> {
    /// Positions at the first item, if there is one.
    fn new(run: Run<'e>) -> Result<Option<Self>> {
        let offset = to_u64(SEGMENT_HEADER_BYTES);
        let mut reader = Self { run, offset, block: Vec::new(), begin: 0, next: 0 };
        Ok(reader.advance()?.then_some(reader))
    }

    /// Advances to the next item. `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        self.begin = self.next;
        if self.begin >= self.block.len() {
            if self.offset >= self.run.end {
                return Ok(false);
            }
            self.read_block()?;
            self.begin = 0;
        }
        let item = Item::at(&self.block, self.begin).ok_or_else(|| self.damaged("an item that is cut off"))?;
        self.next = self.begin + item.bytes();
        Ok(true)
    }

    fn read_block(&mut self) -> Result<()> {
        let segment = Arc::clone(&self.run.segment);
        let header = segment.read(self.offset, to_u64(BLOCK_HEADER_BYTES))?;
        let (bytes, check) = (LittleEndian::read_u32(&header), header.get(4..).map(LittleEndian::read_u32));
        if bytes == 0 || bytes as usize > BLOCK_BYTES_MAX {
            return Err(self.damaged(format!("a block of {bytes} bytes")));
        }
        let block = segment.read(self.offset + to_u64(BLOCK_HEADER_BYTES), bytes.into())?;
        if check != Some(checksum(segment.seed().at(self.offset), &block)) {
            return Err(self.damaged("a block with another checksum"));
        }
        self.block.clear();
        self.block.extend_from_slice(&block);
        self.offset += to_u64(BLOCK_HEADER_BYTES) + u64::from(bytes);
        Ok(())
    }

    fn damaged(&self, got: impl std::fmt::Display) -> Error {
        Error::corrupt(self.run.segment.name(), self.offset, "sorted keys", "a block as it was written", got)
    }

    /// The current item, which was checked when the reader advanced to it.
    fn item(&self) -> Option<Item<'_>> {
        Item::at(&self.block, self.begin)
    }
}

impl Ord for RunReader<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.item().cmp(&other.item())
    }
}

impl PartialOrd for RunReader<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RunReader<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for RunReader<'_> {}

/// Merges the items of all runs in order.
pub(super) fn merge(runs: Vec<Run<'_>>, each: &mut dyn FnMut(&Item<'_>) -> Result<()>) -> Result<()> {
    let mut readers = BinaryHeap::with_capacity(runs.len());
    for run in runs {
        readers.extend(RunReader::new(run)?.map(Reverse));
    }
    while let Some(mut first) = readers.peek_mut() {
        if let Some(item) = first.0.item() {
            each(&item)?;
        }
        if !first.0.advance()? {
            PeekMut::pop(first);
        }
    }
    Ok(())
}
