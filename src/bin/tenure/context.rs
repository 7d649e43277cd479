//! Options of every command, and how a store is opened for each purpose.
//!
//! Owns: the choice between reading, writing and creating. Never: creates a store for a command that only reads or
//! changes an existing one.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use tenure::backing::Memory;
use tenure::{Durability, Error, Options, RecordSet, Store};

use crate::at::At;
use crate::failure::{Failure, Outcome};
use crate::place;

/// Options of all commands.
#[derive(Debug, Clone, Args)]
pub struct Context {
    /// Print JSON: one document, or one per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Maximum number of bytes that one transaction may write: 1KiB to 255MiB; 64MiB by default
    #[arg(long, global = true, value_name = "BYTES", value_parser = crate::units::parse_bytes)]
    pub transaction_bytes_max: Option<u64>,
}

/// The library's default limit of a transaction.
const TRANSACTION_BYTES: u64 = 64 << 20;

impl Context {
    /// For commands that only read: they run beside a writer and change nothing.
    pub fn open_to_read(&self, path: &Path) -> Outcome<Store> {
        let options = self.options().read_only(true).create(false).background(false);
        Ok(match place::bucket(path)? {
            Some(bucket) => options.open_backing(bucket)?,
            None => options.open(path)?,
        })
    }

    /// For commands that read the current state, or a past one.
    pub fn open_to_read_at(&self, path: &Path, at: &At) -> Outcome<Store> {
        let Some(past) = &at.past else { return self.open_to_read(path) };
        let mut opened = Err(Failure::usage("--at: no such state"));
        let (options, bucket) = (self.options().background(false), place::bucket(path)?);
        for point in past.points() {
            let found = match &bucket {
                Some(bucket) => options.open_backing_at(Arc::clone(bucket), &point),
                None => options.open_at(path, &point),
            };
            match found {
                // A number can also be a name.
                Err(error @ Error::PointGone { .. }) if opened.is_err() => opened = Err(error.into()),
                other => return Ok(other?),
            }
        }
        opened
    }

    /// For commands that change an existing store.
    pub fn open_to_write(&self, path: &Path) -> Outcome<Store> {
        place::local(path)?;
        Ok(self.options().create(false).background(false).open(path)?)
    }

    /// For commands that create the store if needed.
    pub fn open_or_create(&self, path: &Path, durability: Durability) -> Outcome<Store> {
        place::local(path)?;
        Ok(self.options().durability(durability).open(path)?)
    }

    /// Creates a store with segments of this size.
    pub fn create(&self, path: &Path, segment_bytes: u64) -> Outcome<Store> {
        place::local(path)?;
        Ok(self.options().segment_bytes(segment_bytes).open(path)?)
    }

    /// How much a transaction may write.
    pub fn transaction_bytes(&self) -> u64 {
        self.transaction_bytes_max.unwrap_or(TRANSACTION_BYTES)
    }

    fn options(&self) -> Options {
        let options = Options::new();
        match self.transaction_bytes_max {
            Some(bytes) => options.transaction_bytes_max(bytes),
            None => options,
        }
    }
}

/// Refuses an invalid set name before a store is created for it. The rule is the library's: a store in memory is asked.
pub fn check_set_name(name: &str) -> Outcome {
    let store = Options::new().background(false).open_backing(Arc::new(Memory::new()))?;
    store.record_set(name)?;
    Ok(())
}

/// Opens an existing set.
pub fn existing_set(store: &Store, name: &str) -> Outcome<RecordSet> {
    let missing = || Error::NoSuchSet { name: name.to_owned() };
    Ok(store.find_set(name).ok_or_else(missing)?)
}
