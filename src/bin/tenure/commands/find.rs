//! `tenure find`: records by the keys of an index.
//!
//! Owns: which entries are read, and in which direction. Never: reads records that are only counted or listed by ID.

use std::ops::Bound;
use std::path::PathBuf;

use serde_json::json;
use tenure::IndexEntry;
use tenure::key::Key;

use crate::at::At;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::keys::Named;
use crate::output::Output;
use crate::{keys, value};

const EXAMPLES: &str = "\
Examples:
  tenure find things.tenure people.name Ada
  tenure find things.tenure packages.depends libc6 --count
  tenure find things.tenure packages.name --prefix python3- --limit 10 --json
  tenure find things.tenure people.age --from 30 --to 40
  tenure find things.tenure people.age --reverse --limit 3 --ids-only";

/// Print the records with a key, or in a range of keys, of an index
///
/// Write the key as the type of the index requires: strings without quotes, numbers, true or false, timestamps as
/// 2031-05-06T07:08:09Z. For an index whose extractor is a program's own code, write keys as described in docs/keys.md,
/// and record IDs as 12.1. A record with several keys in a range appears once for each.
///
/// Each value is printed as it is, followed by a line break; --raw omits the line break. On a terminal, control
/// characters and direction marks are escaped unless --raw is given. With --json each entry is a line with id, seq,
/// key, bytes and value. If no record has a key, the exit code is 3; a range may be empty.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The set and its index
    #[arg(value_name = "SET.INDEX")]
    index: String,
    /// The key; without a key or a range, all entries
    #[arg(allow_negative_numbers = true, conflicts_with_all = ["from", "to", "prefix"])]
    key: Option<String>,
    /// Start at this key (inclusive)
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    from: Option<String>,
    /// End at this key (exclusive)
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    to: Option<String>,
    /// Only strings that start with this
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,
    /// Start at the other end
    #[arg(long)]
    reverse: bool,
    /// Maximum number of entries to print
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print the number of entries, and no record
    #[arg(long, conflicts_with = "ids_only")]
    count: bool,
    /// Print only IDs
    #[arg(long)]
    ids_only: bool,
    /// Print only the bytes of the values, even on a terminal
    #[arg(long, conflicts_with_all = ["count", "ids_only"])]
    raw: bool,
    #[command(flatten)]
    at: At,
}

/// Finds.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.raw && context.json {
        return Err(Failure::usage("--raw and --json cannot be combined"));
    }
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let named = keys::resolve(&store, &args.store, &args.index)?;
    named.check_ready(&args.store)?;
    let view = store.view();
    let reader = named.reader();
    let range = named.index.between(&view, &bounds(args, &named)?)?;
    let left = range.left();
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut out = Output::stdout()?;
    if args.raw {
        out = out.raw();
    }
    if args.count {
        let count = left.min(limit);
        if context.json {
            out.json(&json!({ "count": count }))?;
        } else {
            out.line(&count.to_string())?;
        }
        return out.finish();
    }
    if let (Some(key), 0) = (&args.key, left) {
        let message = format!("index {:?} has no record with key {:?}", named.name(), key);
        return Err(Failure::new(Exit::NotFound, message, "check the key, or search near it with --from or --prefix"));
    }
    let entries: Box<dyn Iterator<Item = tenure::Result<IndexEntry>>> =
        if args.reverse { Box::new(range.rev()) } else { Box::new(range) };
    for entry in entries.take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        let IndexEntry { key, id } = entry?;
        match (args.ids_only, context.json) {
            (true, true) => out.json(&json!({ "id": id.to_string() }))?,
            (true, false) => out.line(&id.to_string())?,
            (false, true) => {
                let record = view.get(id)?;
                value::print_record(&mut out, &record, &[("key", reader.shown(&key)), ("bytes", json!(record.len()))])?;
            }
            (false, false) => {
                value::print_raw(&mut out, &view.get(id)?)?;
                if !args.raw {
                    out.text("\n")?;
                }
            }
        }
    }
    out.finish()
}

fn bounds(args: &Args, named: &Named) -> Outcome<(Bound<Key>, Bound<Key>)> {
    let reader = named.reader();
    if let Some(key) = &args.key {
        let key = reader.key(key)?;
        return Ok((Bound::Included(key.clone()), Bound::Included(key)));
    }
    if let Some(prefix) = &args.prefix {
        return reader.prefix(prefix);
    }
    let read = |text: &Option<String>| text.as_deref().map(|text| reader.key(text)).transpose();
    let (from, to) = (read(&args.from)?, read(&args.to)?);
    if let (Some(from), Some(to)) = (&from, &to)
        && from > to
    {
        let help = "give the lower bound with --from; --reverse starts at the other end";
        return Err(Failure::new(Exit::Usage, format!("--from {from} is after --to {to}"), help));
    }
    Ok((from.map_or(Bound::Unbounded, Bound::Included), to.map_or(Bound::Unbounded, Bound::Excluded)))
}
