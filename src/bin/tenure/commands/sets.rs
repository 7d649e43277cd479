//! `tenure sets`: the record sets of a store.

use std::path::PathBuf;

use serde_json::json;

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::table::Table;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  tenure sets things.tenure
  tenure sets things.tenure --json | jq -r .name";

/// List the record sets
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
}

/// Lists sets.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read(&args.store)?;
    let stats = store.stats();
    let mut out = Output::stdout();
    let mut table = Table::new(&["NAME", "RECORDS>", "SIZE>"]);
    for set in &stats.sets {
        if context.json {
            out.json(&json!({ "name": set.name, "records": set.records, "bytes": set.bytes }))?;
        }
        table.row(&[set.name.clone(), units::count(set.records), units::bytes(set.bytes)]);
    }
    if !context.json {
        table.print(&mut out)?;
    }
    out.finish()
}
