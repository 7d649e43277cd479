//! `tenure get`: records by their IDs.
//!
//! Owns: telling found records from missing ones. Never: reads a large value as a whole.

use std::path::PathBuf;

use serde_json::json;
use tenure::{Error, Record, RecordId, RecordSet, View};

use crate::at::At;
use crate::context::{Context, existing_set};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::value;

const EXAMPLES: &str = "\
Examples:
  tenure get things.tenure 0.1
  tenure get things.tenure 0.1 5.2 7.1 --json
  tenure get things.tenure 9.1 --raw -o photo.jpg

Existing records are printed even if others are missing; the exit code is then 3.";

/// Print records
///
/// Each value is printed as it is, followed by a line break; --raw omits the line break. On a terminal, control
/// characters and direction marks are escaped unless --raw is given. With --json each record is a line with id, state,
/// seq, set, bytes and value.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// Record IDs
    #[arg(required = true, value_name = "ID")]
    ids: Vec<RecordId>,
    /// Require that the records belong to this set
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// Print only the bytes of the values, even on a terminal
    #[arg(long)]
    raw: bool,
    /// The file to write; existing contents are replaced
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Gets.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.raw && context.json {
        return Err(Failure::usage("--raw and --json cannot be combined"));
    }
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let set = args.set.as_deref().map(|name| existing_set(&store, name)).transpose()?;
    let view = store.view();
    // A file is not truncated for records that do not exist.
    if args.output.is_some() && args.ids.len() == 1 {
        args.ids.iter().try_for_each(|&id| find(&view, set.as_ref(), id).map(|_record| ()))?;
    }
    let mut out = Output::file_or_stdout(args.output.as_deref())?;
    if args.raw {
        out = out.raw();
    }
    let mut missing = Vec::new();
    for &id in &args.ids {
        match find(&view, set.as_ref(), id) {
            Ok(record) if context.json => print_json(&mut out, &view, &record)?,
            Ok(record) => {
                value::print_raw(&mut out, &record)?;
                if !args.raw {
                    out.text("\n")?;
                }
            }
            Err(error) => {
                let state = state(&error).ok_or(error)?;
                if context.json {
                    out.json(&json!({ "id": id.to_string(), "state": state.0 }))?;
                }
                missing.push(state.1);
            }
        }
    }
    out.finish()?;
    report(args.ids.len(), missing)
}

fn find<'v>(view: &'v View, set: Option<&RecordSet>, id: RecordId) -> Result<Record<'v>, Error> {
    match set {
        Some(set) => view.get_in(set, id),
        None => view.get(id),
    }
}

/// A word for why the record is missing, and the error; `None` for any other error.
fn state(error: &Error) -> Option<(&'static str, Error)> {
    match error {
        Error::Deleted { id } => Some(("deleted", Error::Deleted { id: *id })),
        Error::NeverAllocated { id } => Some(("never allocated", Error::NeverAllocated { id: *id })),
        Error::WrongSet { id, expected, got } => {
            let (expected, got) = (expected.clone(), got.clone());
            Some(("in another set", Error::WrongSet { id: *id, expected, got }))
        }
        _ => None,
    }
}

fn print_json(out: &mut Output, view: &View, record: &Record<'_>) -> Outcome {
    let set = view.set_of(record.id()).map(|set| set.name().to_owned());
    value::print_record(out, record, &[("state", json!("live")), ("set", json!(set)), ("bytes", json!(record.len()))])
}

fn report(asked: usize, mut missing: Vec<Error>) -> Outcome {
    match missing.len() {
        0 => Ok(()),
        1 => Err(missing.swap_remove(0).into()),
        several => {
            let told: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let message = format!("{several} of {asked} records do not exist: {}", told.join("; "));
            Err(Failure::new(Exit::NotFound, message, "check the IDs; IDs of deleted records are never reused"))
        }
    }
}
