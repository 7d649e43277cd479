//! The manifest: an append-only chain of entries with the roots of the store.
//!
//! Owns: reading all manifest files, appending, and going over to the next file.
//! Never: interprets an entry; snapshot and recovery do.
//! Invariants: 1. An entry counts only when it is whole and chained to the one before it. 2. A file is deleted only
//! when everything that is still needed of it stands, synced, in a later one.

mod mend;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use byteorder::ByteOrder;
use byteorder::LittleEndian;
use parking_lot::Condvar;
use parking_lot::Mutex;

use crate::backing::Backing;
use crate::backing::BackingFile;
use crate::error::Error;
use crate::error::Result;
use crate::format::GRANULE_BYTES;
use crate::format::Seed;
use crate::format::manifest::Body;
use crate::format::manifest::ENTRY_HEADER_BYTES;
use crate::format::manifest::ENTRY_TAG;
use crate::format::manifest::Entry;
use crate::format::manifest::NUMBER_END;
use crate::format::manifest::Snapshot;
use crate::format::segment::FileKind;
use crate::format::segment::MAGIC;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::segment::SegmentHeader;
use crate::id::SegmentSeq;
use crate::id::Seq;
use crate::id::to_u64;
use crate::id::to_usize;
use crate::log::Poison;
use crate::planted;
use crate::planted::Fault;

/// A manifest file above this size is replaced by the next one.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The first manifest file of a new store is shorter than this when it is begun.
const FIRST_BYTES_MAX: u64 = 1 << 10;
/// A manifest above this size is none: its snapshots would list billions of files.
const READ_BYTES_MAX: u64 = 1 << 30;
/// How much is hashed in the search for an entry behind damage.
const SEARCH_BYTES_MAX: u64 = 64 << 20;

/// What the manifest files say.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Entries by number.
    pub(crate) entries: BTreeMap<u64, Body>,
    /// The store, from the files' headers.
    pub(crate) uuid: [u8; 16],
    /// The segment size that the store was made with, in bytes.
    pub(crate) segment_bytes: u64,
    /// Manifest files that are there.
    pub(crate) files: Vec<SegmentSeq>,
    /// Those of them that may be deleted when a later one holds what they hold.
    pub(crate) ours: Vec<SegmentSeq>,
    /// Bytes of the longest of them.
    pub(crate) bytes: u64,
    /// What was left out: a torn end of the last file.
    pub(crate) torn: Vec<String>,
    /// Headers of manifest files that are damaged, and whose entries are read all the same.
    pub(crate) damaged: Vec<String>,
}

/// Reads every manifest file.
///
/// A file is begun with all that is needed of those before it, and those are deleted when it is synced. So a damaged file
/// is passed over while another one is there: either a later one holds what it held, or nothing has proven it whole.
/// In the only file a damaged entry that a valid one follows is corruption, and one that nothing follows is a tear.
pub(crate) fn load(backing: &dyn Backing, files: &[SegmentSeq]) -> Result<Loaded> {
    let mut loaded = Loaded { files: files.to_vec(), ..Loaded::default() };
    let mut contents = Vec::new();
    for number in files {
        let (name, bytes) = read_bytes(backing, *number)?;
        loaded.bytes = loaded.bytes.max(to_u64(bytes.len()));
        let content = read_file(backing, &name, *number, &bytes);
        // What is neither readable nor the beginning of one of ours is somebody else's, and is never deleted.
        if content.is_ok() || begins_like_ours(&bytes) {
            loaded.ours.push(*number);
        }
        contents.push(content);
    }
    let whole = |content: &Result<Content>| content.as_ref().is_ok_and(|content| !content.entries.is_empty());
    let any_is_whole = contents.iter().any(whole);
    for (index, content) in contents.into_iter().enumerate() {
        match content {
            Ok(content) => {
                if loaded.uuid != [0; 16] && loaded.uuid != content.uuid {
                    let name = files.get(index).map(|number| FileKind::Manifest.file_name(*number));
                    let (expected, got) = ("this store's UUID", "another one");
                    return Err(Error::corrupt(name.unwrap_or_default(), 0, "file header", expected, got));
                }
                (loaded.uuid, loaded.segment_bytes) = (content.uuid, content.segment_bytes);
                loaded.entries.extend(content.entries);
                loaded.torn.extend(content.torn);
                loaded.damaged.extend(content.damaged);
            }
            Err(error) => {
                if !error.is_corruption() || !any_is_whole {
                    return Err(error);
                }
                loaded.torn.push(error.to_string());
            }
        }
    }
    Ok(loaded)
}

