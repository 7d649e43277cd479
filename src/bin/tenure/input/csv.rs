//! Comma-separated values and the like: each row after the header becomes a JSON object.
//!
//! Owns: checking rows against the column names, and quotes against the end of the input. Never: guesses. A row with
//! more or fewer fields than there are names is an error.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::io::{BufRead, Read};
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};

use super::shape::{ColumnType, Shape, push_string};
use super::{BYTE_ORDER_MARK, BadRow, Broken, MARK_INSIDE, Row, Rows, Step, endless, fill, passed_over_max};

/// Bytes that the parser reads at once.
const BUFFER_BYTES: usize = 64 << 10;
/// A row may have one field per this many bytes of `--line-bytes-max`: each field costs memory, however short it is.
const BYTES_PER_FIELD: u64 = 16;
/// A row may always have this many fields, whatever `--line-bytes-max` says.
const FIELDS_MIN: u64 = 1024;

/// Reads the rows that start on line `from` or later.
pub struct CsvRows<R> {
    reader: Reader<Watched<R>>,
    watch: Rc<Watch>,
    from: u64,
    bytes_max: u64,
    shape: Shape,
    names: Option<StringRecord>,
    types: Vec<ColumnType>,
    row: ByteRecord,
}

/// Where a row starts, and whether the parser got all of it.
#[derive(Debug, Clone, Copy)]
struct Begun {
    line: u64,
    /// Which limit it exceeds.
    excess: Option<Excess>,
}

/// The limit that the beginning of a row already exceeds.
#[derive(Debug, Clone, Copy)]
enum Excess {
    Bytes,
    Fields,
}

impl Excess {
    fn told(self, watch: &Watch) -> String {
        match self {
            Self::Bytes => "the row is longer than --line-bytes-max allows; an unclosed quote?".to_owned(),
            Self::Fields => {
                format!("the row has more than the {} fields that --line-bytes-max allows", watch.fields_max)
            }
        }
    }
}

impl<R: BufRead> CsvRows<R> {
    #[cfg(test)]
    fn new(reader: R, from: u64, bytes_max: u64) -> Self {
        Self::shaped(reader, from, bytes_max, Shape::default())
    }

    /// Reads a table of this shape.
    pub fn shaped(reader: R, from: u64, bytes_max: u64, shape: Shape) -> Self {
        let fields_max = (bytes_max / BYTES_PER_FIELD).max(FIELDS_MIN);
        let watch = Rc::new(Watch { bytes_max, fields_max, delimiter: shape.delimiter, ..Watch::default() });
        let watched = Watched { reader, watch: Rc::clone(&watch), closing: VecDeque::new() };
        let mut builder = ReaderBuilder::new();
        // Uneven rows are detected here, where their position is known.
        let builder =
            builder.has_headers(false).flexible(true).delimiter(shape.delimiter).buffer_capacity(BUFFER_BYTES);
        let reader = builder.from_reader(watched);
        let names = shape.columns.as_ref().map(|names| StringRecord::from(names.as_slice()));
        let types = Vec::new();
        Self { reader, watch, from, bytes_max, shape, names, types, row: ByteRecord::new() }
    }

    /// Reads a row into `self.row`; returns its start, or `None` at the end.
    fn advance(&mut self) -> Result<Option<Begun>, Broken> {
        let some = self.reader.read_byte_record(&mut self.row).map_err(|error| self.broken(&error))?;
        // The parser's own line number includes the empty lines before a row.
        let begun = if some { self.watch.begun.borrow_mut().pop_front() } else { None };
        // The parser only got the beginning of a row that exceeds a limit.
        let is_cut = begun.is_some_and(|begun| begun.excess.is_some());
        if self.watch.ended.get() && self.watch.quote.get() == Quote::Inside && !is_cut {
            let line = begun.map_or(self.watch.begins.get(), |begun| begun.line);
            let what = format!("the quote that opens on line {} is never closed", self.watch.opened.get());
            return Err(Broken { line, what });
        }
        Ok(begun)
    }

