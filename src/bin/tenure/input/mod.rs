//! The rows that an input holds.
//!
//! Owns: unpacking gzip; the steps that a reader of rows gives; how much of what is no row is passed over.
//! Never: opens a file, or reads more of a row into memory than the limit allows.
//! Invariants: 1. A row that is longer than the limit is told as soon as the limit is passed. Its rest is read only when the next
//! row is asked for, and no further than [`passed_over_max`].

pub mod array;
pub mod csv;
pub mod jsonl;
pub mod shape;

use std::io;
use std::io::{BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// Bytes that are read from the input at once.
const BUFFER_BYTES: usize = 256 << 10;
/// First bytes of gzip data.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A mark that some programs write in front of UTF-8.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// What is said of such a mark anywhere but at the beginning of the input. It is not passed over: where it stands a file
/// was put behind another one, and a file of CSV brings its names along, which are no row.
const MARK_INSIDE: &str = "a byte order mark inside the input: is it several files, one behind the other?";
/// What is too long to be a row is passed over up to this length, or up to a multiple of what a row may have.
const PASSED_OVER_BYTES: u64 = 1 << 30;
/// That multiple.
const PASSED_OVER_ROWS: u64 = 16;

/// A row that can be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, or its number in an array, from 1.
    pub line: u64,
    /// The JSON that becomes the record.
    pub bytes: Vec<u8>,
}

/// A row that cannot be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The column or field, and what is wrong there.
    pub what: String,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Row(Row),
    Bad(BadRow),
    End,
}

/// The input ends here, although it is not complete.
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

/// Gives the rows of an input.
pub trait Rows {
    fn step(&mut self) -> Result<Step, Broken>;

    /// What the numbers of rows count.
    fn unit(&self) -> &'static str {
        "line"
    }
}

/// The text of a source: unpacked where gzip packed it or `is_packed` says so, and without a mark at its beginning.
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

/// The first bytes of a source, at most `N`, and the source with these bytes still in it.
fn peek<const N: usize>(mut source: impl Read) -> io::Result<(Vec<u8>, impl Read)> {
    let mut head = Vec::with_capacity(N);
    source.by_ref().take(u64::try_from(N).unwrap_or(0)).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(source)))
}

/// The bytes that are there, none at the end.
fn fill(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

/// How much of a line is passed over where a row may have so many bytes.
fn passed_over_max(bytes_max: u64) -> u64 {
    bytes_max.saturating_mul(PASSED_OVER_ROWS).max(PASSED_OVER_BYTES)
}

/// A line that was passed over that far, and did not end.
fn endless(most: u64) -> io::Error {
    let what =
        format!("the line has more than {most} bytes and no end: is it text? --line-bytes-max allows longer ones");
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