/// Whether these manifest files can be what is left of a store whose making was interrupted, once or more often: each as
/// short as the first one begins, with nothing that can be read, and with nobody else's data.
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

/// Whether these can be the first bytes of a file of a store, some of which never reached the medium.
fn begins_like_ours(bytes: &[u8]) -> bool {
    MAGIC.iter().zip(bytes).all(|(ours, there)| ours == there || *there == 0)
}

fn read_bytes(backing: &dyn Backing, number: SegmentSeq) -> Result<(String, Vec<u8>)> {
    let name = FileKind::Manifest.file_name(number);
    let file = backing.open(&name).map_err(|source| Error::io("open", &name, source))?;
    let len = file.len().map_err(|source| Error::io("measure", &name, source))?;
    if len > READ_BYTES_MAX {
        return Err(Error::corrupt(name, 0, "manifest", format!("at most {READ_BYTES_MAX} bytes"), len));
    }
    let mut bytes = vec![0; to_usize(len)];
    file.read_at(0, &mut bytes).map_err(|source| Error::io("read", &name, source))?;
    Ok((name, bytes))
}

/// What one manifest file says.
#[derive(Debug)]
struct Content {
    uuid: [u8; 16],
    segment_bytes: u64,
    entries: BTreeMap<u64, Body>,
    torn: Option<String>,
    damaged: Option<String>,
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
    let mut content = Content { uuid, segment_bytes, entries: BTreeMap::new(), torn: None, damaged };
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
                content.entries.insert(decoded.entry.number, decoded.entry.body);
                check = decoded.check;
                offset += decoded.bytes;
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

/// Whether an entry with a valid checksum stands anywhere behind the first granule. Bytes that would take long to search
/// count as one.
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
    next_number: u64,
    /// The number of the newest file, ours or not.
    last_file: SegmentSeq,
    /// Our files, the newest last.
    files: Vec<SegmentSeq>,
    kept: BTreeMap<u64, Body>,
}

/// The manifest, open for appending.
#[derive(Debug)]
pub(crate) struct Manifest {
    backing: Arc<dyn Backing>,
    uuid: [u8; 16],
    segment_bytes: u64,
    writer: Mutex<Writer>,
    /// Bytes of the longest file that was there.
    bytes_before: u64,
    /// Whether an append is under way: one at a time, so that what follows an entry proves that it was synced.
    busy: Mutex<bool>,
    idle: Condvar,
    poison: Arc<Poison>,
}

impl Manifest {
    /// Goes on from what was loaded. The first append begins a new file.
    pub(crate) fn new(backing: Arc<dyn Backing>, loaded: &Loaded, poison: Arc<Poison>) -> Self {
        let next_number = loaded.entries.last_key_value().map_or(1, |(number, _)| number.saturating_add(1));
        let writer = Writer {
            file: None,
            name: String::new(),
            seed: Seed::new(loaded.uuid, SegmentSeq(0)),
            offset: 0,
            check: 0,
            next_number,
            last_file: loaded.files.last().copied().unwrap_or_default(),
            files: loaded.ours.clone(),
            kept: loaded.entries.clone(),
        };
        let (uuid, segment_bytes) = (loaded.uuid, loaded.segment_bytes);
        let (writer, busy, idle) = (Mutex::new(writer), Mutex::new(false), Condvar::new());
        Self { backing, uuid, segment_bytes, writer, bytes_before: loaded.bytes, busy, idle, poison }
    }

    /// Appends an entry; it is on the medium on return. Gives its number. The body is made from the number.
    pub(crate) fn append(&self, body: impl FnOnce(u64) -> Body) -> Result<u64> {
        let turn = Turn::take(self);
        let result = self.append_alone(body);
        drop(turn);
        result
    }

