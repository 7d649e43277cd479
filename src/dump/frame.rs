//! The frames of a dump: kinds, sizes, checks.
//!
//! Owns: the preamble and the header of a frame. Never: knows what a payload means, or does I/O.
//! Invariants: 1. A checksum covers the previous one, so that a misplaced frame is noticed.
//! 2. No length is above [`PAYLOAD_BYTES_MAX`].

use byteorder::{ByteOrder, LittleEndian};
use crc32fast::Hasher;

use crate::format::Malformed;
use crate::id::{low_u32, to_u64};

/// The first bytes of a dump.
pub(crate) const MAGIC: [u8; 8] = *b"\x89TDMP\r\n\x1a";
/// The version that is written and read.
pub(crate) const VERSION: u32 = 1;
/// Bytes of magic, version and checksum.
pub(crate) const PREAMBLE_BYTES: usize = 16;
/// Bytes before a payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 12;
/// Maximum length of a payload.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Payloads are filled up to this size.
pub(crate) const FILL_BYTES: usize = 256 << 10;
/// A reader skips unknown kinds from this one on.
pub(crate) const MAY_SKIP: u8 = 0x80;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum FrameKind {
    Header = 1,
    Set = 2,
    Index = 3,
    Slots = 4,
    Records = 5,
    Large = 6,
    Piece = 7,
    Entries = 8,
    End = 9,
}

impl FrameKind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Header,
        Self::Set,
        Self::Index,
        Self::Slots,
        Self::Records,
        Self::Large,
        Self::Piece,
        Self::Entries,
        Self::End,
    ];

    pub(crate) fn of(raw: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == raw)
    }

    /// Its name in messages and in the format document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Set => "set",
            Self::Index => "index",
            Self::Slots => "slots",
            Self::Records => "records",
            Self::Large => "large",
            Self::Piece => "piece",
            Self::Entries => "entries",
            Self::End => "end",
        }
    }
}

/// The preamble and its checksum, with which the checksums of frames start.
pub(crate) fn preamble() -> ([u8; PREAMBLE_BYTES], u32) {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    LittleEndian::write_u32(&mut bytes[8..12], VERSION);
    let check = crate::format::checksum(0, &bytes[..12]);
    LittleEndian::write_u32(&mut bytes[12..], check);
    (bytes, check)
}

/// Checks a preamble; returns its checksum.
pub(crate) fn check_preamble(bytes: &[u8; PREAMBLE_BYTES]) -> Result<u32, Malformed> {
    let what = "beginning of a dump";
    if bytes[..8] != MAGIC {
        let got = String::from_utf8_lossy(&bytes[..8]).escape_debug().to_string();
        return Err(Malformed::new(what, "the bytes \\x89TDMP\\r\\n\\x1a", got));
    }
    let (stored, check) = (LittleEndian::read_u32(&bytes[12..]), crate::format::checksum(0, &bytes[..12]));
    if stored != check {
        return Err(Malformed::new(what, format!("check {stored:08x}"), format!("{check:08x}")));
    }
    match LittleEndian::read_u32(&bytes[8..12]) {
        VERSION => Ok(check),
        other => Err(Malformed::unsupported("dump version", VERSION, other)),
    }
}

/// The checksum of a frame.
pub(crate) fn check_of(before: u32, offset: u64, head: &[u8], payload: &[u8]) -> u32 {
    let mut place = [0; 12];
    LittleEndian::write_u32(&mut place[..4], before);
    LittleEndian::write_u64(&mut place[4..], offset);
    let mut hasher = Hasher::new();
    hasher.update(&place);
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// The header of a frame at an offset, and its checksum.
pub(crate) fn header(kind: FrameKind, before: u32, offset: u64, payload: &[u8]) -> ([u8; FRAME_HEADER_BYTES], u32) {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    bytes[0] = kind as u8;
    LittleEndian::write_u32(&mut bytes[4..8], low_u32(to_u64(payload.len())));
    let check = check_of(before, offset, &bytes[..8], payload);
    LittleEndian::write_u32(&mut bytes[8..], check);
    (bytes, check)
}

/// A parsed header, before its payload is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) length: usize,
    pub(crate) check: u32,
}

/// Parses a header.
pub(crate) fn parse_header(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Head, Malformed> {
    let what = "frame of a dump";
    let (kind, length) = (bytes[0], LittleEndian::read_u32(&bytes[4..8]) as usize);
    if kind == 0 || bytes[1..4] != [0; 3] {
        return Err(Malformed::new(what, "a kind and three zeros", format!("{:02x?}", &bytes[..4])));
    }
    if length > PAYLOAD_BYTES_MAX {
        return Err(Malformed::new(what, format!("{PAYLOAD_BYTES_MAX} bytes at most"), length));
    }
    Ok(Head { kind, length, check: LittleEndian::read_u32(&bytes[8..]) })
}
