//! `tenure scan`: the records of a set in the order of their IDs.
//!
//! Owns: the table. Never: reads records that are not shown.

use std::path::PathBuf;

use serde_json::json;
use tenure::{Record, RecordId};

use crate::at::At;
use crate::context::{Context, existing_set};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::table::Table;
use crate::{units, value};

/// Characters of a value shown in the table.
const PREVIEW_CHARS: usize = 72;
/// Rows laid out together, so that the memory of a long scan stays bounded.
const ROWS_TOGETHER: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  tenure scan things.tenure --set people --limit 10
  tenure scan things.tenure --set people --from 5000.1 --json
  tenure scan things.tenure --set people --ids-only | xargs tenure delete things.tenure";

/// List the records of a set, in the order of their IDs
///
/// The table shows the beginning of each value. On a terminal, control characters and direction marks are escaped, in
/// JSON as well. With --raw the values are printed as they are, one after another.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The set
    #[arg(long, value_name = "NAME")]
    set: String,
    /// Start at this ID, or the first one after it
    #[arg(long, value_name = "ID")]
    from: Option<RecordId>,
    /// Maximum number of records to list
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// List only IDs
    #[arg(long)]
    ids_only: bool,
    /// Print only the bytes of the values, even on a terminal
    #[arg(long, conflicts_with_all = ["ids_only"])]
    raw: bool,
    #[command(flatten)]
    at: At,
}

/// Scans.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.raw && context.json {
        return Err(Failure::usage("--raw and --json cannot be combined"));
    }
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let set = existing_set(&store, &args.set)?;
    let view = store.view();
    let mut scan = view.scan(&set);
    if let Some(from) = args.from {
        scan = scan.from(from);
    }
    let mut out = Output::stdout()?;
    if args.raw {
        out = out.raw();
    }
    let mut together = Vec::new();
    for record in scan.take(args.limit.unwrap_or(usize::MAX)) {
        let record = record?;
        match (context.json, args.ids_only) {
            _ if args.raw => value::print_raw(&mut out, &record)?,
            (true, true) => out.json(&json!({ "id": record.id().to_string() }))?,
            (true, false) => value::print_record(&mut out, &record, &[("bytes", json!(record.len()))])?,
            (false, true) => out.line(&record.id().to_string())?,
            (false, false) => together.push(record),
        }
        if together.len() == ROWS_TOGETHER {
            print(&mut out, &std::mem::take(&mut together))?;
        }
    }
    if !together.is_empty() {
        print(&mut out, &together)?;
    }
    out.finish()
}

fn print(out: &mut Output, records: &[Record<'_>]) -> Outcome {
    let mut table = Table::new(&["ID", "SEQ>", "SIZE>", "VALUE"]);
    for record in records {
        let preview = value::preview(record, PREVIEW_CHARS)?;
        table.row(&[record.id().to_string(), record.seq().to_string(), units::bytes(record.len()), preview]);
    }
    table.print(out)
}