    fn broken(&self, error: &csv::Error) -> Broken {
        let begun = self.watch.begun.borrow().front().map(|begun| begun.line);
        let line = match begun {
            Some(line) => line,
            None if self.watch.in_row.get() => self.watch.begins.get(),
            None => self.watch.lines.get() + 1,
        };
        match error.kind() {
            csv::ErrorKind::Io(error) => Broken::io(line, error),
            _ => Broken { line, what: format!("the input cannot be read further: {error}") },
        }
    }

    fn read_names(&mut self) -> Result<Option<BadRow>, Broken> {
        let Some(Begun { line, excess }) = self.advance()? else { return Ok(None) };
        if let Some(excess) = excess {
            return Ok(Some(BadRow { line, what: excess.told(&self.watch) }));
        }
        // As many as a row has fields: avoids owned strings and a search for each of them.
        let names = match StringRecord::from_byte_record(std::mem::take(&mut self.row)) {
            Ok(names) => names,
            Err(error) => {
                let at = error.utf8_error().field();
                let row = error.into_byte_record();
                let field = row.get(at).unwrap_or_default();
                let what = std::str::from_utf8(field).err().map_or_else(String::new, |error| not_utf8(field, error));
                return Ok(Some(BadRow { line, what: format!("field {}: {what}", at + 1) }));
            }
        };
        if let Some(at) = twice(&names) {
            let name = names.get(at).unwrap_or_default();
            return Ok(Some(BadRow { line, what: format!("field {}: the name {name:?} appears twice", at + 1) }));
        }
        self.names = Some(names);
        Ok(None)
    }

    /// The row as a JSON object.
    fn object(&self, names: &StringRecord) -> Result<Vec<u8>, String> {
        if self.row.as_slice().starts_with(&BYTE_ORDER_MARK) {
            return Err(format!("field 1: {MARK_INSIDE}"));
        }
        if self.row.len() != names.len() {
            let at = self.row.len().min(names.len()) + 1;
            let (expected, got) = (names.len(), self.row.len());
            return Err(format!("field {at}: expected {expected} fields, one for each name, got {got}"));
        }
        let mut out = vec![b'{'];
        for (index, (name, field)) in names.iter().zip(&self.row).enumerate() {
            let text = std::str::from_utf8(field);
            let text = text.map_err(|error| format!("field {} ({name}): {}", index + 1, not_utf8(field, error)))?;
            if index > 0 {
                out.push(b',');
            }
            push_string(&mut out, name);
            out.push(b':');
            let kind = self.types.get(index).copied().unwrap_or_default();
            let pushed = self.shape.push(text, kind, &mut out);
            pushed.map_err(|what| format!("field {} ({name}): {what}", index + 1))?;
            if u64::try_from(out.len()).is_ok_and(|bytes| bytes >= self.bytes_max) {
                return Err(format!(
                    "field {}: the row becomes a JSON object that is longer than --line-bytes-max allows",
                    index + 1
                ));
            }
        }
        out.push(b'}');
        Ok(out)
    }
}

impl<R: BufRead> Rows for CsvRows<R> {
    fn step(&mut self) -> Result<Step, Broken> {
        if self.names.is_none()
            && let Some(bad) = self.read_names()?
        {
            // Without names, a row cannot become an object.
            return Err(Broken { line: bad.line, what: bad.what });
        }
        let names = self.names.take().unwrap_or_default();
        if self.types.is_empty() {
            self.types = self.shape.types_of(names.iter()).map_err(|missing| {
                let what = format!("--types names column {missing:?}, and there is no column of that name");
                Broken { line: 1, what }
            })?;
        }
        let step = self.row_below(&names);
        self.names = Some(names);
        step
    }
}

impl<R: BufRead> CsvRows<R> {
    /// The next row to return.
    fn row_below(&mut self, names: &StringRecord) -> Result<Step, Broken> {
        loop {
            let Some(Begun { line, excess }) = self.advance()? else { return Ok(Step::End) };
            if line < self.from {
                continue;
            }
            let object = match excess {
                Some(excess) => Err(excess.told(&self.watch)),
                None => self.object(names),
            };
            return Ok(match object {
                Ok(bytes) => Step::Row(Row { line, bytes }),
                Err(what) => Step::Bad(BadRow { line, what }),
            });
        }
    }
}

