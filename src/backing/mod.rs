//! The backing store: named files that can only be appended to.
//!
//! Owns: the traits, files of a directory, files in memory, and the fault model for tests.
//! Never: knows what the bytes mean. No rename, overwrite or truncation is ever asked for. Room that an implementation makes
//! ahead is its own to take back.
//! Invariants of every implementation: 1. What was appended before a `sync` that succeeded is on the medium. 2. When
//! `create` or `delete` has returned, its directory entry is on the medium. 3. Bytes that were appended never change.

pub mod conformance;
mod fault;
mod files;
mod map;
mod memory;
mod process;

pub use fault::Event;
pub use fault::FailFor;
pub use fault::FaultBacking;
pub use files::Files;
pub use map::Map;
pub use memory::Memory;
pub(crate) use process::Process;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::id::to_u64;
use crate::id::to_usize;

/// Zeros that are written at once.
const ZEROS_BYTES: u64 = 1 << 20;

/// A set of named append-only files. `docs/backing.md` shows how to write one.
///
/// Names are 1 to 128 bytes of `a-z`, `0-9`, `.`, `_` and `-`, and do not begin with a dot; [`check_name`] refuses others.
/// [`conformance::check`] runs the rules of this trait on an implementation.
pub trait Backing: Send + Sync + Debug {
    /// Creates an empty file. On return its directory entry is on the medium.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken. After any other error the file may be there or not.
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>>;

    /// Names of all regular files, the store's or not, in any order. Links, pipes and directories are left out.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Deletes a file. On return the removal is on the medium. Handles and maps that exist stay readable.
    ///
    /// # Errors
    /// `NotFound` if there is none. After any other error the file may be there or not.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Takes the writer's lock. It goes with its holder, also when that is killed.
    ///
    /// # Errors
    /// `WouldBlock` if somebody holds it.
    fn lock(&self) -> io::Result<Box<dyn BackingLock>>;

    /// Where it is, for messages.
    fn location(&self) -> String;

    /// The directory of the file system that this is, for hard links into it. `None` where it is none.
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Makes a hard link of the same name in another directory of the same file system. On return it is on the medium.
    ///
    /// # Errors
    /// `Unsupported` where there is no such thing.
    fn link(&self, _name: &str, _into: &dyn Backing) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The writer's lock, held until it is dropped.
pub trait BackingLock: Send + Sync + Debug {
    /// Whether it is still held. Asked before a file is created or deleted, before the manifest grows, and after each sync, before
    /// anything is acknowledged that it covers: after an error nothing more is written. For locks that can be lost, as leases
    /// can.
    ///
    /// # Errors
    /// What happened, and what to do, in words for the user.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One append-only file.
#[expect(clippy::len_without_is_empty, reason = "a length that can fail; emptiness is of no interest")]
pub trait BackingFile: Send + Sync + Debug {
    /// Appends all bytes at the end. Callers take turns.
    ///
    /// # Errors
    /// After `StorageFull`, `QuotaExceeded` or `FileTooLarge` some of the bytes, but not all, may have been appended; if there
    /// may be room behind them, then not all that is missing is zeros. After any other error any prefix may have been appended,
    /// the whole included.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Puts everything on the medium that was appended before the call. May run beside appends and reads.
    fn sync(&self) -> io::Result<()>;

    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before the buffer is full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;

    /// A map of the first `capacity` bytes, good also for bytes that are appended later through this handle. `None`
    /// where the store cannot map: readers then use `read_at`.
    fn map(&self, _capacity: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }

    /// Makes the file so many bytes longer, with room on the medium for all of them. They are zeros and count as appended, but
    /// need not be synced. The default appends them; whoever can get room without writing to it saves the writing.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        append_zeros(bytes, |zeros| self.append(zeros))
    }

    /// Says that up to so many bytes will be appended in all, with syncs between them: the store may make room ahead. Zero says
    /// that no more are appended: the store takes the room back, if it can. The length that
    /// this handle tells stays. Until the handle is dropped, and for good where its process was killed, others may see
    /// zeros behind what was appended.
    fn preallocate(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Zeros, a piece at a time.
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

/// Checks a name against the rule of [`Backing`].
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
