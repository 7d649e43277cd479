//! `tenure verify`: reads everything and checks every checksum.
//!
//! Owns: how problems are listed, and which of them count as damage. Never: writes to the store, damaged or not.

use std::path::PathBuf;

use serde_json::json;
use tenure::verify;
use tenure::verify::{Problem, Scope, VerifyReport};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::output::Output;
use crate::{place, progress, units};

const EXAMPLES: &str = "\
Examples:
  tenure verify things.tenure
  tenure verify things.tenure --json | jq '.problems[]'

The exit code is 4 when something is damaged.";

/// Read the whole store and check it
///
/// Checks the manifest, index pages, records, key indexes, and the live bytes of each segment.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// Check only the newest state, not what other snapshots need
    #[arg(long)]
    newest: bool,
}

/// Verifies.
pub fn run(context: &Context, args: &Args) -> Outcome {
    // An unfinished copy is not a store, whatever its files hold. All other problems are in the report.
    if let Err(failure @ Failure::Told { exit: Exit::NotAStore, .. }) = context.open_to_read(&args.store) {
        return Err(failure);
    }
    let bar = progress::over_bytes("verifying", Some(0));
    let scope = if args.newest { Scope::Newest } else { Scope::Everything };
    let mut show = |progress: verify::Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
    };
    let report = match place::bucket(&args.store)? {
        Some(bucket) => verify::verify_backing_with(&bucket, scope, &mut show),
        None => verify::verify_with(&args.store, scope, &mut show),
    }?;
    bar.finish_and_clear();
    let mut out = Output::stdout()?;
    if context.json {
        print_json(&mut out, &report)?;
    } else {
        print(&mut out, &report)?;
    }
    out.finish()?;
    match report.problems.as_slice() {
        [] => Ok(()),
        problems @ [first, ..] => Err(found(args, first, problems)),
    }
}

fn found(args: &Args, first: &Problem, problems: &[Problem]) -> Failure {
    let more = match problems.len() - 1 {
        0 => String::new(),
        1 => "; and 1 more problem".to_owned(),
        others => format!("; and {others} more problems"),
    };
    let message = format!("{}: {first}{more}", args.store.display());
    if problems.iter().any(|problem| problem.corrupt) {
        return Failure::new(Exit::Corrupt, message, "copy the files, and restore what is listed from a backup");
    }
    Failure::new(Exit::Failed, message, "check the path, its permissions and the device, then verify again")
}

/// Puts the location first, unless the text already has it or there is none.
fn print(out: &mut Output, report: &VerifyReport) -> Outcome {
    for problem in &report.problems {
        out.line(&one_line(&format!("problem: {problem}")))?;
    }
    for each in &report.indexes_not_compared {
        out.line(&one_line(&format!("not compared: index {}: {}", each.index, each.why)))?;
    }
    let counts = [(report.files, "file"), (report.frames, "frame"), (report.records, "record"), (report.pages, "page")];
    let counts: Vec<String> = counts.iter().map(|&(number, one)| units::counted(number, one)).collect();
    let verdict = match report.problems.len() {
        0 => match (report.indexes_not_compared.len(), report.snapshots) {
            (0, 0) => "no problem found".to_owned(),
            (0, others) => format!("no problem found, nor in {}", units::counted(others, "other snapshot")),
            (1, _) => "no problem found, but 1 index was not compared with its records".to_owned(),
            (some, _) => format!("no problem found, but {some} indexes were not compared with their records"),
        },
        problems => format!("{} found", units::counted(u64::try_from(problems).unwrap_or(u64::MAX), "problem")),
    };
    if report.indexes > 0 {
        let figures = [
            ("key indexes", report.indexes),
            ("compared with their records", report.indexes_compared),
            ("nodes", report.nodes),
            ("entries", report.entries),
        ];
        let figures: Vec<String> =
            figures.iter().map(|(name, number)| format!("{name}: {}", units::count(*number))).collect();
        out.line(&figures.join(", "))?;
    }
    out.line(&format!(
        "live bytes: {} read of {} counted, {} of the {} of {}",
        units::count(report.bytes),
        units::count(report.live_bytes),
        units::percent(report.live_bytes, report.segment_bytes),
        units::bytes(report.segment_bytes),
        units::counted(report.segments, "record segment"),
    ))?;
    out.line(&format!("{}, {}: {verdict}", counts.join(", "), units::bytes(report.bytes)))
}

fn print_json(out: &mut Output, report: &VerifyReport) -> Outcome {
    let problems = report.problems.iter().map(|Problem { file, offset, what, corrupt }| {
        json!({ "file": file, "offset": offset, "what": what, "corrupt": corrupt })
    });
    let not_compared = report.indexes_not_compared.iter();
    let not_compared = not_compared.map(|each| json!({ "index": each.index, "why": each.why }));
    out.json(&json!({
        "ok": report.is_ok(), "files": report.files, "frames": report.frames, "records": report.records,
        "pages": report.pages, "bytes": report.bytes, "live_bytes": report.live_bytes,
        "segments": report.segments, "segment_bytes": report.segment_bytes, "indexes": report.indexes,
        "indexes_compared": report.indexes_compared, "indexes_not_compared": not_compared.collect::<Vec<_>>(),
        "snapshots": report.snapshots, "nodes": report.nodes, "entries": report.entries,
        "problems": problems.collect::<Vec<_>>(),
    }))
}
