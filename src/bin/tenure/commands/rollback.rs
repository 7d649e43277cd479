//! `tenure rollback`: rolls a store back to a past state.
//!
//! Owns: reporting it. Never: asks for confirmation; save a named snapshot first to be able to return.

use std::path::PathBuf;

use serde_json::json;
use tenure::{Error, Store};

use crate::at::Past;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::{ending, units};

const EXAMPLES: &str = "\
Examples:
  tenure rollback things.tenure --snapshot monday
  tenure rollback things.tenure --snapshot 7
  tenure rollback things.tenure --mark 'before the import'
  tenure rollback things.tenure --seq 1200

To be able to return, first run: tenure snapshot save things.tenure now";

/// Roll a store back to a snapshot, a mark or a commit
///
/// Everything committed since is gone. IDs and commit numbers assigned since are never reused with another meaning. A
/// mark or a commit can be reached while a snapshot before it and the log between them are kept. Unnamed snapshots are
/// dropped; named ones are kept, including later ones, and the store can be rolled to them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    #[command(flatten)]
    to: To,
}

/// The target.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To a saved snapshot
    #[arg(long, value_name = "NAME|NUMBER")]
    snapshot: Option<String>,
    /// To a mark
    #[arg(long, value_name = "NAME")]
    mark: Option<String>,
    /// To the state after a commit
    #[arg(long, value_name = "N")]
    seq: Option<u64>,
}

impl To {
    fn past(&self) -> Outcome<Past> {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let snapshot = named(&self.snapshot).map(Past::Snapshot);
        let past = snapshot.or_else(|| named(&self.mark).map(Past::Mark)).or_else(|| self.seq.map(Past::Seq));
        past.ok_or_else(|| Failure::usage("the name is empty"))
    }
}

/// Rolls back.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let past = args.to.past()?;
    let mut out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    let point = past.among(&store.snapshots()?).ok_or_else(|| Failure::usage("no state given"))?;
    let (seq_before, records_before) = (store.last_seq(), records(&store));
    let result = store.roll_back_to(&point);
    if let Err(error @ Error::NoSpace { .. }) = &result {
        let help = "free space on the device; the store is as it was";
        return Err(Failure::new(Exit::of(error), error.to_string(), help));
    }
    let store = ending::committed(result, || {
        format!("run `tenure stat {}`: its last commit is {seq_before} if nothing has changed", args.store.display())
    })?;
    let (seq, records, timeline) = (store.last_seq(), records(&store), store.stats().timeline);
    ending::finish(store, &format!("the store is back at {point}"), || {
        if context.json {
            out.json(&json!({
                "point": point.to_string(), "seq_before": seq_before.0, "seq": seq.0, "timeline": timeline,
                "records_before": records_before, "records": records,
            }))?;
        } else {
            let (now, before) = (units::counted(records, "record"), units::count(records_before));
            out.line(&format!("back at {point}: {now}, before {before}; it is commit {seq} now, before {seq_before}"))?;
        }
        out.finish()
    })
}

fn records(store: &Store) -> u64 {
    let view = store.view();
    store.record_sets().iter().map(|set| view.len(set)).sum()
}
