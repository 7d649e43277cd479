//! `tenure stat`: figures of a store.

use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;
use tenure::SegmentStats;
use tenure::Stats;

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::table::Table;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  tenure stat things.tenure
  tenure stat things.tenure --json | jq .records";

/// Show the figures of a store: records, files, memory, how it was opened
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
}

/// Shows figures.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read(&args.store)?;
    let stats = store.stats();
    let mut out = Output::stdout()?;
    if context.json {
        out.json(&document(&stats))?;
        return out.finish();
    }
    print(&mut out, &stats)?;
    out.line("\nopened")?;
    for line in store.recovery_report().to_string().lines() {
        out.line(&format!("  {line}"))?;
    }
    out.finish()
}

/// Prints the figures for people.
pub fn print(out: &mut Output, stats: &Stats) -> Outcome {
    let file_bytes: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
    let mut figures = Table::new(&["FIGURE", "VALUE>"]);
    let mut figure = |name: &str, value: String| figures.row(&[name.to_owned(), value]);
    figure("records", units::count(stats.records));
    figure("bytes of records", units::bytes(stats.record_bytes));
    figure("of these in chunks of large values", units::bytes(stats.chunks.bytes));
    figure("chunks of large values", units::count(stats.chunks.records));
    figure("bytes of segments", units::bytes(file_bytes));
    figure("last commit", stats.last_seq.to_string());
    figure("last durable commit", stats.durable_seq.to_string());
    figure("timeline", stats.timeline.to_string());
    figure("log since the snapshot", units::bytes(stats.log_bytes_since_snapshot));
    figure("changed index pages", units::count(stats.dirty_pages));
    figure("of these nodes of key indexes", units::count(stats.dirty_nodes));
    figure("bytes on the heap", units::bytes(stats.heap_bytes));
    figure("views in this process", units::count(u64::try_from(stats.views.len()).unwrap_or(u64::MAX)));
    figures.print(out)?;
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

/// The figures as JSON.
pub fn document(stats: &Stats) -> Value {
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
    json!({
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
        "views": views.collect::<Vec<_>>(),
    })
}
