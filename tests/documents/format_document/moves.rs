//! Moves, decoded from the document alone: two segments, then three numbers in LEB128 for each record.

use tenure::SegmentSeq;
use tenure::format::Frame;
use tenure::format::frame::FrameBuilder;
use tenure::format::item::Kind;
use tenure::format::moves::{Move, moves, put_moves};

use crate::format_document::{AT, DOCUMENT, seed, stamp, table};
use crate::markdown;

const MOVES: [Move; 3] = [
    Move { slot: 300, from: 128, to: 192 },
    Move { slot: 5, from: 144, to: 2240 },
    Move { slot: 5, from: 262_160, to: 2304 },
];

fn payload() -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    put_moves(&mut frame, SegmentSeq(0x0102), SegmentSeq(0x0304), &MOVES);
    let bytes = frame.seal(&stamp(), seed(), AT).to_vec();
    let frame = Frame::parse(&bytes, seed(), AT).expect("what was sealed");
    let (_, item) = frame.items().next().expect("an item").expect("whole");
    assert_eq!(item.kind, Kind::Moves as u8);
    item.payload.to_vec()
}

/// A number of seven bits a byte, the lowest first; the highest bit says that another follows.
fn leb128(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, behind) = rest.split_first().expect("a byte");
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

#[test]
fn moves_are_as_described() {
    let fields = table("Move");
    assert_eq!(fields.cells("field"), ["slot delta", "from delta", "to delta"]);
    let payload = payload();
    assert_eq!(payload[..16], [0x0102_u64, 0x0304].map(u64::to_le_bytes).concat());
    let (mut rest, mut slot, mut from, mut to) = (&payload[16..], 0, 0, 0);
    for each in MOVES {
        let delta = leb128(&mut rest);
        slot = if delta & 1 == 0 { slot + (delta >> 1) } else { slot - (delta >> 1) };
        from += leb128(&mut rest) * 16;
        to += leb128(&mut rest) * 16;
        assert_eq!(Move { slot, from, to }, each);
    }
    assert_eq!(rest, b"");
    assert_eq!(moves(&payload), Ok((SegmentSeq(0x0102), SegmentSeq(0x0304), MOVES.to_vec())));
}

#[test]
fn the_example_of_moves_is_what_the_code_writes() {
    let block = markdown::code_block(DOCUMENT, "Move", "text");
    let line = block.lines().find_map(|line| line.trim().strip_prefix("bytes:")).expect("the bytes");
    let bytes: Vec<u8> = line.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
    assert_eq!(bytes, payload());
}
