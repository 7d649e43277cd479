//! Where the content of a segment ends whose file is longer: a backing may have made room ahead, which is full of zeros.
//!
//! Owns: the search for that end. Reads and does not map, because room may be written to, and taken away, at any moment.
//! Never: calls anything room behind which there is something else; that is damage, which recovery judges.

use std::io;
use std::time::Duration;

use crate::backing::BackingFile;
use crate::format::Frame;
use crate::format::Seed;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::frame::FrameHeader;
use crate::id::to_u64;
use crate::id::to_usize;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 256 << 10;
/// How often bytes that are neither a frame nor room are looked at again: a writer may be in the middle of them.
const LOOKS: u32 = 20;

/// The end of the last frame, where only room is behind it; else the end of the file.
///
/// # Errors
/// `UnexpectedEof` if the file has become shorter since `len` was asked for: its writer has taken the room back.
pub(super) fn end_of_content(file: &dyn BackingFile, seed: Seed, begin: u64, len: u64) -> io::Result<u64> {
    let mut last = [0; 16];
    let Some(tail) = len.checked_sub(to_u64(last.len())).filter(|tail| *tail >= begin) else { return Ok(len) };
    file.read_at(tail, &mut last)?;
    if last != [0; 16] {
        return Ok(len);
    }
    let mut window = Window { file, len, begin, bytes: Vec::new() };
    let (mut at, mut looks) = (begin, 0);
    loop {
        let before = at;
        while let Some(header) = window.frame(seed, at)? {
            at += u64::from(header.bytes);
        }
        if window.is_room(at)? {
            return Ok(at);
        }
        looks = if at > before { 0 } else { looks + 1 };
        if looks == LOOKS {
            return Ok(len);
        }
        std::thread::sleep(Duration::from_micros(100));
        window.bytes.clear();
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

    /// Whether nothing but zeros is there from an offset on.
    fn is_room(&mut self, mut at: u64) -> io::Result<bool> {
        while at < self.len {
            let bytes = self.read(at, PIECE_BYTES)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += to_u64(bytes.len());
        }
        Ok(true)
    }
}
