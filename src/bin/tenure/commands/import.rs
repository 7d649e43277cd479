//! `tenure import`: rows of a file become records of a set.
//!
//! Owns: batches, what happens to bad rows, the summary.
//! Never: loses count. Whatever ends an import, the message says from which line to go on.
//! Invariants: 1. A batch is one commit: of its rows all are stored, or none; those that an index refuses are bad rows, and
//! the batch goes on without them. 2. When an error ends the import, every row before the line that it names is stored and on
//! the medium, and none from there on. Where that is not certain, the exit code is `InDoubt`, and the message says which number
//! of records means what.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::ValueEnum;
use indicatif::ProgressBar;
use serde_json::json;
use tenure::Error;
use tenure::RecordId;
use tenure::RecordSet;
use tenure::Store;

use crate::commands::faults;
use crate::commands::faults::Fault;
use crate::commands::faults::Holder;
use crate::commands::faults::Why;
use crate::context::Context;
use crate::context::check_set_name;
use crate::ending;
use crate::failure::Exit;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::input::BadRow;
use crate::input::Row;
use crate::input::Rows;
use crate::input::Step;
use crate::input::csv::CsvRows;
use crate::input::jsonl::JsonLines;
use crate::interrupt::Interrupt;
use crate::keys;
use crate::keys::Field;
use crate::output::Output;
use crate::output::note;
use crate::source;
use crate::source::Format;
use crate::source::Input;
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
  tenure import things.tenure people.jsonl --set people --from-line 70001
  tenure import things.tenure packages.jsonl --set packages --unique name --index section --index depends[]";

/// Store the rows of a file as records
///
/// JSON Lines: each line is a JSON value, checked, and stored as it stands. CSV: each row below the row of names becomes
/// a JSON object of strings. Input that gzip packed is unpacked. The store and the set are made if they are not there.
///
/// --unique and --index make indexes over fields of the records before the first row is stored. A field is the name of a member;
/// [] behind it takes every element of an array; /address/city and /depends/* are JSON pointers. The type of the keys can
/// stand behind it: size:integer. The index has the name of the field.
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
    /// Makes an index over this field, which has each key once
    #[arg(long, value_name = "FIELD", value_parser = Field::parse)]
    unique: Vec<Field>,
    /// Makes an index over this field
    #[arg(long, value_name = "FIELD", value_parser = Field::parse)]
    index: Vec<Field>,
}

impl Args {
    /// The indexes to make, and whether they are unique.
    fn fields(&self) -> impl Iterator<Item = (&Field, bool)> {
        self.unique.iter().map(|field| (field, true)).chain(self.index.iter().map(|field| (field, false)))
    }

    /// Refuses what cannot be made, before a store is made for it.
    fn check_fields(&self) -> Outcome {
        let mut names = BTreeSet::new();
        match self.fields().find(|(field, _)| !names.insert(&field.name)) {
            Some((field, _)) => Err(Failure::usage(format!("two indexes are to have the name {:?}", field.name))),
            None => Ok(()),
        }
    }
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
    let out = Output::stdout()?;
    check_set_name(&args.set)?;
    args.check_fields()?;
    let interrupt = Interrupt::watched()?;
    let opened = source::open(&args.file, Some(&interrupt));
    if interrupt.flag().load(Ordering::Relaxed) {
        return Err(Failure::new(
            Exit::Interrupted,
            format!("{}, interrupted", if args.file == "-" { "stdin" } else { &args.file }),
            "nothing is stored",
        ));
    }
    let Input { name, reader, bar } = opened?;
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
    for (field, is_unique) in args.fields() {
        keys::ensure(&store, &set, field, is_unique)?;
    }
    let mut import = Import::new(&store, &set, args, ids, context.transaction_bytes());
    import.interrupted = interrupt.flag();
    let ended = import.all(rows.as_mut(), &name, &bar);
    bar.finish_and_clear();
    import.settle(ended)?;
    let Import { summary, .. } = import;
    let what = format!("every row is stored ({})", units::counted(summary.records, "record"));
    ending::finish(store, &what, || summary.print(context, out, &name, begun))
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
    /// Records of the set before the import.
    before: u64,
    /// Whether it is not certain that the last batch is stored, and that was told.
    in_doubt: bool,
    /// The input, for messages.
    name: String,
    bar: ProgressBar,
    /// No row below this line was looked at.
    next_line: u64,
    /// Whether the user has ended the import.
    interrupted: Arc<AtomicBool>,
}

