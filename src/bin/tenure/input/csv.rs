//! Comma-separated values: each row below the names becomes a JSON object of strings.
//!
//! Owns: checking rows against the names, and quotes against the end of the input.
//! Never: guesses. A row with more or fewer fields than there are names is an error.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::io::BufRead;
use std::io::Read;
use std::rc::Rc;

use csv::ByteRecord;
use csv::Reader;
use csv::ReaderBuilder;
use serde_json::Value;

use crate::input::BYTE_ORDER_MARK;
use crate::input::BadRow;
use crate::input::Broken;
use crate::input::MARK_INSIDE;
use crate::input::Row;
use crate::input::Rows;
use crate::input::Step;

/// Bytes that the parser reads at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Reads the rows that begin on line `from` or below.
pub struct CsvRows<R> {
    reader: Reader<Watched<R>>,
    watch: Rc<Watch>,
    from: u64,
    bytes_max: u64,
    names: Option<Vec<String>>,
    row: ByteRecord,
}

impl<R: BufRead> CsvRows<R> {
    pub fn new(reader: R, from: u64, bytes_max: u64) -> Self {
        let watch = Rc::new(Watch::default());
        let watched = Watched { reader, watch: Rc::clone(&watch) };
        let mut builder = ReaderBuilder::new();
        // Uneven rows are found here, where the place can be told.
        let builder = builder.has_headers(false).flexible(true).buffer_capacity(BUFFER_BYTES);
        let reader = builder.from_reader(watched);
        Self { reader, watch, from, bytes_max, names: None, row: ByteRecord::new() }
    }

    /// Reads a row into `self.row`; gives its line, or `None` at the end.
    fn advance(&mut self) -> Result<Option<u64>, Broken> {
        let buffer = u64::try_from(BUFFER_BYTES).unwrap_or(u64::MAX);
        self.watch.budget.set(self.bytes_max.saturating_add(buffer));
        let some = self.reader.read_byte_record(&mut self.row).map_err(|error| self.broken(&error))?;
        if !some {
            return Ok(None);
        }
        // The parser's own count takes in the empty lines above a row.
        let line = self.watch.begun.borrow_mut().pop_front().unwrap_or_default();
        if self.watch.ended.get() && self.watch.quote.get() == Quote::Inside {
            let what = format!("the quote that opens on line {} is never closed", self.watch.opened.get());
            return Err(Broken { line, what });
        }
        Ok(Some(line))
    }

    fn broken(&self, error: &csv::Error) -> Broken {
        let line = self.watch.begun.borrow().front().copied().unwrap_or(self.watch.lines.get() + 1);
        if self.watch.budget.get() == 0 {
            let what = "the row is longer than --line-bytes-max allows; is a quote not closed?".to_owned();
            return Broken { line, what };
        }
        Broken { line, what: format!("the input cannot be read further: {error}") }
    }

    fn read_names(&mut self) -> Result<Option<BadRow>, Broken> {
        let mut names: Vec<String> = Vec::new();
        let Some(line) = self.advance()? else { return Ok(None) };
        for (index, field) in self.row.iter().enumerate() {
            let what = match std::str::from_utf8(field) {
                Err(error) => format!("field {}: {}", index + 1, not_utf8(field, error)),
                Ok(name) if names.iter().any(|other| other == name) => {
                    format!("field {}: the name {name:?} stands there twice", index + 1)
                }
                Ok(name) => {
                    names.push(name.to_owned());
                    continue;
                }
            };
            return Ok(Some(BadRow { line, what }));
        }
        self.names = Some(names);
        Ok(None)
    }

    /// The row as a JSON object.
    fn object(&self, names: &[String]) -> Result<Vec<u8>, String> {
        if self.row.as_slice().starts_with(&BYTE_ORDER_MARK) {
            return Err(format!("field 1: {MARK_INSIDE}"));
        }
        if self.row.len() != names.len() {
            let at = self.row.len().min(names.len()) + 1;
            let (expected, got) = (names.len(), self.row.len());
            return Err(format!("field {at}: expected {expected} fields, one for each name, got {got}"));
        }
        if u64::try_from(self.row.as_slice().len()).is_ok_and(|bytes| bytes > self.bytes_max) {
            return Err("the row is longer than --line-bytes-max allows".to_owned());
        }
        let mut out = String::from("{");
        for (index, (name, field)) in names.iter().zip(&self.row).enumerate() {
            let text = std::str::from_utf8(field);
            let text = text.map_err(|error| format!("field {} ({name}): {}", index + 1, not_utf8(field, error)))?;
            if index > 0 {
                out.push(',');
            }
            out.push_str(&Value::from(name.as_str()).to_string());
            out.push(':');
            out.push_str(&Value::from(text).to_string());
        }
        out.push('}');
        Ok(out.into_bytes())
    }
}

impl<R: BufRead> Rows for CsvRows<R> {
    fn step(&mut self) -> Result<Step, Broken> {
        if self.names.is_none()
            && let Some(bad) = self.read_names()?
        {
            // Without names there is nothing that a row could become.
            return Err(Broken { line: bad.line, what: bad.what });
        }
        loop {
            let Some(line) = self.advance()? else { return Ok(Step::End) };
            if line < self.from {
                continue;
            }
            let names = self.names.as_deref().unwrap_or_default();
            return Ok(match self.object(names) {
                Ok(bytes) => Step::Row(Row { line, bytes }),
                Err(what) => Step::Bad(BadRow { line, what }),
            });
        }
    }
}

fn not_utf8(field: &[u8], error: std::str::Utf8Error) -> String {
    let byte = field.get(error.valid_up_to()).copied().unwrap_or_default();
    format!("byte 0x{byte:02x} is not UTF-8")
}

