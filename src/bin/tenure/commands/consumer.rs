//! `tenure consumer`: lists, adds and removes consumers of the changes, and acknowledges for them.
//!
//! Owns: what is said about one. Never: reads changes; `tenure changes --consumer` does.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use tenure::{ConsumerStats, Seq, Store};

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::table::Table;
use crate::{ending, units};

const EXAMPLES: &str = "\
Examples:
  tenure consumer add things.tenure mirror
  tenure changes things.tenure --consumer mirror --json
  tenure consumer acknowledge things.tenure mirror
  tenure consumer list things.tenure
  tenure consumer remove things.tenure mirror";

const ADD_EXAMPLES: &str = "\
Examples:
  tenure consumer add things.tenure audit
  tenure consumer add things.tenure audit-of-all --since 4";

const ACKNOWLEDGE_EXAMPLES: &str = "\
Examples:
  tenure consumer acknowledge things.tenure mirror 4
  tenure consumer acknowledge things.tenure mirror";

const LIST_EXAMPLES: &str = "\
Examples:
  tenure consumer list things.tenure
  tenure consumer list things.tenure --json | jq -r .name";

const REMOVE_EXAMPLES: &str = "\
Examples:
  tenure consumer remove things.tenure mirror";

/// List, add and remove consumers of the changes, and acknowledge for them
///
/// A consumer is a name in the store, with the last commit that it has acknowledged: the log after that is kept until it
/// acknowledges more.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Add(Add),
    Acknowledge(Acknowledge),
    List(List),
    Remove(Remove),
}

/// Add a consumer, for which the log is kept from now on
#[derive(Debug, clap::Args)]
#[command(after_help = ADD_EXAMPLES)]
struct Add {
    /// The store
    store: PathBuf,
    /// The name
    name: String,
    /// It has everything up to this commit; without it, up to the last one
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
}

/// Say that a consumer has everything up to a commit, so that it need not be kept
#[derive(Debug, clap::Args)]
#[command(after_help = ACKNOWLEDGE_EXAMPLES)]
struct Acknowledge {
    /// The store
    store: PathBuf,
    /// The name
    name: String,
    /// The commit; without it, the last one. An earlier one than before changes nothing
    seq: Option<u64>,
}

/// List the consumers, with the bytes that are kept for each alone
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// The store
    store: PathBuf,
}

/// Remove a consumer: nothing is kept for it any more
#[derive(Debug, clap::Args)]
#[command(after_help = REMOVE_EXAMPLES)]
struct Remove {
    /// The store
    store: PathBuf,
    /// The name
    name: String,
}

/// Lists, adds, acknowledges or removes.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.what {
        What::Add(args) => {
            let store = context.open_to_write(&args.store)?;
            let since = args.since.map_or_else(|| store.last_seq(), Seq);
            drop(store.add_consumer(&args.name, since)?);
            say_position(context, store, &args.name, "is added")
        }
        What::Acknowledge(args) => {
            let store = context.open_to_write(&args.store)?;
            store.sync()?;
            let consumer = store.consumer(&args.name)?;
            consumer.acknowledge(args.seq.map_or_else(|| store.last_seq(), Seq))?;
            drop(consumer);
            say_position(context, store, &args.name, "has acknowledged")
        }
        What::List(args) => list(context, args),
        What::Remove(args) => remove(context, args),
    }
}

/// Closes the store, and says where a consumer is.
fn say_position(context: &Context, store: Store, name: &str, what: &str) -> Outcome {
    let mut out = Output::stdout()?;
    let seq = store.consumer(name)?.position()?;
    ending::finish(store, &format!("consumer {name:?} {what}"), || {
        if context.json {
            out.json(&json!({ "name": name, "seq": seq.0 }))?;
        } else {
            out.line(&format!("consumer {name:?} has acknowledged commit {seq}"))?;
        }
        out.finish()
    })
}

fn list(context: &Context, args: &List) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_read(&args.store)?;
    let consumers = store.stats().consumers;
    if context.json {
        consumers.iter().try_for_each(|consumer| out.json(&document(consumer)))?;
        return out.finish();
    }
    let mut table = Table::new(&["COMMIT>", "KEPT>", "STATE", "NAME"]);
    for consumer in &consumers {
        let state = if consumer.is_dropped { "dropped" } else { "kept" };
        let bytes = units::bytes(consumer.kept_bytes);
        table.row(&[consumer.seq.to_string(), bytes, state.to_owned(), consumer.name.clone()]);
    }
    table.print(&mut out)?;
    out.finish()
}

fn document(consumer: &ConsumerStats) -> Value {
    json!({
        "name": consumer.name, "seq": consumer.seq.0, "kept_bytes": consumer.kept_bytes, "dropped": consumer.is_dropped,
    })
}

fn remove(context: &Context, args: &Remove) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    store.remove_consumer(&args.name)?;
    ending::finish(store, &format!("consumer {:?} is removed", args.name), || {
        if context.json {
            out.json(&json!({ "removed": args.name }))?;
        } else {
            out.line(&format!("consumer {:?} removed", args.name))?;
        }
        out.finish()
    })
}
