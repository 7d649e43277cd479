//! What a backing sends elsewhere: a second place for what it holds, which follows at a distance.
//!
//! Owns: the trait. Never: sends anything.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

/// How far the second place is behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Creates, syncs and deletes since the writer's lock was acquired.
    pub noted: u64,
    /// How many of these the second place has.
    pub stored: u64,
    /// Bytes that it lacks.
    pub bytes: u64,
    /// How long the oldest event that it lacks has waited.
    pub age: Duration,
    /// Why it is behind, if the last attempt failed.
    pub error: Option<String>,
}

/// A second place that a backing sends its files to, in the order of creates, syncs and deletes.
pub trait Shipping: Send + Sync + Debug {
    /// The number of events until now. What was synced before this call is covered by it.
    fn noted(&self) -> u64;

    /// Waits until the second place has everything up to this number.
    ///
    /// # Errors
    /// What happened and what to do. An [`Error`](crate::Error) inside is returned to the user.
    fn wait(&self, noted: u64) -> io::Result<()>;

    /// Fails if another writer has taken the second place over.
    ///
    /// # Errors
    /// As `wait`.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// The store has been opened. `is_whole` says whether without damage: then what its directory lacks was deleted, and not lost, and
    /// the second place needs it no longer either.
    fn opened(&self, is_whole: bool) {
        let _ = is_whole;
    }

    /// How far it is behind.
    fn backlog(&self) -> Backlog;
}
