//! Repositories of backups: `tenure backup --incremental`, `backup list`, `backup prune`, `backup verify`, and `restore` from one.
//!
//! Owns: what a path or URL of a repository is, and ending on a signal with everything kept that was done.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use indicatif::ProgressBar;
use serde_json::json;
use tenure::repository::{AddOptions, Added, At, Keep, Repository, RepositoryProgress, RepositoryReport};
use tenure::{BackupReport, Error, Store};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::place::url;
use crate::table::Table;
use crate::{ending, progress, units};

const LIST_EXAMPLES: &str = "\
Examples:
  tenure backup list things.backups
  tenure backup list things.backups --json | jq -r .id";

const PRUNE_EXAMPLES: &str = "\
Examples:
  tenure backup prune things.backups --keep 7
  tenure backup prune things.backups --keep 3 --keep-daily 30";

const VERIFY_EXAMPLES: &str = "\
Examples:
  tenure backup verify things.backups";

/// List the backups of a repository, oldest first
///
/// OWN is what no older backup of the list has: the bytes that the backup added. If the list of a backup is damaged, the others
/// are shown, and the command fails with the exit code of damage.
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub struct List {
    /// The repository: a directory, or a URL
    repository: PathBuf,
}

/// Delete old backups of a repository, and what only they need
///
/// The newest backup always stays. Nothing is deleted while a backup is at work, or while a list of a backup cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = PRUNE_EXAMPLES)]
pub struct Prune {
    /// The repository: a directory, or a URL
    repository: PathBuf,
    /// Keep this many of the newest backups
    #[arg(long, value_name = "N")]
    keep: u64,
    /// Also keep the newest backup of each of the last DAYS days that have one; days are those of UTC
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    keep_daily: u64,
}

/// Verify a repository: every list, and every piece that a backup needs
///
/// Damaged pieces are noted, and the next backup writes them anew if the store still has their bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    /// The repository: a directory, or a URL
    repository: PathBuf,
}

/// The repository at a path or URL, to which a backup is added: a directory that a URL names is made.
fn new_at(path: &Path) -> Outcome<Repository> {
    #[cfg(feature = "remote")]
    if let Some(url) = url(path) {
        return Ok(Repository::in_bucket(tenure::remote::Bucket::at(url)?));
    }
    at(path)
}

/// The repository at a path or URL.
pub fn at(path: &Path) -> Outcome<Repository> {
    match url(path) {
        None => Ok(Repository::in_directory(path)),
        #[cfg(feature = "remote")]
        Some(url) => Ok(Repository::in_bucket(tenure::remote::Bucket::existing(url)?)),
        #[cfg(not(feature = "remote"))]
        Some(_url) => {
            let message = "the repository is in a bucket, which this program cannot read";
            Err(Failure::new(Exit::Usage, message, "use a program that was built with the feature `remote`"))
        }
    }
}

/// Whether a path leads to a repository, and not to a store.
pub fn is_one(path: &Path) -> bool {
    url(path).is_some() || path.join("repository").is_file()
}

