//! Large values: the payload of a head, and lists of chunks.
//!
//! ```text
//! 0             8           12     13     16
//! +-------------+-----------+------+------+================+
//! | total bytes | chunk size| depth| zero | chunk IDs ...  |
//! +-------------+-----------+------+------+================+
//! ```
//! At depth 0 the IDs refer to data chunks: each holds `chunk size` bytes, the last one the rest. At depth d they refer
//! to lists: chunks whose payload is IDs of depth d - 1, `IDS_PER_LIST` each, the last one the rest.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::{Malformed, put_u32, put_u64};
use crate::id::RecordId;

/// Bytes of data in each chunk but the last.
pub const CHUNK_BYTES: usize = 65_472;
/// IDs in each list but the last.
pub const IDS_PER_LIST: usize = 4096;
/// Bytes before the IDs of a head.
pub const HEAD_BYTES: usize = 16;
/// Maximum depth: 4096^3 chunks of 64 KiB are 4 PiB.
pub const DEPTH_MAX: u8 = 2;

/// A head, as stored in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the value.
    pub total_bytes: u64,
    /// Bytes of data in each chunk but the last.
    pub chunk_bytes: u32,
    /// Levels of lists between the head and the chunks.
    pub depth: u8,
    /// IDs of the level below.
    pub ids: Vec<RecordId>,
}

impl Head {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.ids.len() * 8);
        put_u64(&mut out, self.total_bytes);
        put_u32(&mut out, self.chunk_bytes);
        out.extend_from_slice(&[self.depth, 0, 0, 0]);
        encode_ids(&self.ids, &mut out);
        out
    }

    /// Reads a payload; the number of IDs must match the total.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some((fixed, ids)) = bytes.split_at_checked(HEAD_BYTES) else {
            return Err(Malformed::new("head of a large value", "16 bytes", bytes.len()));
        };
        let head = Self {
            total_bytes: LittleEndian::read_u64(&fixed[..8]),
            chunk_bytes: LittleEndian::read_u32(&fixed[8..12]),
            depth: fixed[12],
            ids: decode_ids(ids)?,
        };
        if head.chunk_bytes == 0 || head.chunk_bytes as usize > CHUNK_BYTES || head.depth > DEPTH_MAX {
            let got = format!("{} at depth {}", head.chunk_bytes, head.depth);
            return Err(Malformed::new("head of a large value", "a chunk size and a depth", got));
        }
        let expected = head.ids_at(head.depth);
        if expected != crate::id::to_u64(head.ids.len()) {
            return Err(Malformed::new("head of a large value", format!("{expected} IDs"), head.ids.len()));
        }
        Ok(head)
    }

    /// Number of data chunks of the value.
    pub fn chunks(&self) -> u64 {
        self.total_bytes.div_ceil(u64::from(self.chunk_bytes.max(1)))
    }

    /// Number of IDs at this many levels above the chunks.
    pub fn ids_at(&self, level: u8) -> u64 {
        (0..level).fold(self.chunks(), |count, _| count.div_ceil(crate::id::to_u64(IDS_PER_LIST)))
    }
}

/// Writes IDs one after another.
pub fn encode_ids(ids: &[RecordId], out: &mut Vec<u8>) {
    for id in ids {
        put_u64(out, id.as_u64());
    }
}

/// Reads IDs to the end.
pub fn decode_ids(bytes: &[u8]) -> Result<Vec<RecordId>, Malformed> {
    if !bytes.len().is_multiple_of(8) {
        return Err(Malformed::new("list of IDs", "whole IDs", format!("{} bytes", bytes.len())));
    }
    let id = |part| {
        let raw = LittleEndian::read_u64(part);
        RecordId::from_u64(raw).ok_or_else(|| Malformed::new("list of IDs", "a record ID", raw))
    };
    bytes.chunks_exact(8).map(id).collect()
}
