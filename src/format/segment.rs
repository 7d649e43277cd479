//! The header of every file: which store, which segment, which format.
//!
//! ```text
//! 0       8       10   11         12      13   14       15    16     24       32         40
//! +-------+-------+----+----------+-------+----+--------+-----+------+--------+----------+
//! | magic |version|kind|generation|granule|page|checksum|codec|compat|ro compat|incompat |
//! +-------+-------+----+----------+-------+----+--------+-----+------+---------+---------+
//! | UUID 16 bytes | segment 56 | timeline 64 | previous 72 | size 80 | zero 88 | check 124 |
//! +---------------+------------+-------------+-------------+---------+---------+-----------+
//! ```

use byteorder::{ByteOrder, LittleEndian};

use crate::error::Error;
use crate::format::{FORMAT_VERSION, Malformed, checksum};
use crate::id::SegmentSeq;

/// Bytes of the header; the contents follow.
pub const SEGMENT_HEADER_BYTES: usize = 128;
/// First eight bytes of every file of a store.
pub const MAGIC: [u8; 8] = *b"TENURE\r\n";
/// Identifier of CRC-32 (IEEE) as the checksum.
pub const CHECKSUM_CRC32: u8 = 1;
/// Identifier of payloads stored as they are.
pub const CODEC_PLAIN: u8 = 0;
const GRANULE_LOG2: u8 = 4;
const PAGE_LOG2: u8 = 12;

/// The contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileKind {
    /// Frames.
    Records = 1,
    /// Index pages.
    Pages = 2,
    /// Manifest entries.
    Manifest = 3,
}

impl FileKind {
    /// The name of a file of this kind.
    pub fn file_name(self, segment: SegmentSeq) -> String {
        let (stem, end) = match self {
            Self::Records => ("log", "seg"),
            Self::Pages => ("pages", "seg"),
            Self::Manifest => ("manifest", "man"),
        };
        format!("{stem}-{:012}.{end}", segment.0)
    }

    /// The kind and number in a file name; `None` if it is not one of ours.
    pub fn parse_name(name: &str) -> Option<(Self, SegmentSeq)> {
        let (stem, rest) = name.split_once('-')?;
        let (digits, end) = rest.split_once('.')?;
        let kind = match (stem, end) {
            ("log", "seg") => Self::Records,
            ("pages", "seg") => Self::Pages,
            ("manifest", "man") => Self::Manifest,
            _ => return None,
        };
        let number = digits.parse().ok().filter(|number| *number < SEGMENT_NUMBER_END).map(SegmentSeq)?;
        (kind.file_name(number) == name).then_some((kind, number))
    }
}

/// File numbers are below this: it cannot be reached, and counting up never overflows.
pub const SEGMENT_NUMBER_END: u64 = 1 << 48;
/// A file numbered this far above those that the store knows does not belong to it. Otherwise each number in between
/// would be treated as a deleted file.
pub const SEGMENT_NUMBER_GAP: u64 = 1 << 32;

/// A file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The contents of the file.
    pub kind: FileKind,
    /// The generation in which the segment was started.
    pub generation: u8,
    /// The store.
    pub uuid: [u8; 16],
    /// The segment's number.
    pub segment: SegmentSeq,
    /// The timeline in which the segment was started.
    pub timeline: u64,
    /// The segment before it in the same log; zero for the first.
    pub previous: SegmentSeq,
    /// The store's maximum segment size in bytes.
    pub segment_bytes: u64,
}

/// Whether these bytes start like a header of the store and then are zeros: a crash may leave that of one.
pub(crate) fn is_torn_header(bytes: &[u8; SEGMENT_HEADER_BYTES], uuid: [u8; 16]) -> bool {
    let check = checksum(0, &bytes[..SEGMENT_HEADER_BYTES - 4]).to_le_bytes();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let begins = |at: usize, expected: &[u8]| {
        let written = end.saturating_sub(at).min(expected.len());
        bytes.get(at..at + written) == expected.get(..written)
    };
    end < SEGMENT_HEADER_BYTES && begins(0, &MAGIC) && begins(40, &uuid) && begins(SEGMENT_HEADER_BYTES - 4, &check)
}

impl SegmentHeader {
    /// Whether zeros may follow the last frame: log files are extended ahead of the frames.
    pub fn has_room(&self) -> bool {
        self.kind == FileKind::Records && self.generation == 0
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        LittleEndian::write_u16(&mut out[8..10], FORMAT_VERSION);
        out[10] = self.kind as u8;
        out[11] = self.generation;
        out[12] = GRANULE_LOG2;
        out[13] = PAGE_LOG2;
        out[14] = CHECKSUM_CRC32;
        out[15] = CODEC_PLAIN;
        out[40..56].copy_from_slice(&self.uuid);
        LittleEndian::write_u64(&mut out[56..64], self.segment.0);
        LittleEndian::write_u64(&mut out[64..72], self.timeline);
        LittleEndian::write_u64(&mut out[72..80], self.previous.0);
        LittleEndian::write_u64(&mut out[80..88], self.segment_bytes);
        let check = checksum(0, &out[..124]);
        LittleEndian::write_u32(&mut out[124..], check);
        out
    }

