//! A JSON array: each element is a JSON value, stored as it is.
//!
//! Owns: finding where elements start and end. Never: holds more than one in memory. Elements are numbered from 1; the
//! whole array may be on one line.

use std::io::BufRead;

use super::{BadRow, Broken, Row, Rows, Step, endless, fill, jsonl, passed_over_max};

/// What comes next in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    First,
    Behind,
    End,
}

/// Reads the elements of an array from element `from` on.
pub struct JsonArray<R> {
    reader: R,
    /// The element that was read last.
    element: u64,
    from: u64,
    bytes_max: u64,
    place: Place,
}

impl<R: BufRead> JsonArray<R> {
    pub fn new(reader: R, from: u64, bytes_max: u64) -> Self {
        Self { reader, element: 0, from, bytes_max, place: Place::Before }
    }

    fn broken(&self, what: impl Into<String>) -> Broken {
        Broken { line: self.element + 1, what: what.into() }
    }

    /// The next byte that is not white space, without consuming it; `None` at the end.
    fn peek(&mut self) -> Result<Option<u8>, Broken> {
        loop {
            let line = self.element + 1;
            let bytes = fill(&mut self.reader).map_err(|error| Broken::io(line, &error))?;
            let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) else {
                let len = bytes.len();
                if len == 0 {
                    return Ok(None);
                }
                self.reader.consume(len);
                continue;
            };
            let byte = bytes.get(at).copied();
            self.reader.consume(at);
            return Ok(byte);
        }
    }

    /// Advances to the next element. `false` at the end of the array.
    fn advance(&mut self) -> Result<bool, Broken> {
        let byte = self.peek()?;
        match (self.place, byte) {
            (Place::Before, Some(b'[')) => {
                self.reader.consume(1);
                self.place = Place::First;
                self.advance()
            }
            (Place::Before, _) => Err(self.broken("the input is not a JSON array: it does not start with [")),
            (Place::First | Place::Behind, Some(b']')) => {
                self.reader.consume(1);
                self.place = Place::End;
                self.advance()
            }
            (Place::First, Some(_)) => {
                self.place = Place::Behind;
                Ok(true)
            }
            (Place::Behind, Some(b',')) => {
                self.reader.consume(1);
                Ok(true)
            }
            (Place::First | Place::Behind, None) => Err(self.broken("the array is not closed")),
            (Place::Behind, Some(_)) => Err(self.broken("expected a comma or the end of the array")),
            (Place::End, None) => Ok(false),
            (Place::End, Some(_)) => Err(self.broken("unexpected text after the array")),
        }
    }

    /// Reads up to the end of the element, which stays in the input. `None` if it is too long.
    fn element(&mut self, limit: u64) -> Result<Option<Vec<u8>>, Broken> {
        let (mut bytes, mut depth, mut passed) = (Vec::new(), 0_u64, 0_u64);
        let (mut in_string, mut is_escaped) = (false, false);
        let most = passed_over_max(self.bytes_max);
        loop {
            let line = self.element;
            let available = fill(&mut self.reader).map_err(|error| Broken::io(line, &error))?;
            if available.is_empty() {
                return Err(Broken { line, what: "the array is not closed".to_owned() });
            }
            let end = available.iter().position(|byte| {
                if in_string {
                    let ends = *byte == b'"' && !is_escaped;
                    is_escaped = *byte == b'\\' && !is_escaped;
                    in_string = !ends;
                    return false;
                }
                match byte {
                    b'"' => in_string = true,
                    b'[' | b'{' => depth += 1,
                    b',' | b']' if depth == 0 => return true,
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                false
            });
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            passed = passed.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            if passed <= limit {
                bytes.extend_from_slice(part);
            } else {
                bytes = Vec::new();
            }
            let used = part.len();
            self.reader.consume(used);
            if end.is_some() {
                return Ok((passed <= limit).then_some(bytes));
            }
            if passed > most {
                return Err(Broken::io(line, &endless(most)));
            }
        }
    }
}

impl<R: BufRead> Rows for JsonArray<R> {
    fn step(&mut self) -> Result<Step, Broken> {
        while self.advance()? {
            self.element += 1;
            let line = self.element;
            let is_wanted = line >= self.from;
            let read = self.element(if is_wanted { self.bytes_max } else { 0 })?;
            if !is_wanted {
                continue;
            }
            let Some(bytes) = read else {
                let what = "the element is longer than --line-bytes-max allows".to_owned();
                return Ok(Step::Bad(BadRow { line, what }));
            };
            let bytes = bytes.trim_ascii();
            return Ok(match jsonl::check(bytes) {
                Ok(()) => Step::Row(Row { line, bytes: jsonl::on_one_line(bytes) }),
                Err(what) => Step::Bad(BadRow { line, what }),
            });
        }
        Ok(Step::End)
    }

    fn unit(&self) -> &'static str {
        "element"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str, from: u64, bytes_max: u64) -> Result<Vec<Step>, String> {
        let mut rows = JsonArray::new(std::io::BufReader::with_capacity(3, text.as_bytes()), from, bytes_max);
        let mut steps = Vec::new();
        loop {
            match rows.step().map_err(|broken| format!("{}: {}", broken.line, broken.what))? {
                Step::End => return Ok(steps),
                step => steps.push(step),
            }
        }
    }

    fn row(line: u64, text: &str) -> Step {
        Step::Row(Row { line, bytes: text.as_bytes().to_vec() })
    }

    #[test]
    fn elements_are_values() {
        let text = " [ {\"a\": [1, 2], \"b\": \"],\\\"\"} ,\n2,\"x\",[ ],\n{\n\"c\":\n1} ]\n";
        let all = [
            row(1, "{\"a\": [1, 2], \"b\": \"],\\\"\"}"),
            row(2, "2"),
            row(3, "\"x\""),
            row(4, "[ ]"),
            row(5, "{ \"c\": 1}"),
        ];
        assert_eq!(steps(text, 1, 100).unwrap(), all);
        assert_eq!(steps(text, 4, 100).unwrap(), all[3..]);
        assert_eq!(steps("[]", 1, 100).unwrap(), []);
    }

    #[test]
    fn what_is_no_element_is_told_and_the_next_one_is_read() {
        let told = steps("[1,,{\"a\":},\"long enough\",2]", 1, 9).unwrap();
        assert_eq!((&told[0], told.last().unwrap()), (&row(1, "1"), &row(5, "2")));
        let bad: Vec<u64> =
            told.iter().filter_map(|step| if let Step::Bad(bad) = step { Some(bad.line) } else { None }).collect();
        assert_eq!(bad, [2, 3, 4]);
    }

    #[test]
    fn what_is_no_array_ends_the_import() {
        assert_eq!(steps("{\"a\":1}", 1, 9).unwrap_err(), "1: the input is not a JSON array: it does not start with [");
        assert_eq!(steps("", 1, 9).unwrap_err(), "1: the input is not a JSON array: it does not start with [");
        assert_eq!(steps("[1,2", 1, 9).unwrap_err(), "2: the array is not closed");
        assert_eq!(steps("[1", 1, 9).unwrap_err(), "1: the array is not closed");
        assert_eq!(steps("[1] x", 1, 9).unwrap_err(), "2: unexpected text after the array");
    }
}
