//! `tenure backup`: a consistent copy of a store.
//!
//! Owns: reporting a copy, for this command and for `restore`.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;
use tenure::{BackupOptions, BackupProgress, BackupReport, Error};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::{ending, progress, units};

const EXAMPLES: &str = "\
Examples:
  tenure backup things.tenure things.backup
  tenure backup --copy things.tenure things.copy
  tenure verify things.backup
  tenure get things.backup 0.1
  tenure restore things.backup again.tenure

A program that has the store open can back it up itself, with Store::backup_to.";

/// Back up a store to a new directory
///
/// Files are hard links where the file system allows them, and copies otherwise; complete files never change. The
/// backup is read back before the command ends. It is a store itself and opens like one. Until it is complete it is
/// marked as unfinished.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The directory of the backup; it must be empty or not exist yet
    directory: PathBuf,
    /// Copy every file instead of hard-linking, so that nothing is shared with the store
    #[arg(long)]
    copy: bool,
}

/// Backs up.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(&args.store)?;
    let bar = progress::over_bytes("copying", None);
    let options = BackupOptions::new().link(!args.copy);
    let report = store.backup_with_options(&args.directory, &options, &mut |now| show(&bar, now));
    bar.finish_and_clear();
    let report = report.map_err(|error| refused(error, &args.directory))?;
    ending::finish(store, &format!("the backup of commit {} is complete", report.seq), || {
        tell(&mut out, context, &args.directory, &report)?;
        out.finish()
    })
}

/// Advances the bar.
pub fn show(bar: &ProgressBar, now: BackupProgress) {
    bar.set_length(now.bytes_total);
    bar.set_position(now.bytes);
}

/// A directory that was in use is left as it is. An unfinished copy is reported as such.
pub fn refused(error: Error, directory: &Path) -> Failure {
    if let Error::Exists { path } = error {
        return Failure::new(Exit::Failed, format!("{path} is not empty"), "name a directory that does not exist yet");
    }
    let exit = Exit::of(&error);
    let failure = match error {
        Error::NoSpace { .. } => Failure::new(exit, error.to_string(), "free space on the device"),
        other => other.into(),
    };
    let is_begun = directory.join("unfinished").exists();
    if is_begun { failure.and_help(format!("{} is unfinished: delete it", directory.display())) } else { failure }
}

/// Reports the contents of the copy.
pub fn tell(out: &mut Output, context: &Context, directory: &Path, report: &BackupReport) -> Outcome {
    let BackupReport { seq, files, linked, bytes, verified, .. } = report;
    if context.json {
        return out.json(&json!({
            "directory": directory.display().to_string(), "seq": seq.0, "files": files, "linked": linked, "bytes": bytes,
            "records": verified.records, "indexes": verified.indexes,
        }));
    }
    let (files, bytes) = (units::counted(*files, "file"), units::bytes(*bytes));
    let links =
        if *linked == 0 { String::new() } else { format!(", of these {}", units::counted(*linked, "hard link")) };
    let read = format!("{} and {}", units::counted(verified.records, "record"), units::counted(verified.pages, "page"));
    out.line(&format!("commit {seq} is in {}: {bytes} in {files}{links}; {read} read back", directory.display()))
}
