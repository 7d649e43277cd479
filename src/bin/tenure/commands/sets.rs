//! `tenure sets`: the record sets of a store.

use std::path::PathBuf;

use serde_json::json;

use crate::at::At;
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
///
/// SIZE is the space of the records in the log, headers included. Values above 65,504 bytes are stored in chunks that
/// belong to no set: for such a value SIZE counts only the record that lists the chunks. The number and size of chunks
/// are shown below the table and in `tenure stat`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    #[command(flatten)]
    at: At,
}

/// Lists sets.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let stats = store.stats();
    let mut out = Output::stdout()?;
    let mut table = Table::new(&["NAME", "RECORDS>", "SIZE>"]);
    for set in &stats.sets {
        if context.json {
            out.json(&json!({ "name": set.name, "records": set.records, "bytes": set.bytes }))?;
        }
        table.row(&[set.name.clone(), units::count(set.records), units::bytes(set.bytes)]);
    }
    if !context.json {
        table.print(&mut out)?;
        if stats.chunks.records > 0 {
            let (chunks, bytes) = (units::counted(stats.chunks.records, "chunk"), units::bytes(stats.chunks.bytes));
            out.line(&format!("large values: {chunks}, {bytes}, in no set"))?;
        }
    }
    out.finish()
}
