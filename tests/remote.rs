//! A store that is shipped to a bucket: what the bucket holds at every moment, who writes, and what failures leave.

#![cfg(feature = "remote")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions")]
#![allow(clippy::print_stdout, reason = "the figures of each run")]

mod common;

#[path = "remote/flaky.rs"]
mod flaky;
#[path = "remote/proxy.rs"]
mod proxy;
#[path = "remote/world.rs"]
mod world;

#[path = "remote/answers.rs"]
mod answers;
#[path = "remote/basics.rs"]
mod basics;
#[path = "remote/changes.rs"]
mod changes;
#[path = "remote/copies.rs"]
mod copies;
#[path = "remote/elsewhere.rs"]
mod elsewhere;
#[path = "remote/forked.rs"]
mod forked;
#[path = "remote/kept.rs"]
mod kept;
#[path = "remote/losses.rs"]
mod losses;
#[path = "remote/merged.rs"]
mod merged;
#[path = "remote/moved_bucket.rs"]
mod moved_bucket;
#[path = "remote/neighbours.rs"]
mod neighbours;
#[path = "remote/old_handles.rs"]
mod old_handles;
#[path = "remote/older.rs"]
mod older;
#[path = "remote/prefixes.rs"]
mod prefixes;
#[cfg(feature = "cli")]
#[path = "remote/program.rs"]
mod program;
#[path = "remote/promoters.rs"]
mod promoters;
#[path = "remote/proxied.rs"]
mod proxied;
#[path = "remote/pruning.rs"]
mod pruning;
#[path = "remote/requests.rs"]
mod requests;
#[path = "remote/servers.rs"]
mod servers;
#[path = "remote/unanswered.rs"]
mod unanswered;
#[path = "remote/views.rs"]
mod views;
#[path = "remote/writers.rs"]
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tenure::backing::{Backing, Memory};
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Options, RecordId, Result, Store};

/// Options without pauses.
pub fn quick() -> RemoteOptions {
    let pause = Duration::from_micros(100);
    RemoteOptions::new().lag(Duration::ZERO).retry(pause, pause * 20)
}

/// Options of a small store.
pub fn small() -> Options {
    Options::new().background(false).segment_bytes(64 << 10).snapshot_log_bytes(8 << 10)
}

/// How many rounds a test runs.
pub fn rounds(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A bucket behind an object store.
pub fn bucket(store: &Arc<dyn ObjectStore>) -> Bucket {
    Bucket::new(Arc::clone(store), "store").expect("a bucket")
}

/// Opens a store in a local backing that is shipped to a bucket.
pub fn open(local: &Memory, bucket: &Bucket, options: RemoteOptions) -> Result<Store> {
    open_in(Arc::new(local.clone()), bucket, options)
}

/// Like `open`, in any local backing.
pub fn open_in(local: Arc<dyn Backing>, bucket: &Bucket, options: RemoteOptions) -> Result<Store> {
    small().open_backing(Arc::new(Remote::new(local, bucket.clone(), options)))
}

/// What a closure returns, if it does within a minute.
pub fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(what()));
    receiver.recv_timeout(Duration::from_mins(1)).expect("it ends")
}

/// All records of a store.
pub fn contents(store: &Store) -> BTreeMap<RecordId, Vec<u8>> {
    let view = store.view();
    let sets = store.record_sets();
    let records = sets.iter().flat_map(|set| {
        let read = view.scan(set).map(|record| {
            let record = record.expect("a record");
            (record.id(), record.to_vec().expect("a value"))
        });
        read.collect::<Vec<_>>()
    });
    records.collect()
}
