//! The manifest: an append-only chain of entries with the roots of the store.
//!
//! Owns: reading all manifest files, appending, and switching to the next file. Never: interprets an entry; snapshot
//! and recovery do.
//! Invariants: 1. An entry counts only if it is complete and chained to the previous one.
//! 2. A file is deleted only when everything still needed from it is synced in a later one.
//! 3. No file is written that reading would refuse.
//! 4. Entries in files before a newer complete file do not count: a failed deletion may bring such a file back.

mod kept;

pub(crate) use kept::Kept;
#[cfg(test)]
mod tests;

mod mend;
mod proof;
mod remnants;

pub(crate) use remnants::{Remnants, load_what_is};

use std::collections::BTreeMap;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};
use parking_lot::{Condvar, Mutex};

use crate::backing::{Backing, BackingFile};
use crate::error::{Error, Result};
use crate::format::manifest::{Body, ENTRY_HEADER_BYTES, ENTRY_TAG, Entry, NUMBER_END};
use crate::format::segment::{FileKind, MAGIC, SEGMENT_HEADER_BYTES, SEGMENT_NUMBER_END, SegmentHeader};
use crate::format::{GRANULE_BYTES, Seed};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::log::Poison;
use crate::manifest::kept::READ_BYTES_MAX;

/// A manifest file of at least this size is replaced by the next one once it is twice as long as when it was started.
const ROTATE_BYTES_MIN: u64 = 1 << 20;
/// The first manifest file of a new store is shorter than this when it is started.
const FIRST_BYTES_MAX: u64 = 1 << 10;
/// How much is hashed in the search for an entry after damage.
const SEARCH_BYTES_MAX: u64 = 64 << 20;

/// The contents of the manifest files.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Entries by number.
    pub(crate) entries: BTreeMap<u64, Body>,
    /// Their bytes.
    pub(crate) entry_bytes: BTreeMap<u64, u64>,
    /// The store, from the files' headers.
    pub(crate) uuid: [u8; 16],
    /// The store's segment size in bytes.
    pub(crate) segment_bytes: u64,
    /// Existing manifest files.
    pub(crate) files: Vec<SegmentSeq>,
    /// Those of them that may be deleted once a later one has their contents.
    pub(crate) ours: Vec<SegmentSeq>,
    /// Size of the longest of them.
    pub(crate) bytes: u64,
    /// Size of the newest of them.
    pub(crate) newest_bytes: u64,
    /// What was ignored: a torn end of the last file.
    pub(crate) torn: Vec<String>,
    /// Damaged headers of manifest files whose entries are read all the same.
    pub(crate) damaged: Vec<String>,
    /// Whether all entries are proven durable. Otherwise the page cache may show what a power cut takes away.
    pub(crate) proven: bool,
}

impl Loaded {
    /// The number after every file that an entry knows.
    pub(crate) fn next_segment(&self) -> SegmentSeq {
        let next = self.entries.values().map(|body| match body {
            Body::Snapshot(snapshot) => snapshot.next_segment,
            Body::Cut(cut) => cut.first_segment,
            Body::Reserve(_) | Body::Drop(_) => SegmentSeq(0),
        });
        next.max().unwrap_or_default()
    }

    /// The valid entries.
    pub(crate) fn kept(&self) -> Kept {
        let mut kept = Kept::default();
        for (number, body) in &self.entries {
            kept.insert(*number, body.clone(), self.entry_bytes.get(number).copied().unwrap_or_default());
        }
        kept
    }
}