/// Includes the first column's name.
fn twice(names: &StringRecord) -> Option<usize> {
    let name = |at: &u32| names.get(usize::try_from(*at).unwrap_or(usize::MAX)).unwrap_or_default();
    let mut order: Vec<u32> = (0..u32::try_from(names.len()).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by(|one, other| name(one).cmp(name(other)).then(one.cmp(other)));
    let pairs = order.iter().zip(order.iter().skip(1));
    let again = pairs.filter(|(one, other)| name(one) == name(other)).map(|(_, other)| *other).min();
    again.and_then(|at| usize::try_from(at).ok())
}

fn not_utf8(field: &[u8], error: std::str::Utf8Error) -> String {
    let byte = field.get(error.valid_up_to()).copied().unwrap_or_default();
    format!("byte 0x{byte:02x} is not UTF-8")
}

/// Where the last bytes read are with respect to quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quote {
    /// At the start of a field.
    #[default]
    Start,
    /// In an unquoted field.
    Plain,
    /// Inside quotes.
    Inside,
    /// After a quote that closes the field, unless another one follows.
    Closing,
}

/// The state after the bytes read so far.
#[derive(Debug, Default)]
struct Watch {
    /// Maximum bytes and fields of a row.
    bytes_max: u64,
    fields_max: u64,
    /// The byte between two fields.
    delimiter: u8,
    quote: Cell<Quote>,
    /// Line breaks so far.
    lines: Cell<u64>,
    /// The line of the last opening quote.
    opened: Cell<u64>,
    ended: Cell<bool>,
    /// Whether a row has started that has not ended.
    in_row: Cell<bool>,
    /// Its first line, its bytes and its fields so far.
    begins: Cell<u64>,
    row_bytes: Cell<u64>,
    row_fields: Cell<u64>,
    /// Rows that the parser has not returned yet.
    begun: RefCell<VecDeque<Begun>>,
}

