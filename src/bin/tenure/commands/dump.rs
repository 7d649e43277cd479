//! `tenure dump`: a whole store as one stream.
//!
//! Owns: the destination of the stream, and that a file is either complete or absent. Never: changes the store.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde_json::json;
use tenure::dump::DumpReport;
use tenure::{Error, Store};

use crate::at::At;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::pack::{Pack, Packer};
use crate::{process, progress, units};

const EXAMPLES: &str = "\
Examples:
  tenure dump things.tenure things.dump
  tenure dump things.tenure things.dump.zst
  tenure dump things.tenure - | ssh other tenure load - there.tenure
  tenure load things.dump.zst again.tenure

A backup is faster to make and opens like a store; a dump is one file and can be loaded by later versions.";

/// Write the whole contents of a store to one file or to stdout
///
/// Writes records with their IDs and versions, deleted IDs, sets and indexes, as of one commit, while other programs
/// use the store. A dump does not depend on the version of the file format: `tenure load` creates a new store from it.
/// Marks, snapshots and past states are not included. A file name ending in .gz or .zst makes a compressed dump.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The file to write, replaced once the dump is complete; - is stdout
    file: String,
    /// Compression; by default, the ending of the file name decides
    #[arg(long, value_enum)]
    pack: Option<Pack>,
    #[command(flatten)]
    at: At,
}

/// Dumps.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let pack = args.pack.unwrap_or_else(|| Pack::of_name(&args.file));
    if args.file == "-" {
        let stdout = process::stdout()?;
        if stdout.is_terminal() {
            return Err(Failure::usage("a dump is not text: name a file, or redirect stdout"));
        }
        let store = context.open_to_read_at(&args.store, &args.at)?;
        return write(&store, stdout, "stdout", pack).map(drop);
    }
    let mut out = Output::stdout()?;
    let path = Path::new(&args.file);
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let report = if path.exists() && !path.is_file() {
        // A pipe or a device is written directly.
        let file = OpenOptions::new().write(true).open(path).map_err(|error| Failure::output(&args.file, &error))?;
        write(&store, file, &args.file, pack)?.0
    } else {
        to_file(&store, &args.file, pack)?
    };
    if context.json {
        let DumpReport { seq, sets, indexes, records, value_bytes, entries, bytes, .. } = report;
        out.json(&json!({
            "file": args.file, "seq": seq.0, "sets": sets, "indexes": indexes, "records": records,
            "value_bytes": value_bytes, "entries": entries, "bytes": bytes,
        }))?;
    } else {
        out.line(&told(&report, &args.file))?;
    }
    out.finish()
}

/// Describes the contents of a dump.
fn told(report: &DumpReport, place: &str) -> String {
    let (sets, records) = (units::counted(report.sets, "set"), units::counted(report.records, "record"));
    let (values, bytes) = (units::bytes(report.value_bytes), units::bytes(report.bytes));
    let seq = report.seq;
    format!("commit {seq} is in {place}: {records} of {values} in {sets}; {bytes} before compression")
}

/// Writes to a file beside the destination, and renames it once everything is durable.
fn to_file(store: &Store, name: &str, pack: Pack) -> Outcome<DumpReport> {
    let partial = format!("{name}.partial");
    let made = OpenOptions::new().write(true).create(true).truncate(true).open(&partial);
    let file = made.map_err(|error| Failure::output(&partial, &error))?;
    let written = write(store, file, name, pack).and_then(|(report, file)| {
        let ended = file.sync_all().and_then(|()| take_place(&partial, name)).and_then(|()| sync_directory(name));
        ended.map(|()| report).map_err(|error| Failure::output(name, &error))
    });
    if written.is_err() {
        // An incomplete dump is useless.
        drop(std::fs::remove_file(&partial));
    }
    written
}

#[expect(clippy::disallowed_methods, reason = "a dump is one file, complete or absent; stores never rename files")]
fn take_place(partial: &str, name: &str) -> io::Result<()> {
    std::fs::rename(partial, name)
}

fn sync_directory(name: &str) -> io::Result<()> {
    let parent = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty());
    OpenOptions::new().read(true).open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn write(store: &Store, to: File, name: &str, pack: Pack) -> Outcome<(DumpReport, File)> {
    let bar = progress::over_records("dumping", 0);
    let cannot = |error| unwritten(name, &error);
    let mut packer = Packer::new(to, pack).map_err(cannot)?;
    let report = store.dump_with(&mut packer, &mut |now| {
        bar.set_length(now.records_total);
        bar.set_position(now.records);
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        Error::Io { action: "write", source, .. } | Error::NoSpace { action: "write", source, .. } => {
            unwritten(name, &source)
        }
        other => other.into(),
    })?;
    Ok((report, packer.finish().map_err(cannot)?))
}

/// A reader that closes the pipe early has no dump.
fn unwritten(name: &str, error: &io::Error) -> Failure {
    match Failure::output(name, error) {
        Failure::ReaderGone => {
            let message = format!("cannot write {name}: {error}");
            Failure::new(Exit::Failed, message, "let the reader read to the end")
        }
        told @ Failure::Told { .. } => told,
    }
}
