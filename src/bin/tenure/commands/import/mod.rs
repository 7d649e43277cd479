//! `tenure import`: rows of a file become records of a set.
//!
//! Owns: the arguments, and the order input → store → indexes → batches → summary.

mod batches;
mod given;
mod summary;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::ValueEnum;
use tenure::{RecordSet, Store};

use crate::commands::import::batches::Import;
use crate::commands::import::summary::Summary;
use crate::context::{Context, check_set_name};
use crate::failure::{Exit, Failure, Outcome};
use crate::input::Rows;
use crate::input::array::JsonArray;
use crate::input::csv::CsvRows;
use crate::input::jsonl::JsonLines;
use crate::input::shape::{Shape, TypedColumn};
use crate::interrupt::Interrupt;
use crate::keys::Field;
use crate::output::Output;
use crate::source::{Input, InputFormat};
use crate::{ending, keys, place, source, units};

const EXAMPLES: &str = "\
Examples:
  tenure import things.tenure people.jsonl --set people
  tenure import things.tenure places.csv.gz --set places --on-error skip
  tenure import things.tenure people.csv --set rows --types age:integer,score:float --null ''
  tenure import things.tenure plain.tsv --set rows --columns name,age --types age:integer
  tenure import new.tenure with-ids.jsonl --set people --with-ids
  zcat big.jsonl.gz | tenure import things.tenure - --set big --format jsonl --batch 10000
  tenure import things.tenure people.jsonl --set people --from-line 70001
  tenure import things.tenure packages.jsonl --set packages --unique name --index section --index depends[]";

/// Store the rows of a file as records
///
/// JSON Lines: each line is a JSON value, validated and stored as it is. JSON: so is each element of one array. CSV and
/// TSV: each row after the header row becomes a JSON object of strings, or of the types given with --types. Gzip input
/// is decompressed. The store and the set are created if they do not exist.
///
/// --unique and --index create indexes over fields of the records before the first row is stored. A field is the name
/// of a member; a trailing [] takes every element of an array; /address/city and /depends/* are JSON pointers. The key
/// type may follow: size:integer. The index is named after the field.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The file; - is stdin
    file: String,
    /// The set to store the records in
    #[arg(long, value_name = "NAME")]
    set: String,
    /// Input format; by default, the file name decides (stdin: jsonl)
    #[arg(long, value_enum)]
    format: Option<InputFormat>,
    /// The byte between two fields of a table: an ASCII character, or `tab`
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Column names of a table without a header row
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// Column types of a table: string, integer, float, bool or json; others are strings
    #[arg(long, value_name = "COLUMN:TYPE", value_delimiter = ',')]
    types: Vec<TypedColumn>,
    /// Field text of a table that becomes null
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// Rows per commit
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Whether to sync after each batch or once at the end
    #[arg(long, value_enum, default_value_t = Durability::Buffered)]
    durability: Durability,
    /// Whether a bad row ends the import or is skipped
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    on_error: OnError,
    /// The line to start at, or the element of an array; rows before it are skipped
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_line: u64,
    /// Maximum length of a row
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = crate::units::parse_bytes)]
    line_bytes_max: u64,
    /// Append a line with line number, TAB and record ID to this file for each record
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// Create a new store from the output of `export --with-ids`: records keep their IDs and versions
    #[arg(long, conflicts_with_all = ["from_line", "batch", "durability", "on_error", "ids"])]
    with_ids: bool,
    /// Create a unique index over this field
    #[arg(long, value_name = "FIELD", value_parser = Field::parse)]
    unique: Vec<Field>,
    /// Create an index over this field
    #[arg(long, value_name = "FIELD", value_parser = Field::parse)]
    index: Vec<Field>,
}

impl Args {
    /// The indexes to create, and whether they are unique.
    fn fields(&self) -> impl Iterator<Item = (&Field, bool)> {
        self.unique.iter().map(|field| (field, true)).chain(self.index.iter().map(|field| (field, false)))
    }

