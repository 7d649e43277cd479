//! `tenure stat`: statistics of a store.

use std::path::PathBuf;

use serde_json::{Value, json};
use tenure::{FileKind, SegmentStats, Stats};

use crate::at::At;
use crate::context::Context;
use crate::failure::Outcome;
use crate::medium::Medium;
use crate::output::Output;
use crate::table::Table;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  tenure stat things.tenure
  tenure stat things.tenure --json | jq .records";

/// Show statistics of a store: records, files, memory, recovery
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    #[command(flatten)]
    at: At,
}

/// Shows statistics.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let stats = store.stats();
    let mut out = Output::stdout()?;
    let medium = Medium::of(&args.store)?;
    if context.json {
        out.json(&document(&stats, &medium))?;
        return out.finish();
    }
    print(&mut out, &stats, &medium)?;
    out.line("\nopened")?;
    for line in store.recovery_report().to_string().lines() {
        out.line(&format!("  {line}"))?;
    }
    out.finish()
}

/// Bytes of the record segments, and how many are live.
fn record_segments(stats: &Stats) -> (u64, u64) {
    let records = stats.segments.iter().filter(|segment| segment.kind == FileKind::Records);
    records.fold((0, 0), |(bytes, live), segment| (bytes + segment.bytes, live + segment.live_bytes))
}

/// Prints the statistics for people.
fn print(out: &mut Output, stats: &Stats, medium: &Medium) -> Outcome {
    print_figures(out, stats, medium)?;
    print_tables(out, stats, &medium.others(stats))
}

fn print_figures(out: &mut Output, stats: &Stats, medium: &Medium) -> Outcome {
    let file_bytes: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
    let (record_bytes, live_bytes) = record_segments(stats);
    let others: u64 = medium.others(stats).iter().map(|(_, bytes)| bytes).sum();
    let collected = &stats.collected;
    let mut figures = Table::new(&["FIGURE", "VALUE>"]);
    let mut figure = |name: &str, value: String| figures.row(&[name.to_owned(), value]);
    figure("records", units::count(stats.records));
    figure("bytes of records", units::bytes(stats.record_bytes));
    figure("of these, in chunks of large values", units::bytes(stats.chunks.bytes));
    figure("chunks of large values", units::count(stats.chunks.records));
    figure("bytes of all files", units::bytes(medium.bytes));
    figure("files", units::count(medium.files));
    figure("bytes of segments", units::bytes(file_bytes));
    figure("of these, in segments of records", units::bytes(record_bytes));
    figure("of these, live", units::percent(live_bytes, record_bytes));
    figure("bytes of other segments", units::bytes(others));
    figure("segments collected since opening", units::count(collected.victims));
    figure("records moved by that", units::count(collected.records));
    figure("bytes copied by that", units::bytes(collected.bytes_copied));
    figure("bytes reclaimed by that", units::bytes(collected.bytes_deleted));
    figure("last commit", stats.last_seq.to_string());
    figure("last durable commit", stats.durable_seq.to_string());
    figure("timeline", stats.timeline.to_string());
    figure("log since the snapshot", units::bytes(stats.log_bytes_since_snapshot));
    figure("changed index pages", units::count(stats.dirty_pages));
    figure("of these, nodes of key indexes", units::count(stats.dirty_nodes));
    figure("heap bytes", units::bytes(stats.heap_bytes));
    figure("views in this process", units::count(u64::try_from(stats.views.len()).unwrap_or(u64::MAX)));
    figures.print(out)
}

fn print_tables(out: &mut Output, stats: &Stats, others: &[(String, u64)]) -> Outcome {
    if !stats.sets.is_empty() {
        out.line("")?;
        let mut table = Table::new(&["SET", "RECORDS>", "SIZE>"]);
        for set in &stats.sets {
            table.row(&[set.name.clone(), units::count(set.records), units::bytes(set.bytes)]);
        }
        table.print(out)?;
    }
    if !stats.views.is_empty() {
        out.line("")?;
        let mut table = Table::new(&["VIEW OF>", "SINCE>", "HEAP KEPT>", "LOG KEPT>", "PAGES KEPT>"]);
        for view in &stats.views {
            let [heap, log, pages] = [view.heap_bytes, view.log_bytes, view.page_bytes].map(units::bytes);
            table.row(&[view.seq.to_string(), units::time(view.age), heap, log, pages]);
        }
        table.print(out)?;
    }
    if !others.is_empty() {
        out.line("")?;
        let mut table = Table::new(&["OTHER SEGMENT", "SIZE>"]);
        for (file, bytes) in others {
            table.row(&[file.clone(), units::bytes(*bytes)]);
        }
        table.print(out)?;
    }
    if !stats.segments.is_empty() {
        out.line("")?;
        let mut table = Table::new(&["SEGMENT", "KIND", "GEN>", "SIZE>", "LIVE>"]);
        for segment in &stats.segments {
            let (size, live) = (units::bytes(segment.bytes), units::bytes(segment.live_bytes));
            let generation = segment.generation.to_string();
            table.row(&[segment.file.clone(), kind(segment), generation, size, live]);
        }
        table.print(out)?;
    }
    Ok(())
}

fn kind(segment: &SegmentStats) -> String {
    format!("{:?}", segment.kind).to_ascii_lowercase()
}

/// The statistics as JSON.
fn document(stats: &Stats, medium: &Medium) -> Value {
    let sets = stats.sets.iter().map(|set| json!({ "name": set.name, "records": set.records, "bytes": set.bytes }));
    let segments = stats.segments.iter().map(|segment| {
        json!({
            "file": segment.file, "kind": kind(segment), "generation": segment.generation,
            "bytes": segment.bytes, "live_bytes": segment.live_bytes,
        })
    });
    let views = stats.views.iter().map(|view| {
        json!({
            "seq": view.seq.0, "age_seconds": view.age.as_secs_f64(), "heap_bytes": view.heap_bytes,
            "log_bytes": view.log_bytes, "page_bytes": view.page_bytes,
        })
    });
    let named = |list: &[(String, u64)]| -> Vec<Value> {
        list.iter().map(|(file, bytes)| json!({ "file": file, "bytes": bytes })).collect()
    };
    let collected = &stats.collected;
    json!({
        "bytes": medium.bytes,
        "files": medium.files,
        "records": stats.records,
        "record_bytes": stats.record_bytes,
        "chunks": { "records": stats.chunks.records, "bytes": stats.chunks.bytes },
        "last_seq": stats.last_seq.0,
        "durable_seq": stats.durable_seq.0,
        "timeline": stats.timeline,
        "log_bytes_since_snapshot": stats.log_bytes_since_snapshot,
        "dirty_pages": stats.dirty_pages,
        "dirty_nodes": stats.dirty_nodes,
        "dirty_bytes": stats.dirty_bytes,
        "heap_bytes": stats.heap_bytes,
        "sets": sets.collect::<Vec<_>>(),
        "segments": segments.collect::<Vec<_>>(),
        "collected": {
            "segments": collected.victims, "records": collected.records, "bytes_copied": collected.bytes_copied,
            "files_deleted": collected.files_deleted, "bytes_deleted": collected.bytes_deleted,
            "snapshots": collected.snapshots,
        },
        "retired": named(&stats.retired),
        "other_segments": named(&medium.others(stats)),
        "views": views.collect::<Vec<_>>(),
    })
}
