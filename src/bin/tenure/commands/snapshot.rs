//! `tenure snapshot`: saves, lists and drops snapshots.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use tenure::{Error, SnapshotInfo};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::table::Table;
use crate::{ending, units};

const EXAMPLES: &str = "\
Examples:
  tenure snapshot save things.tenure monday
  tenure snapshot list things.tenure
  tenure get things.tenure 0.1 --at snapshot:monday
  tenure rollback things.tenure --snapshot monday
  tenure snapshot drop things.tenure monday";

const SAVE_EXAMPLES: &str = "\
Examples:
  tenure snapshot save things.tenure monday
  tenure snapshot save things.tenure";

const LIST_EXAMPLES: &str = "\
Examples:
  tenure snapshot list things.tenure
  tenure snapshot list things.tenure --json | jq -r .name";

const DROP_EXAMPLES: &str = "\
Examples:
  tenure snapshot drop things.tenure monday";

/// Save, list and drop snapshots
///
/// A store opens from its newest snapshot and replays the log after it. A named snapshot is kept until it is dropped:
/// its state can be read (`--at`), and the store can be rolled back to it (`tenure rollback`).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Save(Save),
    List(List),
    Drop(Drop),
}

/// Save a snapshot of the current state
///
/// A named snapshot is kept, with the space of everything it refers to, until it is dropped. An unnamed one is dropped
/// when two newer ones exist.
#[derive(Debug, clap::Args)]
#[command(after_help = SAVE_EXAMPLES)]
struct Save {
    /// The store
    store: PathBuf,
    /// The name
    name: Option<String>,
}

/// List the snapshots, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// The store
    store: PathBuf,
}

/// Drop a named snapshot
///
/// Space that only this snapshot kept is reclaimed now, or by the next collection.
#[derive(Debug, clap::Args)]
#[command(after_help = DROP_EXAMPLES)]
struct Drop {
    /// The store
    store: PathBuf,
    /// The name
    name: String,
}

/// Saves, lists or drops.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.what {
        What::Save(args) => save(context, args),
        What::List(args) => list(context, args),
        What::Drop(args) => drop_named(context, args),
    }
}

fn save(context: &Context, args: &Save) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    let info = match &args.name {
        Some(name) => store.save_named_snapshot(name),
        None => store.save_snapshot(),
    };
    let info = info.map_err(refused)?;
    ending::finish(store, &format!("snapshot {} is saved", info.number), || {
        if context.json {
            out.json(&document(&info))?;
        } else {
            let (pages, bytes) = (units::counted(info.pages_written, "page"), units::bytes(info.bytes_written));
            let name = info.name.as_ref().map_or(String::new(), |name| format!(" {name:?}"));
            out.line(&format!("snapshot {}{name} of commit {}: {pages}, {bytes} written", info.number, info.seq))?;
        }
        out.finish()
    })
}

fn list(context: &Context, args: &List) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_read(&args.store)?;
    let snapshots = store.snapshots()?;
    if context.json {
        snapshots.iter().try_for_each(|info| out.json(&document(info)))?;
    } else {
        print(&mut out, &snapshots)?;
    }
    out.finish()
}

fn drop_named(context: &Context, args: &Drop) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    store.drop_snapshot(&args.name).map_err(|error| missing(error, args))?;
    ending::finish(store, &format!("snapshot {:?} is dropped", args.name), || {
        if context.json {
            out.json(&json!({ "dropped": args.name }))?;
        } else {
            out.line(&format!("snapshot {:?} dropped", args.name))?;
        }
        out.finish()
    })
}

fn missing(error: Error, args: &Drop) -> Failure {
    if let Error::PointGone { .. } = error {
        let help = format!("list the snapshots with `tenure snapshot list {}`", args.store.display());
        return Failure::new(Exit::of(&error), format!("there is no snapshot {:?}", args.name), help);
    }
    error.into()
}

/// A failed snapshot loses no record.
fn refused(error: Error) -> Failure {
    let exit = Exit::of(&error);
    match error {
        Error::NoSpace { .. } => {
            Failure::new(exit, error.to_string(), "free space on the device; no record and no earlier snapshot is lost")
        }
        other => other.into(),
    }
}

fn print(out: &mut Output, snapshots: &[SnapshotInfo]) -> Outcome {
    let mut table = Table::new(&["NUMBER>", "KIND", "COMMIT>", "TIME", "NAME"]);
    for info in snapshots {
        table.row(&[
            info.number.to_string(),
            kind(info),
            info.seq.to_string(),
            units::moment(info.time),
            info.name.clone().unwrap_or_default(),
        ]);
    }
    table.print(out)
}

fn kind(info: &SnapshotInfo) -> String {
    format!("{:?}", info.kind).to_ascii_lowercase()
}

fn document(info: &SnapshotInfo) -> Value {
    json!({
        "number": info.number, "kind": kind(info), "name": info.name, "seq": info.seq.0,
        "time": units::moment(info.time), "pages_written": info.pages_written, "bytes_written": info.bytes_written,
    })
}
