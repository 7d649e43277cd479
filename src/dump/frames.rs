//! Reading a dump frame by frame.
//!
//! Owns: the position in the stream, checking each frame, the meaning of stream errors. Never: looks into a payload.
//! Invariants: 1. A payload is returned only if its checksum is valid. 2. At most one payload is in memory.

use std::io::Read;
use std::{fmt, io};

use crate::dump::frame;
use crate::dump::frame::{FRAME_HEADER_BYTES, FrameKind, MAY_SKIP, PREAMBLE_BYTES};
use crate::error::{Error, Result};
use crate::format::Malformed;
use crate::id::to_u64;

/// A dump being read.
pub(super) struct Frames<'r> {
    from: &'r mut dyn Read,
    /// The dump, for messages.
    name: String,
    /// Where the current frame starts, and the next one.
    at: u64,
    next: u64,
    check: u32,
    kind: FrameKind,
    payload: Vec<u8>,
    /// Whether the stream itself is damaged.
    is_damaged: bool,
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("name", &self.name).field("at", &self.at).finish_non_exhaustive()
    }
}

impl<'r> Frames<'r> {
    /// Reads the preamble and the first frame.
    pub(super) fn open(from: &'r mut dyn Read, name: &str) -> Result<Self> {
        let mut frames = Self {
            from,
            name: name.to_owned(),
            at: 0,
            next: 0,
            check: 0,
            kind: FrameKind::Header,
            payload: Vec::new(),
            is_damaged: false,
        };
        let mut preamble = [0; PREAMBLE_BYTES];
        frames.fill(&mut preamble, "beginning of a dump")?;
        frames.check = frame::check_preamble(&preamble).map_err(|malformed| frames.wrong(malformed))?;
        frames.at = frames.next;
        frames.advance()?;
        if frames.kind == FrameKind::Header {
            return Ok(frames);
        }
        let got = frames.kind.name();
        Err(frames.wrong(Malformed::new("first frame of a dump", "a header", got)))
    }

    /// The kind of the current frame.
    pub(super) fn kind(&self) -> FrameKind {
        self.kind
    }

    /// The payload of the current frame.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Where the current frame starts.
    pub(super) fn offset(&self) -> u64 {
        self.at
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.next
    }

    /// Whether an error was one of the stream.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// The error for something in the current frame.
    pub(super) fn wrong(&mut self, malformed: Malformed) -> Error {
        self.is_damaged = !malformed.unsupported;
        malformed.at(&self.name, self.at)
    }

    /// Reads the next frame; skips unknown ones that may be skipped.
    pub(super) fn advance(&mut self) -> Result<()> {
        loop {
            self.at = self.next;
            let mut header = [0; FRAME_HEADER_BYTES];
            self.fill(&mut header, "frame of a dump")?;
            let head = frame::parse_header(&header).map_err(|malformed| self.wrong(malformed))?;
            let mut payload = std::mem::take(&mut self.payload);
            payload.resize(head.length, 0);
            self.fill(&mut payload, "frame of a dump")?;
            self.payload = payload;
            let check = frame::check_of(self.check, self.at, header.get(..8).unwrap_or_default(), &self.payload);
            if check != head.check {
                let (expected, got) = (format!("check {:08x}", head.check), format!("{check:08x}"));
                return Err(self.wrong(Malformed::new("frame of a dump", expected, got)));
            }
            self.check = check;
            match FrameKind::of(head.kind) {
                Some(kind) => {
                    self.kind = kind;
                    return Ok(());
                }
                None if head.kind >= MAY_SKIP => {}
                None => {
                    let got = format!("{:#04x}", head.kind);
                    return Err(self.wrong(Malformed::unsupported("kind of a frame", "1 to 9", got)));
                }
            }
        }
    }

    /// Fails if anything follows the current frame.
    pub(super) fn check_end(&mut self) -> Result<()> {
        self.at = self.next;
        let mut byte = [0];
        loop {
            match self.from.read(&mut byte) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(self.wrong(Malformed::new("end of a dump", "nothing more", "more bytes"))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8], what: &'static str) -> Result<()> {
        let (wanted, mut filled) = (buffer.len(), 0);
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) => {
                    let (expected, got) = (format!("{wanted} bytes"), format!("{filled}, and the end of the dump"));
                    return Err(self.wrong(Malformed::new(what, expected, got)));
                }
                Ok(read) => filled += read.min(rest.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        self.next += to_u64(wanted);
        Ok(())
    }

    /// The error for a failed source: decompressors report damage this way too.
    fn broken(&mut self, error: io::Error) -> Error {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            InvalidData | InvalidInput | UnexpectedEof => {
                self.wrong(Malformed::new("packed dump", "bytes that can be unpacked", error))
            }
            _ => Error::io("read", self.name.clone(), error),
        }
    }
}
