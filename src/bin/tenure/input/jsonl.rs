//! JSON Lines: each line is a JSON value, stored as it is.
//!
//! Owns: splitting into lines, and checking each. Never: changes a byte of a value, except for surrounding white space.

use std::io;
use std::io::BufRead;

use serde::de::IgnoredAny;

use super::{BYTE_ORDER_MARK, BadRow, Broken, MARK_INSIDE, Row, Rows, Step, endless, fill, passed_over_max};

/// Reads the lines of an input from line `from` on.
pub struct JsonLines<R> {
    reader: R,
    /// The line that was read last, or is being skipped.
    line: u64,
    from: u64,
    bytes_max: usize,
    /// Whether the rest of that line is still to be skipped.
    is_inside: bool,
}

impl<R: BufRead> JsonLines<R> {
    pub fn new(reader: R, from: u64, bytes_max: usize) -> Self {
        Self { reader, line: 0, from, bytes_max, is_inside: false }
    }

    /// Skips the rest of a line, if any.
    fn pass_over(&mut self) -> Result<(), Broken> {
        if std::mem::take(&mut self.is_inside) {
            let most = passed_over_max(u64::try_from(self.bytes_max).unwrap_or(u64::MAX));
            pass_over(&mut self.reader, most).map_err(|error| Broken::io(self.line, &error))?;
        }
        Ok(())
    }
}

impl<R: BufRead> Rows for JsonLines<R> {
    fn step(&mut self) -> Result<Step, Broken> {
        loop {
            self.pass_over()?;
            let mut bytes = Vec::new();
            let line = self.line + 1;
            let wanted = line >= self.from;
            let limit = if wanted { self.bytes_max } else { 0 };
            let read = read_line(&mut self.reader, &mut bytes, limit).map_err(|error| Broken::io(line, &error))?;
            if read == LineRead::End {
                return Ok(Step::End);
            }
            self.line = line;
            self.is_inside = read == LineRead::TooLong;
            if !wanted {
                continue;
            }
            if read == LineRead::TooLong {
                let what = format!("column {}: the line is longer than --line-bytes-max allows", limit + 1);
                return Ok(Step::Bad(BadRow { line, what }));
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            return Ok(match check(&bytes) {
                Ok(()) => {
                    trim(&mut bytes);
                    Step::Row(Row { line, bytes })
                }
                Err(what) => Step::Bad(BadRow { line, what }),
            });
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum LineRead {
    Line,
    /// The line continues.
    TooLong,
    End,
}

/// Reads up to the next line break, without including it, or until the line becomes too long.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<LineRead> {
    let mut some = false;
    loop {
        let available = fill(reader)?;
        if available.is_empty() {
            return Ok(if some { LineRead::Line } else { LineRead::End });
        }
        some = true;
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        if line.len() + part.len() > bytes_max {
            return Ok(LineRead::TooLong);
        }
        line.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(LineRead::Line);
        }
    }
}

/// Skips everything up to and including the next line break.
fn pass_over(reader: &mut impl BufRead, most: u64) -> io::Result<()> {
    let mut passed = 0_u64;
    while passed <= most {
        let available = fill(reader)?;
        let (used, ended) = match available.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (available.len(), available.is_empty()),
        };
        reader.consume(used);
        if ended {
            return Ok(());
        }
        passed = passed.saturating_add(u64::try_from(used).unwrap_or(u64::MAX));
    }
    Err(endless(most))
}

/// Whether the line is one JSON value; if not, where and why.
pub(super) fn check(line: &[u8]) -> Result<(), String> {
    if line.starts_with(&BYTE_ORDER_MARK) {
        return Err(format!("column 1: {MARK_INSIDE}"));
    }
    let text = std::str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to();
        let byte = line.get(at).copied().unwrap_or_default();
        format!("column {}: byte 0x{byte:02x} is not UTF-8", at + 1)
    })?;
    serde_json::from_str::<IgnoredAny>(text).map(|IgnoredAny| ()).map_err(|error| {
        // The parser counts lines of its own text, which has only one.
        let said = error.to_string();
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _place)| said);
        format!("column {}: not JSON: {said}", error.column().max(1))
    })
}

/// A value with the line breaks between its tokens replaced by spaces.
pub(super) fn on_one_line(value: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::with_capacity(value.len());
    bytes.extend(value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    bytes
}

/// Removes white space around a value without a second buffer.
fn trim(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.trim_ascii_end().len());
    let start = bytes.len() - bytes.trim_ascii_start().len();
    bytes.drain(..start);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &[u8], from: u64, bytes_max: usize) -> Vec<Step> {
        // A small buffer, so that lines are assembled from pieces.
        let mut rows = JsonLines::new(io::BufReader::with_capacity(3, text), from, bytes_max);
        let next = || Some(rows.step().unwrap()).filter(|step| *step != Step::End);
        std::iter::from_fn(next).collect()
    }

    fn row(line: u64, text: &str) -> Step {
        Step::Row(Row { line, bytes: text.as_bytes().to_vec() })
    }

    #[test]
    fn lines_are_values_and_white_space_does_not_count() {
        let all = [row(1, "{\"a\": 1}"), row(3, "[2]"), row(5, "\"x\"")];
        assert_eq!(steps(b" {\"a\": 1} \r\n\n[2]\n  \n\"x\"", 1, 100), all);
        assert_eq!(steps(b"", 1, 100), []);
    }

    #[test]
    fn lines_before_the_first_one_are_not_looked_at() {
        assert_eq!(steps(b"nonsense that is long\n1\n", 2, 5), [row(2, "1")]);
    }

    #[test]
    fn a_bad_line_is_told_and_the_next_one_is_read() {
        let told = |text: &[u8]| match steps(text, 1, 20).as_slice() {
            [Step::Bad(bad), Step::Row(_)] => bad.what.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(b"{\"a\":}\n1"), "column 6: not JSON: expected value");
        assert_eq!(told(b"[1,\n1"), "column 3: not JSON: EOF while parsing a value");
        assert_eq!(told(b"\xef\xbb\xbf1\n1"), format!("column 1: {MARK_INSIDE}"));
        assert_eq!(told(b"1 2\n1"), "column 3: not JSON: trailing characters");
        assert_eq!(told(b"\"a\xffb\"\n1"), "column 3: byte 0xff is not UTF-8");
        assert_eq!(
            told(b"\"123456789012345678901234567890\"\n1"),
            "column 21: the line is longer than --line-bytes-max allows"
        );
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_read() {
        assert_eq!(steps(b"12345\n123456\n", 1, 5).first(), Some(&row(1, "12345")));
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let deep = "[".repeat(1 << 20);
        assert!(check(deep.as_bytes()).is_err());
        assert!(check((deep.clone() + &"]".repeat(1 << 20)).as_bytes()).is_ok());
    }
}
