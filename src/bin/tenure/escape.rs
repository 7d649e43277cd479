//! Escapes what a terminal would act upon instead of showing, so that printing a record cannot affect the terminal.
//!
//! Owns: which characters these are, and their escapes. Line breaks and tabs stay. Never: changes the meaning of JSON:
//! there such characters occur only inside strings, where the escapes mean the same.

/// Escapes text that arrives in pieces.
#[derive(Debug, Default)]
pub struct Escape {
    /// The start of a character whose end has not arrived yet.
    rest: Vec<u8>,
}

impl Escape {
    /// The escaped text. An incomplete character at the end waits for the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(piece);
        let mut out = Vec::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text(chunk.valid(), &mut out);
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_beginning(invalid) {
                self.rest = invalid.to_vec();
            } else {
                raw(invalid, &mut out);
            }
        }
        out
    }

    /// There are no more pieces.
    pub fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        raw(&std::mem::take(&mut self.rest), &mut out);
        out
    }
}

/// Whether a terminal acts on this character, or it changes the direction of text.
pub fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// Whether these bytes are an incomplete UTF-8 character.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn text(text: &str, out: &mut Vec<u8>) {
    let mut shown = 0;
    let is_escaped = |(_, char): &(usize, char)| is_obeyed(*char) && !matches!(char, '\n' | '\t');
    for (at, char) in text.char_indices().filter(is_escaped) {
        out.extend_from_slice(text.as_bytes().get(shown..at).unwrap_or_default());
        out.extend_from_slice(format!("\\u{:04x}", u32::from(char)).as_bytes());
        shown = at + char.len_utf8();
    }
    out.extend_from_slice(text.as_bytes().get(shown..).unwrap_or_default());
}

/// Bytes that are not text: an 8-bit terminal treats some of them as controls.
fn raw(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(pieces: &[&[u8]]) -> String {
        let mut escape = Escape::default();
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| escape.push(piece)).collect();
        out.extend(escape.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn controls_and_marks_of_direction_are_written_out() {
        let text = "a\x1b[31m\x07\u{9b}2J\r\u{7f}\u{202e}b\u{2066}\u{200f}\t\né€😀 \u{200d}";
        let expected = "a\\u001b[31m\\u0007\\u009b2J\\u000d\\u007f\\u202eb\\u2066\\u200f\t\né€😀 \u{200d}";
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(escaped(&pieces), expected, "in pieces of {size}");
        }
        assert_eq!(escaped(&[b"\xffa\x9b", b"\xe2\x82", b"b\xe2"]), "\\xffa\\x9b\\xe2\\x82b\\xe2");
    }

    #[test]
    fn json_says_the_same() {
        let value = serde_json::json!({ "a\u{9b}": "\u{202e}b\u{7f}\u{1b}" });
        let text = escaped(&[value.to_string().as_bytes()]);
        assert!(!text.chars().any(is_obeyed), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
