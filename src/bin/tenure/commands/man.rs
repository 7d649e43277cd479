//! `tenure man`: manual pages, generated from the definition of the command line.

use std::path::PathBuf;

use crate::failure::{Failure, Outcome};
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  tenure man | man -l -
  tenure man import | man -l -
  tenure man --dir man1";

/// Print a manual page, or write all of them
///
/// Without a command, prints the page of the program. --dir writes the page of the program and one per command.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The command, such as `import` or `index create`
    command: Vec<String>,
    /// Write all pages to this directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Prints or writes them.
pub fn run(args: &Args, mut command: clap::Command) -> Outcome {
    command = command.disable_help_subcommand(true);
    if let Some(dir) = &args.dir {
        let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
        return written.map_err(|error| Failure::output(&dir.display().to_string(), &error));
    }
    let mut out = Output::stdout()?;
    command.build();
    for word in &args.command {
        let found = command.find_subcommand(word).cloned();
        command = found.ok_or_else(|| Failure::usage(format!("there is no command {:?}", args.command.join(" "))))?;
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|error| Failure::output("the page", &error))?;
    out.bytes(&page)?;
    out.finish()
}
