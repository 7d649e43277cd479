//! Key indexes as the command line names them: `SET.INDEX`, fields of JSON, keys as plain text.
//!
//! Owns: parsing these, and creating an index unless another one has its name. Never: guesses the type of a key. The
//! index's line states it; keys of an index whose extractor is a program's own code are written in the text form of
//! `docs/keys.md`, with record IDs as IDs.

use std::ops::Bound;
use std::path::Path;

use serde_json::Value;
use tenure::extract::JsonExtractor;
use tenure::key::{Key, KeyKind, KeyValue, prefix_range, text_range};
use tenure::{Error, Index, IndexInfo, RecordId, RecordSet, Store};

use crate::failure::{Exit, Failure, Outcome};
use crate::hints::why_no_keys;
use crate::id_keys::IdKeys;
use crate::output::note;

/// A field of JSON records: its pointer, its type, and the name of an index over it.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub extractor: JsonExtractor,
}

impl Field {
    /// Parses `name`, `depends[]`, `/address/city` and `/depends/*`, optionally followed by `:TYPE` and `:lower`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, lowercase) = text.strip_suffix(":lower").map_or((text, false), |rest| (rest, true));
        let typed = rest.rsplit_once(':').and_then(|(path, kind)| Some((path, kind.parse::<KeyKind>().ok()?)));
        let (path, kind) = typed.unwrap_or((rest, KeyKind::String));
        Self::new(path, kind, lowercase).map_err(|error| error.to_string())
    }

    /// A field of this type.
    pub fn new(path: &str, kind: KeyKind, lowercase: bool) -> Result<Self, Error> {
        let pointer = pointer(path);
        let extractor = JsonExtractor::new(&pointer, kind)?;
        let extractor = if lowercase { extractor.lowercase()? } else { extractor };
        let steps = pointer.split('/').filter(|step| !step.is_empty() && *step != "*");
        let name = steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect::<Vec<_>>().join(".");
        Ok(Self { name: if name.is_empty() { "value".to_owned() } else { name }, extractor })
    }
}

/// The JSON pointer of a field; a plain name is a member.
fn pointer(path: &str) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    let (member, all) = path.strip_suffix("[]").map_or((path, ""), |member| (member, "/*"));
    format!("/{}{all}", member.replace('~', "~0").replace('/', "~1"))
}

/// Warns on stderr that an index got no key from any of these records, with a possible reason.
pub fn warn_of_no_keys(store: &Store, set: &RecordSet, index: &str, spec: &str, records: &str) {
    let Ok(extractor) = spec.parse() else { return };
    let why = why_no_keys(&store.view(), set, &extractor);
    note(&format!("warning: index {index:?} of set {:?} got no key from {records}: {why}", set.name()));
}

/// An index found by its name.
pub struct Named {
    pub set: RecordSet,
    pub index: Index,
    pub info: IndexInfo,
}

impl Named {
    /// Its name on the command line.
    pub fn name(&self) -> String {
        format!("{}.{}", self.set.name(), self.info.name)
    }

    /// How the keys of the index are written.
    pub fn reader(&self) -> KeyReader {
        let json: Option<JsonExtractor> = self.info.spec.parse().ok();
        let is_id = json.as_ref().is_some_and(|json| json.kind() == KeyKind::Id);
        KeyReader { ids: IdKeys::of(if is_id { "id" } else { &self.info.key_type }), json }
    }

    /// Refuses an index whose build is not complete.
    pub fn check_ready(&self, store: &Path) -> Outcome {
        if self.info.ready {
            return Ok(());
        }
        let help = format!(
            "wait for the process that builds it; if there is none, run `tenure index rebuild {} {}`",
            store.display(),
            self.name()
        );
        Err(Failure::new(Exit::Failed, format!("index {:?} is not complete yet", self.name()), help))
    }
}

