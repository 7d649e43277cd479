//! `tenure load`: creates a new store from a dump.
//!
//! Owns: reading the dump, reporting how to resume after an interruption.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use serde_json::json;
use tenure::dump::{LoadOptions, LoadReport};
use tenure::{Error, dump};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::{pack, place, process, progress, units};

const EXAMPLES: &str = "\
Examples:
  tenure load things.dump.zst new.tenure
  ssh other tenure dump things.tenure - | tenure load - new.tenure
  tenure load --check things.dump.zst
  tenure load --until-damage damaged.dump rest.tenure

An interrupted load resumes when the same command is run again.";

/// Create a new store from a dump
///
/// Every record gets its original ID and version, deleted IDs stay deleted, and indexes are complete. Compressed dumps
/// are decompressed, whatever their names. The directory must be empty, not exist yet, or hold an interrupted load of
/// the same dump, which then resumes at its last checkpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The dump; - is stdin
    file: String,
    /// The directory of the new store
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    store: Option<PathBuf>,
    /// Read the dump to its end and check it; create nothing
    #[arg(long)]
    check: bool,
    /// Load a damaged dump up to the damage
    #[arg(long, conflicts_with = "check")]
    until_damage: bool,
}

/// Loads.
pub fn run(context: &Context, args: &Args) -> Outcome {
    args.store.iter().try_for_each(|store| place::local(store))?;
    let mut out = Output::stdout()?;
    let interrupt = Interrupt::watched()?;
    let (name, source, bytes) = open(&args.file)?;
    let bar = progress::over_bytes(if args.check { "checking" } else { "loading" }, bytes);
    let watched = bar.wrap_read(interrupt.watch(source));
    let is_ended = interrupt.flag();
    let reader = pack::unpack(watched, interrupt.flag());
    let mut reader = match reader {
        Err(_ended) if is_ended.load(Ordering::Relaxed) => return Err(interrupted(&name, args)),
        other => other.map_err(|error| Failure::input("read", &name, &error))?,
    };
    let result = match &args.store {
        None => dump::check(&mut reader, &name, &mut |_| {}).map(|dump| (dump, None)),
        Some(store) => {
            let options = LoadOptions::new().name(&name).until_damage(args.until_damage);
            dump::load(&mut reader, store, &options, &mut |_| {}).map(|report| (report.dump.clone(), Some(report)))
        }
    };
    bar.finish_and_clear();
    let (dump, report) = result.map_err(|error| {
        if is_ended.load(Ordering::Relaxed) { interrupted(&name, args) } else { refused(error, &name, args) }
    })?;
    let damage = report.as_ref().and_then(|report| report.damage.as_ref());
    if context.json {
        let incomplete = report.iter().flat_map(|report| &report.incomplete);
        let incomplete = incomplete.map(|(set, index)| json!({ "set": set, "index": index })).collect::<Vec<_>>();
        out.json(&json!({
            "store": args.store.as_ref().map(|store| store.display().to_string()), "seq": dump.seq.0,
            "sets": dump.sets, "indexes": dump.indexes, "records": dump.records, "value_bytes": dump.value_bytes,
            "entries": dump.entries, "bytes": dump.bytes, "resumed": report.as_ref().map(|report| report.resumed),
            "incomplete": incomplete,
            "damage": damage.map(|damage| json!({ "offset": damage.offset, "what": damage.to_string() })),
        }))?;
    } else {
        print(&mut out, args, &name, &dump, report.as_ref())?;
    }
    out.finish()?;
    let (Some(damage), Some(store)) = (damage, &args.store) else { return Ok(()) };
    let message = format!("{damage}: everything before it was loaded");
    let help = format!("{} is complete in itself; IDs after the damage are not in it", store.display());
    Err(Failure::new(Exit::BadInput, message, help))
}

fn open(name: &str) -> Outcome<(String, File, Option<u64>)> {
    if name == "-" {
        return Ok(("stdin".to_owned(), process::stdin()?, None));
    }
    let cannot = |error| Failure::input("open", name, &error);
    let file = OpenOptions::new().read(true).open(name).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    Ok((name.to_owned(), file, about.is_file().then_some(about.len())))
}

fn print(out: &mut Output, args: &Args, name: &str, dump: &dump::DumpReport, report: Option<&LoadReport>) -> Outcome {
    let (sets, records) = (units::counted(dump.sets, "set"), units::counted(dump.records, "record"));
    let (indexes, values) = (units::counted(dump.indexes, "key index"), units::bytes(dump.value_bytes));
    let what = format!("{records} of {values} in {sets}, {indexes}, as of commit {}", dump.seq);
    let (Some(report), Some(store)) = (report, &args.store) else {
        return out.line(&format!("{name} is intact: {what}"));
    };
    if report.resumed > 0 {
        let there = units::counted(report.resumed, "record");
        out.line(&format!("resumed an interrupted load after {there}"))?;
    }
    for (set, index) in &report.incomplete {
        out.line(&one_line(&format!("index {set}.{index} is not complete: its program builds it on opening")))?;
    }
    out.line(&format!("{}: {what}", store.display()))
}

fn interrupted(name: &str, args: &Args) -> Failure {
    let help = match &args.store {
        Some(store) if store.join("unfinished").exists() => {
            format!("run the same command again to resume; or delete {}", store.display())
        }
        _ => "nothing was created".to_owned(),
    };
    Failure::new(Exit::Interrupted, format!("{name}, interrupted"), help)
}

/// The error, and what happens to the partial result.
fn refused(error: Error, name: &str, args: &Args) -> Failure {
    let place = args.store.as_ref().map(|store| store.display().to_string()).unwrap_or_default();
    let is_begun = args.store.as_ref().is_some_and(|store| store.join("unfinished").exists());
    match error {
        Error::Exists { path } => {
            let message = format!("{path} is not empty");
            Failure::new(Exit::Failed, message, "name a directory that does not exist yet")
        }
        Error::BadDestination { path, why } => {
            let message = format!("cannot load into {path}: {why}");
            Failure::new(Exit::Usage, message, "name a directory that does not exist yet, or delete that one")
        }
        Error::Corrupt(damage) => {
            let help = match (args.check, is_begun) {
                (true, _) => {
                    "get an intact copy of the dump; --until-damage loads everything before the damage".to_owned()
                }
                (false, true) => format!(
                    "get an intact copy of the dump and run the same command again; or run it with --until-damage, which keeps \
                     everything before the damage; or delete {place}"
                ),
                (false, false) => "nothing was created; is it a dump?".to_owned(),
            };
            Failure::new(Exit::BadInput, format!("damaged: {damage}"), help)
        }
        Error::Unsupported { .. } => {
            Failure::new(Exit::BadInput, error.to_string(), "load it with a version of Tenure that supports this dump")
        }
        Error::Io { action: "read", source, .. } => Failure::input("read", name, &source),
        other if is_begun => {
            Failure::from(other).and_help(format!("then run the same command again to resume; or delete {place}"))
        }
        other => other.into(),
    }
}
