//! Where a repository is: objects that are put whole, read, listed and deleted.
//!
//! Owns: the trait that a directory and a bucket share. Never: knows what objects contain.
//! Invariants of every implementation: 1. An object is there with all its bytes, durably, or not at all. 2. Of two puts
//! of new objects with one name at most one stores its bytes.

use std::fmt::Debug;
use std::fs::File;
use std::path::Path;

use crate::backing::Backing;
use crate::error::Result;

/// An object in a folder.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// Its name in the folder.
    pub(super) name: String,
    /// Its bytes.
    pub(super) bytes: u64,
    /// When it was stored, by the clock of the place, in microseconds since 1970.
    pub(super) micros: u64,
}

/// What a put may find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// Nothing of this name.
    New,
    /// An object that is damaged.
    Replacement,
}

/// A place for objects. A name is `folder/name`, or a name alone.
pub(super) trait Place: Send + Sync + Debug {
    /// Where it is, for messages.
    fn shown(&self) -> String;

    /// Whether nothing at all is there.
    fn is_empty(&self) -> Result<bool>;

    /// Prepares an empty place, and checks that it can do what is promised.
    fn create(&self) -> Result<()>;

    /// Puts an object durably; false if another one has the name and it is not to be replaced.
    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<bool>;

    /// The bytes of an object; `None` if there is none. Of an object with more than `most` bytes, one more than these.
    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>>;

    /// Makes durable what a folder lists: others may have put it, and have been killed before that was.
    fn settle(&self, folder: &str) -> Result<()>;

    /// All objects of a folder.
    fn list(&self, folder: &str) -> Result<Vec<Object>>;

    /// Deletes an object, which may be gone.
    fn delete(&self, name: &str) -> Result<()>;

    /// Puts a mark, with what shows that its owner lives, if there is such a thing.
    fn hold(&self, name: &str) -> Result<Option<File>>;

    /// Whether the owner of a mark is dead, or is to be taken for dead at this time of the place's clock.
    fn is_abandoned(&self, name: &str, mark: &Object, now: u64) -> Result<bool>;

    /// Whether marks have to be renewed.
    fn marks_age(&self) -> bool;

    /// Fails if it is inside a store.
    fn check_outside(&self, store: &dyn Backing) -> Result<()>;

    /// Whether a path leads into it.
    fn contains(&self, path: &Path) -> bool;

    /// Deletes what killed processes left. Only called while nobody else writes.
    fn sweep(&self) -> Result<()>;
}