/// The index that `SET.INDEX` names. Both names may contain dots.
pub fn resolve(store: &Store, path: &Path, text: &str) -> Outcome<Named> {
    let mut found = Vec::new();
    for (at, _dot) in text.match_indices('.') {
        let (Some(set), Some(name)) = (text.get(..at), text.get(at + 1..)) else { continue };
        let Some(set) = store.find_set(set) else { continue };
        let info = store.indexes(&set).into_iter().find(|info| info.name == name);
        if let (Some(info), Some(index)) = (info, store.find_index(&set, name)) {
            found.push(Named { set, index, info });
        }
    }
    match found.len() {
        1 => found.pop().ok_or_else(|| missing(path, text)),
        0 if !text.contains('.') => {
            let message = format!("{text:?} does not name an index");
            Err(Failure::new(Exit::Usage, message, "write it as SET.INDEX, for example packages.name"))
        }
        0 => Err(missing(path, text)),
        _ => {
            let message = format!("{text:?} is ambiguous, since names of sets and indexes contain dots");
            Err(Failure::new(Exit::Usage, message, "use the library, which takes the two names separately"))
        }
    }
}

fn missing(path: &Path, text: &str) -> Failure {
    let list = format!("`tenure index list {}`", path.display());
    let help = format!("list the indexes with {list}, or create it first");
    Failure::new(Exit::NotFound, format!("there is no index {text:?}"), help)
}

/// Parses the keys of an index from plain text.
pub struct KeyReader {
    json: Option<JsonExtractor>,
    ids: Option<IdKeys>,
}

impl KeyReader {
    /// The extractor, if it is stored in the store.
    pub fn json(&self) -> Option<&JsonExtractor> {
        self.json.as_ref()
    }

    /// A key.
    pub fn key(&self, text: &str) -> Result<Key, Error> {
        match &self.json {
            Some(json) if json.is_lowercase() => json.kind().key(&text.to_lowercase()),
            Some(json) => json.kind().key(text),
            None => self.ids.as_ref().map_or_else(|| text.parse(), |ids| ids.read(text)),
        }
    }

    /// A key in JSON, with record IDs as IDs.
    pub fn shown(&self, key: &Key) -> Value {
        let is_null = matches!(key.values().as_deref(), Ok([KeyValue::Null]));
        let ids = self.ids.as_ref().filter(|_| !is_null);
        ids.map_or_else(|| json(key), |ids| Value::from(ids.show(key)))
    }

    /// A key as people write it, with record IDs as IDs.
    pub fn plain(&self, key: &Key) -> String {
        self.ids.as_ref().map_or_else(|| plain(key), |ids| ids.show(key))
    }

    /// The keys with a prefix: strings that start with these characters or, if the type is unknown, lists that start
    /// with these components.
    pub fn prefix(&self, text: &str) -> Outcome<(Bound<Key>, Bound<Key>)> {
        let key = self.key(text)?;
        match &self.json {
            None => Ok(prefix_range(&key)),
            Some(json) if json.kind() == KeyKind::String => Ok(text_range(&key)?),
            Some(json) => {
                let message =
                    format!("--prefix needs an index of strings, but this one has keys of type {}", json.kind());
                Err(Failure::new(Exit::Usage, message, "give a range with --from and --to"))
            }
        }
    }
}

/// A key as people write it: a single string without quotes, anything else in the text form.
pub fn plain(key: &Key) -> String {
    match key.values().as_deref() {
        Ok([KeyValue::String(text)]) => text.clone(),
        _ => key.to_string(),
    }
}

/// A key in JSON: as a JSON value if there is a type for it, as text otherwise.
pub fn json(key: &Key) -> Value {
    match key.values().as_deref() {
        Ok([KeyValue::String(text)]) => Value::from(text.as_str()),
        Ok([KeyValue::Bool(value)]) => Value::from(*value),
        Ok([KeyValue::Null]) => Value::Null,
        Ok([KeyValue::Float(value)]) if value.is_finite() => Value::from(*value),
        Ok([KeyValue::Integer(number)]) => {
            let text = number.to_string();
            let number = text.parse::<i64>().map(Value::from);
            number.or_else(|_wide| text.parse::<u64>().map(Value::from)).unwrap_or(Value::from(text))
        }
        _ => Value::from(key.to_string()),
    }
}

