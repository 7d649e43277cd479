//! The arguments that all commands share, and the list of commands.
//!
//! Owns: [`Cli`], and passing the arguments to the chosen command. Each command defines its own arguments in its own file.

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    backup, changes, collect, compact, completions, consumer, delete, demo, dump, export, find, follow, get, import,
    index, load, log, man, map, mark, put, repair, restore, rollback, salvage, scan, sets, snapshot, stat, update,
    verify, watch,
};
use crate::context::Context;
use crate::failure::Outcome;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  no such record, set, index or past state
  4  the store is damaged
  5  the input cannot be used
  6  another process has the store open for writing
  7  no space is left
  8  not a store, or a store of another format
  9  stored, but the store could not be closed or the result could not be printed
 10  unknown whether it is stored: the message says how to find out
130  interrupted: the message says what is stored

Examples:
  tenure import things.tenure people.jsonl --set people
  tenure scan things.tenure --set people --limit 5
  tenure get things.tenure 0.1";

/// Inspect, fill and maintain a Tenure store.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub context: Context,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let context = &self.context;
        match &self.command {
            Command::Import(args) => import::run(context, args),
            Command::Export(args) => export::run(context, args),
            Command::Get(args) => get::run(context, args),
            Command::Put(args) => put::run(context, args),
            Command::Update(args) => update::run(context, args),
            Command::Delete(args) => delete::run(context, args),
            Command::Scan(args) => scan::run(context, args),
            Command::Find(args) => find::run(context, args),
            Command::Follow(args) => follow::run(context, args),
            Command::Index(args) => index::run(context, args),
            Command::Sets(args) => sets::run(context, args),
            Command::Stat(args) => stat::run(context, args),
            Command::Map(args) => map::run(context, args),
            Command::Collect(args) => collect::run(context, args),
            Command::Compact(args) => compact::run(context, args),
            Command::Snapshot(args) => snapshot::run(context, args),
            Command::Mark(args) => mark::run(context, args),
            Command::Rollback(args) => rollback::run(context, args),
            Command::Backup(args) => backup::run(context, args),
            Command::Restore(args) => restore::run(context, args),
            Command::Dump(args) => dump::run(context, args),
            Command::Load(args) => load::run(context, args),
            #[cfg(feature = "remote")]
            Command::Remote(args) => crate::commands::remote::run(context, args),
            Command::Repair(args) => repair::run(context, args),
            Command::Salvage(args) => salvage::run(context, args),
            Command::Log(args) => log::run(context, args),
            Command::Changes(args) => changes::run(context, args),
            Command::Consumer(args) => consumer::run(context, args),
            Command::Verify(args) => verify::run(context, args),
            Command::Watch(args) => watch::run(context, args),
            Command::Demo(args) => demo::run(context, args),
            Command::Completions(args) => completions::run(args, Self::command()),
            Command::Man(args) => man::run(args, Self::command()),
        }
    }
}

/// The command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Import(import::Args),
    Export(export::Args),
    Get(get::Args),
    Put(put::Args),
    Update(update::Args),
    Delete(delete::Args),
    Scan(scan::Args),
    Find(find::Args),
    Follow(follow::Args),
    Index(index::Args),
    Sets(sets::Args),
    Stat(stat::Args),
    Map(map::Args),
    Collect(collect::Args),
    Compact(compact::Args),
    Snapshot(snapshot::Args),
    Mark(mark::Args),
    Rollback(rollback::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Dump(dump::Args),
    Load(load::Args),
    #[cfg(feature = "remote")]
    Remote(crate::commands::remote::Args),
    Repair(repair::Args),
    Salvage(salvage::Args),
    Changes(changes::Args),
    Consumer(consumer::Args),
    Log(log::Args),
    Verify(verify::Args),
    Watch(watch::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command and its subcommands, with their names from the program's on.
    fn all(command: &clap::Command, name: &str, into: &mut Vec<(String, clap::Command)>) {
        let name = format!("{name} {}", command.get_name());
        command.get_subcommands().for_each(|below| all(below, &name, into));
        into.push((name, command.clone()));
    }

    #[test]
    fn usage_names_arguments_in_the_order_in_which_they_are_taken() {
        let mut commands = Vec::new();
        let mut cli = Cli::command();
        cli.build();
        all(&cli, "", &mut commands);
        assert!(commands.len() > 25, "the commands were not found");
        for (name, mut command) in commands {
            let usage = command.render_usage().to_string();
            let shown = |arg: &clap::Arg| arg.get_value_names().and_then(|names| usage.find(names.first()?.as_str()));
            // In the order of their definitions, which is the order in which they are parsed.
            let places: Vec<usize> = command.get_positionals().filter_map(shown).collect();
            let count = command.get_positionals().count();
            assert!(places.len() == count && places.is_sorted(), "{name}: {usage}");
        }
    }

    #[test]
    fn no_help_shows_what_only_source_text_needs() {
        let mut commands = Vec::new();
        all(&Cli::command(), "", &mut commands);
        for (name, mut command) in commands {
            let help = command.render_long_help().to_string();
            assert!(!help.contains('\\'), "{name} shows a backslash: {help}");
        }
    }

    #[test]
    fn the_arguments_fit_together_and_each_command_shows_examples() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("tenure {}", command.get_name());
            assert!(help.contains(&example), "{example} has no example");
        }
    }
}
