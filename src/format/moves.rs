//! Moves: which records were copied from one segment to another.
//!
//! ```text
//! 0      8    16
//! +------+----+------------+------------+----------+------------
//! | from | to | slot delta | from delta | to delta | slot delta ...
//! +------+----+------------+------------+----------+------------
//! ```
//! Segments are given by number. Values are differences to the previous move, from zero, as LEB128: slots with the sign
//! in the lowest bit, places in granules, which only increase. A move takes effect only if the slot's entry still
//! points at the old place.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::entry::OFFSET_BITS;
use crate::format::frame::FrameBuilder;
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX};
use crate::format::segment::SEGMENT_NUMBER_END;
use crate::format::{GRANULE_BYTES, Malformed};
use crate::id::{SLOT_END, SegmentSeq, low_u32};

/// Bytes before the moves.
pub const MOVES_HEADER_BYTES: usize = 16;
/// Maximum size of a move: slots have 40 bits, places 24.
pub const MOVE_BYTES_MAX: usize = 6 + 4 + 4;

/// A copied record: its byte offsets within the old and the new segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The record's slot.
    pub slot: u64,
    /// Its old offset.
    pub from: u64,
    /// The offset of its copy.
    pub to: u64,
}

/// Adds moves from one segment to another to a frame, in as many items as needed: a new item starts where a place does
/// not increase.
pub fn put_moves(frame: &mut FrameBuilder, from: SegmentSeq, to: SegmentSeq, moves: &[Move]) {
    let mut payload = Vec::new();
    let mut before = Move { slot: 0, from: 0, to: 0 };
    for each in moves {
        let goes_back = each.from < before.from || each.to < before.to;
        if goes_back || payload.len() + MOVE_BYTES_MAX > PAYLOAD_BYTES_MAX {
            frame.control(Kind::Moves, &payload);
            payload.clear();
        }
        if payload.is_empty() {
            payload.extend_from_slice(&from.0.to_le_bytes());
            payload.extend_from_slice(&to.0.to_le_bytes());
            before = Move { slot: 0, from: 0, to: 0 };
        }
        let (delta, is_back) = (each.slot.abs_diff(before.slot), each.slot < before.slot);
        put_varint(&mut payload, delta << 1 | u64::from(is_back));
        put_varint(&mut payload, each.from.saturating_sub(before.from) / GRANULE_BYTES);
        put_varint(&mut payload, each.to.saturating_sub(before.to) / GRANULE_BYTES);
        before = *each;
    }
    if !payload.is_empty() {
        frame.control(Kind::Moves, &payload);
    }
}

/// The moves of an item: source segment, target segment, and each move.
pub fn moves(payload: &[u8]) -> Result<(SegmentSeq, SegmentSeq, Vec<Move>), Malformed> {
    let wrong = || Malformed::new("moves", "two segments and moves", format!("{} bytes", payload.len()));
    let (header, mut rest) = payload.split_at_checked(MOVES_HEADER_BYTES).ok_or_else(wrong)?;
    let (from, to) = (LittleEndian::read_u64(header), LittleEndian::read_u64(&header[8..]));
    if from == to || from.max(to) >= SEGMENT_NUMBER_END || rest.is_empty() {
        return Err(Malformed::new("moves", "two segments and moves", format!("{from} and {to}")));
    }
    let mut all = Vec::with_capacity(rest.len() / 3);
    let mut before = Move { slot: 0, from: 0, to: 0 };
    while !rest.is_empty() {
        let slot = take_varint(&mut rest)?;
        let slot = if slot & 1 == 0 { before.slot.checked_add(slot >> 1) } else { before.slot.checked_sub(slot >> 1) };
        let (from, to) = (take_place(&mut rest, before.from)?, take_place(&mut rest, before.to)?);
        let slot = slot.filter(|slot| *slot < SLOT_END).ok_or_else(|| Malformed::new("moves", "a slot", "none"))?;
        before = Move { slot, from, to };
        all.push(before);
    }
    Ok((SegmentSeq(from), SegmentSeq(to), all))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn low_byte(value: u64) -> u8 {
    u8::try_from(low_u32(value) & 0x7f).unwrap_or_default()
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..42).step_by(7) {
        let Some((byte, behind)) = rest.split_first() else { break };
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::new("moves", "a number of at most 42 bits", format!("{} more bytes", rest.len())))
}

/// A place in bytes after `before`.
fn take_place(rest: &mut &[u8], before: u64) -> Result<u64, Malformed> {
    let place = before / GRANULE_BYTES + take_varint(rest)?;
    if place >> OFFSET_BITS != 0 {
        return Err(Malformed::new("moves", "a place within a segment", place));
    }
    Ok(place * GRANULE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Seed;
    use crate::format::frame::{Frame, FrameKind, Stamp};
    use crate::id::Seq;

    #[test]
    fn many_moves_take_several_items_and_come_back() {
        let slot = |n: u64| (n * 7_919_999) % SLOT_END;
        let all: Vec<Move> =
            (0..20_000).map(|n| Move { slot: slot(n), from: 128 + n * 48, to: 192 + n * 32 }).collect();
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
        let (mut back, mut items) = (Vec::new(), 0);
        for item in Frame::parse(&bytes, seed, 128).expect("a frame").items() {
            let (from, to, part) = moves(item.expect("an item").1.payload).expect("moves");
            assert_eq!((from, to), (SegmentSeq(7), SegmentSeq(9)));
            back.extend(part);
            items += 1;
        }
        assert_eq!(back, all);
        assert!(items > 1);
    }

    #[test]
    fn what_is_no_list_of_moves_is_refused() {
        let header = [7_u64, 9].map(u64::to_le_bytes).concat();
        let with = |rest: &[u8]| moves(&[&header[..], rest].concat());
        assert_eq!(with(&[2, 3, 4]).expect("one move").2, [Move { slot: 1, from: 48, to: 64 }]);
        assert!(with(&[3, 3, 4]).is_err(), "a slot below zero");
        assert!(with(&[0x80; 9]).is_err(), "a number without an end");
        assert!(with(&[2, 0xff, 0xff, 0xff, 0x7f, 0]).is_err(), "a place behind every segment");
        assert!(with(&[2, 3]).is_err(), "half a move");
        assert!(with(&[]).is_err() && moves(&header[..9]).is_err());
    }
}
