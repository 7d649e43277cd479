//! Moves: which records were copied from one segment to another.
//!
//! ```text
//! 0      8    16                              32
//! +------+----+----+------------+----------+-----
//! | from | to | id | from place | to place | id ...
//! +------+----+----+------------+----------+-----
//! ```
//! Segments by number, places in granules. A move takes effect only where the entry still points at the old place.

use byteorder::ByteOrder;
use byteorder::LittleEndian;

use crate::format::GRANULE_BYTES;
use crate::format::Malformed;
use crate::format::entry::OFFSET_BITS;
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::item::PAYLOAD_BYTES_MAX;
use crate::format::segment::SEGMENT_NUMBER_END;
use crate::id::RecordId;
use crate::id::SegmentSeq;
use crate::id::low_u32;

/// Bytes in front of the moves.
pub const MOVES_HEADER_BYTES: usize = 16;
/// Bytes of one move.
pub const MOVE_BYTES: usize = 16;

/// A record that was copied: offsets in bytes within the segments that it was in and is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The record.
    pub id: RecordId,
    /// Where it lay.
    pub from: u64,
    /// Where its copy lies.
    pub to: u64,
}

/// Puts moves from one segment to another into a frame, in as many items as they need.
pub fn put_moves(frame: &mut FrameBuilder, from: SegmentSeq, to: SegmentSeq, moves: &[Move]) {
    for part in moves.chunks((PAYLOAD_BYTES_MAX - MOVES_HEADER_BYTES) / MOVE_BYTES) {
        let mut payload = Vec::with_capacity(MOVES_HEADER_BYTES + part.len() * MOVE_BYTES);
        payload.extend_from_slice(&from.0.to_le_bytes());
        payload.extend_from_slice(&to.0.to_le_bytes());
        for each in part {
            payload.extend_from_slice(&each.id.as_u64().to_le_bytes());
            payload.extend_from_slice(&low_u32(each.from / GRANULE_BYTES).to_le_bytes());
            payload.extend_from_slice(&low_u32(each.to / GRANULE_BYTES).to_le_bytes());
        }
        frame.control(Kind::Moves, &payload);
    }
}

/// The moves of an item: from which segment, to which, and each.
pub fn moves(payload: &[u8]) -> Result<(SegmentSeq, SegmentSeq, Vec<Move>), Malformed> {
    let wrong = || Malformed::new("moves", "two segments and fields of 16 bytes", format!("{} bytes", payload.len()));
    let (header, rest) = payload.split_at_checked(MOVES_HEADER_BYTES).ok_or_else(wrong)?;
    if rest.is_empty() || !rest.len().is_multiple_of(MOVE_BYTES) {
        return Err(wrong());
    }
    let (from, to) = (LittleEndian::read_u64(header), LittleEndian::read_u64(&header[8..]));
    if from == to || from.max(to) >= SEGMENT_NUMBER_END {
        return Err(Malformed::new("moves", "two segments", format!("{from} and {to}")));
    }
    let one = |bytes: &[u8]| {
        let raw = LittleEndian::read_u64(bytes);
        let id = RecordId::from_u64(raw).ok_or_else(|| Malformed::new("moves", "a record ID", raw))?;
        let (from, to) = (LittleEndian::read_u32(&bytes[8..]), LittleEndian::read_u32(&bytes[12..]));
        if from.max(to) >> OFFSET_BITS != 0 {
            return Err(Malformed::new("moves", "places within a segment", from.max(to)));
        }
        Ok(Move { id, from: u64::from(from) * GRANULE_BYTES, to: u64::from(to) * GRANULE_BYTES })
    };
    let all: Result<Vec<Move>, Malformed> = rest.chunks_exact(MOVE_BYTES).map(one).collect();
    Ok((SegmentSeq(from), SegmentSeq(to), all?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Seed;
    use crate::format::frame::Frame;
    use crate::format::frame::FrameKind;
    use crate::format::frame::Stamp;
    use crate::id::Seq;

    #[test]
    fn many_moves_take_several_items_and_come_back() {
        let id = |slot: u64| RecordId::from_parts(slot, 1).expect("an ID");
        let all: Vec<Move> = (0..5_000).map(|n| Move { id: id(n + 1), from: 128 + n * 16, to: 192 + n * 32 }).collect();
        let mut frame = FrameBuilder::new();
        put_moves(&mut frame, SegmentSeq(7), SegmentSeq(9), &all);
        let stamp = Stamp {
            kind: FrameKind::Commit,
            seq: Seq(1),
            durable: Seq(0),
            timeline: 1,
            time_micros: 0,
            move_number: 0,
        };
        let seed = Seed::new([1; 16], SegmentSeq(3));
        let bytes = frame.seal(&stamp, seed, 128).to_vec();
        let mut back = Vec::new();
        for item in Frame::parse(&bytes, seed, 128).expect("a frame").items() {
            let (from, to, part) = moves(item.expect("an item").1.payload).expect("moves");
            assert_eq!((from, to), (SegmentSeq(7), SegmentSeq(9)));
            back.extend(part);
        }
        assert_eq!(back, all);
    }

    #[test]
    fn what_is_no_list_of_moves_is_refused() {
        let mut bytes = [7_u64, 9, 1 << 24].map(u64::to_le_bytes).concat();
        bytes.extend_from_slice(&[1; 8]);
        assert!(moves(&bytes).is_err(), "places beyond a segment, or slot without a count");
        assert!(moves(&bytes[..16]).is_err());
        assert!(moves(&bytes[..30]).is_err());
        assert!(moves(&[0; 32]).is_err());
    }
}
