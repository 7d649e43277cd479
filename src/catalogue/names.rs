//! Names of sets and marks.
//!
//! Owns: which names are allowed. Never: knows which are taken.

use crate::error::{Error, Result};

/// Maximum length of a set or mark name in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Checks a name for a set or mark.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(Error::BadName { what, name: name.chars().take(64).collect(), why })
}
