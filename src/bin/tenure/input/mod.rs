//! The rows of an input.
//!
//! Owns: decompressing gzip; the interface of row readers; how much invalid input is skipped. Never: opens a file, or
//! reads more of a row into memory than the limit allows. Invariants: 1. A row that exceeds the limit is reported as
//! soon as it does. Its rest is read only when the next row is requested, and no further than [`passed_over_max`].

pub mod array;
pub mod csv;
pub mod jsonl;
pub mod shape;

use std::io;
use std::io::{BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// Bytes read from the input at once.
const BUFFER_BYTES: usize = 256 << 10;
/// The first bytes of gzip data.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A byte order mark that some programs write before UTF-8.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// The error for such a mark inside the input. It is not skipped: it shows that another file was appended there, and a
/// CSV file brings a header row, which is not data.
const MARK_INSIDE: &str = "a byte order mark inside the input: several files, one after another?";
/// A line that is too long is skipped up to this length, or up to a multiple of the maximum row length.
const PASSED_OVER_BYTES: u64 = 1 << 30;
/// That multiple.
const PASSED_OVER_ROWS: u64 = 16;

/// A row that can be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line on which it starts, or its number in an array, from 1.
    pub line: u64,
    /// The JSON that becomes the record.
    pub bytes: Vec<u8>,
}

/// A row that cannot be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The line on which it starts, from 1.
    pub line: u64,
    /// The column or field, and the error.
    pub what: String,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Row(Row),
    Bad(BadRow),
    End,
}

/// The input ends here, although it is incomplete.
#[derive(Debug)]
pub struct Broken {
    /// The line that was being read, from 1.
    pub line: u64,
    /// Why nothing more can be read.
    pub what: String,
}

impl Broken {
    fn io(line: u64, error: &io::Error) -> Self {
        Self { line, what: format!("the input cannot be read further: {error}") }
    }
}

/// Yields the rows of an input.
pub trait Rows {
    fn step(&mut self) -> Result<Step, Broken>;

    /// What the row numbers count.
    fn unit(&self) -> &'static str {
        "line"
    }
}

/// The text of a source: decompressed if it is gzip or `is_packed` is set, and without a leading byte order mark.
pub fn text<'s>(source: impl Read + 's, is_packed: bool) -> io::Result<Box<dyn BufRead + 's>> {
    let (head, source) = peek::<2>(source)?;
    let packed = head == GZIP_MAGIC || (is_packed && !head.is_empty());
    let plain: Box<dyn Read + 's> = if packed { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) };
    let (head, mut plain) = peek::<3>(plain)?;
    if head == BYTE_ORDER_MARK {
        plain.read_exact(&mut [0; 3])?;
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, plain)))
}

/// The first bytes of a source, at most `N`, and the source including these bytes.
fn peek<const N: usize>(mut source: impl Read) -> io::Result<(Vec<u8>, impl Read)> {
    let mut head = Vec::with_capacity(N);
    source.by_ref().take(u64::try_from(N).unwrap_or(0)).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(source)))
}

/// The available bytes; none at the end.
fn fill(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

/// How much of a line is skipped, given the maximum row length.
fn passed_over_max(bytes_max: u64) -> u64 {
    bytes_max.saturating_mul(PASSED_OVER_ROWS).max(PASSED_OVER_BYTES)
}

/// A line that was skipped that far and did not end.
fn endless(most: u64) -> io::Error {
    let what = format!("the line has no end within {most} bytes: is it text? --line-bytes-max allows longer lines");
    io::Error::new(io::ErrorKind::FileTooLarge, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_peeked_is_still_there() {
        for text in ["", "a", "ab", "abc"] {
            let (head, mut source) = peek::<2>(text.as_bytes()).unwrap();
            let mut all = String::new();
            source.read_to_string(&mut all).unwrap();
            assert_eq!((all.as_str(), head), (text, text.bytes().take(2).collect()));
        }
    }
}
