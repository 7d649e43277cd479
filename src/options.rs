//! Options: how a store is opened.

use std::time::Duration;

use crate::catalogue::Lineage;
use crate::engine::SnapshotLogBytes;
use crate::error::{Error, Result};
use crate::format::entry::SEGMENT_BYTES_END;
use crate::gc::GcSettings;
use crate::log::SEGMENT_BYTES_MIN;
use crate::recovery::Settings;
use crate::txn::{Durability, TRANSACTION_BYTES_END};

/// The smallest limit on changed pages.
const DIRTY_BYTES_MIN: u64 = 1 << 20;
/// Bytes of log after which a snapshot is due, unless set; in a large store up to twice as many.
const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;

/// The shortest time between two looks of a follower.
const FOLLOW_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Options for opening a store. The defaults are safe: a commit is durable when it is acknowledged.
///
/// ```
/// use tenure::{Durability, Options};
/// let dir = tempfile::tempdir().unwrap();
/// let store = Options::new()
///     .segment_bytes(1 << 20)
///     .durability(Durability::Buffered)
///     .open(dir.path().join("things.tenure"))?;
/// store.close()?;
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    check_pages: bool,
    repairs: bool,
    check_every_read: bool,
    segment_bytes: u64,
    transaction_bytes_max: u64,
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Option<Duration>,
    snapshot_log_bytes: Option<u64>,
    dirty_bytes_max: u64,
    max_replay_bytes: Option<u64>,
    pub(crate) background: bool,
    space_ratio: f64,
    generations: u8,
    pub(crate) collector: bool,
    pub(crate) follow_interval: Option<Duration>,
    consumer_bytes_max: Option<u64>,
    old_values: bool,
    /// The lineage of the handle that this opening replaces.
    pub(crate) lineage: Option<Lineage>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            check_pages: false,
            repairs: false,
            check_every_read: false,
            segment_bytes: 64 << 20,
            transaction_bytes_max: 64 << 20,
            durability: Durability::Sync,
            sync_interval: None,
            snapshot_log_bytes: None,
            dirty_bytes_max: 256 << 20,
            max_replay_bytes: None,
            background: true,
            space_ratio: 1.5,
            generations: 4,
            collector: true,
            follow_interval: None,
            consumer_bytes_max: None,
            old_values: false,
            lineage: None,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the store if it does not exist. Default: yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens for reading only, without writing a byte. Such a handle can run beside a writer and sees the state at the
    /// time it was opened. Default: no.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Verifies every index page while opening, and falls back to the previous snapshot if one is damaged.
    /// Takes time proportional to the store. Default: no, pages are verified when they are first read.
    #[must_use]
    pub fn check_pages(mut self, check: bool) -> Self {
        self.check_pages = check;
        self
    }

    /// Verifies the checksum on every read of a record. Default: no; the first read of each record in a process verifies
    /// it, and later reads compare the ID in its header. See `docs/decisions/0004-checksums-on-reads.md`.
    #[must_use]
    pub fn check_every_read(mut self, check: bool) -> Self {
        self.check_every_read = check;
        self
    }

    /// The size of the largest segments in bytes: a power of two from 64 KiB to 256 MiB, fixed when the store is created.
    /// Default: 64 MiB. Small stores use segments down to a quarter of that, so that the collector has some to choose from.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The maximum size of one transaction in bytes, up to 255 MiB. Default: 64 MiB. Streamed values do not count.
    #[must_use]
    pub fn transaction_bytes_max(mut self, bytes: u64) -> Self {
        self.transaction_bytes_max = bytes;
        self
    }

    /// The durability of `Store::write`. Default: `Sync`.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How often buffered commits are synced in the background. Default: never; they are synced by snapshots and at close.
    #[must_use]
    pub fn sync_interval(mut self, interval: Option<Duration>) -> Self {
        self.sync_interval = interval;
        self
    }

    /// Bytes of log after which a snapshot is saved in the background. Default: 64 MiB; up to twice as many where the last snapshot wrote
    /// more bytes of pages than that, as it does in a large store of which much changes everywhere.
    #[must_use]
    pub fn snapshot_log_bytes(mut self, bytes: u64) -> Self {
        self.snapshot_log_bytes = Some(bytes);
        self
    }

    /// The maximum heap in bytes that dirty index pages take before a snapshot has saved them, at least 1 MiB. At half of
    /// it a snapshot is saved in the background; a commit that would exceed seven eighths of it waits for that snapshot, or
    /// saves one itself. The rest is for pages that snapshots move. Default: 256 MiB. See `docs/limits.md` for what does not count.
    #[must_use]
    pub fn dirty_bytes_max(mut self, bytes: u64) -> Self {
        self.dirty_bytes_max = bytes;
        self
    }

    /// The maximum bytes of log that recovery has to replay: snapshots are saved early enough for it. Default: no maximum.
    #[must_use]
    pub fn max_replay_bytes(mut self, bytes: Option<u64>) -> Self {
        self.max_replay_bytes = bytes;
        self
    }

    /// Runs a background thread that saves snapshots, syncs at intervals, and writes watermarks when the store is idle; an opening
    /// that has much to replay may use threads too, which end with it. Default: yes.
    #[must_use]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// How many bytes record segments may take for each live byte, from 1.05 to 100. When they exceed it, the collector copies
    /// live records together and deletes the old files. Two segments always come on top. Less space
    /// costs more copying: at 1.5, each byte of uniform updates is written about 1.7 times. Default: 1.5.
    #[must_use]
    pub fn space_ratio(mut self, ratio: f64) -> Self {
        self.space_ratio = ratio;
        self
    }

    /// The number of generations: the log, and one to seven for survivors. Default: 4.
    #[must_use]
    pub fn generations(mut self, generations: u8) -> Self {
        self.generations = generations;
        self
    }

    /// Collects space while the store is in use. If off, call `Store::collect`. Default: yes.
    #[must_use]
    pub fn collector(mut self, collector: bool) -> Self {
        self.collector = collector;
        self
    }

    /// How often a [`Follower`](crate::Follower) looks for new commits: ten milliseconds or more. Default: 25 milliseconds in a
    /// directory, half a second elsewhere.
    #[must_use]
    pub fn follow_interval(mut self, interval: Option<Duration>) -> Self {
        self.follow_interval = interval;
        self
    }

    /// How many bytes of log may be kept only because [consumers](crate::Store::add_consumer) have not acknowledged them. When it
    /// is more, the slowest consumer is dropped: nothing is kept for it any more, and its next call fails with
    /// [`Error::ConsumerDropped`]. Default: no maximum.
    #[must_use]
    pub fn consumer_bytes_max(mut self, bytes: Option<u64>) -> Self {
        self.consumer_bytes_max = bytes;
        self
    }

    /// Whether each commit also records where the versions were that it replaces or deletes, 16 bytes for each, so that
    /// [`Change::old_value`](crate::Change::old_value) can show them; and whether what [consumers](crate::Store::add_consumer) have not
    /// acknowledged includes these versions, wherever they are. Default: no.
    #[must_use]
    pub fn old_values(mut self, old_values: bool) -> Self {
        self.old_values = old_values;
        self
    }

    /// To open what has no directory of the record index, so that it can be rebuilt.
    pub(crate) fn repairing(mut self) -> Self {
        self.repairs = true;
        self
    }

    pub(crate) fn gc(&self) -> GcSettings {
        GcSettings {
            space_ratio: self.space_ratio,
            generations: self.generations,
            consumer_bytes_max: self.consumer_bytes_max,
        }
    }

    /// Whether every option has a value that can work.
    pub(crate) fn check(&self) -> Result<()> {
        let bad = |option, got: u64, why| Err(Error::BadOption { option, got: got.to_string(), why });
        let segment = self.segment_bytes;
        if !segment.is_power_of_two() || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_END).contains(&segment) {
            return bad("segment_bytes", segment, "it must be a power of two from 64 KiB to 256 MiB");
        }
        if !(1024..=TRANSACTION_BYTES_END).contains(&self.transaction_bytes_max) {
            return bad("transaction_bytes_max", self.transaction_bytes_max, "it must be from 1 KiB to 255 MiB");
        }
        if !(1.05..=100.0).contains(&self.space_ratio) {
            let (got, why) = (self.space_ratio.to_string(), "it must be from 1.05 to 100");
            return Err(Error::BadOption { option: "space_ratio", got, why });
        }
        if !(2..=8).contains(&self.generations) {
            return bad("generations", self.generations.into(), "it must be from 2 to 8");
        }
        if let Some(interval) = self.follow_interval.filter(|interval| *interval < FOLLOW_INTERVAL_MIN) {
            let (got, why) = (format!("{interval:?}"), "it must be 10 ms or more");
            return Err(Error::BadOption { option: "follow_interval", got, why });
        }
        if self.dirty_bytes_max < DIRTY_BYTES_MIN {
            return bad("dirty_bytes_max", self.dirty_bytes_max, "it must be 1 MiB or more");
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> Settings {
        let budget = self.max_replay_bytes.map_or(u64::MAX, |budget| budget / 2);
        Settings {
            create: self.create,
            read_only: self.read_only,
            check_pages: self.check_pages,
            repairs: self.repairs,
            check_every_read: self.check_every_read,
            segment_bytes: self.segment_bytes,
            transaction_bytes_max: self.transaction_bytes_max,
            old_values: self.old_values,
            snapshot_log_bytes: match self.snapshot_log_bytes {
                Some(bytes) => SnapshotLogBytes::just(bytes.min(budget)),
                None => SnapshotLogBytes {
                    least: SNAPSHOT_LOG_BYTES.min(budget),
                    most: (2 * SNAPSHOT_LOG_BYTES).min(budget),
                },
            },
            dirty_bytes_max: self.dirty_bytes_max,
            has_background: false,
            lineage: self.lineage.unwrap_or_else(Lineage::new),
        }
    }
}