impl<'a> Import<'a> {
    fn new(store: &'a Store, set: &'a RecordSet, args: &'a Args, ids: Option<Output>, transaction_bytes: u64) -> Self {
        // Half of a transaction leaves room for what is written beside the rows.
        let batch_bytes = usize::try_from(transaction_bytes / 2).unwrap_or(usize::MAX).min(BATCH_BYTES_MAX);
        let (batch, summary) = (Vec::new(), Summary::default());
        let before = store.view().len(set);
        let (name, bar) = (String::new(), ProgressBar::hidden());
        Self {
            store,
            set,
            args,
            ids,
            batch_bytes,
            batch,
            bytes_in_batch: 0,
            summary,
            before,
            in_doubt: false,
            name,
            bar,
            next_line: args.from_line,
            interrupted: Arc::default(),
        }
    }

    fn all(&mut self, rows: &mut dyn Rows, name: &str, bar: &ProgressBar) -> Outcome {
        (self.name, self.bar) = (name.to_owned(), bar.clone());
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(self.end_early());
            }
            match rows.step() {
                Ok(Step::Row(row)) => {
                    self.next_line = row.line.saturating_add(1);
                    self.take(row)?;
                }
                Ok(Step::Bad(bad)) if self.args.on_error == OnError::Skip => {
                    self.next_line = bad.line.saturating_add(1);
                    self.skip(&bad);
                }
                Ok(Step::Bad(bad)) => return Err(self.stop(bad.line, &bad.what)),
                Ok(Step::End) => return self.commit(),
                // The read that was interrupted fails.
                Err(_broken) if self.interrupted.load(Ordering::Relaxed) => return Err(self.end_early()),
                Err(broken) => return Err(self.stop(broken.line, &broken.what)),
            }
        }
    }

    /// Adds a row to the batch; commits when the batch is full.
    fn take(&mut self, row: Row) -> Outcome {
        if row.bytes.len() > self.batch_bytes {
            self.commit()?;
            return self.store_large(row);
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
        if rows.is_empty() {
            return Ok(());
        }
        match self.insert(&rows) {
            Ok(ids) => self.stored(&rows, &ids),
            Err(error) if faults::may_be_of_a_row(&error) => self.sort_out(rows, error),
            Err(error) => Err(self.refused(error, &rows)),
        }
    }

    fn insert(&self, rows: &[Row]) -> Result<Vec<RecordId>, Error> {
        self.store.write(|transaction| rows.iter().map(|row| transaction.insert(self.set, &row.bytes)).collect())
    }

    /// Stores a row that has no room in a batch.
    fn store_large(&mut self, row: Row) -> Outcome {
        let stored = self.store.write(|transaction| transaction.insert_from(self.set, &mut Cursor::new(&row.bytes)));
        let rows = vec![row];
        match stored {
            Ok(id) => self.stored(&rows, &[id]),
            Err(error) if faults::may_be_of_a_row(&error) => self.sort_out(rows, error),
            Err(error) => Err(self.refused(error, &rows)),
        }
    }

    /// An index refused rows: stores those that can be, all of them or those above the first bad one, and tells the others.
    fn sort_out(&mut self, mut rows: Vec<Row>, error: Error) -> Outcome {
        let mut found = faults::find(self.store, self.set, &rows)?;
        let Some(first) = found.first().map(|fault| fault.at) else { return Err(self.refused(error, &rows)) };
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        if self.args.on_error == OnError::Stop {
            rows.truncate(first);
            found.truncate(1);
        }
        let bad: BTreeSet<usize> = found.iter().map(|fault| fault.at).collect();
        let (places, rows): (Vec<usize>, Vec<Row>) =
            rows.into_iter().enumerate().filter(|(at, _)| !bad.contains(at)).unzip();
        let mut ids = Vec::new();
        if !rows.is_empty() {
            ids = self.insert(&rows).map_err(|error| self.refused(error, &rows))?;
            self.stored(&rows, &ids)?;
        }
        for fault in &found {
            let line = lines.get(fault.at).copied().unwrap_or_default();
            let holder = |place: usize| {
                let at = places.iter().position(|at| *at == place)?;
                Some(format!("record {}, from line {}", ids.get(at)?, lines.get(place)?))
            };
            let what = told(fault, holder);
            if self.args.on_error == OnError::Skip {
                self.skip(&BadRow { line, what });
                continue;
            }
            let stored = units::counted(self.summary.records, "record");
            let help = format!(
                "{stored} from above that line stored; mend the line, or add --on-error skip, then resume with --from-line {line}"
            );
            return Err(Failure::new(Exit::BadInput, format!("{}, line {line}, {what}", self.name), help));
        }
        Ok(())
    }

    /// Counts rows that were committed, and writes their IDs down.
    fn stored(&mut self, rows: &[Row], ids: &[RecordId]) -> Outcome {
        rows.iter().zip(ids).for_each(|(row, id)| self.summary.add(*id, row.bytes.len()));
        let Some(out) = &mut self.ids else { return Ok(()) };
        let mut lines = rows.iter().zip(ids).map(|(row, id)| format!("{}\t{id}", row.line));
        let written = lines.try_for_each(|line| out.line(&line)).and_then(|()| out.flush());
        let (first, next) = lines_of(rows);
        written.map_err(|failure| {
            failure.instead(format!(
                "every row above line {next} is stored, and of those from line {first} on the IDs may not be written down; \
                 mend that, then resume with --from-line {next}"
            ))
        })
    }

    /// Says how to go on when the store refused rows, or may have stored them.
    fn refused(&mut self, error: Error, rows: &[Row]) -> Failure {
        let (first, next) = lines_of(rows);
        if !ending::is_in_doubt(&error) {
            return Failure::from(error).and_help(format!("then resume with --from-line {first}"));
        }
        self.in_doubt = true;
        let without = self.before + self.summary.records;
        let with = without + u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let fewer = match self.args.durability {
            Durability::Sync => String::new(),
            Durability::Buffered => format!("; each record fewer is one row above line {first} that is not stored"),
        };
        let help = format!(
            "count the records of set {:?} with `tenure sets {}`: if there are {with}, resume with --from-line {next}, if \
             there are {without}, with --from-line {first}{fewer}",
            self.args.set,
            self.args.store.display(),
        );
        Failure::new(Exit::InDoubt, error.to_string(), help)
    }

    /// Brings what was committed to the medium, however the import ended.
    fn settle(&self, ended: Outcome) -> Outcome {
        if self.in_doubt {
            return ended;
        }
        let Err(error) = ending::sync(self.store) else { return ended };
        let imported = units::counted(self.summary.records, "record");
        let look = format!(
            "count the records of set {:?} with `tenure sets {}`: if there are {}, {imported} imported here are all \
             stored; each record fewer is one row, counted from the last one up, that is not",
            self.args.set,
            self.args.store.display(),
            self.before + self.summary.records,
        );
        Err(match ended {
            Ok(()) => {
                let message = format!("it is not certain that all of {imported} are on the medium: {error}");
                Failure::new(Exit::InDoubt, message, look)
            }
            Err(failure) => failure.in_doubt(format!("but the last sync failed too ({error}): {look}")),
        })
    }

    fn skip(&mut self, bad: &BadRow) {
        self.summary.skipped += 1;
        let (name, bar) = (&self.name, &self.bar);
        match self.summary.skipped {
            0..=TOLD_MAX => bar.suspend(|| note(&format!("skipped: {name}, line {}, {}", bad.line, bad.what))),
            told if told == TOLD_MAX + 1 => bar.suspend(|| note("skipped: further rows are only counted")),
            _ => {}
        }
    }

    /// Commits the rows before the bad one, and says how to go on.
    fn stop(&mut self, line: u64, what: &str) -> Failure {
        if let Err(failure) = self.commit() {
            return failure;
        }
        let name = &self.name;
        let stored = units::counted(self.summary.records, "record");
        let help = format!("{stored} from above that line stored; mend the line, then resume with --from-line {line}");
        Failure::new(Exit::BadInput, format!("{name}, line {line}, {what}"), help)
    }

    /// Commits the rows that were read when the user ended the import, and says how to go on.
    fn end_early(&mut self) -> Failure {
        if let Err(failure) = self.commit() {
            return failure;
        }
        let (name, line) = (&self.name, self.next_line);
        let stored = units::counted(self.summary.records, "record");
        let help = format!("{stored} from above that line stored; resume with --from-line {line}");
        Failure::new(Exit::Interrupted, format!("{name}, line {line}, interrupted"), help)
    }
}

