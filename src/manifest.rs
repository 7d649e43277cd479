//! The manifest: an append-only chain of entries with the roots of the store.
//!
//! Owns: appending, and switching to the next file; `reading` reads all of them. Never: interprets an entry; snapshot
//! and recovery do.
//! Invariants: 1. An entry counts only if it is complete and chained to the previous one.
//! 2. A file is deleted only when everything still needed from it is synced in a later one.
//! 3. No file is written that reading would refuse.
//! 4. Entries in files before a newer complete file do not count: a failed deletion may bring such a file back.

mod kept;
mod mend;
mod proof;
mod reading;
mod remnants;
#[cfg(test)]
mod tests;

pub(crate) use kept::Kept;
pub(crate) use reading::{Loaded, is_unfinished, load};
pub(crate) use remnants::{Remnants, load_what_is};

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::backing::{Backing, BackingFile, PASSED_OVER_MAX, is_obstructed};
use crate::error::{Error, Result};
use crate::format::Seed;
use crate::format::manifest::{Body, Entry, NUMBER_END, SnapshotKind};
use crate::format::segment::{FileKind, SEGMENT_NUMBER_END, SegmentHeader};
use crate::id::{SegmentSeq, to_u64};
use crate::log::Poison;
use crate::manifest::kept::READ_BYTES_MAX;

/// A manifest file of at least this size is replaced by the next one once it is twice as long as when it was started.
const ROTATE_BYTES_MIN: u64 = 1 << 20;
/// A closing snapshot starts the next file from this size on, so that the next opening does not read what was replaced.
const ROTATE_BYTES_MIN_AT_CLOSE: u64 = 1 << 16;

#[derive(Debug)]
struct Writer {
    file: Option<Arc<dyn BackingFile>>,
    name: String,
    seed: Seed,
    offset: u64,
    check: u32,
    /// The length at which the next file is started.
    rotate_at: u64,
    /// The same for a closing snapshot.
    rotate_at_close: u64,
    /// Entries from this number on are only in the newest file.
    begun_at: u64,
    next_number: u64,
    /// The number of the newest file, ours or foreign.
    last_file: SegmentSeq,
    /// Our files, the newest last.
    files: Vec<SegmentSeq>,
    kept: Kept,
}

/// The manifest, open for appending.
#[derive(Debug)]
pub(crate) struct Manifest {
    backing: Arc<dyn Backing>,
    uuid: [u8; 16],
    segment_bytes: u64,
    writer: Mutex<Writer>,
    /// Size of the longest file that existed.
    bytes_before: u64,
    /// Whether an append is running: one at a time, so that whatever follows an entry proves that it was synced.
    busy: Mutex<bool>,
    idle: Condvar,
    poison: Arc<Poison>,
}

impl Manifest {
    /// Continues from loaded contents. The first append starts a new file.
    pub(crate) fn new(backing: Arc<dyn Backing>, loaded: &Loaded, poison: Arc<Poison>) -> Self {
        let next_number = loaded.entries.last_key_value().map_or(1, |(number, _)| number.saturating_add(1));
        let writer = Writer {
            file: None,
            name: String::new(),
            seed: Seed::new(loaded.uuid, SegmentSeq(0)),
            offset: 0,
            check: 0,
            rotate_at: 0,
            rotate_at_close: 0,
            begun_at: 0,
            next_number,
            last_file: loaded.files.last().copied().unwrap_or_default(),
            files: loaded.ours.clone(),
            kept: loaded.kept(),
        };
        let (uuid, segment_bytes) = (loaded.uuid, loaded.segment_bytes);
        let (writer, busy, idle) = (Mutex::new(writer), Mutex::new(false), Condvar::new());
        Self { backing, uuid, segment_bytes, writer, bytes_before: loaded.bytes, busy, idle, poison }
    }

    /// Goes on with what a new opening has read, for a reader.
    pub(crate) fn take_over(&self, next: Self) {
        *self.writer.lock() = next.writer.into_inner();
    }

    /// Goes on with what has been read again, for a reader.
    pub(crate) fn follow(&self, loaded: &Loaded) {
        self.take_over(Self::new(Arc::clone(&self.backing), loaded, Arc::clone(&self.poison)));
    }

    /// Appends an entry, which is durable on return. Returns its number, from which `body` builds the entry.
    ///
    /// # Errors
    /// `TooLarge` and `Exhausted` if the manifest could not be read with it; then nothing was written.
    pub(crate) fn append(&self, body: impl FnOnce(u64) -> Body) -> Result<u64> {
        let turn = Turn::take(self);
        let result = self.append_alone(body);
        drop(turn);
        result
    }

