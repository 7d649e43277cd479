//! The list of a backup: text, one line a file and one a piece, with a checksum behind it.
//!
//! Owns: writing and reading lists, and the header of a repository. Never: trusts a line that it has not checked.

use std::fmt::Write;

use crate::backing::check_name;
use crate::error::{Error, Result};
use crate::id::{Seq, to_u64};
use crate::repository::names::{BackupId, Piece};

const FIRST: &str = "tenure backup 1";
const HEADER_FIRST: &str = "tenure repository 1";
/// A longer list is none.
pub(super) const LIST_BYTES_MAX: u64 = 1 << 30;

/// A file of a backup: its pieces follow each other from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePieces {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) pieces: Vec<Piece>,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    pub(super) store: [u8; 16],
    pub(super) timeline: u64,
    pub(super) seq: Seq,
    pub(super) micros: u64,
    pub(super) files: Vec<FilePieces>,
}

impl List {
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Each piece with its file.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&str, &Piece)> {
        self.files.iter().flat_map(|file| file.pieces.iter().map(|piece| (&*file.name, piece)))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { store, timeline, seq, micros, files } = self;
        let mut out = String::new();
        // Writing to a string does not fail.
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(out, "{line}").unwrap_or_default();
        line(format_args!("{FIRST}"));
        line(format_args!("store {}", uuid::Uuid::from_bytes(*store)));
        line(format_args!("timeline {timeline}"));
        line(format_args!("seq {}", seq.0));
        line(format_args!("time {micros}"));
        for file in files {
            line(format_args!("file {} {}", file.name, file.bytes));
            for piece in &file.pieces {
                line(format_args!("piece {} {}", piece.bytes, piece.sum));
            }
        }
        seal(out)
    }

    /// Reads a list. `name` is for errors.
    pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let mut lines = Lines::checked(name, bytes)?;
        lines.first(FIRST, "the version of a backup's list")?;
        let store = lines.uuid()?;
        let timeline = lines.number("timeline")?;
        let (seq, micros) = (Seq(lines.number("seq")?), lines.number("time")?);
        let mut files: Vec<FilePieces> = Vec::new();
        let mut total = 0_u64;
        while let Some(line) = lines.next() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("file"), Some(file), Some(bytes), None) => {
                    let is_after = files.last().is_none_or(|last| is_complete(last) && *last.name < *file);
                    let bytes: Option<u64> = bytes.parse().ok();
                    let fits = bytes.and_then(|bytes| total.checked_add(bytes));
                    let (Some(bytes), Some(sum)) = (bytes, fits) else { return Err(lines.damaged("a file", line)) };
                    if check_name(file).is_err() || !is_after {
                        return Err(lines.damaged("a file after a complete one", line));
                    }
                    total = sum;
                    files.push(FilePieces { name: file.to_owned(), bytes, pieces: Vec::new() });
                }
                (Some("piece"), Some(bytes), Some(sum), None) => {
                    let (Some(file), Ok(bytes), Ok(sum)) = (files.last_mut(), bytes.parse(), sum.parse()) else {
                        return Err(lines.damaged("a piece", line));
                    };
                    let begin = end_of(file);
                    let reach: Option<u64> = begin.checked_add(bytes);
                    if bytes == 0 || reach.is_none_or(|reach| reach > file.bytes) {
                        return Err(lines.damaged("a piece within its file", line));
                    }
                    file.pieces.push(Piece { begin, bytes, sum });
                }
                _ => return Err(lines.damaged("a file or a piece", line)),
            }
        }
        if files.last().is_none_or(|last| !is_complete(last)) {
            return Err(lines.damaged("all pieces of all files", "the end"));
        }
        Ok(Self { store, timeline, seq, micros, files })
    }
}

fn end_of(file: &FilePieces) -> u64 {
    file.pieces.last().map_or(0, |piece| piece.begin + piece.bytes)
}

fn is_complete(file: &FilePieces) -> bool {
    end_of(file) == file.bytes
}

/// The header of a repository with backups of this store.
pub(super) fn header(store: [u8; 16]) -> Vec<u8> {
    seal(format!("{HEADER_FIRST}\nstore {}\n", uuid::Uuid::from_bytes(store)))
}

/// The store whose backups a repository has.
pub(super) fn read_header(name: &str, bytes: &[u8]) -> Result<[u8; 16]> {
    let mut lines = Lines::checked(name, bytes)?;
    lines.first(HEADER_FIRST, "the version of a repository")?;
    lines.uuid()
}

fn seal(mut text: String) -> Vec<u8> {
    let check = crc32fast::hash(text.as_bytes());
    writeln!(text, "end {check:08x}").unwrap_or_default();
    text.into_bytes()
}

