//! `tenure`: looks into a store, fills it and empties it, from a shell.
//!
//! Owns: the arguments, the exit codes, what is printed. `docs/cli.md` describes them.
//! Never: uses more of the library than any other program can.
//! Invariants: 1. Data go to stdout, everything else to stderr. 2. A command that fails prints one line that begins
//! with `error:`, and ends with a code of [`failure::Exit`]. 3. Commands that only read open the store for reading.

mod args;
mod commands;
mod context;
mod failure;
mod input;
mod output;
mod progress;
mod table;
mod units;
mod value;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::failure::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => {
            let code = if shown.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Nothing is left to do when the text cannot be shown.
            return shown.print().map_or(Exit::Ok.code(), |()| code.code());
        }
    };
    match commands::run(&cli) {
        Ok(()) => Exit::Ok.code(),
        Err(failure) => failure.report(),
    }
}