    /// Reads a header from `file`; damaged and unknown headers are different errors.
    pub fn decode(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let Some(header) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return Err(Malformed::new("file header", "128 bytes", bytes.len()).at(file, 0));
        };
        if header[..8] != MAGIC {
            return Err(Malformed::new("file header", "the magic of a Tenure file", "other bytes").at(file, 0));
        }
        let (stored, computed) = (LittleEndian::read_u32(&header[124..]), checksum(0, &header[..124]));
        if stored != computed {
            let malformed = Malformed::new("file header", format!("check {stored:08x}"), format!("{computed:08x}"));
            return Err(malformed.at(file, 124));
        }
        let unsupported = |what, got: u64, supported: &str| Error::Unsupported {
            file: file.to_owned(),
            what,
            got: got.to_string(),
            supported: supported.to_owned(),
        };
        let version = LittleEndian::read_u16(&header[8..10]);
        if version != FORMAT_VERSION {
            return Err(unsupported("format version", version.into(), "version 2"));
        }
        let sizes = [header[12], header[13], header[14], header[15]];
        if sizes != [GRANULE_LOG2, PAGE_LOG2, CHECKSUM_CRC32, CODEC_PLAIN] {
            let got = u64::from(LittleEndian::read_u32(&header[12..16]));
            return Err(unsupported("granule, page, checksum and codec", got, "4, 12, 1 and 0"));
        }
        let (read_only, incompatible) =
            (LittleEndian::read_u64(&header[24..32]), LittleEndian::read_u64(&header[32..40]));
        if incompatible != 0 || read_only != 0 {
            return Err(unsupported("feature bits", incompatible | read_only, "none"));
        }
        let kind = match header[10] {
            1 => FileKind::Records,
            2 => FileKind::Pages,
            3 => FileKind::Manifest,
            other => return Err(unsupported("file kind", other.into(), "1 to 3")),
        };
        let (segment, previous) = (LittleEndian::read_u64(&header[56..64]), LittleEndian::read_u64(&header[72..80]));
        if segment >= SEGMENT_NUMBER_END || previous >= SEGMENT_NUMBER_END {
            let expected = format!("numbers below {SEGMENT_NUMBER_END}");
            return Err(Malformed::new("file header", expected, segment.max(previous)).at(file, 56));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&header[40..56]);
        Ok(Self {
            kind,
            generation: header[11],
            uuid,
            segment: SegmentSeq(segment),
            timeline: LittleEndian::read_u64(&header[64..72]),
            previous: SegmentSeq(previous),
            segment_bytes: LittleEndian::read_u64(&header[80..88]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_leaves_of_a_header_is_told_from_what_others_wrote() {
        let uuid = [7; 16];
        let (kind, segment) = (FileKind::Records, SegmentSeq(42));
        let whole = SegmentHeader {
            kind,
            generation: 1,
            uuid,
            segment,
            timeline: 3,
            previous: SegmentSeq(41),
            segment_bytes: 1 << 20,
        }
        .encode();
        for len in 0..SEGMENT_HEADER_BYTES {
            let mut torn = [0; SEGMENT_HEADER_BYTES];
            torn[..len].copy_from_slice(&whole[..len]);
            // If the last byte is zero anyway, nothing is missing.
            assert_eq!(is_torn_header(&torn, uuid), torn != whole, "{len} bytes");
            assert!(len <= 40 || torn == whole || !is_torn_header(&torn, [8; 16]), "{len} bytes of another store's");
            torn[0] ^= u8::from(len > 0);
            assert!(len == 0 || !is_torn_header(&torn, uuid), "{len} bytes of something else");
        }
        assert!(!is_torn_header(&whole, uuid));
    }

    #[test]
    fn names_come_back_and_others_are_not_ours() {
        for kind in [FileKind::Records, FileKind::Pages, FileKind::Manifest] {
            let name = kind.file_name(SegmentSeq(42));
            assert_eq!(FileKind::parse_name(&name), Some((kind, SegmentSeq(42))));
        }
        for name in ["log-1.seg", "log-000000000001.man", "lock", "log-00000000000x.seg", "log-+00000000001.seg"] {
            assert_eq!(FileKind::parse_name(name), None, "{name}");
        }
    }
}
