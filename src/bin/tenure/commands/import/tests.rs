//! What an import reports when a sync fails.

use clap::Parser;
use tenure::Options;
use tenure::backing::{Call, FaultBacking};

use super::*;
use crate::args::{Cli, Command};
use crate::input::Broken;

/// Yields the lines 11, 13, 15 and so on, and makes syncs fail from the row at this position on.
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

/// Imports seven rows in batches of two into a set with one record. Returns the exit code, message and advice.
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
    assert!(message.starts_with("it is uncertain whether all of 7 records are durable: "), "{message}");
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
    // If each batch was synced, there is no doubt.
    let (exit, _message, help) = import("sync", u64::MAX, Some("broken"));
    assert_eq!(exit, Exit::BadInput);
    assert!(help.ends_with("resume with --from-line 25"), "{help}");
}
