//! Parses the text form of keys.
//!
//! Owns: the grammar in `docs/keys.md`. Never: guesses; text that matches no rule is rejected with its position. Never
//! recurses deeper than keys nest.

use std::str::FromStr;

use crate::error::Error;
use crate::key::integer::Integer;
use crate::key::tag::DEPTH_MAX;
use crate::key::text;
use crate::key::timestamp::Timestamp;
use crate::key::value::KeyValue;
use crate::key_bytes::Key;

/// Why text is not a key.
type Why = &'static str;

/// Parses what `Display` prints.
///
/// ```
/// use tenure::key::{Desc, Key};
///
/// let key: Key = r#""London", desc 36, (null, 0x00ff)"#.parse()?;
/// assert_eq!(key, Key::new(&("London", Desc(36), (None::<bool>, [0_u8, 255])))?);
/// assert_eq!(key.to_string().parse::<Key>()?, key);
///
/// let error = "London, 36".parse::<Key>().unwrap_err();
/// assert_eq!(error.to_string(), r#""London, 36" is not a key: at "London": not a value; strings need quotes"#);
/// # Ok::<(), tenure::Error>(())
/// ```
impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parser = Parser { rest: text };
        let parsed = parser.list(0).and_then(|values| if parser.rest.is_empty() { Ok(values) } else { Err(TRAILING) });
        match parsed {
            Ok(values) => Self::new(&values),
            Err(why) => {
                let place: String = parser.rest.chars().take_while(|each| *each != ',').take(24).collect();
                let place = if place.is_empty() { "the end".to_owned() } else { format!("{place:?}") };
                Err(Error::bad_key_text(text, "key", format!("at {place}: {why}")))
            }
        }
    }
}

const TRAILING: Why = "a comma or the end has to follow a value";

/// A float as the text form prints it, or as people write it.
pub(super) fn float(token: &str) -> Option<f64> {
    if let Some(digits) = token.strip_prefix("nan:") {
        let is_hex = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u64::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        return Some(f64::from_bits(bits)).filter(|value| value.is_nan());
    }
    if token == "nan" {
        return Some(f64::from_bits(text::NAN_BITS));
    }
    token.parse().ok().filter(|value: &f64| !value.is_nan())
}

/// An integer of any width.
pub(super) fn integer(token: &str) -> Option<Integer> {
    let positive = token.parse::<u128>().map(Integer::from);
    positive.or_else(|_| token.parse::<i128>().map(Integer::from)).ok()
}