    /// The shape of the table; refuses table options for other input.
    fn shape(&self, format: InputFormat) -> Outcome<Shape> {
        let is_of_a_table =
            self.delimiter.is_some() || self.columns.is_some() || !self.types.is_empty() || self.null.is_some();
        if self.with_ids && format.is_table() {
            return Err(Failure::usage("--with-ids takes the JSON Lines that `tenure export --with-ids` writes"));
        }
        if is_of_a_table && !format.is_table() {
            return Err(Failure::usage("--delimiter, --columns, --types and --null are for tables: CSV and TSV"));
        }
        if let Some(names) = &self.columns {
            let mut seen = BTreeSet::new();
            if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
                return Err(Failure::usage(format!("--columns names {name:?} twice")));
            }
            let missing = self.types.iter().find(|typed| !names.contains(&typed.name));
            if let Some(missing) = missing {
                let name = &missing.name;
                return Err(Failure::usage(format!("--types names column {name:?}, which is not in --columns")));
            }
        }
        let delimiter = self.delimiter.unwrap_or(if format == InputFormat::Tsv { b'\t' } else { b',' });
        Ok(Shape { delimiter, columns: self.columns.clone(), types: self.types.clone(), null: self.null.clone() })
    }

    /// Refuses invalid index fields before a store is created.
    fn check_fields(&self) -> Outcome {
        let mut names = BTreeSet::new();
        match self.fields().find(|(field, _)| !names.insert(&field.name)) {
            Some((field, _)) => Err(Failure::usage(format!("two indexes would have the name {:?}", field.name))),
            None => Ok(()),
        }
    }
}

/// Parses a delimiter.
fn delimiter(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("tab" | "\\t", _) => Ok(b'\t'),
        (_, [byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("write one ASCII character that is not a quote or line break, or `tab`".to_owned()),
    }
}

/// When a batch counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Durability {
    Sync,
    Buffered,
}

/// What happens to a bad row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
    Stop,
    Skip,
}

/// Imports.
pub fn run(context: &Context, args: &Args) -> Outcome {
    place::local(&args.store)?;
    let format = match args.format.or_else(|| InputFormat::of_name(&args.file)) {
        Some(format) => format,
        None if args.file == "-" => InputFormat::Jsonl,
        None => return Err(unknown_format(&args.file)),
    };
    let shape = args.shape(format)?;
    let begun = Instant::now();
    let out = Output::stdout()?;
    check_set_name(&args.set)?;
    args.check_fields()?;
    if args.with_ids {
        return given::run(context, args, &|input| rows_of(args, format, shape.clone(), input.reader));
    }
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
    let mut rows = rows_of(args, format, shape, reader);
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
    let summary = import.summary;
    warn_of_no_keys(&store, &set, &summary, &name);
    let what = format!("every row is stored ({})", units::counted(summary.records, "record"));
    ending::finish(store, &what, || summary.print(context, out, &name, args.from_line, begun))
}

/// Reports indexes that have no key from these rows or from any earlier record.
fn warn_of_no_keys(store: &Store, set: &RecordSet, summary: &Summary, name: &str) {
    if summary.records == 0 {
        return;
    }
    for index in store.indexes(set).iter().filter(|index| index.entries == 0) {
        keys::warn_of_no_keys(store, set, &index.name, &index.spec, &format!("any row of {name}"));
    }
}

/// The rows of an input.
fn rows_of(args: &Args, format: InputFormat, shape: Shape, reader: Box<dyn BufRead>) -> Box<dyn Rows> {
    match format {
        InputFormat::Jsonl => {
            let bytes_max = usize::try_from(args.line_bytes_max).unwrap_or(usize::MAX);
            Box::new(JsonLines::new(reader, args.from_line, bytes_max))
        }
        InputFormat::Json => Box::new(JsonArray::new(reader, args.from_line, args.line_bytes_max)),
        InputFormat::Csv | InputFormat::Tsv => {
            Box::new(CsvRows::shaped(reader, args.from_line, args.line_bytes_max, shape))
        }
    }
}

fn unknown_format(file: &str) -> Failure {
    let message = format!("the name {file:?} does not determine the format");
    Failure::new(Exit::Usage, message, "add --format jsonl, json, csv or tsv")
}
