//! `tenure import`: rows of a file become records of a set.
//!
//! Owns: batches, what happens to bad rows, the summary.
//! Never: loses count. Whatever ends an import, the message says from which line to go on.
//! Invariants: 1. A batch is one commit: of its rows all are stored, or none. 2. When an error ends the import, every
//! row before the line that it names is stored, and none from there on.

use std::fmt::Write;
use std::io::Cursor;
use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use indicatif::ProgressBar;
use serde_json::json;
use tenure::RecordId;
use tenure::RecordSet;
use tenure::Store;

use crate::context::Context;
use crate::failure::Exit;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::input;
use crate::input::BadRow;
use crate::input::Format;
use crate::input::Input;
use crate::input::Row;
use crate::input::Rows;
use crate::input::Step;
use crate::input::csv::CsvRows;
use crate::input::jsonl::JsonLines;
use crate::output::Output;
use crate::output::note;
use crate::units;

/// Bad rows that are told one by one; beyond them they are counted.
const TOLD_MAX: u64 = 20;
/// Bytes of rows after which a batch is committed, whatever `--batch` says.
const BATCH_BYTES_MAX: usize = 8 << 20;

const EXAMPLES: &str = "\
Examples:
  tenure import things.tenure people.jsonl --set people
  tenure import things.tenure places.csv.gz --set places --on-error skip
  zcat big.jsonl.gz | tenure import things.tenure - --set big --format jsonl --batch 10000
  tenure import things.tenure people.jsonl --set people --from-line 70001";

/// Store the rows of a file as records
///
/// JSON Lines: each line is a JSON value, checked, and stored as it stands. CSV: each row below the row of names becomes
/// a JSON object of strings. Input that gzip packed is unpacked. The store and the set are made if they are not there.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The file; - is stdin
    file: String,
    /// The set that takes the records
    #[arg(long, value_name = "NAME")]
    set: String,
    /// How rows are written down; told by the file's name where it is not given (stdin: jsonl)
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Rows that are committed together
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Whether each batch waits for the medium, or the import does once, at its end
    #[arg(long, value_enum, default_value_t = Durability::Buffered)]
    durability: Durability,
    /// Whether a bad row ends the import or is passed over
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    on_error: OnError,
    /// The line to begin with; rows above it are passed over
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_line: u64,
    /// The longest row
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = crate::args::bytes)]
    line_bytes_max: u64,
    /// Adds a line with line number, TAB and record ID to this file for each record
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
}

/// When a batch counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Durability {
    Sync,
    Buffered,
}

/// What a bad row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
    Stop,
    Skip,
}

/// Imports.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let format = match args.format.or_else(|| Format::of_name(&args.file)) {
        Some(format) => format,
        None if args.file == "-" => Format::Jsonl,
        None => return Err(unknown_format(&args.file)),
    };
    let begun = Instant::now();
    let Input { name, reader, bar } = input::open(&args.file)?;
    let mut rows: Box<dyn Rows> = match format {
        Format::Jsonl => {
            let bytes_max = usize::try_from(args.line_bytes_max).unwrap_or(usize::MAX);
            Box::new(JsonLines::new(reader, args.from_line, bytes_max))
        }
        Format::Csv => Box::new(CsvRows::new(reader, args.from_line, args.line_bytes_max)),
    };
    let ids = args.ids.as_deref().map(Output::append).transpose()?;
    let durability = match args.durability {
        Durability::Sync => tenure::Durability::Sync,
        Durability::Buffered => tenure::Durability::Buffered,
    };
    let store = context.open_or_create(&args.store, durability)?;
    let set = store.record_set(&args.set)?;
    let mut import = Import::new(&store, &set, args, ids, context.transaction_bytes());
    let ended = import.all(rows.as_mut(), &name, &bar);
    bar.finish_and_clear();
    let Import { summary, .. } = import;
    ended?;
    store.sync()?;
    store.close()?;
    summary.print(context, &name, begun)
}

fn unknown_format(file: &str) -> Failure {
    let message = format!("the name {file:?} does not tell how its rows are written down");
    Failure::new(Exit::Usage, message, "add --format jsonl or --format csv")
}

/// An import under way.
struct Import<'a> {
    store: &'a Store,
    set: &'a RecordSet,
    args: &'a Args,
    ids: Option<Output>,
    /// Bytes after which a batch is committed.
    batch_bytes: usize,
    batch: Vec<Row>,
    bytes_in_batch: usize,
    summary: Summary,
}

impl<'a> Import<'a> {
    fn new(store: &'a Store, set: &'a RecordSet, args: &'a Args, ids: Option<Output>, transaction_bytes: u64) -> Self {
        // Half of a transaction leaves room for what is written beside the rows.
        let batch_bytes = usize::try_from(transaction_bytes / 2).unwrap_or(usize::MAX).min(BATCH_BYTES_MAX);
        let (batch, summary) = (Vec::new(), Summary::default());
        Self { store, set, args, ids, batch_bytes, batch, bytes_in_batch: 0, summary }
    }

