//! `tenure follow`: the tree of records that one record refers to.
//!
//! Owns: the walk, and the marks at its branches. Invariants: 1. No branch visits a record twice: it ends there as a
//! cycle. 2. A subtree that was already printed to at least the same depth is not printed again, so the output grows
//! with the number of references and not with the number of paths.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use tenure::extract::JsonExtractor;
use tenure::key::{Key, KeyKind};
use tenure::{Lookup, RecordId, View};

use crate::at::At;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::keys;
use crate::keys::{Field, KeyReader, Named};
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  tenure follow things.tenure bash --field depends[] --index packages.name
  tenure follow things.tenure 12.1 --field /parts/* --depth 5
  tenure follow things.tenure bash --field depends[] --index packages.name --depth 9 --json";

/// Print what a record refers to, and what that refers to, as a tree
///
/// The field holds record IDs like 12.1, or keys of the index given with --index. Arrays are followed through all their
/// elements, with or without []. Each line shows the key and ID of a record, and possibly a mark: (cycle) if the record
/// already appears on the same branch; (above) if it is printed with all its branches elsewhere above; (more) if it
/// refers to records below --depth; (no such record), (deleted).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The record to start from: its ID, or its key in the index
    #[arg(value_name = "ID|KEY", allow_negative_numbers = true)]
    start: String,
    /// The field that refers to other records: a name like depends[], or a JSON pointer
    #[arg(long)]
    field: String,
    /// The index that maps keys to records
    #[arg(long, value_name = "SET.INDEX")]
    index: Option<String>,
    /// Maximum number of references to follow in a row
    #[arg(long, value_name = "N", default_value_t = 3)]
    depth: u32,
    #[command(flatten)]
    at: At,
}

/// Follows.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let named = args.index.as_deref().map(|name| keys::resolve(&store, &args.store, name)).transpose()?;
    named.iter().try_for_each(|named| named.check_ready(&args.store))?;
    let view = store.view();
    let guide = Guide::new(&view, named, &args.field)?;
    let start = guide.start(&args.start)?;
    let mut out = Output::stdout()?;
    walk(&guide, start, args.depth, &mut |line| {
        if context.json { out.json(&line.json()) } else { out.line(&line.text()) }
    })?;
    out.finish()
}

/// The target of a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Live(RecordId),
    Deleted(RecordId),
    Nothing,
}

/// A reference: its text and its target.
#[derive(Clone, Debug)]
struct Reference {
    key: Option<Key>,
    target: Target,
}

/// The mark of a record in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    Cycle,
    Above,
    More,
    Deleted,
    Nothing,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cycle => "cycle",
            Self::Above => "above",
            Self::More => "more",
            Self::Deleted => "deleted",
            Self::Nothing => "no such record",
        }
    }
}

/// A line of the tree.
struct Line<'a> {
    /// Whether the branch at each depth continues below.
    branches: &'a [bool],
    parent: Option<RecordId>,
    reference: &'a Reference,
    state: State,
    /// How keys are written.
    reader: Option<&'a KeyReader>,
}

impl Line<'_> {
    fn id(&self) -> Option<RecordId> {
        match self.reference.target {
            Target::Live(id) | Target::Deleted(id) => Some(id),
            Target::Nothing => None,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some((goes_on, before)) = self.branches.split_last() {
            for goes_on in before {
                text.push_str(if *goes_on { "│   " } else { "    " });
            }
            text.push_str(if *goes_on { "├── " } else { "└── " });
        }
        let key = self.reference.key.as_ref().map(|key| one_line(&plain(self.reader, key)));
        let names: Vec<String> = key.into_iter().chain(self.id().map(|id| id.to_string())).collect();
        text.push_str(&names.join(" "));
        if self.state != State::Live {
            text.push_str(" (");
            text.push_str(self.state.word());
            text.push(')');
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "depth": self.branches.len(),
            "key": self.reference.key.as_ref().map(|key| self.reader.map_or_else(|| keys::json(key), |reader| reader.shown(key))),
            "id": self.id().map(|id| id.to_string()),
            "parent": self.parent.map(|id| id.to_string()),
            "state": self.state.word(),
        })
    }
}

/// Finds the references of a record.
struct Guide<'v> {
    view: &'v View,
    named: Option<(Named, KeyReader)>,
    /// With every element of an array, and with the field itself.
    fields: Vec<JsonExtractor>,
}

impl<'v> Guide<'v> {
    fn new(view: &'v View, named: Option<Named>, field: &str) -> Outcome<Self> {
        let named = named.map(|named| {
            let reader = named.reader();
            (named, reader)
        });
        let json = named.as_ref().and_then(|(_named, reader)| reader.json());
        let (kind, lowercase) = json.map_or((KeyKind::String, false), |json| (json.kind(), json.is_lowercase()));
        let one = Field::new(field, kind, lowercase)?.extractor;
        let mut fields = vec![one];
        if !fields.iter().any(|field| field.pointer().ends_with("/*")) {
            let each = format!("{}/*", fields.first().map_or("", JsonExtractor::pointer));
            fields.push(Field::new(&each, kind, lowercase)?.extractor);
        }
        Ok(Self { view, named, fields })
    }

    fn start(&self, text: &str) -> Outcome<Reference> {
        let by_key = match &self.named {
            Some((_named, reader)) => reader.key(text).map(|key| self.by_key(key)),
            None => Ok(Ok(None)),
        };
        let by_id = text.parse::<RecordId>();
        let found = match (by_key, &by_id) {
            (Ok(found), _) => found?,
            // The text of an ID need not be a valid key.
            (Err(_no_key), Ok(_)) => None,
            (Err(error), Err(_)) => return Err(error.into()),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        match (by_id, &self.named) {
            (Ok(id), _) => {
                let record = self.view.get(id)?;
                Ok(Reference { key: self.key_of(&record.bytes()?), target: Target::Live(id) })
            }
            (Err(_), Some((named, _))) => {
                let message = format!("index {:?} has no record with key {text:?}", named.name());
                Err(Failure::new(Exit::NotFound, message, "look for the key with `tenure find`, or start at an ID"))
            }
            (Err(error), None) => Err(Failure::new(
                Exit::Usage,
                error.to_string(),
                "name the index that maps keys to records with --index",
            )),
        }
    }

    fn by_key(&self, key: Key) -> Outcome<Option<Reference>> {
        let Some((named, _reader)) = &self.named else { return Ok(None) };
        let bounds = (std::ops::Bound::Included(key.clone()), std::ops::Bound::Included(key.clone()));
        let first = named.index.between(self.view, &bounds)?.next().transpose()?;
        Ok(first.map(|entry| Reference { key: Some(key), target: Target::Live(entry.id) }))
    }

    fn reader(&self) -> Option<&KeyReader> {
        self.named.as_ref().map(|(_named, reader)| reader)
    }

    /// The first key of a record in the index.
    fn key_of(&self, bytes: &[u8]) -> Option<Key> {
        let json = self.named.as_ref().and_then(|(_named, reader)| reader.json())?;
        keys_of(json, bytes).ok()?.into_iter().next()
    }

    /// The references of a record, in key order.
    fn references(&self, id: RecordId) -> Outcome<Vec<Reference>> {
        let record = self.view.get(id)?;
        let bytes = record.bytes()?;
        let mut found = Vec::new();
        for field in &self.fields {
            for key in keys_of(field, &bytes)? {
                found.push(self.reference(key)?);
            }
        }
        Ok(found)
    }

    fn reference(&self, key: Key) -> Outcome<Reference> {
        if let Some(found) = self.by_key(key.clone())? {
            return Ok(found);
        }
        let Ok(id) = plain(self.reader(), &key).parse::<RecordId>() else {
            return Ok(Reference { key: Some(key), target: Target::Nothing });
        };
        Ok(match self.view.lookup(id)? {
            Lookup::Live(record) => Reference { key: self.key_of(&record.bytes()?), target: Target::Live(id) },
            Lookup::Deleted => Reference { key: None, target: Target::Deleted(id) },
            Lookup::NeverAllocated => Reference { key: Some(key), target: Target::Nothing },
        })
    }
}

fn keys_of(field: &JsonExtractor, bytes: &[u8]) -> Result<Vec<Key>, tenure::Error> {
    let mut found = Vec::new();
    field.keys(bytes, &mut |key| found.push(key))?;
    Ok(found)
}

fn plain(reader: Option<&KeyReader>, key: &Key) -> String {
    reader.map_or_else(|| keys::plain(key), |reader| reader.plain(key))
}

/// A record whose references are being followed.
struct Open {
    id: RecordId,
    rest: std::vec::IntoIter<Reference>,
}

fn walk(guide: &Guide<'_>, start: Reference, depth: u32, print: &mut dyn FnMut(&Line<'_>) -> Outcome) -> Outcome {
    // The depth to which each record printed so far has been followed.
    let mut followed: HashMap<RecordId, u32> = HashMap::new();
    let mut way: Vec<Open> = Vec::new();
    let mut branches: Vec<bool> = Vec::new();
    let mut next = Some(start);
    loop {
        let Some(reference) = next.take() else {
            let Some(open) = way.last_mut() else { return Ok(()) };
            if let Some(reference) = open.rest.next() {
                branches.push(open.rest.len() > 0);
                next = Some(reference);
            } else {
                way.pop();
                branches.pop();
            }
            continue;
        };
        let left = depth.saturating_sub(u32::try_from(way.len()).unwrap_or(u32::MAX));
        let mut below = Vec::new();
        let state = match reference.target {
            Target::Nothing => State::Nothing,
            Target::Deleted(_) => State::Deleted,
            Target::Live(id) if way.iter().any(|open| open.id == id) => State::Cycle,
            Target::Live(id) => {
                below = guide.references(id)?;
                match (below.is_empty(), left, followed.get(&id)) {
                    (false, 0, _) => State::More,
                    (false, left, Some(before)) if *before >= left => State::Above,
                    _ => State::Live,
                }
            }
        };
        let parent = way.last().map(|open| open.id);
        print(&Line { branches: &branches, parent, reference: &reference, state, reader: guide.reader() })?;
        match reference.target {
            Target::Live(id) if state == State::Live && !below.is_empty() => {
                followed.insert(id, left);
                way.push(Open { id, rest: below.into_iter() });
            }
            _ => drop(branches.pop()),
        }
    }
}
