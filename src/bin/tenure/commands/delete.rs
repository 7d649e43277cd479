//! `tenure delete`: deletes records.
//!
//! Invariants: 1. All named records are deleted in one transaction, or none is.

use std::path::PathBuf;

use serde_json::json;
use tenure::{Durability, RecordId};

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::{ending, units};

const EXAMPLES: &str = "\
Examples:
  tenure delete things.tenure 0.1
  tenure delete things.tenure 5.1 6.1 7.2";

/// Delete records
///
/// Deletes all of them, or none if one does not exist. Their IDs are never reused.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// Record IDs
    #[arg(required = true, value_name = "ID")]
    ids: Vec<RecordId>,
}

/// Deletes.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    let mut transaction = store.begin()?;
    args.ids.iter().try_for_each(|&id| transaction.delete(id))?;
    let seq = ending::committed(transaction.commit_with(Durability::Sync), || {
        let one = args.ids.first().map(ToString::to_string).unwrap_or_default();
        format!("run `tenure get {} {one}`: it fails if the deletion is stored", args.store.display())
    })?;
    let deleted = units::counted(u64::try_from(args.ids.len()).unwrap_or(u64::MAX), "record");
    ending::finish(store, &format!("the deletion of {deleted} is stored"), || {
        if context.json {
            let ids: Vec<String> = args.ids.iter().map(ToString::to_string).collect();
            out.json(&json!({ "deleted": ids, "seq": seq.0 }))?;
        } else {
            out.line(&format!("deleted {deleted}"))?;
        }
        out.finish()
    })
}
