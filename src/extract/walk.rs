//! Walks JSON text along the steps of a pointer.
//!
//! Owns: finding the values at its end. Never: builds parts of the record that the pointer does not lead to.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::id::RecordId;
use crate::key::{KeyKind, KeyValue, Timestamp};

/// Below this limit a float identifies exactly one integer.
const WHOLE_FLOATS_END: f64 = 9_007_199_254_740_992.0;

/// A step of a pointer; its meaning depends on the value it is applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The member of an object.
    name: String,
    /// The element of an array.
    index: Option<usize>,
    /// Every element of an array.
    all: bool,
}

impl Step {
    pub(super) fn new(name: String) -> Self {
        let is_index = name == "0" || (!name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit()));
        let index = if is_index { name.parse().ok() } else { None };
        Self { all: name == "*", name, index }
    }
}

/// The values at the end of the steps; none if the record is not JSON.
pub(super) fn values(record: &[u8], steps: &[Step]) -> Vec<Value> {
    let mut found = Vec::new();
    let Ok(text) = std::str::from_utf8(record) else { return found };
    let mut reader = serde_json::Deserializer::from_str(text);
    let whole = Walk { steps, found: &mut found }.deserialize(&mut reader).and_then(|()| reader.end());
    if whole.is_err() {
        found.clear();
    }
    found
}

/// The value as a component of this type, if it is one.
pub(super) fn as_kind(value: Value, kind: KeyKind, lowercase: bool) -> Option<KeyValue> {
    Some(match (kind, value) {
        (KeyKind::String, Value::String(text)) if lowercase => KeyValue::String(text.to_lowercase()),
        (KeyKind::String, Value::String(text)) => KeyValue::String(text),
        (KeyKind::Integer, Value::Number(number)) => {
            let whole = number.as_i64().map(KeyValue::from).or_else(|| number.as_u64().map(KeyValue::from));
            // Some writers print integers with a point, and JSON has no types to distinguish them.
            whole.or_else(|| whole_float(number.as_f64()?).map(KeyValue::from))?
        }
        (KeyKind::Float, Value::Number(number)) => KeyValue::Float(number.as_f64()?),
        (KeyKind::Bool, Value::Bool(value)) => KeyValue::Bool(value),
        (KeyKind::Timestamp, Value::String(text)) => KeyValue::Timestamp(text.parse().ok()?),
        (KeyKind::Timestamp, Value::Number(number)) => KeyValue::Timestamp(Timestamp::from_micros(number.as_i64()?)),
        (KeyKind::Id, Value::String(text)) => KeyValue::from(text.parse::<RecordId>().ok()?.as_u64()),
        _ => return None,
    })
}

fn whole_float(number: f64) -> Option<i64> {
    if number.fract() == 0.0 && number.abs() < WHOLE_FLOATS_END { format!("{number:.0}").parse().ok() } else { None }
}

/// The rest of the path.
struct Walk<'a> {
    steps: &'a [Step],
    found: &'a mut Vec<Value>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        if self.steps.is_empty() {
            self.found.push(Value::deserialize(reader)?);
            return Ok(());
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Some((step, steps)) = self.steps.split_first() else { return Ok(()) };
        let before = self.found.len();
        while let Some(is_wanted) = members.next_key_seed(IsName(&step.name))? {
            if is_wanted {
                self.found.truncate(before);
                members.next_value_seed(Walk { steps, found: self.found })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Some((step, steps)) = self.steps.split_first() else { return Ok(()) };
        for index in 0.. {
            let is_wanted = step.all || step.index == Some(index);
            let more = if is_wanted {
                elements.next_element_seed(Walk { steps, found: self.found })?.is_some()
            } else {
                elements.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    // A value without parts ends the path.

    fn visit_bool<E>(self, _value: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _value: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _value: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _value: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _value: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Compares the name of a member without storing it.
struct IsName<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
