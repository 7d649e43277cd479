//! An append-only file of a directory, and preallocated space after what was appended.
//!
//! Owns: that space. Never: cuts off what was appended, or changes a file that a parent process appends to.
//!
//! If a file grows with each sync, the file system writes its length into its journal each time. So a file that is
//! synced repeatedly, and for which `preallocate` was called, is extended in steps, and the rest is released when no
//! more appends follow, or the handle is dropped. A killed process leaves zeros there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::backing::{BackingFile, Map, append_zeros};
use crate::id::to_u64;

/// The step in which a file is extended.
pub(super) const ROOM_BYTES: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    /// Bytes that were appended.
    len: Arc<AtomicU64>,
    room: Room,
    /// The process that opened it. A child shares the same file.
    process: u32,
}

/// Space after what was appended.
#[derive(Debug, Default)]
struct Room {
    /// How far the file may be extended; zero without preallocation.
    bytes_max: AtomicU64,
    /// How far it was extended.
    bytes: AtomicU64,
    /// Whether it was synced: a file that is never synced gains nothing.
    is_wanted: AtomicBool,
}

impl Room {
    /// Extends the file for this many bytes, and more. Failure does not matter.
    fn make(&self, file: &File, bytes: u64) {
        let (end, max) = (self.bytes.load(Ordering::Relaxed), self.bytes_max.load(Ordering::Relaxed));
        if bytes <= end || bytes >= max || !self.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        let end = (bytes + ROOM_BYTES).min(max);
        // Recorded before the attempt: it may take effect even if it fails.
        self.bytes.store(end, Ordering::Relaxed);
        if file.set_len(end).is_err() {
            self.bytes_max.store(0, Ordering::Relaxed);
        }
    }

    fn is_made(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > 0
    }

    /// Truncates it. Only zeros are removed, none of which has been read: maps end at the appended bytes. If this fails
    /// they stay, and later openings skip them.
    fn take_back(&self, file: &File, len: u64) {
        self.bytes_max.store(0, Ordering::Relaxed);
        if self.bytes.load(Ordering::Relaxed) > len && file.set_len(len).is_ok() {
            self.bytes.store(len, Ordering::Relaxed);
        }
    }
}

/// The error of a failed append. If zeros that may follow on disk could complete the appended part, it is uncertain
/// that it failed.
fn failed_append(error: io::Error, missing: &[u8], had_room: bool) -> io::Error {
    if had_room && missing.iter().all(|byte| *byte == 0) {
        return io::Error::other(format!(
            "{error}; the missing bytes are zeros, like the preallocated space after them"
        ));
    }
    error
}

/// Space for bytes from an offset on that is not written.
#[cfg(target_os = "linux")]
fn allocate(file: &File, at: u64, bytes: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), at, bytes) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _at: u64, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.room.is_made() && std::process::id() == self.process {
            self.room.take_back(&self.file, self.len.load(Ordering::Acquire));
        }
    }
}

impl OpenFile {
    /// A newly created file.
    pub(super) fn new(file: File) -> Self {
        Self { file, len: Arc::default(), room: Room::default(), process: std::process::id() }
    }
}

impl BackingFile for OpenFile {
    fn append(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut at = self.len.load(Ordering::Relaxed);
        self.room.make(&self.file, at + to_u64(bytes.len()));
        while !bytes.is_empty() {
            match self.file.write_at(bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    at += to_u64(written);
                    // Published as it is written, so that what follows a failure leaves no hole.
                    self.len.store(at, Ordering::Release);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let had_room = self.room.bytes.load(Ordering::Relaxed) > at;
                    self.room.take_back(&self.file, at);
                    return Err(failed_append(error, bytes, had_room));
                }
            }
        }
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let at = self.len.load(Ordering::Relaxed);
        match allocate(&self.file, at, bytes) {
            // The file system does not support it.
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => {
                append_zeros(bytes, |zeros| self.append(zeros))
            }
            result => result.map(|()| self.len.store(at + bytes, Ordering::Release)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.room.is_wanted.store(true, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        Map::of_file(&self.file, capacity, Arc::clone(&self.len))
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            self.room.take_back(&self.file, self.len.load(Ordering::Acquire));
            // If that failed it stays: by the time the handle is dropped, another writer may count on the length.
            self.room.bytes.store(0, Ordering::Relaxed);
        } else {
            self.room.bytes_max.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn let_go(&self, offset: u64, bytes: u64) {
        let_go(&self.file, offset, bytes);
    }
}

/// Lets the system drop cached pages of a file, except those that a map of this or another process shows.
pub(super) fn let_go(file: &File, offset: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(bytes), rustix::fs::Advice::DontNeed)
        .unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_zeros_could_complete_is_not_reported_as_no_space() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let kinds = [(&[0, 0][..], true), (&[0, 1], true), (&[0, 0], false)]
            .map(|(missing, had_room)| failed_append(full(), missing, had_room).kind());
        assert_eq!(kinds, [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::StorageFull]);
    }
}
