//! `tenure restore`: restores a backup to a new store.

use std::path::PathBuf;

use tenure::backup::restore;
use tenure::repository::At;

use crate::commands::{backup, repository};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::{place, progress};

const EXAMPLES: &str = "\
Examples:
  tenure restore things.backup things.tenure
  tenure restore things.backups newest.tenure
  tenure restore things.backups older.tenure --at b1";

/// Restore a backup to a new store
///
/// Files are copied, so that backup and store share nothing, and read back. Any closed store can be copied the same
/// way. From a repository, the newest backup is restored, or the one that --at names.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The backup, or a repository of backups: a directory, or a URL
    backup: PathBuf,
    /// The directory of the new store; it must be empty or not exist yet
    store: PathBuf,
    /// Which backup of a repository: its ID, or the number of its last commit. Default: the newest
    #[arg(long, value_name = "ID|SEQ")]
    at: Option<At>,
}

/// Restores.
pub fn run(context: &Context, args: &Args) -> Outcome {
    place::local(&args.store)?;
    let mut out = Output::stdout()?;
    if args.at.is_some() || repository::is_one(&args.backup) {
        let report = repository::restore(&args.backup, args.at, &args.store, backup::refused)?;
        backup::tell(&mut out, context, &args.store, &report)?;
        return out.finish();
    }
    let bar = progress::over_bytes("copying", None);
    let report = restore(&args.backup, &args.store, &mut |now| backup::show(&bar, now));
    bar.finish_and_clear();
    let report = report.map_err(|error| backup::refused(error, &args.store))?;
    backup::tell(&mut out, context, &args.store, &report)?;
    out.finish()
}
