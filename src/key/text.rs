//! Keys as text, for people and the command line.
//!
//! Owns: how a value is written; `parse` reads it. Never: loses anything; NaNs keep their bits.

use std::fmt;
use std::fmt::Write;

use crate::key::value::KeyValue;

/// The NaN that is written without its bits.
pub(super) const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// The value as text, as parsed in a [`Key`](crate::key::Key).
impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        value(self, f)
    }
}

fn value(value: &KeyValue, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        KeyValue::Null => f.write_str("null"),
        KeyValue::Bool(value) => write!(f, "{value}"),
        KeyValue::Integer(value) => write!(f, "{value}"),
        KeyValue::Float(value) => float(*value, f),
        KeyValue::Timestamp(value) => write!(f, "@{value}"),
        KeyValue::String(value) => string(value, f),
        KeyValue::Bytes(value) => hex(value, f),
        KeyValue::Tuple(values) => {
            f.write_char('(')?;
            list(values, f)?;
            f.write_char(')')
        }
        KeyValue::Desc(value) => write!(f, "desc {value}"),
    }
}

/// Values separated by commas.
pub(super) fn list(values: &[KeyValue], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, each) in values.iter().enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        value(each, f)?;
    }
    Ok(())
}

/// The shortest digits that identify this float, always with a point or an exponent.
fn float(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !value.is_nan() {
        write!(f, "{value:?}")
    } else if value.to_bits() == NAN_BITS {
        f.write_str("nan")
    } else {
        write!(f, "nan:{:016x}", value.to_bits())
    }
}

/// Escaped as in JSON.
fn string(value: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for each in value.chars() {
        match each {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            '\t' => f.write_str("\\t"),
            control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control)),
            plain => f.write_char(plain),
        }?;
    }
    f.write_char('"')
}

/// Two digits per byte, after 0x.
pub(super) fn hex(value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("0x")?;
    value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
