//! Committing rows in batches, and handling rows that cannot be stored.
//!
//! Owns: batches, bad rows, the report of an import that ends early. Never: loses count.
//! Invariants: 1. A batch is one commit: all of its rows are stored, or none; rows that an index refuses are bad rows,
//! and the batch proceeds without them.
//! 2. When an error ends the import, every row before the line that it names is durable, and no row from there on is
//!    stored. If that is uncertain, the exit code is `InDoubt`, and the message says how to tell from the number of
//!    records.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use tenure::{Error, RecordId, RecordSet, Store};

use crate::commands::faults;
use crate::commands::faults::{Fault, Holder, Why};
use crate::commands::import::summary::Summary;
use crate::commands::import::{Args, Durability, OnError};
use crate::failure::{Exit, Failure, Outcome};
use crate::input::{BadRow, Row, Rows, Step};
use crate::output::{Output, note};
use crate::{ending, units};

/// Number of bad rows reported one by one; further ones are only counted.
const TOLD_MAX: u64 = 20;
/// Bytes of rows at which a batch is committed, whatever `--batch` says.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A running import.
pub struct Import<'a> {
    store: &'a Store,
    set: &'a RecordSet,
    args: &'a Args,
    ids: Option<Output>,
    /// Bytes at which a batch is committed.
    batch_bytes: usize,
    batch: Vec<Row>,
    bytes_in_batch: usize,
    pub summary: Summary,
    /// Records of the set before the import.
    before: u64,
    /// Whether it is uncertain that the last batch is stored, and that was reported.
    in_doubt: bool,
    /// The input, for messages.
    name: String,
    bar: ProgressBar,
    /// What the numbers of rows count.
    unit: &'static str,
    /// Every row from this line on is still unread.
    next_line: u64,
    /// Whether the user has interrupted the import.
    pub interrupted: Arc<AtomicBool>,
}

