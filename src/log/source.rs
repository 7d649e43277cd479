//! Creating segments, and opening and checking existing ones.
//!
//! Owns: the sizes of new segments. Never: reads a record.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::backing::{Backing, BackingFile, Map, MapFor, PASSED_OVER_MAX, is_obstructed};
use crate::error::{Error, Result};
use crate::format::frame::FrameKind;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::{Malformed, Seed};
use crate::id::{SegmentSeq, Seq, to_u64};
use crate::log::segment::map_of;
use crate::log::sizes::Sizes;
use crate::log::{Segment, mend, room};

/// Minimum value for a store's maximum segment size.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The smallest segments are this many times smaller than the largest, but never smaller than `SEGMENT_BYTES_MIN`.
const SMALLEST_PART: u64 = 4;
/// Between the smallest and the largest size, the live data would fill this many segments, or half as many.
const SEGMENTS: u64 = 32;

/// Size of new segments. A segment is reclaimed as a whole, and with more of them the collector has a better choice: so
/// stores with little live data use small ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct NextBytes(Arc<AtomicU64>);

/// How often a thread has asked for a sync of the log. A thread that writes much beside the log watches this: a sync
/// has to wait for everything that the file system has buffered.
#[derive(Debug, Clone, Default)]
pub(crate) struct SyncsWanted(Arc<AtomicU64>);

impl SyncsWanted {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Creates and opens the segments of one store.
#[derive(Debug, Clone)]
pub(crate) struct SegmentSource {
    pub(crate) backing: Arc<dyn Backing>,
    pub(crate) uuid: [u8; 16],
    /// Maximum segment size, fixed when the store is created.
    pub(crate) segment_bytes: u64,
    /// Size of new segments.
    pub(crate) next_bytes: NextBytes,
    pub(crate) syncs_wanted: SyncsWanted,
    pub(crate) sizes: Arc<Sizes>,
    /// Whether every read checks the checksum, or only the first of each record.
    pub(crate) check_every_read: bool,
    /// Whether another process may be writing to the opened files.
    pub(crate) beside_a_writer: bool,
}

impl SegmentSource {
    /// Size of the next record segment.
    pub(crate) fn next_bytes(&self) -> u64 {
        self.next_bytes.0.load(Ordering::Relaxed).max(self.smallest_bytes()).min(self.segment_bytes)
    }

    /// Size of segments in a store with hardly any live data.
    pub(crate) fn smallest_bytes(&self) -> u64 {
        (self.segment_bytes / SMALLEST_PART).max(SEGMENT_BYTES_MIN)
    }

    /// Sets the live bytes of records.
    pub(crate) fn note_live(&self, bytes: u64) {
        let bytes = (bytes / SEGMENTS).min(self.segment_bytes).next_power_of_two();
        self.next_bytes.0.store(bytes, Ordering::Relaxed);
    }

    /// Creates a segment of the log or of pages and writes its header. On return its directory entry is durable, but
    /// not its bytes.
    pub(crate) fn create(
        &self,
        kind: FileKind,
        segment: SegmentSeq,
        timeline: u64,
        previous: SegmentSeq,
        capacity: u64,
    ) -> Result<Segment> {
        self.create_with(self.header(kind, 0, segment, timeline, previous), capacity)
    }

    /// Creates a segment for survivors.
    pub(crate) fn create_older(
        &self,
        generation: u8,
        segment: SegmentSeq,
        timeline: u64,
        capacity: u64,
    ) -> Result<Segment> {
        self.create_with(self.header(FileKind::Records, generation, segment, timeline, SegmentSeq(0)), capacity)
    }

    fn header(
        &self,
        kind: FileKind,
        generation: u8,
        segment: SegmentSeq,
        timeline: u64,
        previous: SegmentSeq,
    ) -> SegmentHeader {
        let (uuid, segment_bytes) = (self.uuid, self.segment_bytes);
        SegmentHeader { kind, generation, uuid, segment, timeline, previous, segment_bytes }
    }

    /// A segment whose file is gone, for replay: entries may point into it until a later commit or move leads
    /// elsewhere.
    pub(crate) fn absent(&self, segment: SegmentSeq) -> Segment {
        self.absent_of(FileKind::Records, segment)
    }