/// The lines of a text whose checksum holds.
struct Lines<'t> {
    name: &'t str,
    text: &'t str,
    at: usize,
}

impl<'t> Lines<'t> {
    fn checked(name: &'t str, bytes: &'t [u8]) -> Result<Self> {
        let found = Self { name, text: "", at: 0 };
        let text = std::str::from_utf8(bytes).ok();
        let split = text.and_then(|text| text.split_at_checked(text.len().checked_sub("end 01234567\n".len())?));
        let Some((text, end)) = split else {
            return Err(found.damaged("text that ends with its checksum", "other bytes"));
        };
        let expected = format!("end {:08x}\n", crc32fast::hash(text.as_bytes()));
        if end != expected || !text.ends_with('\n') {
            let at = text.len();
            return Err(Self { at, ..found }.damaged(expected.trim_end(), end.trim_end()));
        }
        Ok(Self { text, ..found })
    }

    fn damaged(&self, expected: &str, got: &str) -> Error {
        let got: String = got.chars().take(64).collect();
        Error::corrupt(self.name, to_u64(self.at), "list", expected, got)
    }

    fn next(&mut self) -> Option<&'t str> {
        let (line, _) = self.text.get(self.at..)?.split_once('\n')?;
        self.at += line.len() + 1;
        Some(line)
    }

    fn first(&mut self, expected: &str, what: &'static str) -> Result<()> {
        let line = self.next().unwrap_or_default();
        if line == expected {
            return Ok(());
        }
        let version = |line: &str| line.rsplit_once(' ').map(|(kind, version)| (kind.to_owned(), version.to_owned()));
        match (version(expected), version(line)) {
            (Some((kind, supported)), Some((found, got))) if kind == found => {
                Err(Error::Unsupported { file: self.name.to_owned(), what, got, supported })
            }
            _ => Err(self.damaged(expected, line)),
        }
    }

    fn field(&mut self, field: &str) -> Result<&'t str> {
        let line = self.next().unwrap_or_default();
        let value = line.strip_prefix(field).and_then(|rest| rest.strip_prefix(' '));
        value.ok_or_else(|| self.damaged(field, line))
    }

    fn number(&mut self, field: &str) -> Result<u64> {
        let value = self.field(field)?;
        value.parse().map_err(|_unreadable| self.damaged("a number", value))
    }

    fn uuid(&mut self) -> Result<[u8; 16]> {
        let value = self.field("store")?;
        uuid::Uuid::parse_str(value).map(uuid::Uuid::into_bytes).map_err(|_unreadable| self.damaged("a UUID", value))
    }
}

/// The list of a backup, with its ID.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) id: BackupId,
    pub(super) list: List,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::sum::Sum;

    fn list() -> List {
        let piece = |begin, bytes: &[u8]| Piece { begin, bytes: to_u64(bytes.len()), sum: Sum::of(bytes) };
        let files = vec![
            FilePieces {
                name: "log-000000000001.seg".into(),
                bytes: 7,
                pieces: vec![piece(0, b"abcd"), piece(4, b"efg")],
            },
            FilePieces { name: "manifest-000000000001.man".into(), bytes: 0, pieces: Vec::new() },
        ];
        List { store: [7; 16], timeline: 3, seq: Seq(1234), micros: 5, files }
    }

    #[test]
    fn lists_read_as_they_were_written() {
        assert_eq!(List::decode("x", &list().encode()).expect("reads"), list());
        assert_eq!(read_header("x", &header([9; 16])).expect("reads"), [9; 16]);
    }

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        let bytes = list().encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(List::decode("x", &changed).is_err(), "byte {at}");
            assert!(List::decode("x", &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_valid_checksum_does_not_make_lines_trusted() {
        let text = String::from_utf8(list().encode()).expect("text");
        let text = text.rsplit_once("end ").expect("an end").0;
        let refused = [
            text.replace("log-000000000001.seg", "../escaped"),
            text.replace("piece 3", "piece 4"),
            text.replace("piece 3", "piece 2"),
            text.replace(".seg 7", &format!(".seg {}", u64::MAX)),
            text.replace("piece 4", &format!("piece {}", u64::MAX)),
            text.replace("manifest", "a"),
            text.replace("seq 1234", "seq x"),
            text.replace("backup 1", "backup 2"),
            text.replace("file ", "fill "),
        ];
        for changed in refused {
            assert_ne!(changed, text);
            assert!(List::decode("x", &seal(changed.clone())).is_err(), "{changed}");
        }
    }
}
