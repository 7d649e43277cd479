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

/// Collect again and again, until nothing is left to gain
///
/// Takes the time it takes. It may be ended at any moment: what was gained so far stays.
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
