//! `tenure export`: the records of a set as JSON Lines or CSV.
//!
//! Owns: how records become rows. Never: changes the store.

use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;
use tenure::Record;
use tenure::RecordSet;
use tenure::View;

use crate::at::At;
use crate::context::Context;
use crate::context::existing_set;
use crate::failure::Exit;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::output::Output;
use crate::output::note;
use crate::progress;
use crate::source::Format;
use crate::units;
use crate::value;
use crate::value::Form;

const EXAMPLES: &str = "\
Examples:
  tenure export things.tenure --set people > people.jsonl
  tenure export things.tenure --set people --with-ids | jq .id
  tenure export things.tenure --set people --format csv -o people.csv";

/// Write the records of a set to a file or stdout, in the order of their IDs
///
/// JSON Lines: a record that is JSON stands as it is; other text becomes {"text":…}, other bytes {"hex":…}. With
/// --with-ids each line is {"id":…,"seq":…,"value":…}, with `text` or `hex` in the place of `value` where it is not
/// JSON. CSV: every record must be a JSON object; the names of the first one are the columns.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The set
    #[arg(long, value_name = "NAME")]
    set: String,
    /// How rows are written down
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Adds ID and version to each record
    #[arg(long)]
    with_ids: bool,
    /// The file to write; what it held is replaced
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

fn csv(view: &View, set: &RecordSet, args: &Args, out: &mut Output) -> Outcome<u64> {
    let bar = progress::over_records("exporting", view.len(set));
    let (mut records, mut columns) = (0, None);
    for record in view.scan(set) {
        let record = record?;
        let Ok(Value::Object(object)) = serde_json::from_slice(&record.to_vec()?) else {
            return Err(no_row(&record, "it is not a JSON object"));
        };
        let mut cells =
            if args.with_ids { vec![record.id().to_string(), record.seq().to_string()] } else { Vec::new() };
        if columns.is_none() {
            let ids = if args.with_ids { vec!["id".to_owned(), "seq".to_owned()] } else { Vec::new() };
            out.bytes(&row(&ids.into_iter().chain(object.keys().cloned()).collect::<Vec<_>>())?)?;
        }
        let columns = columns.get_or_insert_with(|| object.keys().cloned().collect::<Vec<_>>());
        if let Some(extra) = object.keys().find(|key| !columns.contains(key)) {
            return Err(no_row(&record, &format!("its member {extra:?} is no column of the first record")));
        }
        cells.extend(columns.iter().map(|column| match object.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }));
        out.bytes(&row(&cells)?)?;
        records += 1;
        bar.set_position(records);
    }
    bar.finish_and_clear();
    Ok(records)
}

fn row(cells: &[String]) -> Outcome<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(cells).map_err(std::io::Error::from);
    written.map_err(|error| Failure::output("a row", &error))?;
    writer.into_inner().map_err(|error| Failure::output("a row", error.error()))
}

fn no_row(record: &Record<'_>, why: &str) -> Failure {
    let message = format!("record {} cannot be a row of CSV: {why}", record.id());
    Failure::new(Exit::BadInput, message, "export as --format jsonl")
}
