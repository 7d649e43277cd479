//! Extracting keys from JSON records by pointer.
//!
//! Owns: the pointer, the type of the keys, the line of text that holds both. Never: walks a record; `walk` does.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::extract::walk;
use crate::extract::walk::Step;
use crate::key::{Key, KeyKind};

/// Extracts the keys of a JSON record at a JSON pointer (RFC 6901).
///
/// A step `*` matches every element of an array, so that a record can have many keys; in an object it is the member of
/// that name. All keys have one type:
///
/// - `string`: strings.
/// - `integer`: numbers without a fraction. A number with a point or an exponent, or beyond 64 bits, counts if its
///   absolute value is below 2^53, since only up to there a float identifies one integer.
/// - `float`: numbers.
/// - `bool`: true and false.
/// - `timestamp`: RFC 3339 strings, and integers as microseconds since 1970.
///
/// A value that is missing, null or of another type yields no key, and neither does a record that is not JSON. If an
/// object has a member twice, the last one counts.
///
/// ```
/// use tenure::extract::JsonExtractor;
/// use tenure::key::Key;
///
/// let extractor: JsonExtractor = "json:/depends/*:string:lower".parse()?;
/// let mut keys = Vec::new();
/// extractor.keys(br#"{"name": "x", "depends": ["Serde", null, "libc", 7]}"#, &mut |key| keys.push(key))?;
/// assert_eq!(keys, [Key::new("libc")?, Key::new("serde")?]);
/// assert_eq!(extractor.to_string(), "json:/depends/*:string:lower");
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonExtractor {
    pointer: String,
    steps: Vec<Step>,
    kind: KeyKind,
    lowercase: bool,
}

const PREFIX: &str = "json:";
const LOWER: &str = ":lower";

impl JsonExtractor {
    /// Extracts keys of one type at a pointer. Fails if the pointer is invalid, or the type is `bytes`, which JSON does
    /// not have.
    ///
    /// ```
    /// use tenure::extract::JsonExtractor;
    /// use tenure::key::KeyKind;
    ///
    /// let by_city = JsonExtractor::new("/address/city", KeyKind::String)?.lowercase()?;
    /// assert_eq!(by_city.to_string(), "json:/address/city:string:lower");
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn new(pointer: &str, kind: KeyKind) -> Result<Self> {
        let Some(steps) = steps(pointer) else {
            let why = "write it as /address/city, with ~1 for / and ~0 for ~ inside a name";
            return Err(Error::bad_key_text(pointer, "JSON pointer", why));
        };
        if kind == KeyKind::Bytes {
            return Err(Error::bad_key_text(kind.name(), "type of keys in JSON", "it has no bytes; take string"));
        }
        Ok(Self { pointer: pointer.to_owned(), steps, kind, lowercase: false })
    }

    /// Converts keys to lower case, by the locale-independent rules of Unicode. Fails unless they are strings.
    pub fn lowercase(mut self) -> Result<Self> {
        if self.kind != KeyKind::String {
            return Err(Error::bad_key_text(self.kind.name(), "type with lower case", "take string"));
        }
        self.lowercase = true;
        Ok(self)
    }

    /// The pointer.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The type of the keys.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether keys are converted to lower case.
    pub fn is_lowercase(&self) -> bool {
        self.lowercase
    }