    fn append_alone(&self, body: impl FnOnce(u64) -> Body) -> Result<u64> {
        self.poison.check()?;
        let (number, file, name, done) = {
            let mut writer = self.writer.lock();
            let number = writer.next_number;
            if number >= NUMBER_END {
                return Err(Error::Exhausted { what: "manifest entry", limit: NUMBER_END });
            }
            writer.next_number += 1;
            writer.kept.insert(number, body(number));
            let fresh = writer.file.is_none() || writer.offset > MANIFEST_BYTES_MAX;
            let result = if fresh { self.begin_file(&mut writer) } else { append_entry(&mut writer, number) };
            if let Err(error) = &result {
                // What was half written may not be followed by anything: the next append begins another file.
                writer.file = None;
                writer.kept.remove(&number);
                if fresh && matches!(error, Error::NoSpace { .. }) {
                    self.forget_begun(&mut writer);
                }
            }
            result?;
            // Also what could not be deleted at an earlier time.
            let done = if writer.files.len() > 1 { writer.files.clone() } else { Vec::new() };
            let Some(file) = writer.file.clone() else {
                return Err(Error::Poisoned { reason: "no manifest file".to_owned() });
            };
            (number, file, writer.name.clone(), done)
        };
        if let Err(source) = file.sync() {
            let error = Error::io("sync", name, source);
            self.poison.set(&error);
            return Err(error);
        }
        self.delete_older(&done);
        Ok(number)
    }

    /// Begins the next file with all entries that are still needed.
    fn begin_file(&self, writer: &mut Writer) -> Result<()> {
        forget_what_no_snapshot_needs(&mut writer.kept, writer.files.len());
        let number = SegmentSeq(writer.last_file.0 + 1);
        let name = FileKind::Manifest.file_name(number);
        let header = SegmentHeader {
            kind: FileKind::Manifest,
            generation: 0,
            uuid: self.uuid,
            segment: number,
            timeline: 0,
            previous: writer.last_file,
            segment_bytes: self.segment_bytes,
        };
        let seed = Seed::new(self.uuid, number);
        let mut bytes = header.encode().to_vec();
        let mut check = 0;
        for (number, body) in &writer.kept {
            let entry = Entry { number: *number, body: body.clone() };
            let (encoded, next) = entry.encode(seed, to_u64(bytes.len()), check);
            bytes.extend_from_slice(&encoded);
            check = next;
        }
        // Also a file whose creation fails may be there.
        writer.files.push(number);
        writer.last_file = number;
        let file = self.backing.create(&name).map_err(|source| Error::io("create", &name, source))?;
        file.append(&bytes).map_err(|source| Error::io("append to", &name, source))?;
        (writer.offset, writer.check, writer.seed, writer.name) = (to_u64(bytes.len()), check, seed, name);
        writer.file = Some(file);
        Ok(())
    }

    /// A file for which there was no room says nothing: it goes at once, so that failing again and again leaves nothing.
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

    /// Bytes that a file has, more or less.
    pub(crate) fn bytes(&self) -> u64 {
        let offset = self.writer.lock().offset;
        if offset == 0 { self.bytes_before } else { offset }
    }

    /// Deletes the files before the newest of `files`, which holds all that is needed of them. What cannot be deleted
    /// does no harm, and is tried again with the next entry.
    fn delete_older(&self, files: &[SegmentSeq]) {
        let Some((_, older)) = files.split_last() else { return };
        let gone = |number: &SegmentSeq| match self.backing.delete(&FileKind::Manifest.file_name(*number)) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        let deleted: Vec<SegmentSeq> = older.iter().copied().filter(gone).collect();
        self.writer.lock().files.retain(|number| !deleted.contains(number));
    }

    /// Waits until no entry is being appended. After the handle was poisoned none will be.
    pub(crate) fn wait_idle(&self) {
        let mut busy = self.busy.lock();
        while *busy {
            self.idle.wait(&mut busy);
        }
        drop(busy);
        // Whoever waits for a turn finds the poison.
        self.idle.notify_one();
    }

