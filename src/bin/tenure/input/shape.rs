//! The shape of a table: delimiter, column names and column types.
//!
//! Owns: converting field text to JSON. Never: changes a value: a number appears in JSON as it does in the field.

use std::str::FromStr;

/// The type of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColumnType {
    #[default]
    String,
    Integer,
    Float,
    Bool,
    Json,
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "string" => Self::String,
            "integer" => Self::Integer,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "json" => Self::Json,
            _ => return Err(format!("{text:?} is not a type: write string, integer, float, bool or json")),
        })
    }
}

/// A column and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedColumn {
    pub name: String,
    pub kind: ColumnType,
}

impl FromStr for TypedColumn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, kind) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no type: write COLUMN:TYPE"))?;
        Ok(Self { name: name.to_owned(), kind: kind.parse()? })
    }
}

/// The shape of a table.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The byte between two fields.
    pub delimiter: u8,
    /// The column names of a table without a header row.
    pub columns: Option<Vec<String>>,
    /// Column types; other columns are strings.
    pub types: Vec<TypedColumn>,
    /// The field text that means null.
    pub null: Option<String>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { delimiter: b',', columns: None, types: Vec::new(), null: None }
    }
}

impl Shape {
    /// The type of each of these columns, or the name of a typed column that does not exist.
    pub fn types_of<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Result<Vec<ColumnType>, String> {
        match self.types.iter().find(|typed| !names.clone().any(|name| name == typed.name)) {
            Some(missing) => Err(missing.name.clone()),
            None => {
                let of = |name: &str| self.types.iter().find(|typed| typed.name == name).map(|typed| typed.kind);
                Ok(names.map(|name| of(name).unwrap_or_default()).collect())
            }
        }
    }

    /// Appends a field as JSON, or returns what is wrong with it.
    pub fn push(&self, field: &str, kind: ColumnType, out: &mut Vec<u8>) -> Result<(), String> {
        if self.null.as_deref() == Some(field) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        let is_valid = match kind {
            ColumnType::String => {
                push_string(out, field);
                return Ok(());
            }
            ColumnType::Integer => is_integer(field),
            ColumnType::Float => is_number(field),
            ColumnType::Bool => matches!(field, "true" | "false"),
            ColumnType::Json => serde_json::from_str::<serde::de::IgnoredAny>(field).is_ok(),
        };
        if !is_valid {
            let what = match kind {
                ColumnType::String | ColumnType::Json => "JSON",
                ColumnType::Integer => "an integer",
                ColumnType::Float => "a number",
                ColumnType::Bool => "true or false",
            };
            let hint =
                if self.null.is_none() && field.is_empty() { "; --null '' treats empty fields as null" } else { "" };
            let shown: String = field.chars().take(40).collect();
            return Err(format!("{shown:?} is not {what}{hint}"));
        }
        // Line breaks in JSON occur only between tokens.
        out.extend(field.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        Ok(())
    }
}

/// A string with quotes and escapes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to memory cannot fail.
    drop(serde_json::to_writer(out, text));
}

/// Whether this is an integer in JSON syntax, of any length.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain && (digits == "0" || !digits.starts_with('0'))
}

/// Whether this is a number in JSON syntax.
fn is_number(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|byte| byte == b'-' || byte.is_ascii_digit());
    let ends = text.bytes().next_back().is_some_and(|byte| byte.is_ascii_digit());
    // A number too large for a float is still a number.
    begins && ends && {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_integer(whole) && is_digits(fraction) && is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_they_were_written() {
        let shape = Shape { null: Some("NULL".to_owned()), ..Shape::default() };
        let push = |field: &str, kind| {
            let mut out = Vec::new();
            shape.push(field, kind, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        for (field, kind, json) in [
            ("18446744073709551616", ColumnType::Integer, "18446744073709551616"),
            ("-7", ColumnType::Integer, "-7"),
            ("1.50", ColumnType::Float, "1.50"),
            ("1e-400", ColumnType::Float, "1e-400"),
            ("-0.5E+10", ColumnType::Float, "-0.5E+10"),
            ("true", ColumnType::Bool, "true"),
            ("{\"a\":\n1}", ColumnType::Json, "{\"a\": 1}"),
            ("NULL", ColumnType::Integer, "null"),
            ("NULL", ColumnType::String, "null"),
            ("null", ColumnType::String, "\"null\""),
            ("a\"b", ColumnType::String, "\"a\\\"b\""),
        ] {
            assert_eq!(push(field, kind).as_deref(), Ok(json), "{field}");
            serde_json::from_str::<serde::de::IgnoredAny>(json).unwrap();
        }
        for (field, kind) in [
            ("", ColumnType::Integer),
            ("007", ColumnType::Integer),
            ("+5", ColumnType::Integer),
            ("1.0", ColumnType::Integer),
            ("1.", ColumnType::Float),
            (".5", ColumnType::Float),
            ("NaN", ColumnType::Float),
            ("1e", ColumnType::Float),
            ("1e+", ColumnType::Float),
            ("--1", ColumnType::Float),
            ("True", ColumnType::Bool),
            ("{", ColumnType::Json),
        ] {
            push(field, kind).unwrap_err();
        }
    }

    #[test]
    fn types_are_of_columns_that_are_there() {
        let shape = Shape { types: vec!["age:integer".parse().unwrap()], ..Shape::default() };
        assert_eq!(shape.types_of(["name", "age"].into_iter()), Ok(vec![ColumnType::String, ColumnType::Integer]));
        assert_eq!(shape.types_of(["name"].into_iter()), Err("age".to_owned()));
        for text in ["age", "age:number", ""] {
            text.parse::<TypedColumn>().unwrap_err();
        }
    }
}
