//! One segment: a file of the backing store with its identity, its map and its live bytes.
//!
//! Owns: reading bytes of a segment. Never: appends (the writer does) or decides about a segment's life.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use crate::backing::Backing;
use crate::backing::BackingFile;
use crate::backing::Map;
use crate::error::Error;
use crate::error::Result;
use crate::format::GRANULE_BYTES;
use crate::format::Malformed;
use crate::format::Seed;
use crate::format::entry::Location;
use crate::format::frame::FrameKind;
use crate::format::item::Item;
use crate::format::segment::FileKind;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::segment::SegmentHeader;
use crate::id::SegmentSeq;
use crate::id::to_u64;
use crate::id::to_usize;
use crate::log::mend;
use crate::log::room;

/// A segment that can be read.
#[derive(Debug)]
pub(crate) struct Segment {
    name: String,
    header: SegmentHeader,
    /// What was wrong with the file's header, where it had to be told from what stands behind it.
    header_damage: Option<String>,
    seed: Seed,
    /// Gone when nothing more is appended and everything is mapped: descriptors are scarce.
    file: RwLock<Option<Arc<dyn BackingFile>>>,
    /// The length, once `file` is gone.
    final_bytes: AtomicU64,
    /// Where the content of a file ends that was opened: what is behind was room that its writer had made.
    content_end: u64,
    map: Option<Map>,
    /// Bytes that it may have, where it was made by this process.
    capacity: u64,
    live_bytes: AtomicI64,
    /// A bit per granule: whether the record that begins there was checked in this process. Made on the first read;
    /// empty when every read is to be checked.
    checked: OnceLock<Box<[AtomicU64]>>,
    /// Made by this process: what lies here was checked when it was written.
    is_own: bool,
    is_absent: bool,
}

/// The smallest that the largest segments of a store may be.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The smallest segments are so many times smaller than the largest, and never smaller than `SEGMENT_BYTES_MIN`.
const SMALLEST_PART: u64 = 4;
/// Where segments are neither the smallest nor the largest, what lives would fill so many, or half as many.
const SEGMENTS: u64 = 32;

/// Bytes of the segments that are made next. A segment goes back to the file system whole, once it is empty, and the more of
/// them there are, the better can the collector choose: so they are small where little lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct NextBytes(Arc<AtomicU64>);

/// How often somebody wanted to wait until the log is on the medium. Who writes much beside the log looks whether it rises: a
/// sync has to wait for what the file system has gathered.
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

/// Makes and opens segments of one store.
#[derive(Debug, Clone)]
pub(crate) struct SegmentSource {
    pub(crate) backing: Arc<dyn Backing>,
    pub(crate) uuid: [u8; 16],
    /// Bytes of the largest segments, fixed when the store is made.
    pub(crate) segment_bytes: u64,
    /// Bytes of the next ones.
    pub(crate) next_bytes: NextBytes,
    pub(crate) syncs_wanted: SyncsWanted,
    /// Whether every read compares checksums, or only the first of each record.
    pub(crate) check_every_read: bool,
    /// Whether another process may be writing to what is opened.
    pub(crate) beside_a_writer: bool,
}

impl SegmentSource {
    /// Bytes of the next segment of records.
    pub(crate) fn next_bytes(&self) -> u64 {
        self.next_bytes.0.load(Ordering::Relaxed).max(self.smallest_bytes()).min(self.segment_bytes)
    }

    /// Bytes of segments where hardly anything lives.
    pub(crate) fn smallest_bytes(&self) -> u64 {
        (self.segment_bytes / SMALLEST_PART).max(SEGMENT_BYTES_MIN)
    }

    /// So many bytes of records live now.
    pub(crate) fn note_live(&self, bytes: u64) {
        let bytes = (bytes / SEGMENTS).min(self.segment_bytes).next_power_of_two();
        self.next_bytes.0.store(bytes, Ordering::Relaxed);
    }

    /// Creates a segment of the log or of pages and writes its header. On return its directory entry is durable, its bytes
    /// are not.
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

    /// A segment whose file is gone, for replay: entries may point into it until a later commit or move leads elsewhere.
    pub(crate) fn absent(&self, segment: SegmentSeq) -> Segment {
        self.absent_of(FileKind::Records, segment)
    }

    /// The same of any kind.
    pub(crate) fn absent_of(&self, kind: FileKind, segment: SegmentSeq) -> Segment {
        let header = self.header(kind, 0, segment, 0, SegmentSeq(0));
        let checked = OnceLock::new();
        checked.get_or_init(Box::default);
        Segment {
            name: kind.file_name(segment),
            header,
            header_damage: None,
            seed: Seed::new(self.uuid, segment),
            file: RwLock::new(None),
            final_bytes: AtomicU64::new(0),
            content_end: 0,
            map: None,
            capacity: 0,
            live_bytes: AtomicI64::new(0),
            checked,
            is_own: false,
            is_absent: true,
        }
    }

