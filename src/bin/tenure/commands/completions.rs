//! `tenure completions`: shell completions, generated from the definition of the command line.

use clap_complete::Shell;

use crate::failure::Outcome;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  tenure completions bash > tenure.bash
  tenure completions zsh > _tenure
  tenure completions fish > tenure.fish

Put the file where the shell looks for it: /etc/bash_completion.d, a directory of fpath, ~/.config/fish/completions.";

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints them.
pub fn run(args: &Args, mut command: clap::Command) -> Outcome {
    let mut out = Output::stdout()?;
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "tenure", &mut script);
    out.bytes(&script)?;
    out.finish()
}