    fn append_alone(&self, body: impl FnOnce(u64) -> Body) -> Result<u64> {
        self.poison.check()?;
        let _panic = self.poison.ends_with_panic("while the manifest was appended to");
        let (entry, bytes) = {
            let mut guard = self.writer.lock();
            let writer = &mut *guard;
            let number = writer.next_number;
            if number >= NUMBER_END {
                return Err(Error::Exhausted { what: "number of a manifest entry", limit: NUMBER_END });
            }
            writer.next_number += 1;
            let entry = Entry { number, body: body(number) };
            let (encoded, check) = entry.encode(writer.seed, writer.offset, writer.check);
            let bytes = to_u64(encoded.len());
            writer.kept.check(&entry.body, bytes)?;
            let rotate_at = if closes(&entry.body) { writer.rotate_at_close } else { writer.rotate_at };
            let goes_on = writer.file.clone().filter(|_| writer.offset + bytes <= rotate_at);
            let result = match &goes_on {
                Some(file) => {
                    let appended = file.append(&encoded);
                    appended.map_err(|source| Error::io("append to", &writer.name, source)).map(|()| {
                        writer.offset += bytes;
                        writer.check = check;
                    })
                }
                None => self.begin_file(writer, Some(&entry)),
            };
            if let Err(error) = &result {
                // Nothing may follow a partial write: the next append starts another file.
                writer.file = None;
                if goes_on.is_none() && (matches!(error, Error::NoSpace { .. }) || error.is_out_of_files()) {
                    self.forget_begun(writer);
                }
            }
            result?;
            (entry, bytes)
        };
        let done = self.sync_newest()?;
        // Only now: nothing may be reclaimed because of an entry that a power cut could take away.
        let Entry { number, body } = entry;
        self.writer.lock().kept.insert(number, body, bytes);
        self.delete_older(&done);
        Ok(number)
    }

    /// Starts the next file with the valid entries, durable on return. Ensures that whatever an opening has read is
    /// durable before anything builds on it: a killed process may not have synced it, and a failed sync may have left
    /// it only in the page cache. A mere sync would not help, so it is copied.
    pub(crate) fn renew(&self) -> Result<()> {
        let turn = Turn::take(self);
        let result = self.renew_alone();
        drop(turn);
        result
    }

    fn renew_alone(&self) -> Result<()> {
        self.poison.check()?;
        let _panic = self.poison.ends_with_panic("while the manifest was copied");
        {
            let mut writer = self.writer.lock();
            if let Err(error) = self.begin_file(&mut writer, None) {
                writer.file = None;
                if matches!(error, Error::NoSpace { .. }) {
                    self.forget_begun(&mut writer);
                }
                return Err(error);
            }
        }
        let done = self.sync_newest()?;
        self.delete_older(&done);
        Ok(())
    }

    /// Records in the newest file, if it was started here, that all of it is durable. The next opening then uses it as
    /// it is. If this cannot be written, the opening copies it.
    pub(crate) fn prove(&self) {
        let turn = Turn::take(self);
        if self.poison.check().is_ok() {
            let mut writer = self.writer.lock();
            // Nothing follows a proof: later appends start another file.
            let file = writer.file.take();
            let proof = proof::encode(writer.seed, writer.offset, writer.check);
            drop(writer);
            if let Some(file) = file
                && file.append(&proof).and_then(|()| file.sync()).is_ok()
            {
                drop(file.seal());
            }
        }
        drop(turn);
    }

    /// Syncs the newest file, and returns the existing files if others can be deleted now.
    fn sync_newest(&self) -> Result<Vec<SegmentSeq>> {
        let (file, name, done) = {
            let writer = self.writer.lock();
            // Including those that could not be deleted earlier.
            let done = if writer.files.len() > 1 { writer.files.clone() } else { Vec::new() };
            let Some(file) = writer.file.clone() else {
                return Err(Error::Poisoned { reason: "no manifest file".to_owned() });
            };
            (file, writer.name.clone(), done)
        };
        if let Err(source) = file.sync() {
            let error = Error::io("sync", name, source);
            self.poison.set(&error);
            return Err(error);
        }
        Ok(done)
    }

