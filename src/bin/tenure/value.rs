//! How the bytes of a record are shown in JSON.
//!
//! Owns: the three forms. Bytes that are JSON are shown as they are, under the key `value`; other UTF-8 is a string,
//! under `text`; anything else is hexadecimal digits, under `hex`. Never: holds a large value in memory. It is read in
//! pieces, once to find its form and once to print it.

use std::io;
use std::io::{BufReader, Read};

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tenure::{Error, Record};

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// Bytes of a large value examined at once.
const PIECE_BYTES: usize = 64 << 10;

/// The form of a record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Text,
    Bytes,
}

impl Form {
    /// The key of the value in JSON output.
    pub fn key(self) -> &'static str {
        match self {
            Self::Json => "value",
            Self::Text => "text",
            Self::Bytes => "hex",
        }
    }

    fn of_slice(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Err(_not_text) => Self::Bytes,
            Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => Self::Json,
            Ok(_) => Self::Text,
        }
    }

    /// Examines the whole record.
    pub fn of(record: &Record<'_>) -> Outcome<Self> {
        if let Some(bytes) = record.as_slice() {
            return Ok(Self::of_slice(bytes));
        }
        let mut utf8 = Utf8::default();
        let mut text = true;
        pieces(record, |piece| {
            text = text && utf8.push(piece).is_some();
            Ok(())
        })?;
        if !text || !utf8.is_whole() {
            return Ok(Self::Bytes);
        }
        let reader = BufReader::with_capacity(PIECE_BYTES, record.reader());
        match serde_json::from_reader::<_, IgnoredAny>(reader) {
            Ok(IgnoredAny) => Ok(Self::Json),
            Err(error) if error.is_io() => Err(unreadable(record, &error.into())),
            Err(_not_json) => Ok(Self::Text),
        }
    }
}

/// Prints the value in its form, on one line.
pub fn print_json(out: &mut Output, record: &Record<'_>, form: Form) -> Outcome {
    let mut utf8 = Utf8::default();
    if form != Form::Json {
        out.text("\"")?;
    }
    let mut print = |piece: &[u8]| match form {
        // Line breaks in JSON occur only between tokens, where a space means the same.
        Form::Json => {
            let breaks = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
            out.bytes(&piece.iter().map(breaks).collect::<Vec<u8>>())
        }
        Form::Text => out.text(&escaped(&utf8.push(piece).unwrap_or_default())),
        Form::Bytes => out.text(&hex(piece)),
    };
    match record.as_slice() {
        Some(bytes) if form == Form::Json => print(bytes.trim_ascii())?,
        Some(bytes) => print(bytes)?,
        None => pieces(record, print)?,
    }
    if form != Form::Json {
        out.text("\"")?;
    }
    Ok(())
}

/// Prints `,"value":…`, or with the key of another form.
pub fn print_member(out: &mut Output, bytes: &[u8]) -> Outcome {
    out.text(",")?;
    print_only_member(out, bytes)
}

/// The same of an object that has no other member.
pub fn print_only_member(out: &mut Output, bytes: &[u8]) -> Outcome {
    let form = Form::of_slice(bytes);
    out.text(&format!("\"{}\":", form.key()))?;
    match (form, std::str::from_utf8(bytes)) {
        // Line breaks in JSON occur only between tokens, where a space means the same.
        (Form::Json, Ok(text)) => out.text(&text.trim_ascii().replace(['\n', '\r'], " ")),
        (Form::Text, Ok(text)) => out.text(&json!(text).to_string()),
        _ => out.text(&format!("\"{}\"", hex(bytes))),
    }
}

/// Prints `{"id":…,"seq":…,…,"value":…}` on a line of its own; `more` goes before the value.
pub fn print_record(out: &mut Output, record: &Record<'_>, more: &[(&str, Value)]) -> Outcome {
    let form = Form::of(record)?;
    out.text(&format!("{{\"id\":\"{}\",\"seq\":{}", record.id(), record.seq()))?;
    for (key, value) in more {
        out.text(&format!(",{}:{value}", json!(key)))?;
    }
    out.text(&format!(",\"{}\":", form.key()))?;
    print_json(out, record, form)?;
    out.text("}\n")
}