    fn create_with(&self, header: SegmentHeader, capacity: u64) -> Result<Segment> {
        let name = header.kind.file_name(header.segment);
        let file = self.backing.create(&name).map_err(|source| Error::io("create", &name, source))?;
        let written = file.append(&header.encode()).map_err(|source| Error::io("write to", &name, source));
        if header.has_room() {
            // Commits that are synced one by one are what room is good for. That none can be made is no failure.
            drop(file.preallocate(capacity));
        }
        let mapped = written.and_then(|()| file.map(capacity).map_err(|source| Error::io("map", &name, source)));
        let map = mapped.inspect_err(|_| {
            // A full disk shall not fill up with the beginnings of segments. Nothing refers to this one.
            drop(self.backing.delete(&name));
        })?;
        let mut segment = self.segment(name, header, file, map, u64::MAX);
        segment.is_own = segment.checked.get().is_none();
        segment.capacity = capacity;
        Ok(segment)
    }

    /// Opens a segment that exists and checks that it is the one that its name says.
    pub(crate) fn open(&self, kind: FileKind, segment: SegmentSeq) -> Result<Segment> {
        self.open_proven(kind, segment, to_u64(SEGMENT_HEADER_BYTES))
    }

    /// The same for a segment of which so many bytes, up to the end of a frame, are known to have been there: they are not
    /// looked at.
    pub(crate) fn open_proven(&self, kind: FileKind, segment: SegmentSeq, proven: u64) -> Result<Segment> {
        match self.open_once(kind, segment, proven) {
            // Its writer has just taken back the room behind the content, which it does once.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                self.open_once(kind, segment, proven)
            }
            result => result,
        }
    }

    /// Opens a segment whose header is damaged: its name tells what it is.
    pub(crate) fn open_unchecked(&self, kind: FileKind, segment: SegmentSeq) -> Result<Segment> {
        let name = kind.file_name(segment);
        let file = self.backing.open(&name).map_err(|source| Error::io("open", &name, source))?;
        let len = file.len().map_err(|source| Error::io("measure", &name, source))?;
        let map = file.map(len).map_err(|source| Error::io("map", &name, source))?;
        let segment = self.segment(name, self.header(kind, 0, segment, 0, SegmentSeq(0)), file, map, len);
        segment.close_file();
        Ok(segment)
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
                // Beside its writer the frame may have come after the first look, and the header with it.
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
        self.opened(name, header, file, content_end, damage)
    }

    fn open_file(&self, name: &str) -> Result<(Arc<dyn BackingFile>, u64)> {
        let file = self.backing.open(name).map_err(|source| Error::io("open", name, source))?;
        let len = file.len().map_err(|source| Error::io("measure", name, source))?;
        Ok((file, len))
    }

    /// The header of a file, which is the one that its name says.
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
    ) -> Result<Segment> {
        let map = file.map(content_end).map_err(|source| Error::io("map", &name, source))?;
        let mut segment = self.segment(name, header, file, map, content_end);
        segment.header_damage = header_damage;
        segment.close_file();
        Ok(segment)
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
        if self.check_every_read || map.is_none() {
            checked.get_or_init(Box::default);
        }
        Segment {
            name,
            header,
            header_damage: None,
            seed,
            file: RwLock::new(Some(file)),
            final_bytes: AtomicU64::new(0),
            content_end,
            map,
            capacity: 0,
            live_bytes: AtomicI64::new(0),
            checked,
            is_own: false,
            is_absent: false,
        }
    }
}

/// Bytes that come to the processor together.
const LINE_BYTES: usize = 64;
/// Lines of a record that are read ahead; from there on its reader goes straight on.
const LINES_AHEAD: usize = 4;

