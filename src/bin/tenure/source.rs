//! The source of an import: a file or stdin, and its format.
//!
//! Owns: opening it, guessing the format, ending a read when the user interrupts the command. Never: looks at a row.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::BufRead;

use clap::ValueEnum;
use indicatif::ProgressBar;

use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::{input, process, progress};

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON Lines: a JSON value on each line
    Jsonl,
    /// Comma-separated values with a header row
    Csv,
}

/// Input formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// JSON Lines: a JSON value on each line
    Jsonl,
    /// One JSON array of values
    Json,
    /// Comma-separated values with a header row
    Csv,
    /// Tab-separated values with a header row
    Tsv,
}

impl InputFormat {
    /// The format that a file name implies.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            _ => None,
        }
    }

    /// Whether it is a table.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv)
    }
}

/// An opened input.
pub struct Input {
    /// Its name for messages.
    pub name: String,
    /// Its bytes, decompressed.
    pub reader: Box<dyn BufRead>,
    /// Follows the bytes as they are read.
    pub bar: ProgressBar,
}

/// Opens a file, or stdin if the name is `-`. Reads fail once the command is interrupted.
pub fn open(name: &str, interrupt: Option<&Interrupt>) -> Outcome<Input> {
    let (shown, length, source): (_, _, File) = if name == "-" {
        ("stdin".to_owned(), None, process::stdin()?)
    } else {
        let cannot = |error| Failure::input("open", name, &error);
        let file = OpenOptions::new().read(true).open(name).map_err(cannot)?;
        let about = file.metadata().map_err(cannot)?;
        if about.is_dir() {
            return Err(cannot(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        (name.to_owned(), about.is_file().then_some(about.len()), file)
    };
    let bar = progress::over_bytes("importing", length);
    let is_packed = name.to_ascii_lowercase().ends_with(".gz");
    let reader = match interrupt {
        Some(interrupt) => input::text(bar.wrap_read(interrupt.watch(source)), is_packed),
        None => input::text(bar.wrap_read(source), is_packed),
    };
    let reader = reader.map_err(|error| Failure::input("read", &shown, &error))?;
    Ok(Input { name: shown, reader, bar })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_formats() {
        for (name, format) in [
            ("a.jsonl", Some(InputFormat::Jsonl)),
            ("b.NDJSON.gz", Some(InputFormat::Jsonl)),
            ("c.csv", Some(InputFormat::Csv)),
            ("d.csv.gz", Some(InputFormat::Csv)),
            ("e.json", Some(InputFormat::Json)),
            ("f.TSV", Some(InputFormat::Tsv)),
            ("g.txt", None),
            ("jsonl", None),
            ("h.gz", None),
        ] {
            assert_eq!(InputFormat::of_name(name), format, "{name}");
        }
    }
}
