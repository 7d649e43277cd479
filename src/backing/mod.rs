//! The backing store: named append-only files.
//!
//! Owns: the traits, files of a directory, files in memory, and the fault model for tests.
//! Never: knows what the bytes mean. The store never renames, overwrites or truncates. An implementation releases the room that it
//! preallocated itself.
//! Invariants of every implementation: 1. Bytes appended before a successful `sync` are durable. 2. When
//! `create` or `delete` has returned, its directory entry is durable. 3. Appended bytes never change.

mod allowance;
pub mod conformance;
mod fault;
mod files;
mod folders;
mod map;
mod memory;
mod obstructed;
mod process;
mod shipping;
mod shortage;
mod steps;
mod unfinished;

pub(crate) use allowance::MapFor;
pub use fault::{Broken, Call, Event, FailFor, FaultBacking};
pub use files::Files;
pub(crate) use files::{Parent, is_inside, resemble};
pub(crate) use folders::{Folders, Whole};
pub use map::Map;
pub(crate) use map::{Parts, waits_for_pages};
pub use memory::Memory;
pub(crate) use obstructed::{PASSED_OVER_MAX, is_obstructed};
pub(crate) use process::Process;
pub use shipping::{Backlog, Shipping};
pub(crate) use shortage::asks_for_pages;
#[cfg(test)]
pub(crate) use steps::tests::{Cut, Made};
pub(crate) use unfinished::{UNFINISHED, mark_finished, mark_unfinished, refuse_unfinished};

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::id::{to_u64, to_usize};

/// Zeros written at a time.
const ZEROS_BYTES: u64 = 1 << 20;

/// A set of named append-only files. `docs/backing.md` explains how to implement one.
///
/// Names are 1 to 128 bytes of `a-z`, `0-9`, `.`, `_` and `-`, and do not begin with a dot; [`check_name`] refuses others.
/// [`conformance::check`] tests an implementation against the rules of this trait.
pub trait Backing: Send + Sync + Debug {
    /// Creates an empty file. On return its directory entry is durable.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken. After any other error the file may or may not exist.
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>>;

    /// Opens an existing file for reading only. A store may hold hundreds of thousands of such handles: if a handle costs
    /// something scarce, such as a descriptor, give that up while nobody reads.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>>;

    /// Names of all regular files, the store's or not, in any order. Links, pipes and directories are omitted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// For readers beside a writer: a backing that shows a state of its own goes on to the newest one, and returns a number that is
    /// another one for each state. All that a state has is durable. Several may look, and each compares with what it saw itself. `None`, the
    /// default, says that files show at once what was done to them.
    fn look_again(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Deletes a file. On return the removal is durable. Existing handles and maps stay readable.
    ///
    /// # Errors
    /// `NotFound` if there is none. After any other error the file may or may not exist.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// How many reads are worth having under way at once: more than one where each is a request that is waited for.
    fn reads_at_once(&self) -> usize {
        1
    }

    /// Reads from several files, as `open` and `read_at` would for each. The default reads one after the other.
    ///
    /// # Errors
    /// Those of `open` and `read_at`. The contents of all buffers are then undefined.
    fn read_many(&self, reads: &mut [ReadAt<'_>]) -> io::Result<()> {
        reads.iter_mut().try_for_each(|read| self.open(read.name)?.read_at(read.offset, read.buffer))
    }

    /// Acquires the writer's lock. It is released when its holder is dropped or its process dies.
    ///
    /// # Errors
    /// `WouldBlock` if it is already held.
    fn lock(&self) -> io::Result<Box<dyn BackingLock>>;

    /// Where it is, for error messages.
    fn location(&self) -> String;

    /// The file system directory behind it, for hard links into it; `None` if there is none.
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Creates a hard link of the same name in another directory of the same file system. On return it is durable.
    ///
    /// # Errors
    /// `Unsupported` if hard links do not exist here.
    fn link(&self, _name: &str, _into: &dyn Backing) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The second place that it sends its files to, while the writer's lock is held; `None` if there is none.
    fn shipping(&self) -> Option<Arc<dyn Shipping>> {
        None
    }
}

/// A read of a file, for [`Backing::read_many`].
#[derive(Debug)]
pub struct ReadAt<'b> {
    /// The file.
    pub name: &'b str,
    /// Where the bytes begin.
    pub offset: u64,
    /// Filled whole.
    pub buffer: &'b mut [u8],
}

/// The writer's lock, held until it is dropped.
pub trait BackingLock: Send + Sync + Debug {
    /// Checks that it is still held. Called before a file is created or deleted, before the manifest grows, and after each sync,
    /// before the commits it covers are acknowledged; after an error nothing more is written. For locks that can be lost, such as
    /// leases.
    ///
    /// # Errors
    /// What happened and what to do, in words for the user.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One append-only file.
#[expect(clippy::len_without_is_empty, reason = "the length can fail; emptiness is not useful here")]
pub trait BackingFile: Send + Sync + Debug {
    /// Appends all bytes at the end. Calls for one file are serialized.
    ///
    /// # Errors
    /// After `StorageFull`, `QuotaExceeded` or `FileTooLarge` some of the bytes, but not all, may have been appended; if there
    /// may be room behind them, the missing part is not all zeros. After any other error any prefix may have been appended,
    /// including all bytes.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended before the call durable. May run concurrently with appends and reads.
    fn sync(&self) -> io::Result<()>;

    /// Reads from an offset until the buffer is full.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before the buffer is full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;

    /// A map of the first `capacity` bytes, valid also for bytes appended later through this handle. `None`
    /// if the file cannot be mapped, or not now: readers then use `read_at`, as they do after an error.
    fn map(&self, _capacity: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }

    /// Extends the file by this many zero bytes, with storage allocated for all of them. They count as appended, but
    /// need not be synced. The default appends them; an implementation that can allocate without writing should.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        append_zeros(bytes, |zeros| self.append(zeros))
    }

    /// Announces that up to this many bytes will be appended in total, with syncs in between, so that the implementation can
    /// preallocate room. Zero means that no more appends follow and room can be released: now or never, since another writer
    /// may count on what it finds by the time the handle is dropped. The length reported by this handle does not change. Until it
    /// is released or the handle is dropped, and permanently if its process is killed, others may see zeros after the appended bytes.
    fn preallocate(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more is appended to this file, by this handle or another, and everything is synced. An implementation that keeps files
    /// elsewhere can finish it there. An error is ignored: everything is durable already. The default does nothing.
    ///
    /// # Errors
    /// Whatever keeps it from doing so.
    fn seal(&self) -> io::Result<()> {
        Ok(())
    }

    /// A copy from front to back has passed this part and does not need it in a cache any more. Only a hint: the bytes stay
    /// readable. The default does nothing.
    fn let_go(&self, _offset: u64, _bytes: u64) {}
}

/// Appends zeros in pieces.
fn append_zeros(bytes: u64, mut append: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let zeros = vec![0; to_usize(bytes.min(ZEROS_BYTES))];
    let mut left = bytes;
    while left > 0 {
        let piece = zeros.get(..to_usize(left.min(ZEROS_BYTES))).unwrap_or_default();
        append(piece)?;
        left -= to_u64(piece.len());
    }
    Ok(())
}

/// Checks a name against the rules of [`Backing`].
///
/// ```
/// assert!(tenure::backing::check_name("log-000000000001.seg").is_ok());
/// assert!(tenure::backing::check_name("../elsewhere").is_err());
/// ```
///
/// # Errors
/// `InvalidInput` if it is not allowed.
pub fn check_name(name: &str) -> io::Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let fits = (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed);
    if fits { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name for a backing file")) }
}
