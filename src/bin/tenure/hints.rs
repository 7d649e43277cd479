//! Why an index gets no key from any record: a guess for people, from a look at a few of the records.
//!
//! Owns: the guess. Never: says that something is wrong: an index over a field that no record has yet is none the worse.

use tenure::extract::JsonExtractor;
use tenure::key::KeyKind;
use tenure::{RecordSet, View};

/// Records that are looked at, and bytes that one of them may have.
const RECORDS: usize = 100;
const BYTES_MAX: u64 = 1 << 20;
/// Types of values in JSON.
const KINDS: [(KeyKind, &str); 3] =
    [(KeyKind::String, "strings"), (KeyKind::Float, "numbers"), (KeyKind::Bool, "true or false")];

/// What the records have where an index looks for keys and finds none.
pub fn why_no_keys(view: &View, set: &RecordSet, wanted: &JsonExtractor) -> String {
    let small = view.scan(set).filter_map(Result::ok).filter(|record| record.len() <= BYTES_MAX);
    let records: Vec<Vec<u8>> = small.take(RECORDS).filter_map(|record| record.to_vec().ok()).collect();
    let pointer = wanted.pointer();
    if let Some(found) = values_at(&records, pointer) {
        let kind = wanted.kind();
        let csv = if found == "strings" {
            "; rows of CSV hold strings, unless --types gives their columns others"
        } else {
            ""
        };
        return format!("the values at {} are {found}, and its keys are of type {kind}{csv}", shown(pointer));
    }
    if values_at(&records, &format!("{pointer}/*")).is_some() {
        return format!("at {} stand arrays: {pointer}/* takes every element of them", shown(pointer));
    }
    let inner = pointer.replace('.', "/");
    if inner != pointer && values_at(&records, &inner).is_some() {
        let name = pointer.trim_start_matches('/');
        return format!("no record has a member named {name:?}: {inner} is a member inside of another one");
    }
    format!("no record that was looked at has a value at {}", shown(pointer))
}

/// What values there are at a pointer; `None` where there are none.
fn values_at(records: &[Vec<u8>], pointer: &str) -> Option<&'static str> {
    let has = |kind: KeyKind| {
        let Ok(extractor) = JsonExtractor::new(pointer, kind) else { return false };
        records.iter().any(|record| {
            let mut any = false;
            // A value that is too long for a key is one.
            let told = extractor.keys(record, &mut |_key| any = true);
            any || told.is_err()
        })
    };
    KINDS.iter().find(|(kind, _)| has(*kind)).map(|(_, name)| *name)
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() { "the top" } else { pointer }
}
