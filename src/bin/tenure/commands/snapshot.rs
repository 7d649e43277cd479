//! `tenure snapshot`: saves a snapshot, or lists those that are kept.

use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;
use tenure::Error;
use tenure::SnapshotInfo;

use crate::context::Context;
use crate::ending;
use crate::failure::Exit;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::output::Output;
use crate::table::Table;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  tenure snapshot things.tenure
  tenure snapshot things.tenure --list";

/// Save a snapshot, or list the snapshots that are kept
///
/// A store opens from its newest snapshot and replays the log behind it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// Lists snapshots and saves none
    #[arg(long)]
    list: bool,
}

/// Saves or lists.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    if args.list {
        let store = context.open_to_read(&args.store)?;
        let snapshots = store.snapshots()?;
        if context.json {
            snapshots.iter().try_for_each(|info| out.json(&document(info)))?;
        } else {
            list(&mut out, &snapshots)?;
        }
        return out.finish();
    }
    let store = context.open_to_write(&args.store)?;
    let info = store.save_snapshot().map_err(refused)?;
    ending::finish(store, &format!("snapshot {} is saved", info.number), || {
        if context.json {
            out.json(&document(&info))?;
        } else {
            let (pages, bytes) = (units::counted(info.pages_written, "page"), units::bytes(info.bytes_written));
            out.line(&format!("snapshot {} of commit {}: {pages}, {bytes} written", info.number, info.seq))?;
        }
        out.finish()
    })
}

/// A snapshot that came to nothing takes no record with it.
fn refused(error: Error) -> Failure {
    let exit = Exit::of(&error);
    match error {
        Error::NoSpace { .. } => Failure::new(
            exit,
            error.to_string(),
            "free space on the device; the snapshots before it and all records are there",
        ),
        other => other.into(),
    }
}

fn list(out: &mut Output, snapshots: &[SnapshotInfo]) -> Outcome {
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
