//! The worked example: made anew by the code, read by the code, and explained byte by byte.

use std::fmt::Write;

use crate::checks::{crc, seed_at, u32_at};
use crate::markdown::number;
use crate::{DOCUMENT, UUID, markdown, table, to_usize};
use tenure::format::frame::{FrameBuilder, FrameKind, Stamp};
use tenure::format::item::Kind;
use tenure::format::segment::{FileKind, SegmentHeader};
use tenure::format::{Frame, Seed};
use tenure::{RecordId, SegmentSeq, Seq};

const EXAMPLE: &str = "15. Worked example";

fn example() -> Vec<u8> {
    let header = SegmentHeader {
        kind: FileKind::Records,
        generation: 0,
        uuid: UUID,
        segment: SegmentSeq(1),
        timeline: 1,
        previous: SegmentSeq(0),
        segment_bytes: 64 << 20,
    };
    let stamp = Stamp {
        kind: FrameKind::Commit,
        seq: Seq(1),
        durable: Seq::ZERO,
        timeline: 1,
        time_micros: 1_700_000_000_000_000,
        move_number: 0,
    };
    let mut bytes = header.encode().to_vec();
    let mut builder = FrameBuilder::new();
    builder.control(Kind::Run, &16_u32.to_le_bytes());
    builder.record(Kind::Record, RecordId::from_parts(0, 1).unwrap(), b"hello");
    bytes.extend_from_slice(builder.seal(&stamp, Seed::new(UUID, SegmentSeq(1)), 128));
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (row, bytes) in bytes.chunks(16).enumerate() {
        let text: String =
            bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
        writeln!(out, "{:>4}  {}  {text}", row * 16, hex(bytes)).unwrap();
    }
    out.trim_end().to_owned()
}

/// The bytes that the document shows.
fn documented_example() -> Vec<u8> {
    let block = markdown::code_block(DOCUMENT, EXAMPLE, "text");
    let rows = block.lines().map(|line| line.get(6..53).expect("sixteen bytes a line"));
    rows.flat_map(|row| row.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_code_makes_the_worked_example() {
    let shown = markdown::code_block(DOCUMENT, EXAMPLE, "text");
    let made = dump(&example());
    assert_eq!(shown, made, "the code makes this:\n{made}\n");
}

#[test]
fn the_code_reads_the_worked_example() {
    let bytes = documented_example();
    let header = SegmentHeader::decode(&bytes, "example").unwrap();
    assert_eq!((header.kind, header.segment, header.uuid), (FileKind::Records, SegmentSeq(1), UUID));
    let frame = Frame::parse(&bytes[128..], Seed::new(UUID, SegmentSeq(1)), 128).unwrap();
    assert_eq!((frame.header.seq, frame.header.items, frame.header.bytes), (Seq(1), 2, 112));
    let items: Vec<_> = frame.items().map(|item| item.unwrap()).collect();
    assert_eq!((items[0].0, items[0].1.kind, items[0].1.payload), (192, Kind::Run as u8, &[16, 0, 0, 0][..]));
    let (offset, record) = items[1];
    assert_eq!(
        (offset, record.id().unwrap().to_string(), record.seq, record.payload),
        (208, "0.1".into(), Seq(1), &b"hello"[..])
    );
}

#[test]
fn the_explanation_of_the_worked_example_covers_it() {
    let (bytes, table) = (documented_example(), table("The bytes one by one"));
    let mut end = 0;
    for (offset, shown) in table.cells("offset").into_iter().zip(table.cells("bytes")) {
        assert_eq!(to_usize(number(offset)), end, "rows must follow each other");
        let shown = shown.trim_matches('`');
        let len = match shown.strip_suffix(" × 00") {
            Some(count) => {
                let len = to_usize(number(count));
                assert_eq!(bytes[end..end + len], vec![0; len], "zeroes at {offset}");
                len
            }
            None => {
                let len = shown.split(' ').count();
                assert_eq!(shown, hex(&bytes[end..end + len]), "at {offset}");
                len
            }
        };
        end += len;
    }
    assert_eq!(end, bytes.len(), "the rows end where the example ends");
}

#[test]
fn the_steps_to_the_checks_of_the_worked_example_are_right() {
    let bytes = example();
    let at = |at: u64| seed_at(UUID, 1, at);
    let steps = [
        ("seed(128)", at(128)),
        ("seed(192)", at(192)),
        ("seed(208)", at(208)),
        ("CRC of the payload at 200", crc(0, &bytes[200..204])),
        ("CRC of the payload at 232", crc(0, &bytes[232..237])),
        ("check of the item at 192", u32_at(&bytes, 192)),
        ("check of the item at 208", u32_at(&bytes, 208)),
        ("body check", u32_at(&bytes, 136)),
        ("head check", u32_at(&bytes, 132)),
    ];
    let table = table("Steps to the checks");
    let documented: Vec<(&str, String)> =
        table.cells("step").into_iter().zip(table.cells("value").into_iter().map(str::to_owned)).collect();
    let made: Vec<(&str, String)> = steps.into_iter().map(|(step, value)| (step, format!("0x{value:08x}"))).collect();
    assert_eq!(documented, made);
}
