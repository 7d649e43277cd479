//! `tenure`: inspects, fills and maintains a store from the shell.
//!
//! Owns: the arguments, the exit codes, the output. `docs/cli.md` describes them. Never: uses more of the library than
//! any other program can. Invariants: 1. Data goes to stdout, everything else to stderr. 2. A command that fails prints
//! one line that starts with `error:`, and exits with a code of [`failure::Exit`]. 3. Commands that only read open the
//! store read-only.

mod args;
mod at;
mod commands;
mod context;
mod ending;
mod escape;
mod failure;
mod hints;
mod id_keys;
mod input;
mod interrupt;
mod keys;
mod medium;
mod output;
mod pack;
mod place;
mod process;
mod progress;
mod rows;
mod source;
mod table;
mod units;
mod value;

use std::io;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::failure::{Exit, Failure, Outcome};

fn main() -> ExitCode {
    // Even for a command line that cannot be parsed.
    let is_json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    let ended = match Cli::try_parse() {
        Ok(cli) => process::survive_file_size_limit().and_then(|()| cli.run()),
        Err(shown) if shown.use_stderr() && is_json => Err(of_arguments(&shown)),
        Err(shown) if shown.use_stderr() => {
            // Stderr may be closed; the exit code still reports the failure.
            return shown.print().map_or(Exit::Usage.code(), |()| Exit::Usage.code());
        }
        Err(help) => show(&help),
    };
    match ended {
        Ok(()) => Exit::Ok.code(),
        Err(failure) => failure.report(is_json),
    }
}

/// The argument error, without the usage shown to people below it.
fn of_arguments(shown: &clap::Error) -> Failure {
    let text = shown.render().to_string();
    let told = text.split("\n\n").next().unwrap_or_default();
    Failure::usage(told.strip_prefix("error: ").unwrap_or(told).trim())
}

/// Prints a help text or the version as the terminal can show it.
fn show(help: &clap::Error) -> Outcome {
    process::stdout()?;
    let shown = help.print().and_then(|()| io::stdout().flush());
    shown.map_err(|error| Failure::output("stdout", &error))
}
