//! `tenure index`: creates, lists, drops and verifies key indexes.
//!
//! Owns: the subcommands. Never: creates a set; a misspelled name would leave one behind.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use tenure::key::KeyKind;
use tenure::{IndexInfo, Store};

use crate::context::{Context, existing_set};
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::keys::Field;
use crate::output::Output;
use crate::table::Table;
use crate::{ending, keys, units};

const EXAMPLES: &str = "\
Examples:
  tenure index create things.tenure people name --pointer /name --unique
  tenure index list things.tenure
  tenure index verify things.tenure
  tenure index rebuild things.tenure people.name
  tenure index drop things.tenure people.name";

const CREATE_EXAMPLES: &str = "\
Examples:
  tenure index create things.tenure people name --pointer /name --unique
  tenure index create things.tenure people age --pointer /age --type integer
  tenure index create things.tenure people city --pointer /address/city --lower
  tenure index create things.tenure packages depends --pointer '/depends/*'";

const LIST_EXAMPLES: &str = "\
Examples:
  tenure index list things.tenure
  tenure index list things.tenure --set people --json";

const DROP_EXAMPLES: &str = "\
Examples:
  tenure index drop things.tenure people.name";

const REBUILD_EXAMPLES: &str = "\
Examples:
  tenure index rebuild things.tenure people.name";

const VERIFY_EXAMPLES: &str = "\
Examples:
  tenure index verify things.tenure
  tenure index verify things.tenure people.name people.age --json

The exit code is 4 when an index differs from the records.";

/// Create, list, drop, rebuild and verify key indexes
///
/// An index maps keys in JSON records to the records. `tenure find` reads it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(Create),
    List(List),
    Drop(Drop),
    Rebuild(Rebuild),
    Verify(Verify),
}

/// Create an index of a set
///
/// The index covers existing and future records. A record without the field, or with a value of another type, has no
/// key and is not in the index. If the same index already exists, it is left as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct Create {
    /// The store
    store: PathBuf,
    /// The set
    set: String,
    /// The name of the index
    name: String,
    /// Where the key is: a JSON pointer, in which * matches every element of an array
    #[arg(long)]
    pointer: String,
    /// The key type: string, integer, float, bool, timestamp or id
    #[arg(long = "type", value_name = "TYPE", default_value = "string", value_parser = kind)]
    kind: KeyKind,
    /// Refuse records whose key another record has
    #[arg(long)]
    unique: bool,
    /// Convert strings to lower case
    #[arg(long)]
    lower: bool,
}

/// List the indexes
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// The store
    store: PathBuf,
    /// List only the indexes of this set
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
}

/// Drop an index; the records stay
#[derive(Debug, clap::Args)]
#[command(after_help = DROP_EXAMPLES)]
struct Drop {
    /// The store
    store: PathBuf,
    /// The set and its index
    #[arg(value_name = "SET.INDEX")]
    index: String,
}

/// Rebuild an index from the records
///
/// Also completes an index whose build was interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = REBUILD_EXAMPLES)]
struct Rebuild {
    /// The store
    store: PathBuf,
    /// The set and its index
    #[arg(value_name = "SET.INDEX")]
    index: String,
}

/// Compare indexes with the records
#[derive(Debug, clap::Args)]
#[command(after_help = VERIFY_EXAMPLES)]
struct Verify {
    /// The store
    store: PathBuf,
    /// The set and its index; by default, all indexes
    #[arg(value_name = "SET.INDEX")]
    indexes: Vec<String>,
}

fn kind(text: &str) -> Result<KeyKind, String> {
    text.parse().map_err(|error: tenure::Error| error.to_string())
}

/// Runs the subcommand.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.what {
        What::Create(args) => create(context, args),
        What::List(args) => list(context, args),
        What::Drop(args) => drop_index(context, args),
        What::Rebuild(args) => rebuild(context, args),
        What::Verify(args) => verify(context, args),
    }
}

fn create(context: &Context, args: &Create) -> Outcome {
    let out = Output::stdout()?;
    let field = Field::new(&args.pointer, args.kind, args.lower)?;
    let field = Field { name: args.name.clone(), ..field };
    let store = context.open_to_write(&args.store)?;
    let set = existing_set(&store, &args.set)?;
    keys::ensure(&store, &set, &field, args.unique)?;
    let records = store.view().len(&set);
    let is_empty = store.indexes(&set).iter().any(|info| info.name == args.name && info.entries == 0);
    if is_empty && records > 0 {
        let records = format!("any of {}", units::counted(records, "record"));
        keys::warn_of_no_keys(&store, &set, &args.name, &field.extractor.to_string(), &records);
    }
    made(context, out, store, &args.store, &format!("{}.{}", set.name(), args.name))
}

