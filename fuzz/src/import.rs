//! What must hold for every input of an import, packed or not: bytes that anybody may have written.
//!
//! Owns: the check of the readers of rows, which belong to the command line and are built in here.
//! Never: opens a store.

#[path = "../../src/bin/tenure/input/mod.rs"]
#[allow(dead_code, reason = "the command line uses all of it")]
mod input;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::rc::Rc;

use flate2::Compression;
use flate2::write::GzEncoder;

use input::array::JsonArray;
use input::csv::CsvRows;
use input::jsonl::JsonLines;
use input::shape::{ColumnType, Shape, TypedColumn};
use input::{Rows, Step};

/// Bytes that are read from a source at most before a row that is too long is told: those of the buffers on the way.
const BUFFERS_BYTES: u64 = (256 << 10) + (64 << 10) + (32 << 10);
/// What a row may have: few, so that fuzzed rows are longer.
const LIMITS: [u64; 3] = [1, 40, 4 << 10];

/// What a reader gave: lines and rows, those that are bad without a row, and where it broke.
type Given = (Vec<(u64, Option<Vec<u8>>)>, Option<u64>);

/// Reads any bytes as JSON Lines and as CSV, as they are, packed, and as if they were packed.
pub fn check(data: &[u8]) {
    arrays_and_types(data);
    for bytes_max in LIMITS {
        for is_csv in [false, true] {
            let plain = |from| read(data, false, is_csv, from, bytes_max);
            let all = plain(1);
            rules(&all, data, bytes_max);
            if let Ok(given) = &all {
                resumed(given, &plain);
            }
            // Whatever is packed comes out again, unless it looks packed itself.
            if data.starts_with(&[0x1f, 0x8b]) {
                continue;
            }
            assert_eq!(read(&packed(data), false, is_csv, 1, bytes_max), all, "packed");
            // In pieces of a few bytes.
            let pieces = BufReader::with_capacity(7, data);
            assert_eq!(given(pieces, is_csv, 1, bytes_max), whole(data, is_csv, bytes_max), "in pieces");
        }
    }
    // Damaged in the middle, or no gzip at all: it ends, one way or the other.
    let mut damaged = packed(data);
    let middle = damaged.len() / 2;
    damaged[middle] ^= data.first().copied().unwrap_or(1) | 1;
    for bytes in [damaged.as_slice(), data] {
        for is_csv in [false, true] {
            drop(read(bytes, true, is_csv, 1, LIMITS[1]));
        }
    }
}

/// Reads any bytes as a JSON array, and as a table whose columns have types: what is given is JSON, and not too long.
fn arrays_and_types(data: &[u8]) {
    let wrapped = [b"[", data, b"]"].concat();
    for bytes_max in LIMITS {
        let kinds = [ColumnType::Integer, ColumnType::Float, ColumnType::Bool, ColumnType::Json, ColumnType::String];
        let types = ["a", "b", "c", "d", "e"].into_iter().zip(kinds);
        let types = types.map(|(name, kind)| TypedColumn { name: name.to_owned(), kind }).collect();
        let columns = Some(["a", "b", "c", "d", "e"].map(str::to_owned).to_vec());
        let shape = Shape { delimiter: b'\t', columns, types, null: Some("NULL".to_owned()) };
        let all: [Box<dyn Rows + '_>; 3] = [
            Box::new(JsonArray::new(data, 1, bytes_max)),
            Box::new(JsonArray::new(wrapped.as_slice(), 1, bytes_max)),
            Box::new(CsvRows::shaped(data, 1, bytes_max, shape)),
        ];
        for (reader, mut rows) in all.into_iter().enumerate() {
            let mut last = 0;
            while let Ok(step) = rows.step() {
                let line = match &step {
                    Step::End => break,
                    Step::Bad(bad) => bad.line,
                    Step::Row(row) => {
                        serde_json::from_slice::<serde::de::IgnoredAny>(&row.bytes).expect("what is stored is JSON");
                        assert!(!row.bytes.contains(&b'\n'), "a record on several lines");
                        row.line
                    }
                };
                // A row of a table may end with a carriage return, which begins no line.
                assert!(line > last || (reader == 2 && line == last), "rows out of order");
                last = line;
            }
        }
    }
}

