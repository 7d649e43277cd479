//! Reading the manifest files.
//!
//! Owns: which files and entries count: an entry that is complete and chained to the one before, in the newest file that has all with
//! which it was begun. Never: writes, or interprets an entry.

use std::collections::BTreeMap;

use byteorder::{ByteOrder, LittleEndian};

use crate::backing::Backing;
use crate::error::{Error, Result};
use crate::format::manifest::{Body, ENTRY_HEADER_BYTES, ENTRY_TAG, Entry, NUMBER_END};
use crate::format::segment::{FileKind, MAGIC, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::{GRANULE_BYTES, Seed};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::manifest::kept::{Kept, READ_BYTES_MAX};
use crate::manifest::{mend, proof};

/// The first manifest file of a new store is shorter than this when it is started.
const FIRST_BYTES_MAX: u64 = 1 << 10;
/// How much is hashed in the search for an entry after damage.
pub(super) const SEARCH_BYTES_MAX: u64 = 64 << 20;

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

pub(super) fn read_bytes(backing: &dyn Backing, number: SegmentSeq) -> Result<(String, Vec<u8>)> {
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