    /// The same, for any kind.
    pub(crate) fn absent_of(&self, kind: FileKind, segment: SegmentSeq) -> Segment {
        let header = self.header(kind, 0, segment, 0, SegmentSeq(0));
        let checked = OnceLock::new();
        checked.get_or_init(Box::default);
        Segment {
            name: kind.file_name(segment),
            header,
            header_damage: None,
            seed: Seed::new(self.uuid, segment),
            backing: Arc::clone(&self.backing),
            file: RwLock::new(None),
            has_failed: Mutex::new(false),
            is_ended: AtomicBool::new(true),
            final_bytes: AtomicU64::new(0),
            content_end: 0,
            map: OnceLock::new(),
            reads: AtomicU32::new(0),
            capacity: 0,
            live_bytes: AtomicI64::new(0),
            sizes: Arc::clone(&self.sizes),
            sized_bytes: AtomicI64::new(0),
            is_sized: AtomicBool::new(false),
            checked,
            is_own: false,
            is_absent: true,
        }
    }

    /// Creates a segment with the next number. One whose name something has that is no file, such as a directory, is passed over:
    /// gaps mean nothing, and the store goes on. A file there may be another writer's, and is an error.
    pub(crate) fn create_next<T>(
        &self,
        kind: FileKind,
        mut next: impl FnMut() -> Result<SegmentSeq>,
        create: impl Fn(SegmentSeq) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..PASSED_OVER_MAX {
            let number = next()?;
            match create(number) {
                Err(error) if self.is_obstructed(kind, number, &error) => {}
                result => return result,
            }
        }
        create(next()?)
    }

    /// Whether a file could not be created because something that is no file has its name.
    pub(crate) fn is_obstructed(&self, kind: FileKind, number: SegmentSeq, error: &Error) -> bool {
        matches!(error, Error::Io { action: "create", source, .. } if is_obstructed(&*self.backing, &kind.file_name(number), source))
    }

    fn create_with(&self, header: SegmentHeader, capacity: u64) -> Result<Segment> {
        let name = header.kind.file_name(header.segment);
        let file = self.backing.create(&name).map_err(|source| Error::io("create", &name, source))?;
        let written = file.append(&header.encode()).map_err(|source| Error::io("write to", &name, source));
        if header.has_room() {
            // Preallocation helps commits that are synced one by one. It may fail without consequence.
            drop(file.preallocate(capacity));
        }
        written.inspect_err(|_| {
            // Otherwise a full disk would fill up with new segments. Nothing refers to this one.
            drop(self.backing.delete(&name));
        })?;
        let wanted = if header.kind == FileKind::Pages { MapFor::Pages } else { MapFor::NewRecords };
        let map = map_of(&*file, capacity, wanted);
        let mut segment = self.segment(name, header, file, map, u64::MAX);
        segment.is_own = !self.check_every_read;
        segment.capacity = capacity;
        Ok(segment)
    }

    /// Opens an existing segment and checks that it is the one that its name says.
    pub(crate) fn open(&self, kind: FileKind, segment: SegmentSeq) -> Result<Segment> {
        self.open_proven(kind, segment, to_u64(SEGMENT_HEADER_BYTES))
    }

    /// The same for a segment known to have this many bytes, up to the end of a frame: these are not examined.
    pub(crate) fn open_proven(&self, kind: FileKind, segment: SegmentSeq, proven: u64) -> Result<Segment> {
        match self.open_once(kind, segment, proven) {
            // Its writer has just truncated the preallocated space, which it does once.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                self.open_once(kind, segment, proven)
            }
            result => result,
        }
    }

    /// Opens a segment with a damaged header, identified by its name.
    pub(crate) fn open_unchecked(&self, kind: FileKind, segment: SegmentSeq) -> Result<Segment> {
        let name = kind.file_name(segment);
        let file = self.backing.open(&name).map_err(|source| Error::io("open", &name, source))?;
        let len = file.len().map_err(|source| Error::io("measure", &name, source))?;
        let map = map_of(&*file, len, MapFor::Pages);
        let segment = self.segment(name, self.header(kind, 0, segment, 0, SegmentSeq(0)), file, map, len);
        segment.close_file();
        Ok(segment)
    }

    /// Opens a segment to which another process may append, up to the end of its last whole frame. A frame begins, or will
    /// begin, at `proven`. Also returns what the frames from there on say was durable.
    pub(crate) fn open_growing(&self, segment: SegmentSeq, proven: u64) -> Result<(Segment, Seq)> {
        let kind = FileKind::Records;
        let name = kind.file_name(segment);
        let (file, len) = self.open_file(&name)?;
        let header = self.read_header(&*file, len, kind, segment, &name)?;
        let end = room::end_of_frames(&*file, Seed::new(self.uuid, segment), proven, len);
        let (end, durable) = end.map_err(|source| Error::io("read", &name, source))?;
        Ok((self.opened(name, header, file, end, None), durable))
    }

