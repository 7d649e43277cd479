//! `tenure changes`: what each commit has changed, in order, also while another process writes.
//!
//! Owns: how a change is printed. Never: opens the store for writing.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tenure::{Change, ChangeValue, Changes, Commit, Error, Seq};

use crate::context::{Context, existing_set};
use crate::failure::{Outcome, one_line};
use crate::output::{Output, note};
use crate::{units, value};

/// How long one wait for a commit takes.
const WAIT: Duration = Duration::from_hours(1);

const EXAMPLES: &str = "\
Examples:
  tenure changes things.tenure --limit 5
  tenure changes things.tenure --set people --json
  tenure changes things.tenure --set people --json --old
  tenure changes things.tenure --since 4 --follow --json --limit 2";

/// List what each commit has changed, oldest first
///
/// One line for each record that was inserted, updated or deleted, and for each set that was created, renamed or dropped. What the
/// collector moves is not listed, nor what may still be lost in a power cut. The exit code is 3 if the log does not lead from --since
/// to the last commit: the message says where it goes on. Without --since a note on stderr says where changes are gone. A value above
/// 64 KiB that was replaced since may have been reclaimed: the line says so.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// List the commits after this one; without it, all that the log still has
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
    /// List the commits that this consumer has not acknowledged
    #[arg(long, value_name = "NAME", conflicts_with = "since")]
    consumer: Option<String>,
    /// List changes of this set only
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// With --json, also list the value before each update and delete, where the program that writes records it
    #[arg(long)]
    old: bool,
    /// Wait for further commits of another process, until interrupted
    #[arg(long)]
    follow: bool,
    /// Maximum number of commits to list
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Lists changes.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read(&args.store)?;
    let set = args.set.as_ref().map(|name| existing_set(&store, name)).transpose()?;
    let since = |since| -> tenure::Result<Changes> {
        let changes = store.changes(since)?;
        Ok(if let Some(set) = &set { changes.of_sets([set]) } else { changes })
    };
    let begin = match &args.consumer {
        Some(name) => Some(store.consumer(name)?.position()?),
        None => args.since.map(Seq),
    };
    let mut changes = since(begin.unwrap_or(Seq::ZERO))?;
    // All that the log still has was asked for, up to where it ends now.
    let mut passes_gaps = begin.is_none();
    let mut out = Output::stdout()?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let next = match changes.try_next() {
            Err(error) if passes_gaps => {
                let Some((after, on)) = gap(&error).filter(|(after, on)| on > after) else { return Err(error.into()) };
                if after > Seq::ZERO {
                    out.flush()?;
                    note(&format!("note: {error}"));
                }
                changes = since(on)?;
                continue;
            }
            next => next?,
        };
        let next = match next {
            None if args.follow => {
                passes_gaps = false;
                out.flush()?;
                changes.next_timeout(WAIT)?
            }
            next => next,
        };
        match next {
            Some(commit) => print(context, args, &mut out, &commit)?,
            None if args.follow => continue,
            None => break,
        }
        left -= 1;
    }
    out.finish()
}

/// The commits between which the log has nothing that led to what the store contains now.
fn gap(error: &Error) -> Option<(Seq, Seq)> {
    match *error {
        Error::Gone { since, oldest } => Some((since, oldest)),
        Error::RolledBack { since, resumed } => Some((since, resumed)),
        _ => None,
    }
}

fn print(context: &Context, args: &Args, out: &mut Output, commit: &Commit) -> Outcome {
    for change in commit.changes() {
        let change = change?;
        let value = change.value()?;
        if context.json {
            print_json(args, out, commit, &change, &value)?;
            continue;
        }
        let id = change.id().map(|id| format!(" {id}")).unwrap_or_default();
        let size = match &value {
            ChangeValue::Bytes(value) => {
                Some(format!("  {}", units::bytes(u64::try_from(value.len()).unwrap_or(u64::MAX))))
            }
            ChangeValue::Gone => Some("  reclaimed".to_owned()),
            _ => None,
        };
        let name = match change.set_name() {
            "" => format!("set {}", change.set()),
            name => name.to_owned(),
        };
        let kind = change.kind().to_string();
        out.line(&one_line(&format!("{:<8}  {kind:<10}  {name}{id}{}", commit.seq(), size.unwrap_or_default())))?;
    }
    Ok(())
}

fn print_json(args: &Args, out: &mut Output, commit: &Commit, change: &Change<'_>, value: &ChangeValue<'_>) -> Outcome {
    let micros = commit.time().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let note = commit.note()?.map(|note| String::from_utf8_lossy(&note).into_owned());
    let members: [(&str, Value); 6] = [
        ("time_micros", json!(u64::try_from(micros).unwrap_or(u64::MAX))),
        ("note", json!(note)),
        ("kind", json!(change.kind().to_string())),
        ("set_number", json!(change.set().0)),
        ("set", json!(change.set_name())),
        ("id", json!(change.id().map(|id| id.to_string()))),
    ];
    out.text(&format!("{{\"seq\":{}", commit.seq()))?;
    for (name, value) in members {
        out.text(&format!(",{}:{value}", json!(name)))?;
    }
    match value {
        ChangeValue::Bytes(bytes) => value::print_member(out, bytes)?,
        ChangeValue::Gone => out.text(",\"reclaimed\":true")?,
        _ => {}
    }
    if args.old {
        print_old(out, &change.old_value()?)?;
    }
    out.text("}\n")
}

fn print_old(out: &mut Output, old: &ChangeValue<'_>) -> Outcome {
    match old {
        ChangeValue::Bytes(bytes) => {
            out.text(",\"old\":{")?;
            value::print_only_member(out, bytes)?;
            out.text("}")
        }
        ChangeValue::Gone => out.text(",\"old\":{\"reclaimed\":true}"),
        ChangeValue::Unrecorded => out.text(",\"old\":{\"unrecorded\":true}"),
        _ => Ok(()),
    }
}
