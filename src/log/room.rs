//! Finding the end of a segment's contents in a longer file: a backing may have preallocated space, which is zeros.
//!
//! Owns: the search for that end. Reads instead of mapping, because preallocated space may be written to, or truncated,
//! at any moment. Never: treats anything as preallocated if something follows it; that is damage, which recovery
//! judges.

use std::io;
use std::time::Duration;

use crate::backing::BackingFile;
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::{Frame, GRANULE_BYTES, Seed};
use crate::id::{Seq, to_u64, to_usize};

/// Bytes read at once.
const PIECE_BYTES: u64 = 256 << 10;
/// How often bytes that are neither a frame nor zeros are read again if a writer may be in the middle of them.
const LOOKS_BESIDE_A_WRITER: u32 = 20;
/// Maximum length of a segment.
const LEN_MAX: u64 = SEGMENT_BYTES_END + 64;

/// Where the contents end. They are known to reach `proven` bytes, which is the beginning of the file's frames or the
/// end of one.
///
/// If the last frame is followed by neither a frame nor zeros, the contents end with the last nonzero byte: zeros at
/// the end never count as contents, because the writer may truncate them. With `beside_a_writer`, which may be in the
/// middle of a frame, such bytes are read again for two milliseconds.
///
/// # Errors
/// `UnexpectedEof` if the file has become shorter since `len` was read: its writer has truncated the preallocated
/// space.
pub(super) fn end_of_content(
    file: &dyn BackingFile,
    seed: Seed,
    proven: u64,
    len: u64,
    beside_a_writer: bool,
) -> io::Result<u64> {
    let looks_max = if beside_a_writer { LOOKS_BESIDE_A_WRITER } else { 0 };
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
        let mut looks = 0;
        loop {
            if looks == looks_max {
                return Ok(end.next_multiple_of(GRANULE_BYTES).min(len));
            }
            looks += 1;
            std::thread::sleep(Duration::from_micros(100));
            window.bytes.clear();
            if window.frame(seed, at)?.is_some() {
                break;
            }
        }
    }
}

/// Where the last of the whole frames ends that follow each other from an offset on, and what they say was durable. Only their
/// headers are examined.
pub(super) fn end_of_frames(file: &dyn BackingFile, seed: Seed, from: u64, len: u64) -> io::Result<(u64, Seq)> {
    let mut window = Window { file, len, begin: from, bytes: Vec::new() };
    let (mut at, mut durable) = (from, Seq::ZERO);
    while at < len
        && let Ok(header) = FrameHeader::parse(window.read(at, to_u64(FRAME_HEADER_BYTES))?, seed, at)
        && u64::from(header.bytes) <= len - at
    {
        durable = durable.max(header.durable);
        at += u64::from(header.bytes);
    }
    Ok((at, durable))
}

/// A piece of the file, read.
struct Window<'f> {
    file: &'f dyn BackingFile,
    len: u64,
    begin: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// This many bytes, or the rest of the file.
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

    /// The header of the frame at an offset, if complete and valid.
    fn frame(&mut self, seed: Seed, at: u64) -> io::Result<Option<FrameHeader>> {
        let Ok(header) = FrameHeader::parse(self.read(at, to_u64(FRAME_HEADER_BYTES))?, seed, at) else {
            return Ok(None);
        };
        let bytes = self.read(at, u64::from(header.bytes))?;
        Ok(Frame::parse(bytes, seed, at).ok().map(|frame| frame.header))
    }

    /// The end of the last nonzero byte from an offset on, if there is one.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::format::frame::{FrameBuilder, FrameKind, Stamp};
    use crate::format::item::Kind;
    use crate::id::{RecordId, SegmentSeq, Seq};

    const BEGIN: u64 = 128;
    const LEN: u64 = 4_096;

    /// A frame and preallocated space after it. The frame's second half appears with the third read of its beginning.
    #[derive(Debug)]
    struct Arriving {
        frame: Vec<u8>,
        looks: AtomicU32,
    }

    impl BackingFile for Arriving {
        fn append(&self, _bytes: &[u8]) -> io::Result<()> {
            Err(io::Error::from(io::ErrorKind::Unsupported))
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            if offset == BEGIN {
                self.looks.fetch_add(1, Ordering::Relaxed);
            }
            let mut file = vec![0; to_usize(LEN)];
            let there = if self.looks.load(Ordering::Relaxed) < 3 { self.frame.len() / 2 } else { self.frame.len() };
            file[to_usize(BEGIN)..to_usize(BEGIN) + there].copy_from_slice(&self.frame[..there]);
            buffer.copy_from_slice(&file[to_usize(offset)..to_usize(offset) + buffer.len()]);
            Ok(())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(LEN)
        }
    }

    #[test]
    fn a_frame_that_is_being_written_is_waited_for_only_beside_a_writer() {
        let seed = Seed::new([7; 16], SegmentSeq(1));
        let stamp = Stamp {
            kind: FrameKind::Commit,
            seq: Seq(1),
            durable: Seq(0),
            timeline: 1,
            time_micros: 0,
            move_number: 0,
        };
        let mut builder = FrameBuilder::new();
        builder.record(Kind::Record, RecordId::FIRST, &[0xFF; 1_000]);
        let frame = builder.seal(&stamp, seed, BEGIN).to_vec();
        let end = |beside_a_writer| {
            let file = Arriving { frame: frame.clone(), looks: AtomicU32::new(0) };
            let end = end_of_content(&file, seed, BEGIN, LEN, beside_a_writer).unwrap();
            (end, file.looks.into_inner())
        };
        assert_eq!(end(true), (BEGIN + to_u64(frame.len()), 3));
        let (torn, looks) = end(false);
        assert!(torn < BEGIN + to_u64(frame.len()), "ends at {torn}");
        assert_eq!(looks, 1);
    }
}