/// Where the bytes that were read last stand with respect to quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quote {
    /// At the beginning of a field.
    #[default]
    Start,
    /// In a field without quotes.
    Plain,
    /// Between quotes.
    Inside,
    /// Behind a quote that closes the field, unless another one follows.
    Closing,
}

/// What is known of the bytes that the parser has taken.
#[derive(Debug, Default)]
struct Watch {
    /// Bytes that may still be read before a row has to end.
    budget: Cell<u64>,
    quote: Cell<Quote>,
    /// Line breaks so far.
    lines: Cell<u64>,
    /// The line of the last opening quote.
    opened: Cell<u64>,
    ended: Cell<bool>,
    /// Whether a row has begun that has not ended.
    in_row: Cell<bool>,
    /// The lines on which the rows begin that the parser has not given yet.
    begun: RefCell<VecDeque<u64>>,
}

impl Watch {
    fn see(&self, byte: u8) {
        let line_break = matches!(byte, b'\n' | b'\r');
        if !self.in_row.get() && !line_break {
            self.in_row.set(true);
            self.begun.borrow_mut().push_back(self.lines.get() + 1);
        }
        let next = match (self.quote.get(), byte) {
            (Quote::Inside, b'"') => Quote::Closing,
            (Quote::Inside, _) | (Quote::Closing, b'"') => Quote::Inside,
            (Quote::Start, b'"') => {
                self.opened.set(self.lines.get() + 1);
                Quote::Inside
            }
            (_, b',') => Quote::Start,
            (_, b'\n' | b'\r') => {
                self.in_row.set(false);
                Quote::Start
            }
            _ => Quote::Plain,
        };
        self.quote.set(next);
        if byte == b'\n' {
            self.lines.set(self.lines.get() + 1);
        }
    }
}

/// A reader under watch.
struct Watched<R> {
    reader: R,
    watch: Rc<Watch>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let budget = self.watch.budget.get();
        if budget == 0 {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let allowed = usize::try_from(budget).unwrap_or(usize::MAX).min(buffer.len());
        let len = self.reader.read(buffer.get_mut(..allowed).unwrap_or_default())?;
        buffer.iter().take(len).for_each(|&byte| self.watch.see(byte));
        self.watch.budget.set(budget - u64::try_from(len).unwrap_or(budget).min(budget));
        self.watch.ended.set(len == 0 && !buffer.is_empty());
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str, from: u64) -> Result<Vec<Step>, Broken> {
        let mut rows = CsvRows::new(text.as_bytes(), from, 1000);
        let mut steps = Vec::new();
        loop {
            match rows.step()? {
                Step::End => return Ok(steps),
                step => steps.push(step),
            }
        }
    }

    fn row(line: u64, text: &str) -> Step {
        Step::Row(Row { line, bytes: text.as_bytes().to_vec() })
    }

    #[test]
    fn rows_become_objects_whatever_ends_their_lines() {
        for end in ["\n", "\r\n"] {
            let text = ["a,b", "1,2", "\"x,\"\"y\"\"\",\"two", "lines\"", "", "3,"].join(end);
            let two = serde_json::to_string(&format!("two{end}lines")).unwrap();
            let all = [
                row(2, r#"{"a":"1","b":"2"}"#),
                row(3, &format!(r#"{{"a":"x,\"y\"","b":{two}}}"#)),
                row(6, r#"{"a":"3","b":""}"#),
            ];
            assert_eq!(steps(&text, 1).unwrap(), all, "{end:?}");
            assert_eq!(steps(&text, 4).unwrap(), all[2..], "{end:?}");
        }
    }

    #[test]
    fn nothing_and_names_alone_give_no_row() {
        assert_eq!(steps("", 1).unwrap(), []);
        assert_eq!(steps("a,b\n", 1).unwrap(), []);
    }

    #[test]
    fn uneven_rows_are_told_and_the_next_one_is_read() {
        let text = "a,b\n1\n1,2,3\n1,2\n";
        let bad = |line, what: &str| Step::Bad(BadRow { line, what: what.to_owned() });
        let all = [
            bad(2, "field 2: expected 2 fields, one for each name, got 1"),
            bad(3, "field 3: expected 2 fields, one for each name, got 3"),
            row(4, r#"{"a":"1","b":"2"}"#),
        ];
        assert_eq!(steps(text, 1).unwrap(), all);
    }

    #[test]
    fn a_mark_inside_the_input_is_told() {
        let what = format!("field 1: {MARK_INSIDE}");
        let all = [row(2, r#"{"a":"1"}"#), Step::Bad(BadRow { line: 3, what }), row(4, r#"{"a":"2"}"#)];
        assert_eq!(steps("a\n1\n\u{feff}a\n2\n", 1).unwrap(), all);
    }

    #[test]
    fn names_that_cannot_be_keys_end_it() {
        assert_eq!(steps("a,b,a\n1,2,3\n", 1).unwrap_err().what, "field 3: the name \"a\" stands there twice");
    }

    #[test]
    fn a_quote_without_an_end_is_found() {
        let broken = steps("a,b\n1,2\n3,\"four\n5,6\n", 1).unwrap_err();
        assert_eq!((broken.line, broken.what.as_str()), (3, "the quote that opens on line 3 is never closed"));
        assert_eq!(steps("a,b\n5\" pipe,2\n", 1).unwrap(), [row(2, r#"{"a":"5\" pipe","b":"2"}"#)]);
    }

    #[test]
    fn a_row_without_an_end_does_not_fill_the_memory() {
        let endless = io::BufReader::new(io::Cursor::new("a\n\"").chain(io::repeat(b'x')));
        let broken = CsvRows::new(endless, 1, 1000).step().unwrap_err();
        assert!(broken.what.contains("--line-bytes-max"), "{}", broken.what);
        assert_eq!(broken.line, 2);
    }
}
