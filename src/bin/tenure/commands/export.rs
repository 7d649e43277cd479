//! `tenure export`: the records of a set as JSON Lines or CSV.
//!
//! Owns: how records become rows. Never: changes the store.

use std::path::PathBuf;

use serde_json::json;
use tenure::{Record, RecordSet, View};

use crate::at::At;
use crate::context::{Context, existing_set};
use crate::failure::Outcome;
use crate::output::{Output, note};
use crate::rows::Columns;
use crate::source::Format;
use crate::value::Form;
use crate::{progress, units, value};

const EXAMPLES: &str = "\
Examples:
  tenure export things.tenure --set people > people.jsonl
  tenure export things.tenure --set people --with-ids | jq .id
  tenure export things.tenure --set people --format csv -o people.csv";

/// Write the records of a set to a file or stdout, in the order of their IDs
///
/// JSON Lines: a record that is JSON is copied as it is; other text becomes {"text":…}, other bytes {"hex":…}. With
/// --with-ids each line is {"id":…,"seq":…,"value":…}, with `text` or `hex` instead of `value` if the record is not
/// JSON. CSV: every record must be JSON. The columns are the members of all objects, in the order in which the records
/// introduce them; a record that is not an object goes to the column `value`. Values are copied: a number keeps its
/// digits, a string loses its quotes, arrays and objects stay JSON. A null or missing member leaves its cell empty, or
/// filled with the text of --null.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The set
    #[arg(long, value_name = "NAME")]
    set: String,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Add ID and version to each record
    #[arg(long)]
    with_ids: bool,
    /// Text of a CSV cell for null and for a missing member
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// The file to write; existing contents are replaced
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Exports.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read_at(&args.store, &args.at)?;
    let set = existing_set(&store, &args.set)?;
    let mut out = Output::file_or_stdout(args.output.as_deref())?;
    let view = store.view();
    let records = match args.format {
        Format::Jsonl => jsonl(&view, &set, args, &mut out)?,
        Format::Csv => csv(&view, &set, args, &mut out)?,
    };
    out.finish()?;
    let Some(file) = &args.output else { return Ok(()) };
    if !context.json {
        note(&format!("exported {} to {}", units::counted(records, "record"), file.display()));
        return Ok(());
    }
    let mut out = Output::stdout()?;
    out.json(&json!({ "records": records, "file": file.display().to_string() }))?;
    out.finish()
}

fn jsonl(view: &View, set: &RecordSet, args: &Args, out: &mut Output) -> Outcome<u64> {
    let bar = progress::over_records("exporting", view.len(set));
    let mut records = 0;
    for record in view.scan(set) {
        let record = record?;
        if args.with_ids {
            value::print_record(out, &record, &[])?;
        } else {
            line(out, &record)?;
        }
        records += 1;
        bar.set_position(records);
    }
    bar.finish_and_clear();
    Ok(records)
}

/// The record alone, on a line.
fn line(out: &mut Output, record: &Record<'_>) -> Outcome {
    let form = Form::of(record)?;
    if form == Form::Json {
        value::print_json(out, record, form)?;
        return out.text("\n");
    }
    out.text(&format!("{{\"{}\":", form.key()))?;
    value::print_json(out, record, form)?;
    out.text("}\n")
}

/// Two passes over the same state: the first finds the columns.
fn csv(view: &View, set: &RecordSet, args: &Args, out: &mut Output) -> Outcome<u64> {
    let bar = progress::over_records("exporting", view.len(set).saturating_mul(2));
    let mut columns = Columns::new(args.with_ids, args.null.as_deref().unwrap_or_default());
    for record in view.scan(set) {
        columns.add(&record?)?;
        bar.inc(1);
    }
    let mut records = 0;
    for record in view.scan(set) {
        if records == 0 {
            out.bytes(&columns.head()?)?;
        }
        out.bytes(&columns.row(&record?)?)?;
        records += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(records)
}