    /// Starts the next file with all entries still needed, and this one.
    fn begin_file(&self, writer: &mut Writer, entry: Option<&Entry>) -> Result<()> {
        writer.kept.forget_what_no_snapshot_needs(writer.begun_at, writer.files.len());
        let previous = writer.last_file;
        let (number, name, file) = self.create_next(writer)?;
        let header = SegmentHeader {
            kind: FileKind::Manifest,
            generation: 0,
            uuid: self.uuid,
            segment: number,
            timeline: entry
                .map(|entry| entry.number)
                .or_else(|| writer.kept.iter().last().map(|(last, _)| last))
                .unwrap_or_default(),
            previous,
            segment_bytes: self.segment_bytes,
        };
        let seed = Seed::new(self.uuid, number);
        let mut bytes = header.encode().to_vec();
        let mut check = 0;
        let superseded = entry.and_then(|entry| writer.kept.superseded_by(&entry.body));
        let repeated = writer.kept.iter().filter(|(number, _)| Some(*number) != superseded);
        for (number, body) in repeated.chain(entry.map(|entry| (entry.number, &entry.body))) {
            let (encoded, next) = body.encode(number, seed, to_u64(bytes.len()), check);
            bytes.extend_from_slice(&encoded);
            check = next;
        }
        file.append(&bytes).map_err(|source| Error::io("append to", &name, source))?;
        (writer.offset, writer.check, writer.seed, writer.name) = (to_u64(bytes.len()), check, seed, name);
        let twice = writer.offset.saturating_mul(2);
        writer.rotate_at = twice.clamp(ROTATE_BYTES_MIN, READ_BYTES_MAX);
        writer.rotate_at_close = twice.clamp(ROTATE_BYTES_MIN_AT_CLOSE, READ_BYTES_MAX);
        writer.begun_at = entry.map_or(writer.next_number, |entry| entry.number);
        if let Some(before) = writer.file.replace(file) {
            drop(before.seal());
        }
        Ok(())
    }

    /// Creates the next file. A name that something has that is no file, such as a directory, is passed over, as those of segments
    /// are.
    fn create_next(&self, writer: &mut Writer) -> Result<(SegmentSeq, String, Arc<dyn BackingFile>)> {
        let mut passed = 0;
        loop {
            let number = SegmentSeq(writer.last_file.0 + 1);
            if number.0 >= SEGMENT_NUMBER_END {
                return Err(Error::Exhausted { what: "number of a file", limit: SEGMENT_NUMBER_END });
            }
            let name = FileKind::Manifest.file_name(number);
            // Even a file whose creation fails may exist.
            writer.files.push(number);
            writer.last_file = number;
            match self.backing.create(&name) {
                Ok(file) => return Ok((number, name, file)),
                Err(source) if passed < PASSED_OVER_MAX && is_obstructed(&*self.backing, &name, &source) => {
                    writer.files.pop();
                    passed += 1;
                }
                Err(source) => return Err(Error::io("create", &name, source)),
            }
        }
    }

    /// A file that ran out of space is useless: it is deleted at once, so that repeated failures leave nothing.
    fn forget_begun(&self, writer: &mut Writer) {
        let Some(number) = writer.files.last().copied() else { return };
        let gone = match self.backing.delete(&FileKind::Manifest.file_name(number)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if gone {
            writer.files.pop();
        }
    }

    /// Approximate size of a file.
    pub(crate) fn bytes(&self) -> u64 {
        let offset = self.writer.lock().offset;
        if offset == 0 { self.bytes_before } else { offset }
    }

    /// Deletes the files before the newest of `files`, which has everything needed from them. A file that cannot be
    /// deleted does no harm, and is retried with the next entry.
    fn delete_older(&self, files: &[SegmentSeq]) {
        let Some((_, older)) = files.split_last() else { return };
        let gone = |number: &SegmentSeq| match self.backing.delete(&FileKind::Manifest.file_name(*number)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let deleted: Vec<SegmentSeq> = older.iter().copied().filter(gone).collect();
        self.writer.lock().files.retain(|number| !deleted.contains(number));
    }

    /// Its files, the newest last.
    pub(crate) fn files(&self) -> Vec<SegmentSeq> {
        self.writer.lock().files.clone()
    }

    /// Waits until no entry is being appended. Once the handle is poisoned, none will be.
    pub(crate) fn wait_idle(&self) {
        let mut busy = self.busy.lock();
        while *busy {
            self.idle.wait(&mut busy);
        }
        drop(busy);
        // Threads waiting for a turn see the poison.
        self.idle.notify_one();
    }

    /// The number that the next entry will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.writer.lock().next_number
    }

    /// Reads the valid entries.
    pub(crate) fn with_kept<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.writer.lock().kept)
    }

    /// The first log segment that replay may need.
    pub(crate) fn replay_from(&self) -> SegmentSeq {
        self.with_kept(Kept::replay_from)
    }
}

fn closes(body: &Body) -> bool {
    matches!(body, Body::Snapshot(snapshot) if snapshot.kind == SnapshotKind::Close)
}

/// The right to append, passed on when it is dropped, even by a panic in a backing store.
struct Turn<'m> {
    manifest: &'m Manifest,
}

impl<'m> Turn<'m> {
    fn take(manifest: &'m Manifest) -> Self {
        let mut busy = manifest.busy.lock();
        while *busy {
            manifest.idle.wait(&mut busy);
        }
        *busy = true;
        Self { manifest }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.manifest.busy.lock() = false;
        self.manifest.idle.notify_one();
    }
}
