//! `tenure repair`: rebuilds damaged index pages in place, or replaces the store with a new one of everything intact.

use std::path::PathBuf;

use serde_json::json;
use tenure::repair::{RepairReport, RepairStep, repair};

use crate::commands::salvage;
use crate::commands::salvage::number;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::output::Output;
use crate::{place, progress, units};

const EXAMPLES: &str = "\
Examples:
  tenure repair things.tenure
  tenure repair things.tenure --json | jq '.doubts[]'
  tenure verify things.tenure

The exit code is 4 when a record is gone, or it is not certain that one had not been deleted: the store is repaired all the same.";

/// Repair a damaged store
///
/// Rebuilds index pages in place: those of the record index from the segments, and key indexes whose fields are stored
/// with them from the records. If that does not make the store intact, a new store of everything intact replaces it in
/// one step, as `tenure salvage` would make it; the damaged store is kept beside it as NAME.damaged. Lists what was
/// lost and what is uncertain.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
}

/// Repairs.
pub fn run(context: &Context, args: &Args) -> Outcome {
    place::local(&args.store)?;
    let mut out = Output::stdout()?;
    let bar = progress::over_bytes("repairing", None);
    let report = repair(&args.store, &mut |now| {
        bar.set_message(match now.step {
            RepairStep::Checking => "checking",
            RepairStep::Rescuing => "salvaging",
            _ => "repairing",
        });
        bar.set_length(now.bytes_total);
        bar.set_position(now.bytes);
    });
    bar.finish_and_clear();
    let report = report?;
    if context.json {
        print_json(&mut out, &report)?;
    } else {
        print(&mut out, &report)?;
    }
    out.finish()?;
    if report.is_certain() {
        return Ok(());
    }
    let doubtful = report.set_aside.as_ref().map_or(0, |aside| aside.salvaged.doubtful.len());
    let (lost, doubts) = (
        units::counted(number(report.lost.len()), "record"),
        units::counted(number(report.doubts.len() + doubtful), "record"),
    );
    let message = format!("{}: {lost} lost, {doubts} in doubt", args.store.display());
    Err(Failure::new(
        Exit::Corrupt,
        message,
        "the store is repaired; check what is listed, and look for it in a backup",
    ))
}

fn print(out: &mut Output, report: &RepairReport) -> Outcome {
    for damage in &report.damaged {
        out.line(&one_line(&format!("found: {damage}")))?;
    }
    for lost in &report.lost {
        out.line(&one_line(&format!("lost: {lost}")))?;
    }
    for doubt in &report.doubts {
        out.line(&format!(
            "possibly deleted: record {} in {} at byte {}: {}",
            doubt.id, doubt.file, doubt.offset, doubt.why
        ))?;
    }
    for page in &report.pages {
        let of = page.records_expected.map_or_else(String::new, |expected| format!(" of {}", units::count(expected)));
        let records = units::counted(page.records, "record");
        out.line(&one_line(&format!("page {} rebuilt with {records}{of}: {}", page.page, page.damage)))?;
    }
    for index in &report.indexes {
        out.line(&one_line(&format!("index {}.{}: {}", index.set, index.name, index.fate)))?;
    }
    for damage in &report.in_snapshots {
        out.line(&one_line(&format!("still damaged, for a named snapshot alone: {damage}")))?;
    }
    for left in &report.left {
        out.line(&one_line(&format!("left by an interrupted repair: {}", left.display())))?;
    }
    if let Some(aside) = &report.set_aside {
        salvage::print_doubts(out, &aside.salvaged)?;
        let records = units::counted(aside.salvaged.records, "record");
        let last = aside.salvaged.last_seq;
        out.line(&one_line(&format!(
            "a new store of {records}, as of commit {last}, has taken the place of the damaged one, which is now {}",
            aside.damaged.display()
        )))?;
    }
    if report.is_nothing() { out.line("nothing to repair") } else { out.line("repaired") }
}

fn print_json(out: &mut Output, report: &RepairReport) -> Outcome {
    let pages = report.pages.iter().map(|page| {
        json!({
            "page": page.page, "set": page.set.map(|set| set.0), "records": page.records,
            "records_expected": page.records_expected, "damage": page.damage,
        })
    });
    let doubts = report.doubts.iter().map(
        |doubt| json!({ "id": doubt.id.to_string(), "file": doubt.file, "offset": doubt.offset, "why": doubt.why }),
    );
    let lost = report.lost.iter().map(|lost| {
        json!({
            "id": lost.id.map(|id| id.to_string()), "slot": lost.slot, "set": lost.set.map(|set| set.0),
            "file": lost.file, "offset": lost.offset, "why": lost.why,
        })
    });
    let indexes = report
        .indexes
        .iter()
        .map(|index| json!({ "set": index.set, "name": index.name, "fate": index.fate.to_string() }));
    let aside = report.set_aside.as_ref().map(|aside| {
        let salvaged = &aside.salvaged;
        let mut told = salvage::doubts_as_json(salvaged);
        told["damaged"] = json!(aside.damaged.display().to_string());
        told["was_opened"] = json!(aside.was_opened);
        told["records"] = json!(salvaged.records);
        told["last_seq"] = json!(salvaged.last_seq.0);
        told
    });
    let left = report.left.iter().map(|left| left.display().to_string());
    out.json(&json!({
        "certain": report.is_certain(), "nothing": report.is_nothing(), "damaged": report.damaged,
        "pages": pages.collect::<Vec<_>>(), "indexes": indexes.collect::<Vec<_>>(),
        "doubts": doubts.collect::<Vec<_>>(), "lost": lost.collect::<Vec<_>>(), "set_aside": aside,
        "left": left.collect::<Vec<_>>(), "in_snapshots": report.in_snapshots,
    }))
}
