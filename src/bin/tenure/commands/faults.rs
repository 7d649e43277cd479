//! Finding the rows that the indexes of a set refuse.
//!
//! A commit refused by an index leaves nothing behind and names no row. This module finds the rows at fault, so that an
//! import can report their lines and store the others.
//! Owns: deciding which of two rows with the same key is at fault: the later one. Never: writes.

use std::collections::HashMap;
use std::ops::Bound;

use tenure::extract::JsonExtractor;
use tenure::key::Key;
use tenure::{Error, Index, RecordId, RecordSet, Store};

use crate::input::Row;

/// What has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Record(RecordId),
    /// The row at this position, which is not stored yet.
    Row(usize),
}

/// Why a row cannot be stored.
#[derive(Debug)]
pub enum Why {
    /// A unique index already has the key.
    Taken { index: String, key: Key, holder: Holder },
    /// The row has a key that an index cannot take.
    NoKey { index: String, error: Error },
}

/// A row that cannot be stored.
#[derive(Debug)]
pub struct Fault {
    /// Its position among the rows.
    pub at: usize,
    pub why: Why,
}

/// Whether a row may be the cause of this error.
pub fn may_be_of_a_row(error: &Error) -> bool {
    matches!(error, Error::UniqueViolation { .. } | Error::KeyTooLong { .. })
}

struct Rule {
    name: String,
    /// Present if the index is unique.
    index: Option<Index>,
    extractor: JsonExtractor,
    taken: HashMap<Key, usize>,
}

/// The rows that cannot be stored if all others are.
pub fn find(store: &Store, set: &RecordSet, rows: &[Row]) -> Result<Vec<Fault>, Error> {
    let mut rules = Vec::new();
    for info in store.indexes(set) {
        // Indexes with a program's own extractor are not checked here; the store refuses to write to such a set anyway.
        let Ok(extractor) = info.spec.parse() else { continue };
        let index = if info.unique { store.find_index(set, &info.name) } else { None };
        rules.push(Rule { name: info.name, index, extractor, taken: HashMap::new() });
    }
    let view = store.view();
    let mut faults = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let mut found = Vec::new();
        let mut why = None;
        for (place, rule) in rules.iter().enumerate() {
            let mut keys = Vec::new();
            if let Err(error) = rule.extractor.keys(&row.bytes, &mut |key| keys.push(key)) {
                why = Some(Why::NoKey { index: rule.name.clone(), error });
                break;
            }
            let Some(index) = &rule.index else { continue };
            for key in keys {
                let stored = match index.between(&view, &(Bound::Included(key.clone()), Bound::Included(key.clone()))) {
                    Ok(mut entries) => entries.next().transpose()?.map(|entry| Holder::Record(entry.id)),
                    // An incomplete index refuses nothing yet.
                    Err(Error::NoSuchIndex { .. }) => None,
                    Err(error) => return Err(error),
                };
                if let Some(holder) = stored.or_else(|| rule.taken.get(&key).copied().map(Holder::Row)) {
                    why = why.or(Some(Why::Taken { index: rule.name.clone(), key, holder }));
                    continue;
                }
                found.push((place, key));
            }
        }
        if let Some(why) = why {
            faults.push(Fault { at, why });
            continue;
        }
        for (place, key) in found {
            if let Some(rule) = rules.get_mut(place) {
                rule.taken.insert(key, at);
            }
        }
    }
    Ok(faults)
}
