//! The files of the damaged store.
//!
//! Owns: which files exist, which store they belong to, reading whatever can be read. Never: writes, maps, or trusts a
//! header: a file is what its name says, and its checksums confirm the rest.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::backing::{Backing, BackingFile};
use crate::error::{Error, Result};
use crate::format::Seed;
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::recovery::{Files, list};

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;
/// If a piece cannot be read, it is read in parts of this size, and unreadable parts count as zeros.
const PART_BYTES: usize = 4096;

/// A record segment.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    pub(crate) number: SegmentSeq,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Its header, if readable.
    pub(crate) header: Option<SegmentHeader>,
}

/// The files of a damaged store.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) backing: Arc<dyn Backing>,
    pub(crate) uuid: [u8; 16],
    /// Maximum segment size, if a header states it.
    pub(crate) segment_bytes: Option<u64>,
    pub(crate) logs: Vec<LogFile>,
    pub(crate) files: Files,
}

impl Source {
    /// Lists the files and determines which store they belong to: the one that most headers name.
    pub(crate) fn open(backing: &Arc<dyn Backing>) -> Result<Self> {
        let files = list(&**backing)?;
        let (mut votes, mut logs) = (BTreeMap::<([u8; 16], u64), u64>::new(), Vec::new());
        for number in &files.logs {
            let (bytes, header) = look_at(&**backing, FileKind::Records, *number)?;
            logs.push(LogFile { number: *number, name: FileKind::Records.file_name(*number), bytes, header });
        }
        let others = files.pages.iter().map(|number| (FileKind::Pages, *number));
        let others = others.chain(files.manifests.iter().map(|number| (FileKind::Manifest, *number)));
        let others: Vec<SegmentHeader> =
            others.filter_map(|(kind, number)| look_at(&**backing, kind, number).ok()?.1).collect();
        for header in logs.iter().filter_map(|log| log.header.as_ref()).chain(&others) {
            *votes.entry((header.uuid, header.segment_bytes)).or_default() += 1;
        }
        let Some(((uuid, segment_bytes), _)) = votes.into_iter().max_by_key(|(_, votes)| *votes) else {
            let why = "none of its files has a header that identifies the store".to_owned();
            return Err(Error::NotAStore { path: backing.location(), why });
        };
        for log in &mut logs {
            log.header.take_if(|header| header.uuid != uuid || header.segment != log.number);
        }
        Ok(Self { backing: Arc::clone(backing), uuid, segment_bytes: Some(segment_bytes), logs, files })
    }

    /// The seed of a segment's checksums.
    pub(crate) fn seed(&self, log: &LogFile) -> Seed {
        Seed::new(self.uuid, log.number)
    }

    /// Bytes of all record segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.logs.iter().map(|log| log.bytes).sum()
    }

    /// The contents of a segment, with zeros where it cannot be read.
    pub(crate) fn contents(&self, log: &LogFile) -> Result<Vec<u8>> {
        let file = self.backing.open(&log.name).map_err(|source| Error::io("open", &log.name, source))?;
        // No segment of frames is longer.
        let mut bytes = vec![0; to_usize(log.bytes.min(SEGMENT_BYTES_END))];
        let mut offset = 0;
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            read_what_can_be(&*file, offset, piece);
            offset += to_u64(piece.len());
        }
        Ok(bytes)
    }
}

fn read_what_can_be(file: &dyn BackingFile, offset: u64, piece: &mut [u8]) {
    if file.read_at(offset, piece).is_ok() {
        return;
    }
    let mut offset = offset;
    for part in piece.chunks_mut(PART_BYTES) {
        if file.read_at(offset, part).is_err() {
            part.fill(0);
        }
        offset += to_u64(part.len());
    }
}

/// The length of a file, and its header if it has a valid one of the right kind.
fn look_at(backing: &dyn Backing, kind: FileKind, number: SegmentSeq) -> Result<(u64, Option<SegmentHeader>)> {
    let name = kind.file_name(number);
    let file = match backing.open(&name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, None)),
        Err(source) => return Err(Error::io("open", &name, source)),
    };
    let len = file.len().map_err(|source| Error::io("measure", &name, source))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    if len < to_u64(bytes.len()) || file.read_at(0, &mut bytes).is_err() {
        return Ok((len, None));
    }
    match SegmentHeader::decode(&bytes, &name) {
        Ok(header) => Ok((len, Some(header).filter(|header| header.kind == kind))),
        // A later format is not damage, and this version would find nothing in it.
        Err(error @ Error::Unsupported { .. }) => Err(error),
        Err(_) => Ok((len, None)),
    }
}