/// Prints only the bytes of the record.
pub fn print_raw(out: &mut Output, record: &Record<'_>) -> Outcome {
    match record.as_slice() {
        Some(bytes) => out.bytes(bytes),
        None => pieces(record, |piece| out.bytes(piece)),
    }
}

/// The beginning of a record for a table, at most `chars_max` characters long.
pub fn preview(record: &Record<'_>, chars_max: usize) -> Outcome<String> {
    let mut head = Vec::new();
    let bytes_max = chars_max.saturating_mul(4);
    if let Some(bytes) = record.as_slice() {
        head.extend(bytes.iter().take(bytes_max));
    } else {
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let read = record.reader().take(limit).read_to_end(&mut head);
        read.map_err(|error| unreadable(record, &error))?;
    }
    let text = match std::str::from_utf8(&head) {
        Ok(text) => text.to_owned(),
        // The cut may fall inside the last character.
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(head.get(..error.valid_up_to()).unwrap_or_default()).into_owned()
        }
        Err(_not_text) => hex(&head),
    };
    let whole = u64::try_from(head.len()).is_ok_and(|bytes| bytes == record.len());
    if whole && text.chars().count() <= chars_max {
        return Ok(text);
    }
    Ok(text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect())
}

/// Two digits per byte.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A string as JSON, without its quotes.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}

/// Passes the record to `each` in pieces.
fn pieces(record: &Record<'_>, mut each: impl FnMut(&[u8]) -> Outcome) -> Outcome {
    let (mut reader, mut buffer) = (record.reader(), vec![0; PIECE_BYTES]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => each(buffer.get(..len).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(record, &error)),
        }
    }
}

/// The error of a value whose pieces cannot be read. The library's own error is inside, if it is the cause.
fn unreadable(record: &Record<'_>, error: &io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let (exit, advice) = inner.map_or((Exit::Failed, "run `tenure verify`"), |inner| (Exit::of(inner), inner.advice()));
    Failure::new(exit, format!("cannot read record {}: {error}", record.id()), advice)
}

/// Joins pieces of UTF-8 that may be split inside a character.
#[derive(Default)]
struct Utf8 {
    rest: Vec<u8>,
}

impl Utf8 {
    /// The complete characters so far; `None` if the bytes are not UTF-8.
    fn push(&mut self, piece: &[u8]) -> Option<String> {
        self.rest.extend_from_slice(piece);
        let valid = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_not_text) => return None,
        };
        let tail = self.rest.split_off(valid);
        String::from_utf8(std::mem::replace(&mut self.rest, tail)).ok()
    }

    /// Whether no partial character is left.
    fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_of_three_forms() {
        let forms = [&b"{\"a\": 1}"[..], b"7", b"hello", b"", b"\xff\x00", b"{\"a\":\"\xff\"}"].map(Form::of_slice);
        assert_eq!(forms, [Form::Json, Form::Json, Form::Text, Form::Text, Form::Bytes, Form::Bytes]);
    }

    #[test]
    fn characters_that_were_cut_are_joined() {
        let text = "aé€😀z";
        for size in 1..text.len() {
            let mut utf8 = Utf8::default();
            let joined: String = text.as_bytes().chunks(size).map(|piece| utf8.push(piece).unwrap()).collect();
            assert_eq!((joined.as_str(), utf8.is_whole()), (text, true), "pieces of {size}");
        }
        assert_eq!(Utf8::default().push(b"a\xffb"), None);
    }

    #[test]
    fn hex_and_escapes() {
        assert_eq!(hex(&[0, 0xff, 0x1a]), "00ff1a");
        assert_eq!(escaped("a\"b\n"), "a\\\"b\\n");
    }
}