/// A row that goes on for ever is told when the limit is passed.
pub fn endless(data: &[u8]) {
    let row: Vec<u8> = data.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    for (is_csv, head) in [(false, &b"1\n"[..]), (true, b"a\n")] {
        let taken = Rc::new(Cell::new(0));
        let source =
            Counted { taken: Rc::clone(&taken), source: head.chain(row.as_slice()).chain(std::io::repeat(b'x')) };
        let reader = input::text(source, false).expect("plain");
        let mut rows = rows(reader, is_csv, 1, LIMITS[1]);
        if !is_csv {
            assert!(matches!(rows.step(), Ok(Step::Row(_))), "the row above it");
        }
        match rows.step().expect("the row can be told") {
            Step::Bad(bad) => assert_eq!(bad.line, 2),
            other => panic!("a row without an end is {other:?}"),
        }
        assert!(taken.get() <= BUFFERS_BYTES + LIMITS[1], "{} bytes were read", taken.get());
    }
}

/// Counts what is read.
struct Counted<R> {
    taken: Rc<Cell<u64>>,
    source: R,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.taken.set(self.taken.get() + u64::try_from(len).expect("fits"));
        Ok(len)
    }
}

pub(crate) fn packed(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("packed");
    encoder.finish().expect("packed")
}

fn rows<'r>(reader: impl BufRead + 'r, is_csv: bool, from: u64, bytes_max: u64) -> Box<dyn Rows + 'r> {
    if is_csv {
        Box::new(CsvRows::shaped(reader, from, bytes_max, Shape::default()))
    } else {
        Box::new(JsonLines::new(reader, from, usize::try_from(bytes_max).expect("fits")))
    }
}

fn read(data: &[u8], is_packed: bool, is_csv: bool, from: u64, bytes_max: u64) -> Result<Given, String> {
    let reader = input::text(data, is_packed).map_err(|error| error.kind().to_string())?;
    Ok(given(reader, is_csv, from, bytes_max))
}

/// What a reader that has all bytes at once gives.
fn whole(data: &[u8], is_csv: bool, bytes_max: u64) -> Given {
    given(BufReader::with_capacity(data.len().max(1), data), is_csv, 1, bytes_max)
}

fn given(reader: impl BufRead, is_csv: bool, from: u64, bytes_max: u64) -> Given {
    let mut rows = rows(reader, is_csv, from, bytes_max);
    let mut all = Vec::new();
    loop {
        match rows.step() {
            Ok(Step::Row(row)) => all.push((row.line, Some(row.bytes))),
            Ok(Step::Bad(bad)) => {
                assert!(!bad.what.is_empty());
                all.push((bad.line, None));
            }
            Ok(Step::End) => return (all, None),
            Err(broken) => return (all, Some(broken.line)),
        }
    }
}

/// Rows are JSON, not longer than they may be, and in the order of their lines; there are no more than the input has.
fn rules(all: &Result<Given, String>, data: &[u8], bytes_max: u64) {
    let Ok((steps, broken)) = all else { return };
    assert!(steps.iter().map(|(line, _)| *line).is_sorted(), "lines go back");
    let lines = steps.iter().map(|(line, _)| *line).chain(*broken);
    let breaks = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    if !data.starts_with(&[0x1f, 0x8b]) {
        assert!(steps.len() <= breaks + 1, "more rows than line breaks");
        assert!(lines.max().unwrap_or(1) <= u64::try_from(breaks).expect("fits") + 1, "a line that is not there");
    }
    for (line, bytes) in steps {
        let Some(bytes) = bytes else { continue };
        assert!(u64::try_from(bytes.len()).expect("fits") <= bytes_max, "line {line} is too long");
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("what is stored is JSON");
    }
}

/// Who goes on from the line of any row gets that row and those behind it.
fn resumed((steps, broken): &Given, plain: &dyn Fn(u64) -> Result<Given, String>) {
    let places = [0, steps.len() / 2, steps.len().saturating_sub(1)];
    for line in places.into_iter().filter_map(|place| steps.get(place)).map(|(line, _)| *line) {
        let expected: Vec<_> = steps.iter().filter(|(other, _)| *other >= line).cloned().collect();
        let (again, broken_again) = plain(line).expect("it was read");
        assert_eq!(again, expected, "from line {line}");
        assert_eq!(broken_again, *broken, "from line {line}");
    }
}
