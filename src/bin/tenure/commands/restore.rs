//! `tenure restore`: restores a backup to a new store.

use std::path::PathBuf;

use tenure::backup::restore;

use crate::commands::backup;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::{place, progress};

const EXAMPLES: &str = "\
Examples:
  tenure restore things.backup things.tenure";

/// Restore a backup to a new store
///
/// Files are copied, so that backup and store share nothing, and read back. Any closed store can be copied the same
/// way.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The backup
    backup: PathBuf,
    /// The directory of the new store; it must be empty or not exist yet
    store: PathBuf,
}

/// Restores.
pub fn run(context: &Context, args: &Args) -> Outcome {
    place::local(&args.backup)?;
    place::local(&args.store)?;
    let mut out = Output::stdout()?;
    let bar = progress::over_bytes("copying", None);
    let report = restore(&args.backup, &args.store, &mut |now| backup::show(&bar, now));
    bar.finish_and_clear();
    let report = report.map_err(|error| backup::refused(error, &args.store))?;
    backup::tell(&mut out, context, &args.store, &report)?;
    out.finish()
}