    fn all(&mut self, rows: &mut dyn Rows, name: &str, bar: &ProgressBar) -> Outcome {
        loop {
            match rows.step() {
                Ok(Step::Row(row)) => self.take(row)?,
                Ok(Step::Bad(bad)) if self.args.on_error == OnError::Skip => self.skip(&bad, name, bar),
                Ok(Step::Bad(bad)) => return Err(self.stop(bad.line, name, &bad.what)),
                Ok(Step::End) => return self.commit(),
                Err(broken) => return Err(self.stop(broken.line, name, &broken.what)),
            }
        }
    }

    /// Adds a row to the batch; commits when the batch is full.
    fn take(&mut self, row: Row) -> Outcome {
        if row.bytes.len() > self.batch_bytes {
            self.commit()?;
            return self.store_large(&row);
        }
        if self.bytes_in_batch + row.bytes.len() > self.batch_bytes {
            self.commit()?;
        }
        self.bytes_in_batch += row.bytes.len();
        self.batch.push(row);
        if self.batch.len() >= usize::try_from(self.args.batch).unwrap_or(usize::MAX) { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Outcome {
        let rows = std::mem::take(&mut self.batch);
        self.bytes_in_batch = 0;
        let Some(first) = rows.first() else { return Ok(()) };
        let stored = self.store.write(|transaction| {
            rows.iter().map(|row| transaction.insert(self.set, &row.bytes)).collect::<Result<Vec<RecordId>, _>>()
        });
        let ids = stored.map_err(|error| resume(error.into(), first.line))?;
        rows.iter().zip(ids).try_for_each(|(row, id)| self.stored(row, id))?;
        self.ids.as_mut().map_or(Ok(()), Output::flush)
    }

    /// Stores a row that has no room in a batch.
    fn store_large(&mut self, row: &Row) -> Outcome {
        let stored = self.store.write(|transaction| transaction.insert_from(self.set, &mut Cursor::new(&row.bytes)));
        let id = stored.map_err(|error| resume(error.into(), row.line))?;
        self.stored(row, id)?;
        self.ids.as_mut().map_or(Ok(()), Output::flush)
    }

    fn stored(&mut self, row: &Row, id: RecordId) -> Outcome {
        self.summary.add(id, row.bytes.len());
        match &mut self.ids {
            Some(out) => out.line(&format!("{}\t{id}", row.line)),
            None => Ok(()),
        }
    }

    fn skip(&mut self, bad: &BadRow, name: &str, bar: &ProgressBar) {
        self.summary.skipped += 1;
        match self.summary.skipped {
            0..=TOLD_MAX => bar.suspend(|| note(&format!("skipped: {name}, line {}, {}", bad.line, bad.what))),
            told if told == TOLD_MAX + 1 => bar.suspend(|| note("skipped: further rows are only counted")),
            _ => {}
        }
    }

    /// Commits the rows before the bad one, and says how to go on.
    fn stop(&mut self, line: u64, name: &str, what: &str) -> Failure {
        if let Err(failure) = self.commit() {
            return failure;
        }
        let stored = units::counted(self.summary.records, "record");
        let help = format!("{stored} from above that line stored; mend the line, then resume with --from-line {line}");
        Failure::new(Exit::BadInput, format!("{name}, line {line}, {what}"), help)
    }
}

/// Says from which line to go on when the store refused a batch.
fn resume(failure: Failure, line: u64) -> Failure {
    failure.and_help(format!("then resume with --from-line {line}"))
}

/// What was imported.
#[derive(Debug, Default)]
struct Summary {
    records: u64,
    bytes: u64,
    skipped: u64,
    first: Option<RecordId>,
    last: Option<RecordId>,
}

impl Summary {
    fn add(&mut self, id: RecordId, bytes: usize) {
        self.records += 1;
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.first = self.first.or(Some(id));
        self.last = Some(id);
    }

    fn print(&self, context: &Context, name: &str, begun: Instant) -> Outcome {
        let mut out = Output::stdout();
        if context.json {
            let (first, last) = (self.first.map(|id| id.to_string()), self.last.map(|id| id.to_string()));
            out.json(&json!({
                "records": self.records, "bytes": self.bytes, "skipped": self.skipped,
                "first_id": first, "last_id": last,
            }))?;
            return out.finish();
        }
        let taken = begun.elapsed();
        let mut text = format!("imported {}, {}", units::counted(self.records, "record"), units::bytes(self.bytes));
        let mut add = |more: String| text.write_str(&more).unwrap_or_default();
        if let (Some(first), Some(last)) = (self.first, self.last) {
            add(format!(", IDs {first} to {last}"));
        }
        if self.skipped > 0 {
            add(format!("; skipped {}", units::counted(self.skipped, "row")));
        }
        let rate = units::count(units::per_second(self.records, taken));
        add(format!("; {}, {rate} records/s", units::time(taken)));
        out.line(&text)?;
        if self.records == 0 && self.skipped == 0 {
            note(&format!("note: {name} holds no rows"));
        }
        out.finish()
    }
}
