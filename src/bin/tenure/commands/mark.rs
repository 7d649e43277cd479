//! `tenure mark`: names the current commit, or lists and drops such marks.

use std::path::PathBuf;

use serde_json::json;

use crate::context::Context;
use crate::ending;
use crate::failure::Outcome;
use crate::output::Output;
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  tenure mark things.tenure 'before the import'
  tenure mark things.tenure --list
  tenure mark things.tenure 'before the import' --drop";

/// Mark the current state with a name, or list the marks
///
/// A mark is a small item in the log; it costs one commit.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The name of the mark
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    name: Option<String>,
    /// List the marks and set none
    #[arg(long)]
    list: bool,
    /// Drop the mark of this name
    #[arg(long, conflicts_with = "list")]
    drop: bool,
}

/// Sets, lists or drops marks.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    if let Some(name) = args.name.as_ref().filter(|_| args.drop) {
        let store = context.open_to_write(&args.store)?;
        ending::committed(store.drop_mark(name), || {
            format!("run `tenure mark {} --list`: it lists the mark if it is still there", args.store.display())
        })?;
        return ending::finish(store, &format!("the mark {name:?} is dropped"), || {
            if context.json {
                out.json(&json!({ "dropped": name }))?;
            } else {
                out.line(&format!("dropped mark {name:?}"))?;
            }
            out.finish()
        });
    }
    if let Some(name) = &args.name {
        let store = context.open_to_write(&args.store)?;
        let seq = ending::committed(store.mark(name), || {
            format!("run `tenure mark {} --list`: it lists the mark if it is stored", args.store.display())
        })?;
        return ending::finish(store, &format!("the mark of commit {seq} as {name:?} is stored"), || {
            if context.json {
                out.json(&json!({ "name": name, "seq": seq.0 }))?;
            } else {
                out.line(&format!("marked commit {seq} as {name:?}"))?;
            }
            out.finish()
        });
    }
    let store = context.open_to_read(&args.store)?;
    let mut table = Table::new(&["COMMIT>", "NAME"]);
    for mark in store.marks() {
        if context.json {
            out.json(&json!({ "name": mark.name, "seq": mark.seq.0 }))?;
        }
        table.row(&[mark.seq.to_string(), mark.name]);
    }
    if !context.json {
        table.print(&mut out)?;
    }
    out.finish()
}