/// Reads every manifest file.
///
/// A new file starts with everything still needed from the previous ones, which are deleted once it is synced. So the
/// newest file with a complete beginning is the only one that counts: an earlier one may have reappeared because its
/// deletion failed. A damaged file is skipped while another one exists: either a later one has its contents, or it was
/// never proven complete. In the only file, a damaged entry followed by a valid one is corruption, and one that nothing
/// follows is a tear.
pub(crate) fn load(backing: &dyn Backing, files: &[SegmentSeq]) -> Result<Loaded> {
    let mut loaded = Loaded { files: files.to_vec(), ..Loaded::default() };
    let mut contents = Vec::new();
    for number in files {
        let (name, bytes) = read_bytes(backing, *number)?;
        loaded.bytes = loaded.bytes.max(to_u64(bytes.len()));
        loaded.newest_bytes = to_u64(bytes.len());
        let content = read_file(backing, &name, *number, &bytes);
        // A file that is neither readable nor the beginning of one of ours is foreign, and is never deleted.
        if content.is_ok() || begins_like_ours(&bytes) {
            loaded.ours.push(*number);
        }
        contents.push(content);
    }
    let whole = |content: &Result<Content>| content.as_ref().is_ok_and(Content::is_begun_whole);
    let newest_whole = contents.iter().rposition(whole);
    for (index, content) in contents.into_iter().enumerate() {
        match content {
            Ok(content) => {
                if loaded.uuid != [0; 16] && loaded.uuid != content.uuid {
                    let name = files.get(index).map(|number| FileKind::Manifest.file_name(*number));
                    let (expected, got) = ("this store's UUID", "another one");
                    return Err(Error::corrupt(name.unwrap_or_default(), 0, "file header", expected, got));
                }
                (loaded.uuid, loaded.segment_bytes) = (content.uuid, content.segment_bytes);
                if newest_whole.is_none_or(|newest| newest == index) {
                    loaded.entries.extend(content.entries);
                    loaded.entry_bytes.extend(content.entry_bytes);
                    // The next file has an intact header.
                    loaded.proven = content.proven && content.damaged.is_none();
                }
                loaded.torn.extend(content.torn);
                loaded.damaged.extend(content.damaged);
            }
            Err(error) => {
                if !error.is_corruption() || newest_whole.is_none() {
                    return Err(error);
                }
                loaded.torn.push(error.to_string());
            }
        }
    }
    if let (None, Some((last, _)), Some(file)) = (newest_whole, loaded.entries.last_key_value(), files.last()) {
        let (name, expected) = (FileKind::Manifest.file_name(*file), "all entries with which it was begun");
        return Err(Error::corrupt(name, 0, "manifest", expected, format!("those up to {last}")));
    }
    Ok(loaded)
}