    /// The number that the next entry will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.writer.lock().next_number
    }

    /// Looks at the entries that still count.
    pub(crate) fn with_entries<T>(&self, look: impl FnOnce(&BTreeMap<u64, Body>) -> T) -> T {
        look(&self.writer.lock().kept)
    }

    /// The first segment of the log that replay may need.
    pub(crate) fn replay_from(&self) -> SegmentSeq {
        self.with_entries(replay_from)
    }

    /// The entries that still count.
    pub(crate) fn entries(&self) -> BTreeMap<u64, Body> {
        self.writer.lock().kept.clone()
    }
}

/// The right to append, given on when it is dropped, also by a panic in somebody's backing store.
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

fn append_entry(writer: &mut Writer, number: u64) -> Result<()> {
    let Some((file, body)) = writer.file.clone().zip(writer.kept.get(&number)) else { return Ok(()) };
    let entry = Entry { number, body: body.clone() };
    let (bytes, check) = entry.encode(writer.seed, writer.offset, writer.check);
    file.append(&bytes).map_err(|source| Error::io("append to", &writer.name, source))?;
    writer.offset += to_u64(bytes.len());
    writer.check = check;
    Ok(())
}

/// Numbers of the snapshots that are kept: the last two without a name, and those with one that were not dropped.
pub(crate) fn retained(entries: &BTreeMap<u64, Body>) -> Vec<u64> {
    let dropped: BTreeSet<u64> =
        entries.values().filter_map(|body| if let Body::Drop(number) = body { Some(*number) } else { None }).collect();
    let mut unnamed = 0;
    let mut kept = Vec::new();
    for (number, body) in entries.iter().rev() {
        let Body::Snapshot(snapshot) = body else { continue };
        if dropped.contains(number) {
            continue;
        }
        unnamed += u32::from(snapshot.name.is_empty());
        if !snapshot.name.is_empty() || unnamed <= 2 {
            kept.push(*number);
        }
    }
    kept.reverse();
    kept
}

/// Snapshots without a name that are kept: those from which recovery replays.
fn automatic(entries: &BTreeMap<u64, Body>) -> impl Iterator<Item = &Snapshot> {
    retained(entries).into_iter().filter_map(|number| match entries.get(&number) {
        Some(Body::Snapshot(snapshot)) if snapshot.name.is_empty() => Some(&**snapshot),
        _ => None,
    })
}

/// The first segment of the log that replay may need, from the older of the two automatic snapshots.
pub(crate) fn replay_from(entries: &BTreeMap<u64, Body>) -> SegmentSeq {
    let heads = automatic(entries).map(|snapshot| snapshot.head_segment);
    let needed = if planted::is(Fault::OlderSnapshotDoesNotCount) { heads.max() } else { heads.min() };
    needed.unwrap_or_default()
}

/// The commit of the older of the two automatic snapshots: one can go back to this one or a later one.
pub(crate) fn oldest_automatic(entries: &BTreeMap<u64, Body>) -> Option<Seq> {
    automatic(entries).map(|snapshot| snapshot.seq).min()
}

/// Segments that named snapshots list.
pub(crate) fn kept_by_name(entries: &BTreeMap<u64, Body>) -> BTreeSet<SegmentSeq> {
    let named = retained(entries).into_iter().filter_map(|number| match entries.get(&number) {
        Some(Body::Snapshot(snapshot)) if !snapshot.name.is_empty() => Some(&snapshot.segments),
        _ => None,
    });
    named.flatten().map(|row| row.segment).collect()
}

/// Leaves out snapshots that are not retained, and reservations and cuts that only they needed. That a snapshot was dropped
/// is repeated while one of the files that are there may hold it: a crash may leave all of them.
fn forget_what_no_snapshot_needs(entries: &mut BTreeMap<u64, Body>, files: usize) {
    let retained = retained(entries);
    let Some(oldest) = retained.first().copied() else { return };
    let reserved_from = match entries.get(&oldest) {
        Some(Body::Snapshot(snapshot)) => snapshot.reserved_from,
        _ => 0,
    };
    let known: BTreeSet<u64> = entries.keys().copied().collect();
    entries.retain(|number, body| match body {
        Body::Snapshot(_) => retained.contains(number),
        Body::Reserve(_) => *number >= reserved_from,
        // A snapshot that was saved after a cut stands on the log behind it.
        Body::Cut(_) => *number > oldest,
        Body::Drop(target) => known.contains(target) || files > 1,
    });
}
