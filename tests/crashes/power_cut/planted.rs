//! Backings that violate the contract: the tests of power cuts must notice.

use std::io;
use std::sync::Arc;

use tenure::Durability;
use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking};

use crate::power_cut::world::{Op, Wrap};
use crate::power_cut::{killed, runs, sequences, world};

/// Says that files of one kind are synced, and does not sync them.
#[derive(Debug)]
struct Lazy {
    inner: FaultBacking,
    kind: &'static str,
}

#[derive(Debug)]
struct LazyFile {
    inner: Arc<dyn BackingFile>,
}

impl BackingFile for LazyFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

impl Backing for Lazy {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let inner = self.inner.create(name)?;
        Ok(if name.starts_with(self.kind) { Arc::new(LazyFile { inner }) } else { inner })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        "lazy".to_owned()
    }
}

fn lazy_log(inner: FaultBacking) -> Arc<dyn Backing> {
    Arc::new(Lazy { inner, kind: "log-" })
}

fn lazy_manifest(inner: FaultBacking) -> Arc<dyn Backing> {
    Arc::new(Lazy { inner, kind: "manifest-" })
}

#[test]
fn a_log_that_is_not_synced_is_found_by_the_shortest_sequences() {
    let wrong = sequences::check_all(Durability::Sync, lazy_log, &[Op::Insert], 1).unwrap_err();
    println!("{wrong}");
    let wrong = sequences::check_all(Durability::Buffered, lazy_log, &[Op::Mark, Op::Sync], 2).unwrap_err();
    println!("{wrong}");
}

#[test]
fn a_manifest_that_is_not_synced_is_found_by_short_sequences() {
    let ops = [Op::Insert, Op::SaveSnapshot, Op::Reopen];
    let wrong = sequences::check_all(Durability::Sync, lazy_manifest, &ops, 2).unwrap_err();
    println!("{wrong}");
}

#[test]
fn an_opening_that_does_not_sync_what_it_builds_on_is_found() {
    let wrong = killed::check_going_back(lazy_manifest).unwrap_err();
    println!("{wrong}");
    killed::check_going_back(world::as_it_is).unwrap_or_else(|wrong| panic!("and nothing without it: {wrong}"));
}

#[test]
fn both_are_found_by_the_seeded_runs() {
    for wrap in [lazy_log as Wrap, lazy_manifest] {
        let found = (0..20).find_map(|seed| runs::round(seed, wrap).err());
        println!("{}", found.expect("the fault is found"));
    }
    assert!((0..3).all(|seed| runs::round(seed, world::as_it_is).is_ok()), "and nothing without it");
}