/// Whether these manifest files can be left from a store whose creation was interrupted, possibly repeatedly: each as
/// short as the first one starts, with nothing readable, and without foreign data.
pub(crate) fn is_unfinished(backing: &dyn Backing, files: &[SegmentSeq]) -> Result<bool> {
    for number in files {
        let (name, bytes) = read_bytes(backing, *number)?;
        let readable = match read_file(backing, &name, *number, &bytes) {
            Ok(content) => !content.entries.is_empty(),
            Err(error) => !error.is_corruption(),
        };
        if readable || !begins_like_ours(&bytes) || to_u64(bytes.len()) > FIRST_BYTES_MAX {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether these can be the first bytes of a store's file, some of which never reached the disk.
fn begins_like_ours(bytes: &[u8]) -> bool {
    MAGIC.iter().zip(bytes).all(|(ours, there)| ours == there || *there == 0)
}

fn read_bytes(backing: &dyn Backing, number: SegmentSeq) -> Result<(String, Vec<u8>)> {
    let name = FileKind::Manifest.file_name(number);
    let file = backing.open(&name).map_err(|source| Error::io("open", &name, source))?;
    let len = file.len().map_err(|source| Error::io("measure", &name, source))?;
    if len > READ_BYTES_MAX {
        // No manifest is this long. A file that does not begin like one is judged by its header alone.
        let mut header = vec![0; SEGMENT_HEADER_BYTES];
        file.read_at(0, &mut header).map_err(|source| Error::io("read", &name, source))?;
        if read_header(&name, number, &header).is_err() {
            return Ok((name, header));
        }
        return Err(Error::corrupt(name, 0, "manifest", format!("at most {READ_BYTES_MAX} bytes"), len));
    }
    let mut bytes = vec![0; to_usize(len)];
    file.read_at(0, &mut bytes).map_err(|source| Error::io("read", &name, source))?;
    Ok((name, bytes))
}

/// The contents of one manifest file.
#[derive(Debug)]
struct Content {
    uuid: [u8; 16],
    segment_bytes: u64,
    entries: BTreeMap<u64, Body>,
    entry_bytes: BTreeMap<u64, u64>,
    torn: Option<String>,
    damaged: Option<String>,
    /// The last entry with which the file was started; zero if its header does not say.
    begun_with: u64,
    proven: bool,
}

impl Content {
    /// Whether everything with which the file was started is there.
    fn is_begun_whole(&self) -> bool {
        self.entries.last_key_value().is_some_and(|(last, _)| *last >= self.begun_with)
    }
}

fn read_header(name: &str, number: SegmentSeq, bytes: &[u8]) -> Result<SegmentHeader> {
    let header = SegmentHeader::decode(bytes, name)?;
    if header.kind != FileKind::Manifest || header.segment != number {
        return Err(Error::corrupt(name, 0, "file header", format!("manifest {number}"), header.segment));
    }
    Ok(header)
}

fn read_file(backing: &dyn Backing, name: &str, number: SegmentSeq, bytes: &[u8]) -> Result<Content> {
    let (header, damaged) = match read_header(name, number, bytes) {
        Ok(header) => (header, None),
        Err(error) if error.is_corruption() => match mend::header(backing, number, bytes)? {
            Some(header) => (header, Some(format!("{error}; its entries tell what it said, and are read"))),
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let (uuid, segment_bytes) = (header.uuid, header.segment_bytes);
    let (entries, entry_bytes) = (BTreeMap::new(), BTreeMap::new());
    let (begun_with, proven) = (header.timeline, false);
    let mut content = Content { uuid, segment_bytes, entries, entry_bytes, torn: None, damaged, begun_with, proven };
    let seed = Seed::new(header.uuid, number);
    let (mut offset, mut check) = (to_u64(SEGMENT_HEADER_BYTES), 0);
    while let Some(rest) = bytes.get(to_usize(offset)..).filter(|rest| !rest.is_empty()) {
        match Entry::decode(rest, seed, offset, check) {
            Ok(decoded) => {
                let number = decoded.entry.number;
                let lowest = content.entries.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
                if number < lowest || number >= NUMBER_END {
                    let expected = format!("a number from {lowest} on, below {NUMBER_END}");
                    return Err(Error::corrupt(name, offset, "manifest entry", expected, number));
                }
                content.entry_bytes.insert(decoded.entry.number, decoded.bytes);
                content.entries.insert(decoded.entry.number, decoded.entry.body);
                check = decoded.check;
                offset += decoded.bytes;
            }
            Err(_) if proof::is_begun(rest, seed, offset, check) => {
                content.proven = proof::is_whole(rest, seed, offset, check);
                break;
            }
            Err(malformed) if malformed.unsupported || entry_follows(rest, seed, offset) => {
                return Err(malformed.at(name, offset));
            }
            Err(malformed) => {
                content.torn = Some(malformed.at(name, offset).to_string());
                break;
            }
        }
    }
    Ok(content)
}

/// Whether a valid entry exists anywhere after the first granule. Bytes that would take long to search count as one.
fn entry_follows(rest: &[u8], seed: Seed, offset: u64) -> bool {
    let tag = ENTRY_TAG.to_le_bytes();
    let mut searched = 0;
    for step in (GRANULE_BYTES..to_u64(rest.len())).step_by(to_usize(GRANULE_BYTES)) {
        let Some(bytes) = rest.get(to_usize(step)..).filter(|bytes| bytes.starts_with(&tag)) else { continue };
        let Some(header) = bytes.get(..ENTRY_HEADER_BYTES) else { break };
        searched += u64::from(LittleEndian::read_u32(&header[8..12])).min(to_u64(bytes.len()));
        let before = LittleEndian::read_u32(&header[24..28]);
        if searched > SEARCH_BYTES_MAX || Entry::decode(bytes, seed, offset + step, before).is_ok() {
            return true;
        }
    }
    false
}

#[derive(Debug)]
struct Writer {
    file: Option<Arc<dyn BackingFile>>,
    name: String,
    seed: Seed,
    offset: u64,
    check: u32,
    /// The length at which the next file is started.
    rotate_at: u64,
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
            let goes_on = writer.file.clone().filter(|_| writer.offset + bytes <= writer.rotate_at);
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
        let number = SegmentSeq(writer.last_file.0 + 1);
        if number.0 >= SEGMENT_NUMBER_END {
            return Err(Error::Exhausted { what: "number of a file", limit: SEGMENT_NUMBER_END });
        }
        let name = FileKind::Manifest.file_name(number);
        let header = SegmentHeader {
            kind: FileKind::Manifest,
            generation: 0,
            uuid: self.uuid,
            segment: number,
            timeline: entry
                .map(|entry| entry.number)
                .or_else(|| writer.kept.iter().last().map(|(last, _)| last))
                .unwrap_or_default(),
            previous: writer.last_file,
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
        // Even a file whose creation fails may exist.
        writer.files.push(number);
        writer.last_file = number;
        let file = self.backing.create(&name).map_err(|source| Error::io("create", &name, source))?;
        file.append(&bytes).map_err(|source| Error::io("append to", &name, source))?;
        (writer.offset, writer.check, writer.seed, writer.name) = (to_u64(bytes.len()), check, seed, name);
        writer.rotate_at = writer.offset.saturating_mul(2).clamp(ROTATE_BYTES_MIN, READ_BYTES_MAX);
        writer.begun_at = entry.map_or(writer.next_number, |entry| entry.number);
        if let Some(before) = writer.file.replace(file) {
            drop(before.seal());
        }
        Ok(())
    }

    /// A file that ran out of space is useless: it is deleted at once, so that repeated failures leave nothing.
    fn forget_begun(&self, writer: &mut Writer) {
        let Some(number) = writer.files.last().copied() else { return };
        let gone = match self.backing.delete(&FileKind::Manifest.file_name(number)) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
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
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
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