impl Segment {
    /// Whether the record at an offset was checked before in this process.
    #[inline]
    fn was_checked(&self, offset: u64) -> bool {
        if self.is_own {
            return true;
        }
        let bit = offset / GRANULE_BYTES;
        let word = self.checked.get().and_then(|words| words.get(to_usize(bit / 64)));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (bit % 64)) != 0)
    }

    #[cold]
    fn note_checked(&self, offset: u64) {
        let words = self.checked.get_or_init(|| {
            let bytes = self.len().unwrap_or_default();
            let words = to_usize(bytes.div_ceil(GRANULE_BYTES * 64));
            (0..words).map(|_| AtomicU64::new(0)).collect()
        });
        let bit = offset / GRANULE_BYTES;
        if let Some(word) = words.get(to_usize(bit / 64)) {
            word.fetch_or(1 << (bit % 64), Ordering::Relaxed);
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn number(&self) -> SegmentSeq {
        self.header.segment
    }

    /// Whether there is no file of it any more.
    pub(crate) fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Bytes that it may have.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// What is wrong with the file's header, where `header` was told from what stands behind it.
    pub(crate) fn header_damage(&self) -> Option<&str> {
        self.header_damage.as_deref()
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    fn file(&self) -> Option<Arc<dyn BackingFile>> {
        self.file.read().as_ref().map(Arc::clone)
    }

    /// Appends bytes; see `BackingFile::append`.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file().ok_or(io::ErrorKind::PermissionDenied)?.append(bytes)
    }

    /// Nothing more is appended.
    pub(crate) fn end_room(&self) {
        if let Some(file) = self.file() {
            // Room that stays is passed over by whoever opens the segment.
            drop(file.preallocate(0));
        }
    }

    /// Puts everything on the medium that was appended.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file().map_or(Ok(()), |file| file.sync())
    }

    /// Gives the descriptor back, where the segment is mapped: nothing more is appended, and everything is synced.
    pub(crate) fn close_file(&self) {
        let Some(file) = self.file().filter(|_| self.map.is_some()) else { return };
        if let Ok(len) = file.len() {
            self.final_bytes.store(len.min(self.content_end), Ordering::Release);
            *self.file.write() = None;
        }
    }

    /// Bytes in the file now.
    pub(crate) fn len(&self) -> Result<u64> {
        match self.file() {
            Some(file) => {
                let len = file.len().map_err(|source| Error::io("measure", &self.name, source))?;
                Ok(len.min(self.content_end))
            }
            None => Ok(self.final_bytes.load(Ordering::Acquire)),
        }
    }

    /// Bytes that are reachable from the record index.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Counts bytes that became reachable, or stopped being so.
    pub(crate) fn add_live(&self, bytes: i64) {
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes in place, when the segment is mapped and they were appended.
    #[inline]
    pub(crate) fn mapped(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.map.as_ref()?.slice(offset, len)
    }

    /// Bytes, in place where the segment is mapped and copied where not.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Cow<'_, [u8]>> {
        if let Some(bytes) = self.mapped(offset, to_usize(len)) {
            return Ok(Cow::Borrowed(bytes));
        }
        let end = self.len()?;
        if offset.checked_add(len).is_none_or(|wanted| wanted > end) {
            let expected = format!("{len} bytes");
            return Err(Error::corrupt(&self.name, offset, "segment", expected, format!("a file of {end} bytes")));
        }
        let file = self.file().ok_or_else(|| Error::io("read", &self.name, io::ErrorKind::UnexpectedEof.into()))?;
        let mut bytes = vec![0; to_usize(len)];
        file.read_at(offset, &mut bytes).map_err(|source| Error::io("read", &self.name, source))?;
        Ok(Cow::Owned(bytes))
    }

    /// The whole content, header included.
    pub(crate) fn contents(&self) -> Result<Cow<'_, [u8]>> {
        self.read(0, self.len()?)
    }

    /// The record at a location whose bytes were checked before; `None` where anything is unusual.
    #[inline]
    pub(crate) fn checked_record(&self, location: Location) -> Option<Item<'_>> {
        let offset = location.offset();
        let bytes = self.mapped(offset, to_usize(location.bytes()))?;
        let item = Item::parse_record(bytes)?;
        (self.was_checked(offset) && item.bytes() == location.bytes()).then_some(item)
    }

    /// Reads one byte of each of the first lines of a mapped record, and what tells that it was checked: they are near then.
    #[inline]
    pub(crate) fn glance(&self, location: Location) -> u8 {
        let Some(bytes) = self.mapped(location.offset(), to_usize(location.bytes())) else { return 0 };
        let lines = bytes.iter().step_by(LINE_BYTES).take(LINES_AHEAD).fold(0, |sum, byte| sum ^ byte);
        lines ^ u8::from(self.was_checked(location.offset()))
    }

    /// The item at a location, checked against its checksum and the entry's size.
    pub(crate) fn check_item<'a>(&self, location: Location, bytes: &'a [u8]) -> Result<Item<'a>> {
        let offset = location.offset();
        let item = Item::parse(bytes).map_err(|malformed| malformed.at(&self.name, offset))?;
        if !self.was_checked(offset) {
            item.verify(self.seed.at(offset)).map_err(|malformed| malformed.at(&self.name, offset))?;
            self.note_checked(offset);
        }
        if item.bytes() != location.bytes() {
            let (expected, got) = (location.bytes(), item.bytes());
            return Err(Error::corrupt(&self.name, offset, "size of a record", expected, got));
        }
        Ok(item)
    }
}
