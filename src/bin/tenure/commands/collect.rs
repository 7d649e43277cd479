//! `tenure collect`: reclaims dead space.
//!
//! Owns: reporting a collection, for this command and for `compact`. Never: changes a record.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tenure::{Collected, Error, FileKind, Stats, Store};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::medium::Medium;
use crate::output::Output;
use crate::{ending, progress, units};

const EXAMPLES: &str = "\
Examples:
  tenure collect things.tenure
  tenure collect things.tenure --budget 2s
  tenure collect things.tenure --json | jq .bytes_after";

/// Reclaim the space of old versions and deleted records
///
/// Copies live records out of segments that also hold dead ones, and deletes the emptied files. Records keep their IDs
/// and versions. Space that a named snapshot or a mark keeps is not reclaimed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// Stop after this time and keep what was reclaimed: 500ms, 2s, 3m
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    budget: Option<Duration>,
}

/// How often to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    One,
    /// Until a round reclaims nothing.
    All,
}

/// Collects.
pub fn run(context: &Context, args: &Args) -> Outcome {
    gain(context, &args.store, args.budget, Rounds::One)
}

/// Collects, and reports what was reclaimed.
pub fn gain(context: &Context, path: &Path, budget: Option<Duration>, rounds: Rounds) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(path)?;
    let (before, begun) = (Medium::of(path)?, Instant::now());
    let (mut done, mut count, mut last) = (Collected::default(), 0, before.bytes);
    loop {
        let more = collect(&store, budget)?;
        add(&mut done, more);
        count += 1;
        let now = Medium::of(path)?.bytes;
        if rounds == Rounds::One || now >= last {
            break;
        }
        last = now;
    }
    let (others, taken) = (Medium::of(path)?.others(&store.stats()), begun.elapsed());
    ending::finish(store, "the collection is done", || {
        let told = Told { before, after: Medium::of(path)?, done, rounds: count, others, taken };
        if context.json {
            told.json(&mut out)?;
        } else {
            told.print(&mut out)?;
        }
        out.finish()
    })
}

/// One collection, with a bar over the bytes to copy.
fn collect(store: &Store, budget: Option<Duration>) -> Outcome<Collected> {
    let total = bytes_to_copy(&store.stats());
    let bar = progress::over_bytes("collecting", Some(total));
    let done = store.collect_with(budget, &mut |done| {
        // Frames have headers, and snapshots saved meanwhile change how much there is to do.
        bar.set_length(total.max(done.bytes_copied));
        bar.set_position(done.bytes_copied);
    });
    bar.finish_and_clear();
    done.map_err(refused)
}

/// Live bytes in segments that also hold dead ones.
fn bytes_to_copy(stats: &Stats) -> u64 {
    let records = stats.segments.iter().filter(|segment| segment.kind == FileKind::Records);
    // Headers of segments and frames are never live.
    let partly = records.filter(|segment| segment.live_bytes < segment.bytes - segment.bytes / 20);
    partly.map(|segment| segment.live_bytes).sum()
}

/// A failed collection loses no record.
fn refused(error: Error) -> Failure {
    let exit = Exit::of(&error);
    match error {
        Error::NoSpace { .. } => {
            let help = "free a little space on the device, enough for one segment; no record is lost";
            Failure::new(exit, error.to_string(), help)
        }
        other => other.into(),
    }
}

fn add(sum: &mut Collected, more: Collected) {
    sum.victims += more.victims;
    sum.records += more.records;
    sum.bytes_copied += more.bytes_copied;
    sum.files_deleted += more.files_deleted;
    sum.bytes_deleted += more.bytes_deleted;
    sum.snapshots += more.snapshots;
}

/// The report.
struct Told {
    before: Medium,
    after: Medium,
    done: Collected,
    rounds: u64,
    /// Segments that the newest state does not need.
    others: Vec<(String, u64)>,
    taken: Duration,
}

impl Told {
    fn print(&self, out: &mut Output) -> Outcome {
        let Self { before, after, done, .. } = self;
        let size =
            |medium: &Medium| format!("{} in {}", units::bytes(medium.bytes), units::counted(medium.files, "file"));
        let change = match before.bytes.checked_sub(after.bytes) {
            Some(0) => "nothing to gain".to_owned(),
            Some(less) => format!("{} reclaimed", units::bytes(less)),
            None => format!("{} more{}", units::bytes(after.bytes - before.bytes), self.why_more()),
        };
        out.line(&format!("before: {}", size(before)))?;
        out.line(&format!("after:  {}; {change} in {}", size(after), units::time(self.taken)))?;
        out.line(&format!(
            "{} moved, {} copied, out of {}; {} of records deleted; {} saved, in {}",
            units::counted(done.records, "record"),
            units::bytes(done.bytes_copied),
            units::counted(done.victims, "segment"),
            units::counted(done.files_deleted, "file"),
            units::counted(done.snapshots, "snapshot"),
            units::counted(self.rounds, "round"),
        ))?;
        if self.others.is_empty() {
            return Ok(());
        }
        let files = units::counted(u64::try_from(self.others.len()).unwrap_or(u64::MAX), "file");
        let bytes = units::bytes(self.other_bytes());
        out.line(&format!("{files} of {bytes} kept for named snapshots and marks, or until the store is next opened"))
    }

    fn why_more(&self) -> &'static str {
        if self.others.is_empty() {
            ", by the snapshots that were saved"
        } else {
            ", since the emptied segments are kept"
        }
    }

    fn other_bytes(&self) -> u64 {
        self.others.iter().map(|(_, bytes)| bytes).sum()
    }

    fn json(&self, out: &mut Output) -> Outcome {
        let Self { before, after, done, .. } = self;
        let others = self.others.iter().map(|(file, bytes)| json!({ "file": file, "bytes": bytes }));
        out.json(&json!({
            "bytes_before": before.bytes, "bytes_after": after.bytes,
            "files_before": before.files, "files_after": after.files,
            "segments_emptied": done.victims, "records_moved": done.records, "bytes_copied": done.bytes_copied,
            "files_deleted": done.files_deleted, "bytes_deleted": done.bytes_deleted,
            "snapshots": done.snapshots, "rounds": self.rounds,
            "other_bytes": self.other_bytes(), "other_segments": others.collect::<Vec<_>>(),
        }))
    }
}
