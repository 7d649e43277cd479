//! Where the content of a segment ends whose file is longer: a backing may have made room ahead, which is full of zeros.
//!
//! Owns: the search for that end. Reads and does not map, because room may be written to, and taken away, at any moment.
//! Never: calls anything room behind which there is something else; that is damage, which recovery judges.

use std::io;
use std::time::Duration;

use crate::backing::BackingFile;
use crate::format::Frame;
use crate::format::GRANULE_BYTES;
use crate::format::Seed;
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::frame::FrameHeader;
use crate::id::to_u64;
use crate::id::to_usize;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 256 << 10;
/// How often bytes that are neither a frame nor room are looked at again: a writer may be in the middle of them.
const LOOKS: u32 = 20;
/// No writer makes a segment longer than that.
const LEN_MAX: u64 = SEGMENT_BYTES_END + 64;

/// Where the content ends. It is known to reach `proven` bytes, which is the beginning of the file's frames or the end of one.
///
/// Where there is neither a frame nor room behind the last frame, that is the end of what is not zero: never is there any room
/// in the content, because its writer may take that back.
///
/// # Errors
/// `UnexpectedEof` if the file has become shorter since `len` was asked for: its writer has taken the room back.
pub(super) fn end_of_content(file: &dyn BackingFile, seed: Seed, proven: u64, len: u64) -> io::Result<u64> {
    let mut last = [0; 16];
    let tail = len.checked_sub(to_u64(last.len())).filter(|tail| *tail >= proven && len <= LEN_MAX);
    let Some(tail) = tail else { return Ok(len) };
    file.read_at(tail, &mut last)?;
    if last != [0; 16] {
        return Ok(len);
    }
    let mut window = Window { file, len, begin: proven, bytes: Vec::new() };
    let mut at = proven;
    loop {
        while let Some(header) = window.frame(seed, at)? {
            at += u64::from(header.bytes);
        }
        let Some(end) = window.end_of_bytes(at)? else { return Ok(at) };
        // A writer may be in the middle of a frame.
        let mut looks = 0;
        while window.frame(seed, at)?.is_none() {
            looks += 1;
            if looks == LOOKS {
                return Ok(end.next_multiple_of(GRANULE_BYTES).min(len));
            }
            std::thread::sleep(Duration::from_micros(100));
            window.bytes.clear();
        }
    }
}

/// A piece of the file, read.
struct Window<'f> {
    file: &'f dyn BackingFile,
    len: u64,
    begin: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// So many bytes, or what is left of the file.
    fn read(&mut self, at: u64, wanted: u64) -> io::Result<&[u8]> {
        let wanted = wanted.min(self.len - at);
        let is_there = at >= self.begin && at + wanted <= self.begin + to_u64(self.bytes.len());
        if !is_there {
            self.begin = at;
            self.bytes.resize(to_usize(wanted.max(PIECE_BYTES).min(self.len - at)), 0);
            self.file.read_at(at, &mut self.bytes)?;
        }
        let from = to_usize(at - self.begin);
        Ok(self.bytes.get(from..from + to_usize(wanted)).unwrap_or_default())
    }

    /// The header of the frame at an offset, if all of it is there and whole.
    fn frame(&mut self, seed: Seed, at: u64) -> io::Result<Option<FrameHeader>> {
        let Ok(header) = FrameHeader::parse(self.read(at, to_u64(FRAME_HEADER_BYTES))?, seed, at) else {
            return Ok(None);
        };
        let bytes = self.read(at, u64::from(header.bytes))?;
        Ok(Frame::parse(bytes, seed, at).ok().map(|frame| frame.header))
    }

    /// The end of the last byte from an offset on that is not zero, if there is any.
    fn end_of_bytes(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        let mut end = None;
        while at < self.len {
            let bytes = self.read(at, PIECE_BYTES)?;
            let (count, last) = (to_u64(bytes.len()), bytes.iter().rposition(|byte| *byte != 0));
            end = last.map(|index| at + to_u64(index) + 1).or(end);
            at += count;
        }
        Ok(end)
    }
}
