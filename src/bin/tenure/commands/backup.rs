//! `tenure backup`: a consistent copy of a store.
//!
//! Owns: reporting a copy, for this command and for `restore`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::ProgressBar;
use serde_json::json;
use tenure::{BackupOptions, BackupProgress, BackupReport, Error};

use crate::commands::repository;
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
  tenure backup --incremental things.tenure things.backups
  tenure backup list things.backups

A program that has the store open can back it up itself, with Store::backup_to or Repository::add.";

/// Back up a store to a new directory, or to a repository of backups
///
/// Files are hard links where the file system allows them, and copies otherwise; complete files never change. The
/// backup is read back before the command ends. It is a store itself and opens like one. Until it is complete it is
/// marked as unfinished.
///
/// With --incremental, the second argument is a repository, which holds many backups of one store: the backup adds the
/// bytes that the repository lacks. `tenure restore` restores any of them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The store
    #[arg(required = true)]
    store: Option<PathBuf>,
    /// The directory of the backup, which must be empty or not exist yet; with --incremental a repository: such a directory, one
    /// with earlier backups, or a URL
    #[arg(required = true)]
    directory: Option<PathBuf>,
    /// Copy every file instead of hard-linking, so that nothing is shared with the store
    #[arg(long)]
    copy: bool,
    /// Add the backup to a repository, with only the bytes that it lacks
    #[arg(long, conflicts_with = "copy")]
    incremental: bool,
    /// With --incremental: do not verify the records and indexes first, which reads the store a second time
    #[arg(long, requires = "incremental")]
    no_verify: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    List(repository::List),
    Prune(repository::Prune),
    Verify(repository::Verify),
}

/// Backs up, or works on a repository.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match (&args.what, &args.store, &args.directory) {
        (Some(What::List(args)), ..) => repository::list(context, args),
        (Some(What::Prune(args)), ..) => repository::prune(context, args),
        (Some(What::Verify(args)), ..) => repository::verify(context, args),
        (None, Some(store), Some(place)) if args.incremental => repository::add(context, store, place, !args.no_verify),
        (None, Some(store), Some(directory)) => back_up(context, store, directory, args.copy),
        (None, ..) => Err(Failure::new(Exit::Usage, "a store and a directory are needed", "name both")),
    }
}

fn back_up(context: &Context, store: &Path, directory: &Path, copy: bool) -> Outcome {
    let mut out = Output::stdout()?;
    let store = context.open_to_write(store)?;
    let bar = progress::over_bytes("copying", None);
    let options = BackupOptions::new().link(!copy);
    let report = store.backup_with_options(directory, &options, &mut |now| show(&bar, now));
    bar.finish_and_clear();
    let report = report.map_err(|error| refused(error, directory))?;
    ending::finish(store, &format!("the backup of commit {} is complete", report.seq), || {
        tell(&mut out, context, directory, &report)?;
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