/// Why an index refused a row; `holder` tells the record that the row of a place became.
fn told(fault: &Fault, holder: impl Fn(usize) -> Option<String>) -> String {
    match &fault.why {
        Why::NoKey { index, error } => format!("index {index:?}: {error}"),
        Why::Taken { index, key, holder: Holder::Record(id) } => {
            format!("unique index {index:?} has key {key} already: record {id}")
        }
        Why::Taken { index, key, holder: Holder::Row(place) } => {
            let holder = holder(*place).unwrap_or_else(|| "a row above".to_owned());
            format!("unique index {index:?} has key {key} already: {holder}")
        }
    }
}

/// The line of the first of these rows, and one that lies behind the beginning of the last one: no other row begins
/// between the two.
fn lines_of(rows: &[Row]) -> (u64, u64) {
    let line = |row: Option<&Row>| row.map_or(0, |row| row.line);
    (line(rows.first()), line(rows.last()).saturating_add(1))
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

    fn print(&self, context: &Context, mut out: Output, name: &str, begun: Instant) -> Outcome {
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tenure::Options;
    use tenure::backing::Call;
    use tenure::backing::FaultBacking;

    use super::*;
    use crate::args::Cli;
    use crate::args::Command;
    use crate::input::Broken;

    /// Gives the lines 11, 13, 15 and so on, and lets syncs fail when it gives the row of this place.
    struct Breaking {
        given: u64,
        breaks_at: u64,
        rows: u64,
        medium: FaultBacking,
        end: Option<&'static str>,
    }

    impl Rows for Breaking {
        fn step(&mut self) -> Result<Step, Broken> {
            if self.given >= self.breaks_at {
                self.medium.break_calls(Call::Sync, tenure::backing::Broken::Fails(std::io::ErrorKind::Other));
            }
            let line = 11 + 2 * self.given;
            if self.given == self.rows {
                return self.end.map_or(Ok(Step::End), |what| Err(Broken { line, what: what.to_owned() }));
            }
            self.given += 1;
            Ok(Step::Row(Row { line, bytes: b"1".to_vec() }))
        }
    }

    /// Imports seven rows in batches of two into a set that has one record. Gives the exit code, message and advice.
    fn import(durability: &str, breaks_at: u64, end: Option<&'static str>) -> (Exit, String, String) {
        let line = ["tenure", "import", "s", "-", "--set", "a", "--batch", "2", "--durability", durability];
        let Command::Import(args) = Cli::try_parse_from(line).unwrap().command else { panic!("another command") };
        let medium = FaultBacking::new();
        let wanted = if durability == "sync" { tenure::Durability::Sync } else { tenure::Durability::Buffered };
        let options = Options::new().background(false).durability(wanted);
        let store = options.open_backing(Arc::new(medium.clone())).unwrap();
        let set = store.record_set("a").unwrap();
        store.write(|transaction| transaction.insert(&set, "x")).unwrap();
        store.sync().unwrap();
        let mut import = Import::new(&store, &set, &args, None, 1 << 20);
        let mut rows = Breaking { given: 0, breaks_at, rows: 7, medium, end };
        let ended = import.all(&mut rows, "rows", &ProgressBar::hidden());
        match import.settle(ended) {
            Err(Failure::Told { exit, message, help }) => (exit, message, help),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_last_sync_that_fails_is_told_with_the_number_that_tells() {
        let (exit, message, help) = import("buffered", 7, None);
        assert_eq!(exit, Exit::InDoubt);
        assert!(message.starts_with("it is not certain that all of 7 records are on the medium: "), "{message}");
        let look = "count the records of set \"a\" with `tenure sets s`: if there are 8, 7 records imported here";
        assert!(help.starts_with(look), "{help}");
    }

    #[test]
    fn a_batch_in_doubt_is_told_with_both_numbers() {
        // The rows of lines 15 and 17 are the second batch.
        let (exit, message, help) = import("sync", 3, None);
        assert_eq!(exit, Exit::InDoubt);
        assert!(message.contains("may or may not be durable"), "{message}");
        let two = "if there are 5, resume with --from-line 18, if there are 3, with --from-line 15";
        assert!(help.ends_with(two), "{help}");
    }

    #[test]
    fn an_import_that_ends_early_is_in_doubt_too_when_it_cannot_be_synced() {
        let (exit, message, help) = import("buffered", 7, Some("broken"));
        assert_eq!((exit, message.as_str()), (Exit::InDoubt, "rows, line 25, broken"));
        assert!(help.contains("resume with --from-line 25; but the last sync failed too ("), "{help}");
        assert!(help.contains("if there are 8, 7 records imported here are all stored"), "{help}");
        // Where each batch was synced, there is no doubt.
        let (exit, _message, help) = import("sync", u64::MAX, Some("broken"));
        assert_eq!(exit, Exit::BadInput);
        assert!(help.ends_with("resume with --from-line 25"), "{help}");
    }
}