impl Watch {
    fn see(&self, byte: u8) {
        let line_break = matches!(byte, b'\n' | b'\r');
        if !self.in_row.get() && !line_break {
            self.in_row.set(true);
            self.begins.set(self.lines.get() + 1);
            self.row_bytes.set(0);
            self.row_fields.set(1);
            self.begun.borrow_mut().push_back(Begun { line: self.begins.get(), excess: None });
        }
        self.row_bytes.set(self.row_bytes.get() + 1);
        let next = match (self.quote.get(), byte) {
            (Quote::Inside, b'"') => Quote::Closing,
            (Quote::Inside, _) | (Quote::Closing, b'"') => Quote::Inside,
            (Quote::Start, b'"') => {
                self.opened.set(self.lines.get() + 1);
                Quote::Inside
            }
            (_, byte) if byte == self.delimiter => {
                self.row_fields.set(self.row_fields.get() + 1);
                Quote::Start
            }
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

    /// The limit that the unfinished row exceeds.
    fn excess(&self) -> Option<Excess> {
        if !self.in_row.get() {
            None
        } else if self.row_bytes.get() > self.bytes_max {
            Some(Excess::Bytes)
        } else if self.row_fields.get() > self.fields_max {
            Some(Excess::Fields)
        } else {
            None
        }
    }

    fn note_excess(&self, excess: Excess) {
        if let Some(begun) = self.begun.borrow_mut().back_mut() {
            begun.excess = Some(excess);
        }
    }
}

/// A reader that watches the limits. Of a row that exceeds one it yields the beginning as a row of its own, and then
/// skips the rest.
struct Watched<R> {
    reader: R,
    watch: Rc<Watch>,
    /// Bytes that end the truncated row and have not been read yet.
    closing: VecDeque<u8>,
}

impl<R: BufRead> Watched<R> {
    /// Reads on to the end of the unfinished row.
    fn pass_over(&mut self) -> io::Result<()> {
        let most = passed_over_max(self.watch.bytes_max);
        while self.watch.in_row.get() {
            if self.watch.row_bytes.get() > most {
                return Err(endless(most));
            }
            let bytes = fill(&mut self.reader)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let mut used = 0;
            for byte in bytes {
                self.watch.see(*byte);
                used += 1;
                if !self.watch.in_row.get() {
                    break;
                }
            }
            self.reader.consume(used);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.closing.is_empty() && self.watch.excess().is_some() {
            self.pass_over()?;
        }
        if !self.closing.is_empty() {
            return self.closing.read(buffer);
        }
        let bytes = fill(&mut self.reader)?;
        self.watch.ended.set(bytes.is_empty() && !buffer.is_empty());
        let mut used = 0;
        let mut excess = None;
        for (byte, place) in bytes.iter().zip(buffer) {
            self.watch.see(*byte);
            *place = *byte;
            used += 1;
            excess = self.watch.excess();
            if excess.is_some() {
                break;
            }
        }
        self.reader.consume(used);
        if let Some(excess) = excess {
            self.watch.note_excess(excess);
            self.closing.extend(if self.watch.quote.get() == Quote::Inside { &b"\"\n"[..] } else { b"\n" });
        }
        Ok(used)
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
        assert_eq!(steps("a,b,a\n1,2,3\n", 1).unwrap_err().what, "field 3: the name \"a\" appears twice");
    }

    #[test]
    fn a_quote_without_an_end_is_found() {
        let broken = steps("a,b\n1,2\n3,\"four\n5,6\n", 1).unwrap_err();
        assert_eq!((broken.line, broken.what.as_str()), (3, "the quote that opens on line 3 is never closed"));
        assert_eq!(steps("a,b\n5\" pipe,2\n", 1).unwrap(), [row(2, r#"{"a":"5\" pipe","b":"2"}"#)]);
    }

    #[test]
    fn a_row_without_an_end_does_not_fill_the_memory() {
        for open in ["", "\""] {
            let endless = io::BufReader::new(io::Cursor::new(format!("a\n{open}")).chain(io::repeat(b'x')));
            let step = CsvRows::new(endless, 1, 1000).step().unwrap();
            let Step::Bad(bad) = step else { panic!("{step:?}") };
            assert!(bad.line == 2 && bad.what.contains("--line-bytes-max"), "{bad:?}");
            let endless = io::BufReader::new(io::Cursor::new(open).chain(io::repeat(b'x')));
            let broken = CsvRows::new(endless, 1, 1000).step().unwrap_err();
            assert!(broken.line == 1 && broken.what.contains("--line-bytes-max"), "{broken:?}");
        }
    }

    #[test]
    fn a_row_of_exactly_the_limit_is_read_and_the_rest_of_a_longer_one_is_passed_over() {
        // With the names, the stored row takes no more bytes than allowed.
        let names = "a,b";
        let longest = format!("{},2", "1".repeat(998 - 14));
        let kinds = |row: &str| -> Vec<(u64, bool)> {
            let steps = steps(&format!("{names}\n1,2\n{row}\n\n3,4\n"), 1).unwrap();
            let kind = |step: &Step| match step {
                Step::Row(row) => (row.line, true),
                Step::Bad(bad) => (bad.line, false),
                Step::End => (0, false),
            };
            steps.iter().map(kind).collect()
        };
        assert_eq!(kinds(&longest), [(2, true), (3, true), (5, true)]);
        assert_eq!(kinds(&format!("1{longest}")), [(2, true), (3, false), (5, true)], "what it becomes is too long");
        let long = "x".repeat(2000);
        assert_eq!(kinds(&long), [(2, true), (3, false), (5, true)]);
        assert_eq!(kinds(&",".repeat(1024)), [(2, true), (3, false), (5, true)]);
        // If a quote is open at the limit, the row ends after its closing quote.
        assert_eq!(kinds(&format!("\"{long}\n\"\"\n{long}\",1")), [(2, true), (3, false), (7, true)]);
        let broken = steps(&format!("{names}\n1,\"{long}\"\"\n3,4\n"), 1).unwrap_err();
        assert_eq!((broken.line, broken.what.as_str()), (2, "the quote that opens on line 2 is never closed"));
    }
}
