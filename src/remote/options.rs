//! How a store is shipped to a bucket.

use std::time::Duration;

use crate::remote::journal::Pace;

/// The smallest part that is worth a request.
const PART_BYTES_MIN: u64 = 64 << 10;

/// How a store is shipped to its bucket.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    pub(super) lag: Duration,
    pub(super) part_bytes: u64,
    pub(super) events_max: usize,
    pub(super) backlog_bytes_max: u64,
    pub(super) retention: Duration,
    pub(super) take_over: bool,
    pub(super) close_wait: Duration,
    pub(super) commit_wait: Option<Duration>,
    pub(super) retry: (Duration, Duration),
    pub(super) base_every: u64,
    pub(super) prune_every: Option<Duration>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            lag: Duration::from_millis(500),
            part_bytes: 8 << 20,
            events_max: 1 << 16,
            backlog_bytes_max: 4 << 30,
            retention: Duration::from_hours(24),
            take_over: false,
            close_wait: Duration::from_secs(10),
            commit_wait: None,
            retry: (Duration::from_millis(50), Duration::from_secs(5)),
            base_every: 64,
            prune_every: Some(Duration::from_hours(1)),
        }
    }
}

impl RemoteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long changes are gathered before they are uploaded, if no commit waits for them. Default: half a second.
    #[must_use]
    pub fn lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    /// Ranges of this size and more become objects of their own, and a log object is full with as many bytes. At least 64 KiB.
    /// Default: 8 MiB.
    #[must_use]
    pub fn part_bytes(self, bytes: u64) -> Self {
        Self { part_bytes: bytes.max(PART_BYTES_MIN), ..self }
    }

    /// How many events a log object holds at most, at least one. Default: 65,536.
    #[must_use]
    pub fn events_max(self, events: usize) -> Self {
        Self { events_max: events.max(1), ..self }
    }

    /// Bytes that the bucket may be behind: beyond it, appending fails with `NoSpace` until it has caught up. Default: 4 GiB.
    #[must_use]
    pub fn backlog_bytes_max(self, bytes: u64) -> Self {
        Self { backlog_bytes_max: bytes, ..self }
    }

    /// How long objects stay that only older states need. Default: 24 hours.
    #[must_use]
    pub fn retention(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    /// Opens the bucket even if another writer did not end its epoch: that writer is fenced. Default: no.
    #[must_use]
    pub fn take_over(self, take_over: bool) -> Self {
        Self { take_over, ..self }
    }

    /// How long closing may take to upload what is left. Default: ten seconds.
    #[must_use]
    pub fn close_wait(self, wait: Duration) -> Self {
        Self { close_wait: wait, ..self }
    }

    /// How long a commit with `Durability::Remote` waits for the bucket, before it fails with `Indeterminate`. Default: for as long
    /// as the store is open.
    #[must_use]
    pub fn commit_wait(self, wait: Option<Duration>) -> Self {
        Self { commit_wait: wait, ..self }
    }

    /// The first and the longest pause before a failed put is repeated. Default: 50 milliseconds and 5 seconds.
    #[must_use]
    pub fn retry(self, first: Duration, longest: Duration) -> Self {
        Self { retry: (first, longest), ..self }
    }

    /// A base is written after this many log objects. Default: 64.
    #[must_use]
    pub fn base_every(self, objects: u64) -> Self {
        Self { base_every: objects.max(1), ..self }
    }

    /// How often objects are deleted that only states older than the retention need: after the first base of an opening, and after
    /// bases that are at least so far apart. `None`: never; see `Remote::prune`. Default: one hour.
    #[must_use]
    pub fn prune_every(self, every: Option<Duration>) -> Self {
        Self { prune_every: every, ..self }
    }

    pub(super) fn pace(&self) -> Pace {
        Pace {
            lag: self.lag,
            bytes_max: self.part_bytes,
            events_max: self.events_max,
            backlog_bytes_max: self.backlog_bytes_max,
        }
    }
}