/// Bytes of two hexadecimal digits each.
pub(super) fn hex(digits: &str) -> Option<Vec<u8>> {
    let nibbles: Option<Vec<u8>> =
        digits.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let nibbles = nibbles.filter(|nibbles| nibbles.len() % 2 == 0)?;
    Some(nibbles.chunks_exact(2).map(|pair| pair.iter().fold(0, |sum, nibble| sum << 4 | nibble)).collect())
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn skip(&mut self, what: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The text up to a space, a comma, a bracket or a quote.
    fn token(&self) -> (&'a str, &'a str) {
        let ends = |each: char| each.is_whitespace() || matches!(each, ',' | '(' | ')' | '"');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        self.rest.split_at_checked(end).unwrap_or((self.rest, ""))
    }

    /// Values up to the end, or to a closing bracket, which is not consumed.
    fn list(&mut self, depth: usize) -> Result<Vec<KeyValue>, Why> {
        let mut values = Vec::new();
        self.space();
        if self.rest.is_empty() || self.rest.starts_with(')') {
            return Ok(values);
        }
        loop {
            values.push(self.value(depth)?);
            if !self.skip(',') {
                return Ok(values);
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<KeyValue, Why> {
        let mut descends = false;
        let value = loop {
            self.space();
            if self.rest.starts_with('"') {
                break KeyValue::String(self.string()?);
            }
            if self.rest.starts_with('(') {
                break KeyValue::Tuple(self.tuple(depth)?);
            }
            let (token, rest) = self.token();
            if token == "desc" {
                // Twice cancels out.
                descends = !descends;
                self.rest = rest;
                continue;
            }
            let value = plain(token)?;
            self.rest = rest;
            break value;
        };
        Ok(if descends { KeyValue::Desc(Box::new(value)) } else { value })
    }

    fn tuple(&mut self, depth: usize) -> Result<Vec<KeyValue>, Why> {
        if depth >= DEPTH_MAX {
            return Err("tuples are nested too deeply");
        }
        self.skip('(');
        let values = self.list(depth + 1)?;
        if self.skip(')') { Ok(values) } else { Err("expected a comma or a closing bracket after a value") }
    }

    fn string(&mut self) -> Result<String, Why> {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        chars.next();
        loop {
            match chars.next() {
                Some('"') => {
                    self.rest = chars.as_str();
                    return Ok(text);
                }
                Some('\\') => text.push(escape(&mut chars)?),
                Some(plain) => text.push(plain),
                None => return Err("the string has no closing quote"),
            }
        }
    }
}

/// The rest of an escape sequence after the backslash, as in JSON.
fn escape(chars: &mut std::str::Chars<'_>) -> Result<char, Why> {
    let why = "after a backslash: one of \" \\ / b f n r t, or u and four digits";
    Ok(match chars.next().ok_or(why)? {
        same @ ('"' | '\\' | '/') => same,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let first = unit(chars).ok_or(why)?;
            let pair = if (0xd800..0xdc00).contains(&first) {
                let behind = chars.next() == Some('\\') && chars.next() == Some('u');
                let second = unit(chars).filter(|second| behind && (0xdc00..0xe000).contains(second));
                0x1_0000 + ((first - 0xd800) << 10) + (second.ok_or("half of a pair of \\u")? - 0xdc00)
            } else {
                first
            };
            char::from_u32(pair).ok_or("half of a pair of \\u")?
        }
        _ => return Err(why),
    })
}

fn unit(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |sum, _| Some(sum * 16 + chars.next()?.to_digit(16)?))
}

fn plain(token: &str) -> Result<KeyValue, Why> {
    match token {
        "" => return Err("a value is missing"),
        "null" => return Ok(KeyValue::Null),
        "true" => return Ok(KeyValue::Bool(true)),
        "false" => return Ok(KeyValue::Bool(false)),
        _ => {}
    }
    if let Some(digits) = token.strip_prefix("0x") {
        return hex(digits).map(KeyValue::Bytes).ok_or("bytes are written as 0x and two digits each");
    }
    if let Some(moment) = token.strip_prefix('@') {
        let moment = moment.parse::<Timestamp>().map(KeyValue::Timestamp);
        return moment.map_err(|_other| "a timestamp is written as @2026-01-31T12:00:00Z");
    }
    if let Some(number) = integer(token) {
        return Ok(KeyValue::Integer(number));
    }
    let digits = token.trim_start_matches(['+', '-']);
    if digits.starts_with(|first: char| first.is_ascii_digit()) {
        let is_float = digits.contains(['.', 'e', 'E']);
        let number = float(token).filter(|_| is_float);
        return number.map(KeyValue::Float).ok_or("an invalid number, or an integer above 128 bits");
    }
    let number = if digits == "inf" || token.starts_with("nan") { float(token) } else { None };
    number.map(KeyValue::Float).ok_or("not a value; strings need quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_key_is_refused() {
        let cases = [
            ",",
            "1,",
            "1 2",
            "(1",
            "1)",
            "(1,)",
            ")",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "desc",
            "desc,",
            "0x0",
            "0xzz",
            "0x+1",
            "1e",
            "1.2.3",
            "-",
            "+-1",
            "nan:1",
            "nan:0000000000000000",
            "infinity",
            "True",
            "@",
            "@1970",
            "340282366920938463463374607431768211456",
            "-170141183460469231731687303715884105729",
        ];
        for text in cases {
            assert!(matches!(text.parse::<Key>(), Err(Error::BadKeyText { .. })), "{text:?} parsed");
        }
    }

    #[test]
    fn people_may_write_it_otherwise() {
        let same = |one: &str, other: &str| assert_eq!(one.parse::<Key>().unwrap(), other.parse::<Key>().unwrap());
        same("  1 ,2( 3 )".replace("2(", "2,(").as_str(), "1, 2, (3)");
        same("desc desc 1", "1");
        same("desc(1)", "desc (1)");
        same("\"\\u0041\\ud83d\\ude00\\/\"", "\"A😀/\"");
        same("+5", "5");
        same("1E3", "1000.0");
        same(" ", "");
        assert!("0".repeat(40).parse::<Key>().unwrap() == "0".parse().unwrap());
    }

    #[test]
    fn deep_text_is_refused_without_deep_recursion() {
        let nested = |depth: usize| format!("{}{}", "(".repeat(depth), ")".repeat(depth)).parse::<Key>();
        assert!(nested(DEPTH_MAX).is_ok());
        assert!(nested(DEPTH_MAX + 1).is_err() && nested(1_000_000).is_err());
        assert!("desc ".repeat(100_000).parse::<Key>().is_err());
    }
}
