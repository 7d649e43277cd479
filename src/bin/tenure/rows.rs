//! Records as rows of CSV.
//!
//! Owns: the columns of a set, and the text of each value: digits of a number are copied, not parsed. Never:
//! misrepresents a record; one that cannot be a row is an error. Invariant: a record that an import stored can be a
//! row.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use tenure::Record;

use crate::failure::{Exit, Failure, Outcome};

/// Maximum number of columns: as many as a row of an import may have fields.
const COLUMNS_MAX: usize = 4 << 20;
/// The column of records that are not objects.
const VALUE: &str = "value";
/// The leading columns, with `--with-ids`.
const IDS: [&str; 2] = ["id", "seq"];

/// The columns of a set, in the order in which its records introduce them.
pub struct Columns {
    names: Vec<String>,
    places: HashMap<String, usize>,
    /// The first record that is not an object, or has a member of that column's name.
    value_of: [Option<String>; 2],
    with_ids: bool,
    null: String,
}

impl Columns {
    pub fn new(with_ids: bool, null: &str) -> Self {
        let (names, places, value_of) = (Vec::new(), HashMap::new(), [None, None]);
        Self { names, places, value_of, with_ids, null: null.to_owned() }
    }

    /// Adds the columns that a record introduces.
    pub fn add(&mut self, record: &Record<'_>) -> Outcome {
        let bytes = record.bytes()?;
        let is_object = is_object(&bytes);
        members(record, &bytes, |name, _| {
            if self.with_ids && IDS.contains(&name) {
                return Err(no_row(record, &format!("its member {name:?} has the name of a --with-ids column")));
            }
            if name == VALUE {
                let [object, other] = &mut self.value_of;
                let (own, of) = if is_object { (object, &*other) } else { (other, &*object) };
                if let Some(of) = of {
                    let why = format!("it needs the column {VALUE:?}, which record {of} uses for something else");
                    return Err(no_row(record, &why));
                }
                own.get_or_insert_with(|| record.id().to_string());
            }
            if !self.places.contains_key(name) {
                if self.names.len() == COLUMNS_MAX {
                    return Err(no_row(
                        record,
                        &format!("its member {name:?} would exceed the maximum number of columns"),
                    ));
                }
                self.places.insert(name.to_owned(), self.names.len());
                self.names.push(name.to_owned());
            }
            Ok(())
        })
    }

    /// The header row.
    pub fn head(&self) -> Outcome<Vec<u8>> {
        let ids = if self.with_ids { &IDS[..] } else { &[] };
        line(ids.iter().copied().chain(self.names.iter().map(String::as_str)))
    }

    /// The row of a record.
    pub fn row(&self, record: &Record<'_>) -> Outcome<Vec<u8>> {
        let bytes = record.bytes()?;
        let mut cells = vec![None; self.names.len()];
        members(record, &bytes, |name, value| {
            if let Some(cell) = self.places.get(name).and_then(|place| cells.get_mut(*place)) {
                *cell = cell_of(value);
            }
            Ok(())
        })?;
        let ids = if self.with_ids { vec![record.id().to_string(), record.seq().to_string()] } else { Vec::new() };
        let cells = cells.iter().map(|cell| cell.as_deref().unwrap_or(&self.null));
        line(ids.iter().map(String::as_str).chain(cells))
    }
}

/// The text of a cell: a string's text, nothing for null, anything else as it is.
fn cell_of(value: &RawValue) -> Option<String> {
    let text = value.get();
    if text == "null" {
        return None;
    }
    // A string that is not valid Unicode (an unpaired surrogate) is copied as JSON.
    let string = if text.starts_with('"') { serde_json::from_str(text).ok() } else { None };
    Some(string.unwrap_or_else(|| text.to_owned()))
}

fn is_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// Passes on the members of an object, or any other value as the only one.
fn members(record: &Record<'_>, bytes: &[u8], mut each: impl FnMut(&str, &RawValue) -> Outcome) -> Outcome {
    let no_json = |error: serde_json::Error| no_row(record, &format!("it is not JSON: {error}"));
    if !is_object(bytes) {
        return each(VALUE, serde_json::from_slice(bytes).map_err(no_json)?);
    }
    let (mut refused, mut reader) = (Ok(()), serde_json::Deserializer::from_slice(bytes));
    let walked = reader.deserialize_map(Members(&mut |name, value| {
        refused = each(name, value);
        refused.is_ok()
    }));
    refused?;
    walked.and_then(|()| reader.end()).map_err(no_json)
}

/// Passes on members until told to stop.
struct Members<'f>(&'f mut dyn FnMut(&str, &RawValue) -> bool);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            if !(self.0)(&name, members.next_value::<&RawValue>()?) {
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Cells as a line of CSV.
fn line<'c>(cells: impl Iterator<Item = &'c str>) -> Outcome<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(cells).map_err(std::io::Error::from);
    written.map_err(|error| Failure::output("a row", &error))?;
    writer.into_inner().map_err(|error| Failure::output("a row", error.error()))
}

fn no_row(record: &Record<'_>, why: &str) -> Failure {
    let message = format!("record {} cannot be a row of CSV: {why}", record.id());
    Failure::new(Exit::BadInput, message, "export as --format jsonl")
}
