//! Looking into a store's log: frames and markers with their offsets.
//!
//! Owns: a readable line for each frame. Never: writes, or needs the store to be whole.

use std::path::Path;
use std::sync::Arc;

use byteorder::ByteOrder;
use byteorder::LittleEndian;

use crate::backing::Backing;
use crate::backing::Files;
use crate::error::Error;
use crate::error::Result;
use crate::format::Frame;
use crate::format::frame::FrameKind;
use crate::format::item::Item;
use crate::format::item::Kind;
use crate::format::segment::FileKind;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::id::Seq;
use crate::id::to_u64;
use crate::log::Scan;
use crate::log::ScanEnd;
use crate::log::SegmentSource;
use crate::manifest;
use crate::recovery::list;

/// One frame of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The segment's file.
    pub file: String,
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Bytes of the frame.
    pub bytes: u64,
    /// `commit`, `survivors`, `watermark` or `seal`; `damage` for what is no frame.
    pub kind: String,
    /// The commit, or the last one before it.
    pub seq: Seq,
    /// Every commit up to this one was on the medium when the frame was written.
    pub durable: Seq,
    /// The timeline.
    pub timeline: u64,
    /// Microseconds since 1970.
    pub time_micros: u64,
    /// Records in it.
    pub records: u64,
    /// Its items in words.
    pub items: Vec<String>,
    /// What is worth knowing besides.
    pub note: Option<String>,
}

/// Shows every frame of every log segment in order, until `show` returns false.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("things.tenure");
/// let store = tenure::Store::open(&path)?;
/// store.mark("begin")?;
/// store.close()?;
/// let mut marks = 0;
/// tenure::inspect::log(&path, |line| {
///     marks += line.items.iter().filter(|item| item.starts_with("mark")).count();
///     true
/// })?;
/// assert_eq!(marks, 1);
/// # Ok::<(), tenure::Error>(())
/// ```
pub fn log(path: impl AsRef<Path>, show: impl FnMut(LogLine) -> bool) -> Result<()> {
    let shown = path.as_ref().display().to_string();
    let files = Files::read_only(path.as_ref()).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotAStore { path: shown.clone(), why: "there is nothing".to_owned() },
        std::io::ErrorKind::NotADirectory => {
            Error::NotAStore { path: shown.clone(), why: "it is not a directory".to_owned() }
        }
        _ => Error::io("open", shown, source),
    })?;
    log_of(&(Arc::new(files) as Arc<dyn Backing>), show)
}

/// The same for any backing store.
pub fn log_of(backing: &Arc<dyn Backing>, mut show: impl FnMut(LogLine) -> bool) -> Result<()> {
    let files = list(&**backing)?;
    if files.manifests.is_empty() {
        let why = "it holds no manifest".to_owned();
        return Err(Error::NotAStore { path: backing.location(), why });
    }
    let loaded = manifest::load(&**backing, &files.manifests)?;
    let source = SegmentSource {
        backing: Arc::clone(backing),
        uuid: loaded.uuid,
        segment_bytes: loaded.segment_bytes,
        check_every_read: true,
    };
    for number in files.logs {
        let segment = match source.open(FileKind::Records, number) {
            Ok(segment) => segment,
            Err(error) if error.is_corruption() => {
                if !show(damage(&FileKind::Records.file_name(number), 0, 0, error.to_string())) {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let contents = segment.contents()?;
        let mut scan = Scan::new(&contents, segment.seed(), to_u64(SEGMENT_HEADER_BYTES));
        while let Some(frame) = scan.next_frame() {
            if !show(line(segment.name(), &frame)) {
                return Ok(());
            }
        }
        if let ScanEnd::Broken { offset, why } = scan.end() {
            let note = format!("{}: expected {}, got {}", why.what, why.expected, why.got);
            if !show(damage(segment.name(), offset, to_u64(contents.len()) - offset, note)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn damage(file: &str, offset: u64, bytes: u64, note: String) -> LogLine {
    LogLine {
        file: file.to_owned(),
        offset,
        bytes,
        kind: "damage".to_owned(),
        seq: Seq::ZERO,
        durable: Seq::ZERO,
        timeline: 0,
        time_micros: 0,
        records: 0,
        items: Vec::new(),
        note: Some(note),
    }
}

fn line(file: &str, frame: &Frame<'_>) -> LogLine {
    let header = &frame.header;
    let kind = match header.kind {
        FrameKind::Commit => "commit",
        FrameKind::Survivors => "survivors",
        FrameKind::Watermark => "watermark",
        FrameKind::Seal => "seal",
    };
    let items: Vec<_> = frame.items().flatten().collect();
    let records = items.iter().filter(|(_, item)| item.kind < crate::format::item::FIRST_CONTROL_KIND).count();
    let copied = header.kind == FrameKind::Commit && header.move_number != 0;
    LogLine {
        file: file.to_owned(),
        offset: frame.offset(),
        bytes: header.bytes.into(),
        kind: kind.to_owned(),
        seq: header.seq,
        durable: header.durable,
        timeline: header.timeline,
        time_micros: header.time_micros,
        records: to_u64(records),
        items: items.iter().map(|(offset, item)| describe(*offset, item)).collect(),
        note: copied.then(|| "copied by a recovery".to_owned()),
    }
}

fn describe(offset: u64, item: &Item<'_>) -> String {
    let bytes = item.payload.len();
    let number =
        |len: usize| item.payload.get(..len).map(|part| LittleEndian::read_uint(part, len)).unwrap_or_default();
    let id = || item.id().map_or_else(|_| format!("{:#x}", item.raw_id), |id| id.to_string());
    let text = |from: usize| String::from_utf8_lossy(item.payload.get(from..).unwrap_or_default()).into_owned();
    match Kind::from_u8(item.kind) {
        Some(Kind::Record) => format!("record {} at {offset}, {bytes} bytes", id()),
        Some(Kind::Head) => format!("head {} at {offset}, {bytes} bytes", id()),
        Some(Kind::Chunk) => format!("chunk {} at {offset}, {bytes} bytes", id()),
        Some(Kind::Run) => format!("run of set {}", number(4)),
        Some(Kind::Pages) => format!("pages given to sets: {}", bytes / 12),
        Some(Kind::Frees) => {
            let ids = item.payload.chunks_exact(8).take(4).map(LittleEndian::read_u64);
            let shown: Vec<String> = ids.filter_map(crate::id::RecordId::from_u64).map(|id| id.to_string()).collect();
            let more =
                if bytes / 8 > shown.len() { format!(" and {} more", bytes / 8 - shown.len()) } else { String::new() };
            format!("free {}{more}", shown.join(" "))
        }
        Some(Kind::IndexOps) => format!("index operations, {bytes} bytes"),
        Some(Kind::CreateSet) => format!("create set {} {:?}", number(4), text(4)),
        Some(Kind::Mark) => format!("mark {:?}", text(0)),
        Some(Kind::Moves) => format!("moves, {bytes} bytes"),
        Some(Kind::Stream) => format!("stream {}", number(8.min(bytes))),
        Some(Kind::StreamEnd) => format!("end of stream {}", number(8.min(bytes))),
        Some(Kind::CreateIndex) => format!("create key index, {bytes} bytes"),
        Some(Kind::DropIndex) => format!("drop key index {}", number(4)),
        Some(Kind::DropSet) => format!("drop set {}", number(4)),
        Some(Kind::Metadata) => format!("metadata, {bytes} bytes"),
        None => format!("unknown kind {:#04x}, {bytes} bytes", item.kind),
    }
}
