//! What is imported: where it comes from, and the rows that it holds.
//!
//! Owns: opening, unpacking gzip, guessing the format; the steps that a reader of rows gives.
//! Never: reads more of a row into memory than the limit allows.

pub mod csv;
pub mod jsonl;

use std::fs::OpenOptions;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Cursor;
use std::io::Read;

use clap::ValueEnum;
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;

use crate::failure::Failure;
use crate::failure::Outcome;
use crate::process;
use crate::progress;

/// Bytes that are read from the input at once.
const BUFFER_BYTES: usize = 256 << 10;
/// First bytes of gzip data.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A mark that some programs write in front of UTF-8.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// What is said of such a mark anywhere but at the beginning of the input. It is not passed over: where it stands a file
/// was put behind another one, and a file of CSV brings its names along, which are no row.
const MARK_INSIDE: &str = "a byte order mark inside the input: is it several files, one behind the other?";

/// How rows are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON Lines: a JSON value on each line
    Jsonl,
    /// Comma-separated values below a row of names
    Csv,
}

impl Format {
    /// The format that the name of a file tells.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// A row that can be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, from 1.
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
}

/// An input that was opened.
pub struct Input {
    /// Its name for messages.
    pub name: String,
    /// Its bytes, unpacked.
    pub reader: Box<dyn BufRead>,
    /// Follows the bytes as they are read.
    pub bar: ProgressBar,
}

/// Opens a file, or stdin when its name is `-`.
pub fn open(name: &str) -> Outcome<Input> {
    let (shown, length, source): (_, _, Box<dyn Read>) = if name == "-" {
        ("stdin".to_owned(), None, Box::new(process::stdin()?))
    } else {
        let cannot = |error| Failure::input("open", name, &error);
        let file = OpenOptions::new().read(true).open(name).map_err(cannot)?;
        let about = file.metadata().map_err(cannot)?;
        if about.is_dir() {
            return Err(cannot(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        (name.to_owned(), about.is_file().then_some(about.len()), Box::new(file))
    };
    let bar = progress::over_bytes("importing", length);
    let cannot = |error| Failure::input("read", &shown, &error);
    let (head, source) = peek::<2>(bar.wrap_read(source)).map_err(cannot)?;
    let packed = head == GZIP_MAGIC || (name.to_ascii_lowercase().ends_with(".gz") && !head.is_empty());
    let plain: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) };
    let (head, mut plain) = peek::<3>(plain).map_err(cannot)?;
    if head == BYTE_ORDER_MARK {
        plain.read_exact(&mut [0; 3]).map_err(cannot)?;
    }
    let reader = Box::new(BufReader::with_capacity(BUFFER_BYTES, plain));
    Ok(Input { name: shown, reader, bar })
}

/// The first bytes of a source, at most `N`, and the source with these bytes still in it.
fn peek<const N: usize>(mut source: impl Read) -> io::Result<(Vec<u8>, impl Read)> {
    let mut head = Vec::with_capacity(N);
    source.by_ref().take(u64::try_from(N).unwrap_or(0)).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_formats() {
        let formats = ["a.jsonl", "b.NDJSON.gz", "c.csv", "d.csv.gz", "e.txt", "jsonl", "f.gz"].map(Format::of_name);
        let (jsonl, csv) = (Some(Format::Jsonl), Some(Format::Csv));
        assert_eq!(formats, [jsonl, jsonl, csv, csv, None, None, None]);
    }

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
