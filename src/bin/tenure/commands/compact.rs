//! `tenure compact`: collects until nothing is left to gain.

use std::path::PathBuf;

use crate::commands::collect;
use crate::commands::collect::Rounds;
use crate::context::Context;
use crate::failure::Outcome;

const EXAMPLES: &str = "\
Examples:
  tenure compact things.tenure
  tenure compact things.tenure --json";

/// Collect repeatedly until nothing is left to gain
///
/// This may take long. It can be interrupted at any time; what was reclaimed so far stays reclaimed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
}

/// Compacts.
pub fn run(context: &Context, args: &Args) -> Outcome {
    collect::gain(context, &args.store, None, Rounds::All)
}
