//! Reconstructing a damaged segment header from the file's name, the store's UUID and the frames after the header.
//!
//! Owns: the search for a frame that proves which file this is. Never: writes, or mistakes a file for another: seeds of
//! frames come from the UUID, the segment's number and the offset, so a frame of another file or place is invalid here.

use std::io;

use byteorder::{ByteOrder, LittleEndian};

use crate::backing::BackingFile;
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::frame::{FRAME_HEADER_BYTES, FRAME_TAG, FrameHeader};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::{GRANULE_BYTES, Seed};
use crate::id::{to_u64, to_usize};

/// Bytes read at once.
const PIECE_BYTES: u64 = 256 << 10;

/// The first valid frame header after the file header, at any granule.
pub(super) fn first_frame(file: &dyn BackingFile, seed: Seed, len: u64) -> io::Result<Option<FrameHeader>> {
    let (header_bytes, len) = (to_u64(FRAME_HEADER_BYTES), len.min(SEGMENT_BYTES_END));
    let mut bytes = Vec::new();
    let mut begin = to_u64(SEGMENT_HEADER_BYTES);
    while begin + header_bytes <= len {
        // Pieces overlap, so that a header across the border of two is seen whole.
        let end = (begin + PIECE_BYTES + header_bytes).min(len);
        bytes.resize(to_usize(end - begin), 0);
        file.read_at(begin, &mut bytes)?;
        let granules = bytes.windows(FRAME_HEADER_BYTES).step_by(to_usize(GRANULE_BYTES));
        for (at, window) in (begin..).step_by(to_usize(GRANULE_BYTES)).zip(granules) {
            let is_tagged = LittleEndian::read_u32(window) == FRAME_TAG;
            if let Some(header) = is_tagged.then(|| FrameHeader::parse(window, seed, at).ok()).flatten() {
                return Ok(Some(header));
            }
        }
        begin += PIECE_BYTES;
    }
    Ok(None)
}