    fn open_once(&self, kind: FileKind, segment: SegmentSeq, proven: u64) -> Result<Segment> {
        let name = kind.file_name(segment);
        let (file, len) = self.open_file(&name)?;
        let (header, damage) = match self.read_header(&*file, len, kind, segment, &name) {
            Ok(header) => (header, None),
            Err(error) if error.is_corruption() && kind == FileKind::Records => {
                let found = mend::first_frame(&*file, Seed::new(self.uuid, segment), len);
                let Some(frame) = found.map_err(|source| Error::io("read", &name, source))? else {
                    return Err(error);
                };
                // Beside its writer the frame may have been written after the first look, and the header with it.
                match self.read_header(&*file, len, kind, segment, &name) {
                    Ok(header) => (header, None),
                    Err(_) => {
                        let generation = u8::from(frame.kind == FrameKind::Survivors);
                        let header = self.header(kind, generation, segment, frame.timeline, SegmentSeq(0));
                        (header, Some(error.to_string()))
                    }
                }
            }
            Err(error) => return Err(error),
        };
        let content_end = if header.has_room() {
            let (seed, proven) = (Seed::new(self.uuid, segment), proven.max(to_u64(SEGMENT_HEADER_BYTES)));
            let end = room::end_of_content(&*file, seed, proven, len, self.beside_a_writer);
            end.map_err(|source| Error::io("read", &name, source))?
        } else {
            len
        };
        Ok(self.opened(name, header, file, content_end, damage))
    }

    /// Whether a record segment could not be opened because its file is not there, or, where that counts, has only begun.
    pub(crate) fn is_gone(&self, segment: SegmentSeq, error: &Error, may_have_begun: bool) -> bool {
        match error {
            Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            error => may_have_begun && error.is_corruption() && self.has_only_begun(segment),
        }
    }

    /// Whether the file of a record segment is there, and ends within its header.
    pub(crate) fn has_only_begun(&self, segment: SegmentSeq) -> bool {
        let len = self.open_file(&FileKind::Records.file_name(segment)).map(|(_, len)| len);
        len.is_ok_and(|len| len < to_u64(SEGMENT_HEADER_BYTES))
    }

    fn open_file(&self, name: &str) -> Result<(Arc<dyn BackingFile>, u64)> {
        let file = self.backing.open(name).map_err(|source| Error::io("open", name, source))?;
        let len = file.len().map_err(|source| Error::io("measure", name, source))?;
        Ok((file, len))
    }

    /// The header of a file, checked against its name.
    fn read_header(
        &self,
        file: &dyn BackingFile,
        len: u64,
        kind: FileKind,
        segment: SegmentSeq,
        name: &str,
    ) -> Result<SegmentHeader> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        if len < to_u64(bytes.len()) {
            return Err(Malformed::new("file header", "128 bytes", len).at(name, 0));
        }
        file.read_at(0, &mut bytes).map_err(|source| Error::io("read", name, source))?;
        let header = SegmentHeader::decode(&bytes, name)?;
        if header.kind != kind || header.segment != segment || header.uuid != self.uuid {
            let expected = format!("{kind:?} {segment} of this store");
            let got = format!("{:?} {} of store {}", header.kind, header.segment, uuid::Uuid::from_bytes(header.uuid));
            return Err(Malformed::new("file header", expected, got).at(name, 0));
        }
        Ok(header)
    }

    fn opened(
        &self,
        name: String,
        header: SegmentHeader,
        file: Arc<dyn BackingFile>,
        content_end: u64,
        header_damage: Option<String>,
    ) -> Segment {
        let wanted = if header.kind == FileKind::Pages { MapFor::Pages } else { MapFor::Records };
        let map = map_of(&*file, content_end, wanted);
        let mut segment = self.segment(name, header, file, map, content_end);
        segment.header_damage = header_damage;
        segment.is_ended.store(true, Ordering::Relaxed);
        segment.drop_file();
        segment
    }

    fn segment(
        &self,
        name: String,
        header: SegmentHeader,
        file: Arc<dyn BackingFile>,
        map: Option<Map>,
        content_end: u64,
    ) -> Segment {
        let seed = Seed::new(self.uuid, header.segment);
        let checked = OnceLock::new();
        if self.check_every_read {
            checked.get_or_init(Box::default);
        }
        Segment {
            name,
            header,
            header_damage: None,
            seed,
            backing: Arc::clone(&self.backing),
            file: RwLock::new(Some(file)),
            has_failed: Mutex::new(false),
            is_ended: AtomicBool::new(false),
            final_bytes: AtomicU64::new(0),
            content_end,
            map: map.map_or_else(OnceLock::new, OnceLock::from),
            reads: AtomicU32::new(0),
            capacity: 0,
            live_bytes: AtomicI64::new(0),
            sizes: Arc::clone(&self.sizes),
            sized_bytes: AtomicI64::new(0),
            is_sized: AtomicBool::new(false),
            checked,
            is_own: false,
            is_absent: false,
        }
    }
}