    /// Passes each distinct key of the record to `emit`, in key order. Fails before the first key if a value is longer
    /// than a key may be.
    pub fn keys(&self, record: &[u8], emit: &mut dyn FnMut(Key)) -> Result<()> {
        let mut keys = Vec::new();
        for value in walk::values(record, &self.steps) {
            if let Some(value) = walk::as_kind(value, self.kind, self.lowercase) {
                keys.push(Key::new(&value)?);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().for_each(emit);
        Ok(())
    }
}

/// The steps of a pointer; `None` if it is invalid.
fn steps(pointer: &str) -> Option<Vec<Step>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    pointer.strip_prefix('/')?.split('/').map(|step| unescaped(step).map(Step::new)).collect()
}

fn unescaped(step: &str) -> Option<String> {
    let (mut name, mut chars) = (String::new(), step.chars());
    while let Some(each) = chars.next() {
        name.push(match each {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(name)
}

/// The line that [`str::parse`] reads: `json:POINTER:TYPE`, followed by `:lower` if keys are in lower case.
impl fmt::Display for JsonExtractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}{}", self.pointer, self.kind, if self.lowercase { LOWER } else { "" })
    }
}

/// A pointer may contain colons: type and case are parsed from the end.
impl FromStr for JsonExtractor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let why = "write it as json:/address/city:string, followed by :lower for lower case";
        let refused = || Error::bad_key_text(text, "line of an extractor", why);
        let rest = text.strip_prefix(PREFIX).ok_or_else(refused)?;
        let (rest, lowercase) = rest.strip_suffix(LOWER).map_or((rest, false), |rest| (rest, true));
        let (pointer, kind) = rest.rsplit_once(':').ok_or_else(refused)?;
        let extractor = Self::new(pointer, kind.parse()?)?;
        if lowercase { extractor.lowercase() } else { Ok(extractor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a record, as text.
    fn found(line: &str, record: &str) -> String {
        let extractor: JsonExtractor = line.parse().unwrap();
        let mut keys = Vec::new();
        extractor.keys(record.as_bytes(), &mut |key| keys.push(key.to_string())).unwrap();
        keys.join("; ")
    }

    #[test]
    fn each_type_takes_what_it_can_and_nothing_else() {
        let record = r#"[null, true, false, -3, 4.0, 2.5, 1e3, 9007199254740993.0, 18446744073709551615,
            18446744073709551616, "Ä", "1970-01-01T00:00:01Z", "", {"a": 1}, [1]]"#;
        assert_eq!(found("json:/*:bool", record), "false; true");
        assert_eq!(found("json:/*:integer", record), "-3; 4; 1000; 18446744073709551615");
        assert_eq!(found("json:/*:float", record), "-3.0; 2.5; 4.0; 1000.0; 9007199254740992.0; 1.8446744073709552e19");
        assert_eq!(found("json:/*:string", record), r#"""; "1970-01-01T00:00:01Z"; "Ä""#);
        assert_eq!(found("json:/*:string:lower", record), r#"""; "1970-01-01t00:00:01z"; "ä""#);
        assert_eq!(found("json:/0:timestamp", r#"["1970-01-01T00:00:01Z"]"#), "@1970-01-01T00:00:01Z");
        assert_eq!(found("json:/0:timestamp", "[1000000]"), "@1970-01-01T00:00:01Z");
        assert_eq!(found("json:/0:timestamp", r#"["yesterday"]"#), "");
    }

    #[test]
    fn pointers_lead_where_the_standard_says() {
        let record =
            r#"{"a": {"b": [10, {"c": 11}], "": 12}, "x/y": 13, "m~n": 14, "*": 15, "0": 16, "a:b": 17, "": 18}"#;
        let cases = [
            ("/a/b/0", "10"),
            ("/a/b/1/c", "11"),
            ("/a/", "12"),
            ("/x~1y", "13"),
            ("/m~0n", "14"),
            ("/*", "15"),
            ("/0", "16"),
            ("/a:b", "17"),
            ("/", "18"),
            ("/a/b/*", "10"),
            ("/a/b/*/c", "11"),
            ("", ""),
            ("/a", ""),
            ("/a/b", ""),
            ("/a/b/2", ""),
            ("/a/b/00", ""),
            ("/a/b/+0", ""),
            ("/a/b/-", ""),
            ("/a/b/0/c", ""),
            ("/nothing/at/all", ""),
        ];
        for (pointer, keys) in cases {
            assert_eq!(found(&format!("json:{pointer}:integer"), record), keys, "{pointer}");
        }
        assert_eq!(found("json::integer", "7"), "7");
        assert_eq!(found("json:/*/*:integer", "[[1, 2], [], 3, [2, [4]]]"), "1; 2");
    }

    #[test]
    fn the_last_of_two_members_counts() {
        assert_eq!(found("json:/a/*:integer", r#"{"a": [1, 2], "b": 0, "a": [3]}"#), "3");
        assert_eq!(found("json:/a:integer", r#"{"a": 1, "a": null}"#), "");
        assert_eq!(found("json:/*/a:integer", r#"[{"a": 1}, {"a": 2, "a": 3}]"#), "1; 3");
    }

    #[test]
    fn what_is_not_json_has_no_key() {
        let deep = format!("{{\"a\": 1, \"b\": {}}}", "[".repeat(100_000));
        for record in ["", "{\"a\": 1", "{\"a\": 1} x", "{\"a\": 1, }", "{a: 1}", "text", "{\"a\": 1}{}", &deep] {
            assert_eq!(found("json:/a:integer", record), "", "{record:.40}");
        }
        let extractor: JsonExtractor = "json:/a:integer".parse().unwrap();
        extractor.keys(b"{\"a\": 1, \"b\": \"\xff\"}", &mut |key| panic!("{key}")).unwrap();
        assert_eq!(found("json:/a:integer", " {\"a\": 1}\r\n"), "1");
    }

    #[test]
    fn a_value_that_is_too_long_is_an_error_and_nothing_is_handed_out() {
        let record = format!(r#"["short", "{}"]"#, "x".repeat(2000));
        let extractor: JsonExtractor = "json:/*:string".parse().unwrap();
        let result = extractor.keys(record.as_bytes(), &mut |key| panic!("{key}"));
        assert!(matches!(result, Err(Error::KeyTooLong { .. })));
    }

    #[test]
    fn lines_of_the_page_are_lines() {
        let page = include_str!("../../docs/keys.md");
        let lines: Vec<&str> = page
            .lines()
            .filter_map(|row| row.strip_prefix("| `json:"))
            .filter_map(|row| row.split('`').next())
            .collect();
        assert_eq!(lines.len(), 4);
        for line in lines {
            let line = format!("json:{line}");
            assert_eq!(line.parse::<JsonExtractor>().unwrap().to_string(), line);
        }
    }

    #[test]
    fn lines_are_read_from_the_end_and_come_back() {
        for line in
            ["json:/a:string", "json:/a:b/*:string:lower", "json::bool", "json:/a:lower:string", "json:/~0~1:float"]
        {
            assert_eq!(line.parse::<JsonExtractor>().unwrap().to_string(), line);
        }
        let extractor: JsonExtractor = "json:/a:string:lower".parse().unwrap();
        assert_eq!((extractor.pointer(), extractor.kind(), extractor.is_lowercase()), ("/a", KeyKind::String, true));
        let wrong = "|json|json:|json:/a|json:a:string|/a:string|json:/a:text|json:/a:bytes|json:/a:integer:lower|\
             json:/~2:string|json:/~:string|json:/a:string:upper|json:/a:lower|csv:/a:string";
        for line in wrong.split('|') {
            assert!(matches!(line.parse::<JsonExtractor>(), Err(Error::BadKeyText { .. })), "{line:?}");
        }
    }
}
