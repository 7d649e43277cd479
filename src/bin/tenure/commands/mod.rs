//! The commands, one per file.
//!
//! Owns: passing the arguments to the chosen command.

pub mod backup;
pub mod collect;
pub mod compact;
pub mod completions;
pub mod delete;
pub mod demo;
pub mod demo_indexes;
pub mod demo_past;
pub mod dump;
pub mod export;
pub mod faults;
pub mod find;
pub mod follow;
pub mod get;
pub mod import;
pub mod index;
pub mod load;
pub mod log;
pub mod man;
pub mod map;
pub mod mark;
pub mod put;
pub mod repair;
pub mod restore;
pub mod rollback;
pub mod salvage;
pub mod scan;
pub mod sets;
pub mod snapshot;
pub mod stat;
pub mod story;
pub mod update;
pub mod verify;

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::failure::Outcome;

/// Runs the command.
pub fn run(cli: &Cli) -> Outcome {
    let context = &cli.context;
    match &cli.command {
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
        Command::Repair(args) => repair::run(context, args),
        Command::Salvage(args) => salvage::run(context, args),
        Command::Log(args) => log::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Demo(args) => demo::run(context, args),
        Command::Completions(args) => completions::run(args, Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
    }
}