/// The index over a field: created, or the existing one if it is the same.
pub fn ensure(store: &Store, set: &RecordSet, field: &Field, is_unique: bool) -> Outcome<Index> {
    let (name, line) = (&field.name, field.extractor.to_string());
    let there = store.indexes(set).into_iter().find(|info| info.name == *name);
    if let Some(there) = there.filter(|there| there.unique != is_unique || there.spec != line) {
        let spec = if there.spec.is_empty() { there.extractor } else { there.spec };
        let unique = if there.unique { "unique" } else { "not unique" };
        let message = format!("set {:?} already has another index {name:?}: {spec}, {unique}", set.name());
        return Err(Failure::new(
            Exit::Failed,
            message,
            "drop it first with `tenure index drop`, or choose another name",
        ));
    }
    let extractor = tenure::extract::Extractor::json(field.extractor.clone());
    let made = if is_unique { store.unique_index(set, name, extractor) } else { store.index(set, name, extractor) };
    made.map_err(|error| not_made(store, set, field, error))
}

/// The index, rebuilt from the records.
pub fn rebuild(store: &Store, named: &Named, field: &Field) -> Outcome<Index> {
    store.rebuild_index(&named.index).map_err(|error| not_made(store, &named.set, field, error))
}

fn not_made(store: &Store, set: &RecordSet, field: &Field, error: Error) -> Failure {
    match error {
        Error::UniqueViolation { index, key, .. } => twice(store, set, field, &index, &key.to_string()),
        other => other.into(),
    }
}

/// Names the two records with the key.
fn twice(store: &Store, set: &RecordSet, field: &Field, index: &str, key: &str) -> Failure {
    let view = store.view();
    let has_key = |id: RecordId| {
        let mut has = false;
        let bytes = view.get(id).and_then(|record| record.to_vec()).unwrap_or_default();
        // A record whose keys cannot be determined is not one of the two.
        let told = field.extractor.keys(&bytes, &mut |found| has |= found.to_string() == key);
        told.is_ok() && has
    };
    let ids = view.scan(set).filter_map(|record| record.ok().map(|record| record.id()));
    let ids: Vec<String> = ids.filter(|id| has_key(*id)).take(2).map(|id| id.to_string()).collect();
    let message = format!(
        "unique index {index:?} of set {:?} cannot be created: records {} have key {key}",
        set.name(),
        ids.join(" and ")
    );
    Failure::new(Exit::BadInput, message, "change or delete one of them, or create an index that is not unique")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_names_or_pointers() {
        for (text, name, line) in [
            ("name", "name", "json:/name:string"),
            ("depends[]", "depends", "json:/depends/*:string"),
            ("/depends/*", "depends", "json:/depends/*:string"),
            ("/address/city:string:lower", "address.city", "json:/address/city:string:lower"),
            ("name:lower", "name", "json:/name:string:lower"),
            ("size:integer", "size", "json:/size:integer"),
            ("a:b", "a:b", "json:/a:b:string"),
            ("a/b~c", "a/b~c", "json:/a~1b~0c:string"),
            ("", "value", "json::string"),
        ] {
            let field = Field::parse(text).unwrap();
            assert_eq!((field.name.as_str(), field.extractor.to_string().as_str()), (name, line), "{text:?}");
        }
        for text in ["size:integer:lower", "name:bytes", "/a/~2"] {
            assert!(Field::parse(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn keys_are_shown_as_json_has_them() {
        let shown = |kind: KeyKind, text: &str| json(&kind.key(text).unwrap()).to_string();
        assert_eq!(shown(KeyKind::String, "a\"b"), "\"a\\\"b\"");
        assert_eq!(shown(KeyKind::Integer, "-7"), "-7");
        assert_eq!(shown(KeyKind::Integer, "18446744073709551616"), "\"18446744073709551616\"");
        assert_eq!(shown(KeyKind::Float, "inf"), "\"inf\"");
        assert_eq!(shown(KeyKind::Timestamp, "0"), "\"@1970-01-01T00:00:00Z\"");
        assert_eq!(plain(&KeyKind::String.key("a b").unwrap()), "a b");
    }
}
