//! Guesses why an index gets no key from any record, from a look at a few records.
//!
//! Owns: the guess. Never: reports an error: an index over a field that no record has yet is fine.

use tenure::extract::JsonExtractor;
use tenure::key::KeyKind;
use tenure::{RecordSet, View};

/// Maximum number of records to look at, and maximum size of one.
const RECORDS: usize = 100;
const BYTES_MAX: u64 = 1 << 20;
/// Types of JSON values.
const KINDS: [(KeyKind, &str); 3] =
    [(KeyKind::String, "strings"), (KeyKind::Float, "numbers"), (KeyKind::Bool, "true or false")];

/// What the records have where the index looks for keys and finds none.
pub fn why_no_keys(view: &View, set: &RecordSet, wanted: &JsonExtractor) -> String {
    let small = view.scan(set).filter_map(Result::ok).filter(|record| record.len() <= BYTES_MAX);
    let records: Vec<Vec<u8>> = small.take(RECORDS).filter_map(|record| record.to_vec().ok()).collect();
    let pointer = wanted.pointer();
    if let Some(found) = values_at(&records, pointer) {
        let kind = wanted.kind();
        let csv = if found == "strings" { "; CSV fields are strings unless --types says otherwise" } else { "" };
        return format!("the values at {} are {found}, but its keys have type {kind}{csv}", shown(pointer));
    }
    if values_at(&records, &format!("{pointer}/*")).is_some() {
        return format!("the values at {} are arrays: {pointer}/* takes each of their elements", shown(pointer));
    }
    let inner = pointer.replace('.', "/");
    if inner != pointer && values_at(&records, &inner).is_some() {
        let name = pointer.trim_start_matches('/');
        return format!("no record has a member named {name:?}; {inner} is a member inside another one");
    }
    format!("none of the records examined has a value at {}", shown(pointer))
}

/// The type of values at a pointer; `None` if there are none.
fn values_at(records: &[Vec<u8>], pointer: &str) -> Option<&'static str> {
    let has = |kind: KeyKind| {
        let Ok(extractor) = JsonExtractor::new(pointer, kind) else { return false };
        records.iter().any(|record| {
            let mut any = false;
            // A value that is too long for a key counts as well.
            let told = extractor.keys(record, &mut |_key| any = true);
            any || told.is_err()
        })
    };
    KINDS.iter().find(|(kind, _)| has(*kind)).map(|(_, name)| *name)
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() { "the top" } else { pointer }
}