/// Makes a new index durable, and reports it.
fn made(context: &Context, mut out: Output, store: Store, path: &Path, name: &str) -> Outcome {
    settled(&store, path)?;
    let named = keys::resolve(&store, path, name)?;
    ending::finish(store, &format!("index {name} is stored"), || {
        if context.json {
            out.json(&document(named.set.name(), &named.info))?;
        } else {
            let entries = if named.info.entries == 1 { "entry" } else { "entries" };
            out.line(&format!("{name}: {} {entries}", units::count(named.info.entries)))?;
        }
        out.finish()
    })
}

fn settled(store: &Store, path: &Path) -> Outcome {
    ending::committed(ending::sync(store), || format!("run `tenure index list {}`", path.display()))
}

fn document(set: &str, info: &IndexInfo) -> serde_json::Value {
    json!({
        "set": set, "index": info.name, "unique": info.unique, "keys": info.spec, "extractor": info.extractor,
        "version": info.version, "complete": info.ready, "entries": info.entries,
    })
}

fn list(context: &Context, args: &List) -> Outcome {
    let store = context.open_to_read(&args.store)?;
    let sets = match &args.set {
        Some(name) => vec![existing_set(&store, name)?],
        None => store.record_sets(),
    };
    let mut out = Output::stdout()?;
    let mut table = Table::new(&["INDEX", "KEYS", "UNIQUE", "ENTRIES>", "COMPLETE"]);
    let word = |is: bool| if is { "yes" } else { "no" }.to_owned();
    for set in &sets {
        for info in store.indexes(set) {
            if context.json {
                out.json(&document(set.name(), &info))?;
                continue;
            }
            let (name, entries) = (format!("{}.{}", set.name(), info.name), units::count(info.entries));
            table.row(&[name, spec(&info), word(info.unique), entries, word(info.ready)]);
        }
    }
    if !context.json {
        table.print(&mut out)?;
    }
    out.finish()
}

/// How the index computes its keys.
fn spec(info: &IndexInfo) -> String {
    if info.spec.is_empty() { format!("{}, version {}", info.extractor, info.version) } else { info.spec.clone() }
}

fn drop_index(context: &Context, args: &Drop) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    let named = keys::resolve(&store, &args.store, &args.index)?;
    store.drop_index(&named.index)?;
    settled(&store, &args.store)?;
    let name = named.name();
    ending::finish(store, &format!("the drop of index {name} is stored"), || {
        if context.json {
            out.json(&json!({ "dropped": name }))?;
        } else {
            out.line(&format!("dropped {name}"))?;
        }
        out.finish()
    })
}

fn rebuild(context: &Context, args: &Rebuild) -> Outcome {
    let out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    let named = keys::resolve(&store, &args.store, &args.index)?;
    let Some(json) = named.reader().json().cloned() else {
        let message = format!("index {:?} is maintained by a program's own code: {}", named.name(), spec(&named.info));
        return Err(Failure::new(Exit::Failed, message, "drop it and let that program open it, which rebuilds it"));
    };
    let field = Field { name: named.info.name.clone(), extractor: json };
    keys::rebuild(&store, &named, &field)
        .map_err(|failure| failure.and_help("the index is dropped: create it again with `tenure index create`"))?;
    made(context, out, store, &args.store, &named.name())
}

fn verify(context: &Context, args: &Verify) -> Outcome {
    let store = context.open_to_read(&args.store)?;
    let mut asked = args.indexes.clone();
    if asked.is_empty() {
        for set in store.record_sets() {
            asked.extend(store.indexes(&set).iter().map(|info| format!("{}.{}", set.name(), info.name)));
        }
    }
    let named = asked.iter().map(|name| keys::resolve(&store, &args.store, name)).collect::<Outcome<Vec<_>>>()?;
    named.iter().try_for_each(|named| named.check_ready(&args.store))?;
    let mut out = Output::stdout()?;
    let mut first = None;
    for named in &named {
        let problems = store.verify_index(&named.index)?;
        let (name, entries) = (named.name(), named.info.entries);
        if context.json {
            out.json(&json!({
                "index": name, "ok": problems.is_empty(), "entries": entries, "problems": problems,
            }))?;
        } else {
            problems.iter().try_for_each(|problem| out.line(&one_line(&format!("problem: {name}: {problem}"))))?;
            let verdict = match problems.len() {
                0 => "consistent with the records".to_owned(),
                count => format!("{} found", units::counted(u64::try_from(count).unwrap_or(u64::MAX), "problem")),
            };
            out.line(&format!("{name}: {} entries, {verdict}", units::count(entries)))?;
        }
        first = first.or_else(|| problems.first().map(|problem| format!("index {name:?}: {problem}")));
    }
    out.finish()?;
    match first {
        None => Ok(()),
        Some(message) => Err(Failure::new(Exit::Corrupt, message, "rebuild it with `tenure index rebuild`")),
    }
}
