//! `tenure salvage`: a new store of everything intact in a damaged one.

use std::path::PathBuf;

use serde_json::json;
use tenure::Error;
use tenure::salvage::{SalvageReport, salvage};

use crate::commands::backup;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::output::Output;
use crate::{place, progress, units};

const EXAMPLES: &str = "\
Examples:
  tenure salvage damaged.tenure new.tenure
  tenure salvage damaged.tenure new.tenure --json | jq '.lost[]'
  tenure verify new.tenure

The exit code is 4 when something did not come back: the new store is complete all the same, and the output lists what is missing.";

/// Create a new store of everything intact in a damaged one
///
/// Recovers every record whose bytes are intact, with its ID, set and version, and rebuilds key indexes whose fields
/// are stored with them. Only the record segments are needed; the manifest and the index tell which records were
/// deleted, if they can be read. Never writes to the damaged store.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The damaged store
    damaged: PathBuf,
    /// The directory of the new store; it must be empty or not exist yet
    new: PathBuf,
}

/// Salvages.
pub fn run(context: &Context, args: &Args) -> Outcome {
    place::local(&args.damaged)?;
    place::local(&args.new)?;
    let mut out = Output::stdout()?;
    let bar = progress::over_bytes("salvaging", None);
    let report = salvage(&args.damaged, &args.new, &mut |now| {
        bar.set_length(now.bytes_total);
        bar.set_position(now.bytes);
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        // The error does not concern the new directory.
        Error::NotAStore { .. } => error.into(),
        other => backup::refused(other, &args.new),
    })?;
    if context.json {
        print_json(&mut out, args, &report)?;
    } else {
        print(&mut out, args, &report)?;
    }
    out.finish()?;
    if report.is_complete() {
        return Ok(());
    }
    let lost = units::counted(number(report.lost.len()), "record");
    let places = units::counted(number(report.unreadable.len()), "unreadable place");
    let message = format!("{}: {lost} did not come back, {places}", args.damaged.display());
    let help = format!("check what is listed, and look for it in a backup; {} is complete", args.new.display());
    Err(Failure::new(Exit::Corrupt, message, help))
}

/// A count of things.
pub fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Everything uncertain about the new store.
pub fn print_doubts(out: &mut Output, report: &SalvageReport) -> Outcome {
    for bad in &report.unreadable {
        out.line(&format!("unreadable: {} of {} at byte {}", units::bytes(bad.bytes), bad.file, bad.offset))?;
    }
    for (first, last) in &report.missing_commits {
        let of = if first == last { format!("of commit {first}") } else { format!("of commits {first} to {last}") };
        out.line(&format!("missing: part {of}; records deleted or replaced there may be back"))?;
    }
    for id in &report.of_broken_commits {
        out.line(&format!("of an incomplete commit: record {id}"))?;
    }
    for id in &report.doubtful {
        out.line(&format!("possibly deleted: record {id}"))?;
    }
    for name in &report.named_snapshots {
        out.line(&one_line(&format!("not in the new store: snapshot {name}")))?;
    }
    for name in &report.marks {
        out.line(&one_line(&format!("not in the new store: mark {name}")))?;
    }
    Ok(())
}

/// The same, as JSON.
pub fn doubts_as_json(report: &SalvageReport) -> serde_json::Value {
    let unreadable =
        report.unreadable.iter().map(|bad| json!({ "file": bad.file, "offset": bad.offset, "bytes": bad.bytes }));
    let missing = report.missing_commits.iter().map(|(first, last)| [first.0, last.0]);
    json!({
        "unreadable": unreadable.collect::<Vec<_>>(), "missing_commits": missing.collect::<Vec<_>>(),
        "of_broken_commits": report.of_broken_commits.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "doubtful": report.doubtful.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "named_snapshots": report.named_snapshots, "marks": report.marks,
    })
}

fn print(out: &mut Output, args: &Args, report: &SalvageReport) -> Outcome {
    for lost in &report.lost {
        out.line(&one_line(&format!("lost: {lost}")))?;
    }
    print_doubts(out, report)?;
    for set in &report.sets {
        let name = if set.is_named { "" } else { " (name unknown)" };
        out.line(&one_line(&format!("set {}{name}: {}", set.name, units::counted(set.records, "record"))))?;
    }
    for index in &report.indexes {
        out.line(&one_line(&format!("index {}.{}: {}", index.set, index.name, index.fate)))?;
    }
    match report.indexed_to {
        Some(seq) => out.line(&format!("the index of the damaged store could be read up to commit {seq}"))?,
        None => out.line("no index of the damaged store could be read: deleted records may be back")?,
    }
    if report.maybe_deleted > 0 && report.indexed_to.is_some() {
        let records = units::counted(report.maybe_deleted, "record");
        out.line(&format!("{records} that may have been deleted, which no index can tell"))?;
    }
    if report.behind_the_end > 0 {
        let records = units::counted(report.behind_the_end, "record");
        out.line(&format!("{records} from after the last commit that an opening would recover"))?;
    }
    let (records, bytes) = (units::counted(report.records, "record"), units::bytes(report.record_bytes));
    let files = units::counted(report.files, "segment");
    out.line(&format!(
        "{records}, {bytes}, out of {files} are in {}, as of commit {}",
        args.new.display(),
        report.last_seq
    ))
}

fn print_json(out: &mut Output, args: &Args, report: &SalvageReport) -> Outcome {
    let lost = report.lost.iter().map(|lost| {
        json!({
            "id": lost.id.map(|id| id.to_string()), "slot": lost.slot, "set": lost.set.map(|set| set.0),
            "file": lost.file, "offset": lost.offset, "why": lost.why,
        })
    });
    let sets = report.sets.iter().map(
        |set| json!({ "number": set.number.0, "name": set.name, "is_named": set.is_named, "records": set.records }),
    );
    let indexes = report
        .indexes
        .iter()
        .map(|index| json!({ "set": index.set, "name": index.name, "fate": index.fate.to_string() }));
    let mut told = json!({
        "new": args.new.display().to_string(), "complete": report.is_complete(), "files": report.files,
        "bytes": report.bytes, "records": report.records, "record_bytes": report.record_bytes,
        "last_seq": report.last_seq.0, "indexed_to": report.indexed_to.map(|seq| seq.0),
        "maybe_deleted": report.maybe_deleted, "behind_the_end": report.behind_the_end,
        "sets": sets.collect::<Vec<_>>(), "indexes": indexes.collect::<Vec<_>>(), "lost": lost.collect::<Vec<_>>(),
    });
    if let (Some(told), serde_json::Value::Object(doubts)) = (told.as_object_mut(), doubts_as_json(report)) {
        told.extend(doubts);
    }
    out.json(&told)
}