/// Runs an operation with a bar. A signal ends it, and what was done stays.
fn with_bar<T>(
    what: &'static str,
    operation: impl FnOnce(&mut dyn FnMut(RepositoryProgress) -> ControlFlow<()>) -> Result<T, Error>,
    refused: impl FnOnce(Error) -> Failure,
    help: &str,
) -> Outcome<T> {
    let interrupt = Interrupt::watched()?.flag();
    let bar = progress::over_bytes(what, None);
    let result = operation(&mut |now| {
        show(&bar, now);
        if interrupt.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    result.map_err(|error| {
        if interrupt.load(Ordering::Relaxed) {
            return Failure::new(Exit::Interrupted, format!("{error}, interrupted"), help);
        }
        refused(error)
    })
}

fn show(bar: &ProgressBar, now: RepositoryProgress) {
    bar.set_length(now.bytes_total);
    bar.set_position(now.bytes);
}

/// Adds a backup.
pub fn add(context: &Context, store: &Path, repository: &Path, verify: bool) -> Outcome {
    let mut out = Output::stdout()?;
    let place = new_at(repository)?;
    let store: Store = context.open_to_write(store)?;
    let options = AddOptions::new().verify(verify);
    let resume = "run the same command again: it goes on with what was written";
    let added = with_bar("copying", |progress| place.add(&store, &options, progress), refused, resume)?;
    ending::finish(store, &format!("backup {} is complete", added.id), || {
        tell(&mut out, context, repository, &added)?;
        out.finish()
    })
}

fn refused(error: Error) -> Failure {
    let exit = Exit::of(&error);
    let message = error.to_string();
    match error {
        Error::NoSpace { .. } => Failure::new(
            exit,
            message,
            "free space on the device, for example with `tenure backup prune`; then run it again: it goes on with what was written",
        ),
        Error::Locked { .. } => Failure::new(exit, message, "run it again when the other command has ended"),
        Error::BadDestination { .. } => {
            Failure::new(exit, message, "name a directory of backups, or one that is empty or does not exist yet")
        }
        other => other.into(),
    }
}

fn tell(out: &mut Output, context: &Context, repository: &Path, added: &Added) -> Outcome {
    let Added { id, seq, files, bytes, written, .. } = added;
    let shown = repository.display();
    if context.json {
        return out.json(&json!({
            "repository": shown.to_string(), "id": id.to_string(), "seq": seq.0, "files": files, "bytes": bytes,
            "written": written, "records": added.verified.as_ref().map(|verified| verified.records),
        }));
    }
    let size = format!("{} in {}", units::bytes(*bytes), units::counted(*files, "file"));
    out.line(&format!("commit {seq} is backup {id} in {shown}: {size}, {} written", units::bytes(*written)))
}

/// Restores a backup. `explained` is for what the new directory refuses.
pub fn restore(
    repository: &Path,
    at: Option<At>,
    store: &Path,
    explained: impl Fn(Error, &Path) -> Failure,
) -> Outcome<BackupReport> {
    let place = self::at(repository)?;
    let at = at.unwrap_or(At::Newest);
    let help = format!("{} is unfinished: delete it", store.display());
    let refused = |error| match error {
        error @ Error::PointGone { .. } => {
            let help = format!("list the backups with `tenure backup list {}`", repository.display());
            Failure::new(Exit::of(&error), error.to_string(), help)
        }
        error @ Error::BadDestination { .. } => {
            Failure::new(Exit::of(&error), error.to_string(), "name a directory outside the repository")
        }
        error @ Error::Corrupt(_) => {
            let (shown, store) = (repository.display(), store.display());
            let help = format!(
                "restore another backup: `tenure backup verify {shown}` names those that need what is damaged; {store} is unfinished: delete it"
            );
            Failure::new(Exit::of(&error), error.to_string(), help)
        }
        other => explained(other, store),
    };
    with_bar("copying", |progress| place.restore(at, store, progress), refused, &help)
}

/// Lists.
pub fn list(context: &Context, args: &List) -> Outcome {
    let mut out = Output::stdout()?;
    let (listed, problems) = at(&args.repository)?.list_readable()?;
    if context.json {
        for info in &listed {
            out.json(&json!({
                "id": info.id.to_string(), "time": units::moment(info.time), "seq": info.seq.0, "timeline": info.timeline,
                "files": info.files, "bytes": info.bytes, "own_bytes": info.own_bytes,
            }))?;
        }
    } else {
        let mut table = Table::new(&["ID>", "TIME", "COMMIT>", "SIZE>", "OWN>"]);
        for info in &listed {
            let (id, seq) = (info.id.to_string(), info.seq.to_string());
            table.row(&[id, units::moment(info.time), seq, units::bytes(info.bytes), units::bytes(info.own_bytes)]);
        }
        table.print(&mut out)?;
    }
    out.finish()?;
    let Some(worst) = problems.iter().find(|problem| problem.corrupt).or(problems.first()) else { return Ok(()) };
    let others = problems.iter().filter(|problem| *problem != worst).map(|problem| format!(", and {}", problem.object));
    let others: String = others.collect();
    let message = format!("{} cannot be listed{others}: {}", worst.object, one_line(&worst.what));
    if worst.corrupt {
        let help = "the backups that are shown can be restored; what is damaged is lost: back up again";
        return Err(Failure::new(Exit::Corrupt, message, help));
    }
    Err(Failure::new(Exit::Failed, message, "check the place and its permissions, then list again"))
}

/// Prunes.
pub fn prune(context: &Context, args: &Prune) -> Outcome {
    let mut out = Output::stdout()?;
    let pruned = at(&args.repository)?.prune(&Keep::newest(args.keep).daily(args.keep_daily)).map_err(refused)?;
    let ids: Vec<String> = pruned.backups.iter().map(ToString::to_string).collect();
    if context.json {
        out.json(&json!({ "backups": ids, "pieces": pruned.pieces, "bytes": pruned.bytes }))?;
    } else {
        let backups = units::counted(u64::try_from(ids.len()).unwrap_or(u64::MAX), "backup");
        let pieces = units::counted(pruned.pieces, "piece");
        out.line(&format!("{backups} and {pieces} of {} deleted", units::bytes(pruned.bytes)))?;
    }
    out.finish()
}

/// Verifies.
pub fn verify(context: &Context, args: &Verify) -> Outcome {
    let mut out = Output::stdout()?;
    let place = at(&args.repository)?;
    let report = with_bar("verifying", |progress| place.verify(progress), Failure::from, "run it again")?;
    if context.json {
        out.json(&document(&report))?;
    } else {
        print(&mut out, &report)?;
    }
    out.finish()?;
    let Some(first) = report.problems.first() else { return Ok(()) };
    let message = format!("{}: {}", args.repository.display(), one_line(&first.what));
    if report.problems.iter().any(|problem| problem.corrupt) {
        let help = "back up again: what the store still has is written anew; other backups that need it are lost";
        return Err(Failure::new(Exit::Corrupt, message, help));
    }
    Err(Failure::new(Exit::Failed, message, "check the place and its permissions, then verify again"))
}

fn document(report: &RepositoryReport) -> serde_json::Value {
    let problems = report.problems.iter().map(|problem| {
        let backups: Vec<String> = problem.backups.iter().map(ToString::to_string).collect();
        json!({ "object": problem.object, "what": problem.what, "backups": backups, "corrupt": problem.corrupt })
    });
    json!({
        "backups": report.backups, "pieces": report.pieces, "bytes": report.bytes, "unneeded": report.unneeded,
        "problems": problems.collect::<Vec<_>>(),
    })
}

fn print(out: &mut Output, report: &RepositoryReport) -> Outcome {
    for problem in &report.problems {
        let backups: Vec<String> = problem.backups.iter().map(ToString::to_string).collect();
        out.line(&one_line(&format!("problem: {}; needed by {}", problem.what, backups.join(", "))))?;
    }
    let verdict = match u64::try_from(report.problems.len()).unwrap_or(u64::MAX) {
        0 => "no problem found".to_owned(),
        problems => format!("{} found", units::counted(problems, "problem")),
    };
    let pieces = units::counted(report.pieces, "piece");
    let backups = units::counted(report.backups, "backup");
    out.line(&format!("{backups}, {pieces}, {} read: {verdict}", units::bytes(report.bytes)))
}