impl<'a> Import<'a> {
    pub fn new(
        store: &'a Store,
        set: &'a RecordSet,
        args: &'a Args,
        ids: Option<Output>,
        transaction_bytes: u64,
    ) -> Self {
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
            unit: "line",
            next_line: args.from_line,
            interrupted: Arc::default(),
        }
    }

    pub fn all(&mut self, rows: &mut dyn Rows, name: &str, bar: &ProgressBar) -> Outcome {
        (self.name, self.bar, self.unit) = (name.to_owned(), bar.clone(), rows.unit());
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

    /// Stores a row that is too large for a batch.
    fn store_large(&mut self, row: Row) -> Outcome {
        let stored = self.store.write(|transaction| transaction.insert(self.set, &row.bytes));
        let rows = vec![row];
        match stored {
            Ok(id) => self.stored(&rows, &[id]),
            Err(error) if faults::may_be_of_a_row(&error) => self.sort_out(rows, error),
            Err(error) => Err(self.refused(error, &rows)),
        }
    }

    /// An index refused rows: stores the good ones, either all or those before the first bad one, and reports the
    /// others.
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
            let (stored, unit) = (units::counted(self.summary.records, "record"), self.unit);
            let help = format!(
                "{stored} before that {unit} stored; fix the {unit}, or add --on-error skip, then resume with --from-line {line}"
            );
            return Err(Failure::new(Exit::BadInput, format!("{}, {unit} {line}, {what}", self.name), help));
        }
        Ok(())
    }

    /// Counts committed rows, and writes their IDs to the file.
    fn stored(&mut self, rows: &[Row], ids: &[RecordId]) -> Outcome {
        rows.iter().zip(ids).for_each(|(row, id)| self.summary.add(*id, row.bytes.len()));
        let Some(out) = &mut self.ids else { return Ok(()) };
        let mut lines = rows.iter().zip(ids).map(|(row, id)| format!("{}\t{id}", row.line));
        let written = lines.try_for_each(|line| out.line(&line)).and_then(|()| out.flush());
        let (first, next) = lines_of(rows);
        written.map_err(|failure| {
            failure.instead(format!(
                "every row before line {next} is stored, but the IDs from line {first} on may not have been written; \
                 fix that, then resume with --from-line {next}"
            ))
        })
    }

    /// Says how to resume when the store refused rows, or may have stored them.
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
            Durability::Buffered => format!("; each missing record is one row before line {first} that is not stored"),
        };
        let help = format!(
            "count the records of set {:?} with `tenure sets {}`: if there are {with}, resume with --from-line {next}, if \
             there are {without}, with --from-line {first}{fewer}",
            self.args.set,
            self.args.store.display(),
        );
        Failure::new(Exit::InDoubt, error.to_string(), help)
    }

    /// Makes committed rows durable, however the import ended.
    pub fn settle(&self, ended: Outcome) -> Outcome {
        if self.in_doubt {
            return ended;
        }
        let Err(error) = ending::sync(self.store) else { return ended };
        let imported = units::counted(self.summary.records, "record");
        let look = format!(
            "count the records of set {:?} with `tenure sets {}`: if there are {}, {imported} imported here are all \
             stored; each missing record is one row, counted from the last one backwards, that is not stored",
            self.args.set,
            self.args.store.display(),
            self.before + self.summary.records,
        );
        Err(match ended {
            Ok(()) => {
                let message = format!("it is uncertain whether all of {imported} are durable: {error}");
                Failure::new(Exit::InDoubt, message, look)
            }
            Err(failure) => failure.in_doubt(format!("but the last sync failed too ({error}): {look}")),
        })
    }

    fn skip(&mut self, bad: &BadRow) {
        self.summary.skipped += 1;
        let (name, bar, unit) = (&self.name, &self.bar, self.unit);
        match self.summary.skipped {
            0..=TOLD_MAX => bar.suspend(|| note(&format!("skipped: {name}, {unit} {}, {}", bad.line, bad.what))),
            told if told == TOLD_MAX + 1 => bar.suspend(|| note("skipped: further rows are only counted")),
            _ => {}
        }
    }

    /// Commits the rows before the bad one, and says how to resume.
    fn stop(&mut self, line: u64, what: &str) -> Failure {
        if let Err(failure) = self.commit() {
            return failure;
        }
        let (name, unit) = (&self.name, self.unit);
        let stored = units::counted(self.summary.records, "record");
        let help = format!("{stored} before that {unit} stored; fix the {unit}, then resume with --from-line {line}");
        Failure::new(Exit::BadInput, format!("{name}, {unit} {line}, {what}"), help)
    }

    /// Commits the rows read before the interruption, and says how to resume.
    fn end_early(&mut self) -> Failure {
        if let Err(failure) = self.commit() {
            return failure;
        }
        let (name, unit, line) = (&self.name, self.unit, self.next_line);
        let stored = units::counted(self.summary.records, "record");
        let help = format!("{stored} before that {unit} stored; resume with --from-line {line}");
        Failure::new(Exit::Interrupted, format!("{name}, {unit} {line}, interrupted"), help)
    }
}

/// Why an index refused a row; `holder` returns the record that the row at a position became.
fn told(fault: &Fault, holder: impl Fn(usize) -> Option<String>) -> String {
    match &fault.why {
        Why::NoKey { index, error } => format!("index {index:?}: {error}"),
        Why::Taken { index, key, holder: Holder::Record(id) } => {
            format!("unique index {index:?} already has key {key}: record {id}")
        }
        Why::Taken { index, key, holder: Holder::Row(place) } => {
            let holder = holder(*place).unwrap_or_else(|| "a row above".to_owned());
            format!("unique index {index:?} already has key {key}: {holder}")
        }
    }
}

/// The line of the first of these rows, and a line just after the start of the last one: no other row starts between
/// the two.
fn lines_of(rows: &[Row]) -> (u64, u64) {
    let line = |row: Option<&Row>| row.map_or(0, |row| row.line);
    (line(rows.first()), line(rows.last()).saturating_add(1))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
