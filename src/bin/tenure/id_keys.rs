//! Record IDs in keys: which components of an index's keys are IDs, and how they are read and shown.
//!
//! Owns: parsing the key type of an index's definition. Never: reads or writes the text form of anything else.

use tenure::RecordId;
use tenure::key::{Key, KeyValue};

/// The deepest nesting of tuples.
const DEPTH_MAX: usize = 16;

/// Which parts of a component are record IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Id,
    Tuple(Vec<Self>),
    Other,
}

impl Shape {
    fn of(key_type: &str, depth: usize) -> Self {
        let mut rest = key_type.trim();
        while let Some(inner) = rest.strip_prefix("optional ").or_else(|| rest.strip_prefix("descending ")) {
            rest = inner.trim_start();
        }
        // Earlier versions wrote it in capitals.
        if rest.eq_ignore_ascii_case("id") {
            return Self::Id;
        }
        match rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            Some(inner) if depth < DEPTH_MAX => {
                Self::Tuple(pieces(inner).into_iter().map(|piece| Self::of(piece, depth + 1)).collect())
            }
            _ => Self::Other,
        }
    }

    fn has_ids(&self) -> bool {
        match self {
            Self::Id => true,
            Self::Tuple(shapes) => shapes.iter().any(Self::has_ids),
            Self::Other => false,
        }
    }

    /// The text with IDs replaced by the integers that keys hold.
    fn read(&self, text: &str) -> String {
        match self {
            Self::Other => text.to_owned(),
            Self::Id => {
                let at = text.trim_end().rfind(char::is_whitespace).map_or(0, |at| at + 1);
                let (before, token) = text.split_at_checked(at).unwrap_or(("", text));
                let id = token.trim().parse::<RecordId>();
                id.map_or_else(|_other| text.to_owned(), |id| format!("{before}{}", id.as_u64()))
            }
            Self::Tuple(shapes) => {
                let inner = text.find('(').zip(text.rfind(')')).and_then(|(open, close)| {
                    Some((text.get(..=open)?, text.get(open + 1..close)?, text.get(close..)?))
                });
                inner.map_or_else(
                    || text.to_owned(),
                    |(before, inner, behind)| format!("{before}{}{behind}", read_list(shapes, inner)),
                )
            }
        }
    }

    /// The text form of a value, with IDs shown as IDs.
    fn show(&self, value: &KeyValue) -> String {
        match (self, value) {
            (shape, KeyValue::Desc(value)) => format!("desc {}", shape.show(value)),
            (Self::Id, KeyValue::Integer(number)) => {
                let id = number.to_string().parse().ok().and_then(RecordId::from_u64);
                id.map_or_else(|| value.to_string(), |id| id.to_string())
            }
            (Self::Tuple(shapes), KeyValue::Tuple(values)) => format!("({})", show_list(shapes, values)),
            _ => value.to_string(),
        }
    }
}

fn read_list(shapes: &[Shape], text: &str) -> String {
    let shapes = shapes.iter().chain(std::iter::repeat(&Shape::Other));
    pieces(text).into_iter().zip(shapes).map(|(piece, shape)| shape.read(piece)).collect::<Vec<_>>().join(",")
}

fn show_list(shapes: &[Shape], values: &[KeyValue]) -> String {
    let shapes = shapes.iter().chain(std::iter::repeat(&Shape::Other));
    values.iter().zip(shapes).map(|(value, shape)| shape.show(value)).collect::<Vec<_>>().join(", ")
}

/// Splits at commas outside of brackets and strings.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut is_string, mut is_escaped) = (false, false);
    for (at, each) in text.char_indices() {
        match each {
            _ if is_escaped => is_escaped = false,
            '\\' if is_string => is_escaped = true,
            '"' => is_string = !is_string,
            _ if is_string => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                pieces.extend(text.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    pieces.extend(text.get(begin..));
    pieces
}

/// The components of an index's keys that are record IDs.
#[derive(Clone, Debug)]
pub struct IdKeys(Vec<Shape>);

impl IdKeys {
    /// Those of a key type such as `id` or `(id, string)`; `None` if it has no IDs.
    pub fn of(key_type: &str) -> Option<Self> {
        let shape = Shape::of(key_type, 0);
        let is_some = shape.has_ids();
        let shapes = if let Shape::Tuple(shapes) = shape { shapes } else { vec![shape] };
        is_some.then_some(Self(shapes))
    }

    /// Parses a key whose IDs are written as IDs.
    pub fn read(&self, text: &str) -> Result<Key, tenure::Error> {
        read_list(&self.0, text).parse()
    }

    /// The text form of a key, with IDs shown as IDs.
    pub fn show(&self, key: &Key) -> String {
        key.values().map_or_else(|_damaged| key.to_string(), |values| show_list(&self.0, &values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_types() {
        for none in ["", "integer", "(string, integer)", "()", "identity", "(", "((((", "optional ", "(id", "id)"] {
            assert!(IdKeys::of(none).is_none(), "{none:?}");
        }
        for some in
            ["id", "ID", "optional id", "descending optional id", "(id, string)", "(string, (integer, id))", "(id,)"]
        {
            assert!(IdKeys::of(some).is_some(), "{some:?}");
        }
        assert!(IdKeys::of(&format!("{}id{}", "(".repeat(40_000), ")".repeat(40_000))).is_none());
    }

    #[test]
    fn keys_with_ids_are_read_and_shown() {
        let id = "1024.1".parse::<RecordId>().unwrap();
        let raw = id.as_u64();
        let key = |text: &str| text.parse::<Key>().unwrap();
        for (of, text, same) in [
            ("id", "1024.1", format!("{raw}")),
            ("optional id", "null", "null".to_owned()),
            ("descending id", "desc 1024.1", format!("desc {raw}")),
            ("(id, string)", r#"1024.1, "a, \"b\" (c""#, format!(r#"{raw}, "a, \"b\" (c""#)),
            ("(id, string)", "1024.1", format!("{raw}")),
            ("(string, float, id)", r#""1024.1", 1024.1, 1024.1"#, format!(r#""1024.1", 1024.1, {raw}"#)),
            ("(bool, (id, integer))", "true, (1024.1, 7)", format!("true, ({raw}, 7)")),
        ] {
            let ids = IdKeys::of(of).unwrap();
            assert_eq!(ids.read(text).unwrap(), key(&same), "{text} as {of}");
            assert_eq!(ids.show(&key(&same)), text, "{same} as {of}");
        }
        // What is no ID stays what it is.
        let ids = IdKeys::of("id").unwrap();
        assert_eq!(
            (ids.read("17").unwrap(), ids.show(&key("-1")), ids.show(&key("\"a\""))),
            (key("17"), "-1".to_owned(), "\"a\"".to_owned())
        );
        assert!(ids.read("London").is_err());
    }
}
