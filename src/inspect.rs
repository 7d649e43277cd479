//! Inspecting a store's log: frames and markers with their offsets.
//!
//! Owns: a readable line for each frame; telling unfinished frames from damage. Never: writes, or needs the store to be
//! intact. Invariants: 1. Beside a writer, a listing never reports as damage what the writer is just writing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use byteorder::{ByteOrder, LittleEndian};

use crate::backing::Backing;
use crate::error::{Error, Result};
use crate::format::frame::{COPIED, FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREWRITTEN};
use crate::format::item::{Item, Kind};
use crate::format::replaced::REPLACED_BYTES;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::format::{Frame, Seed};
use crate::id::{SegmentSeq, Seq, to_u64, to_usize};
use crate::log::{NextBytes, Scan, ScanEnd, SegmentSource, SyncsWanted};
use crate::manifest;
use crate::manifest::Loaded;
use crate::recovery::{Files, list};

/// How often reading the manifest is retried while a writer switches to its next file.
const ATTEMPTS_BESIDE_A_WRITER: u32 = 100;
/// How often a segment before others is looked at again that has no header yet, and how long after the last look.
const LOOKS_FOR_HEADER: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// One frame of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The segment's file.
    pub file: String,
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Bytes of the frame.
    pub bytes: u64,
    /// `commit`, `survivors`, `watermark` or `seal`. `unfinished` if the newest segment ends within a frame or the
    /// segment header: a writer is writing it, or was when it ended. `damage` for anything else that is not a frame.
    pub kind: String,
    /// The commit, or the last one before it.
    pub seq: Seq,
    /// The watermark: every commit up to this one was durable when the frame was written.
    pub durable: Seq,
    /// The timeline.
    pub timeline: u64,
    /// Microseconds since 1970.
    pub time_micros: u64,
    /// Records in it.
    pub records: u64,
    /// Descriptions of its items.
    pub items: Vec<String>,
    /// A remark, if there is one.
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
    let files = crate::backing::Files::read_only(path.as_ref()).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotAStore { path: shown.clone(), why: "it does not exist".to_owned() },
        std::io::ErrorKind::NotADirectory => {
            Error::NotAStore { path: shown.clone(), why: "it is not a directory".to_owned() }
        }
        _ => Error::io("open", shown, source),
    })?;
    log_of(&(Arc::new(files) as Arc<dyn Backing>), show)
}

/// Like [`log`], for any backing store.
pub fn log_of(backing: &Arc<dyn Backing>, mut show: impl FnMut(LogLine) -> bool) -> Result<()> {
    let (files, loaded) = load_beside_a_writer(backing)?;
    let source = SegmentSource {
        backing: Arc::clone(backing),
        uuid: loaded.uuid,
        segment_bytes: loaded.segment_bytes,
        next_bytes: NextBytes::default(),
        syncs_wanted: SyncsWanted::default(),
        sizes: Arc::default(),
        check_every_read: true,
        beside_a_writer: true,
    };
    let newest = newest_with_frames(&source, &files.logs)?;
    for number in files.logs {
        // After the newest frames there are only segments that were just started.
        let is_newest = newest.is_none_or(|newest| number >= newest);
        let name = FileKind::Records.file_name(number);
        // Checked before the header is read: what is missing now may be there in a moment.
        let was_begun = is_newest && has_no_header_yet(backing, &name)?;
        if !is_newest {
            await_header(backing, &name)?;
        }
        let segment = match source.open(FileKind::Records, number) {
            Ok(segment) => segment,
            // A writer deletes files that nothing refers to any more.
            Err(error) if is_gone(&error) => continue,
            Err(error) if error.is_corruption() => {
                let line = if was_begun {
                    no_frame("unfinished", &name, 0, 0, "its header is not written yet".to_owned())
                } else {
                    no_frame("damage", &name, 0, 0, error.to_string())
                };
                if !show(line) {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(damage) = segment.header_damage()
            && !show(no_frame("damage", segment.name(), 0, to_u64(SEGMENT_HEADER_BYTES), damage.to_owned()))
        {
            return Ok(());
        }
        let contents = segment.contents()?;
        let mut scan = Scan::new(&segment, &contents, to_u64(SEGMENT_HEADER_BYTES));
        while let Some(frame) = scan.next_frame() {
            if !show(line(segment.name(), &frame)) {
                return Ok(());
            }
        }
        if let ScanEnd::Broken { offset, why } = scan.end() {
            let rest = contents.get(to_usize(offset)..).unwrap_or_default();
            let (kind, note) = if is_newest && is_cut_off(rest, segment.seed(), offset) {
                ("unfinished", "a frame that is not written to its end".to_owned())
            } else {
                ("damage", format!("{}: expected {}, got {}", why.what, why.expected, why.got))
            };
            if !show(no_frame(kind, segment.name(), offset, to_u64(rest.len()), note)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The files and the manifest. A writer may have deleted a manifest file between listing and reading.
fn load_beside_a_writer(backing: &Arc<dyn Backing>) -> Result<(Files, Loaded)> {
    let not_a_store = |why: &str| Error::NotAStore { path: backing.location(), why: why.to_owned() };
    let mut attempts = 0;
    loop {
        attempts += 1;
        let files = list(&**backing)?;
        if files.manifests.is_empty() {
            return Err(not_a_store("it contains no manifest"));
        }
        let loaded = if files.logs.is_empty() && files.pages.is_empty() {
            manifest::is_unfinished(&**backing, &files.manifests).and_then(|unfinished| {
                if unfinished {
                    return Err(not_a_store("its making has not ended"));
                }
                manifest::load(&**backing, &files.manifests)
            })
        } else {
            manifest::load(&**backing, &files.manifests)
        };
        match loaded {
            Err(error) if is_gone(&error) && attempts < ATTEMPTS_BESIDE_A_WRITER => {}
            other => return other.map(|loaded| (files.without_foreign(&loaded), loaded)),
        }
    }
}

/// The newest segment that contains a frame, searched from the newest one down: any segment before it has ended by the
/// time it is read, even if the writer continued meanwhile.
fn newest_with_frames(source: &SegmentSource, logs: &[SegmentSeq]) -> Result<Option<SegmentSeq>> {
    for number in logs.iter().rev() {
        let segment = match source.open(FileKind::Records, *number) {
            Ok(segment) => segment,
            Err(error) if error.is_corruption() || is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        let contents = segment.contents()?;
        if Scan::new(&segment, &contents, to_u64(SEGMENT_HEADER_BYTES)).next_frame().is_some() {
            return Ok(Some(*number));
        }
    }
    Ok(None)
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// A segment is created ahead of its use, and another one may be used before its header is written. If that does not come
/// soon, it is missing.
fn await_header(backing: &Arc<dyn Backing>, name: &str) -> Result<()> {
    for _ in 0..LOOKS_FOR_HEADER {
        if !has_no_header_yet(backing, name)? {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

/// Whether a file is shorter than a header, or starts with zeros instead of one.
fn has_no_header_yet(backing: &Arc<dyn Backing>, name: &str) -> Result<bool> {
    let file = match backing.open(name) {
        Ok(file) => file,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::io("open", name, source)),
    };
    let len = file.len().map_err(|source| Error::io("measure", name, source))?;
    let mut header = [0; SEGMENT_HEADER_BYTES];
    if len < to_u64(header.len()) {
        return Ok(true);
    }
    file.read_at(0, &mut header).map_err(|source| Error::io("read", name, source))?;
    Ok(header.iter().all(|byte| *byte == 0))
}

/// Whether these last bytes of a segment are a frame that continues past the end of the file, or nothing but zeros.
fn is_cut_off(rest: &[u8], seed: Seed, offset: u64) -> bool {
    let goes_on = match FrameHeader::parse(rest, seed, offset) {
        Ok(header) => u64::from(header.bytes) > to_u64(rest.len()),
        Err(_malformed) => rest.len() < FRAME_HEADER_BYTES,
    };
    goes_on || rest.iter().all(|byte| *byte == 0)
}

fn no_frame(kind: &str, file: &str, offset: u64, bytes: u64, note: String) -> LogLine {
    LogLine {
        file: file.to_owned(),
        offset,
        bytes,
        kind: kind.to_owned(),
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
    let note = match header.move_number {
        COPIED if header.kind == FrameKind::Commit => Some("copied by a recovery".to_owned()),
        PREWRITTEN if header.kind == FrameKind::Commit => Some("written ahead".to_owned()),
        _ => None,
    };
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
        note,
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
        Some(Kind::Pages) => format!("pages assigned to sets: {}", bytes / 12),
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
        Some(Kind::DropMark) => format!("drop mark {:?}", text(0)),
        Some(Kind::Moves) => format!("moves, {bytes} bytes"),
        Some(Kind::Stream) => format!("stream {}", number(8.min(bytes))),
        Some(Kind::StreamEnd) => format!("end of stream {}", number(8.min(bytes))),
        Some(Kind::CreateIndex) => format!("create key index, {bytes} bytes"),
        Some(Kind::RenameSet) => format!("rename set {}", number(4)),
        Some(Kind::Prewritten) => {
            let seq = item.payload.get(8..16).map(LittleEndian::read_u64).unwrap_or_default();
            format!("next is commit {seq}, written ahead in segment {}", number(8.min(bytes)))
        }
        Some(Kind::Consumer) => {
            let seq = item.payload.get(..8).map(LittleEndian::read_u64).unwrap_or_default();
            match item.payload.get(8) {
                Some(0) => format!("consumer {:?} has acknowledged commit {seq}", text(9)),
                Some(1) => format!("consumer {:?} was too far behind at commit {seq}", text(9)),
                _ => format!("no consumer {:?} any more", text(9)),
            }
        }
        Some(Kind::EndSet) => format!("end of set {}", number(4)),
        Some(Kind::PublishIndex) => format!("put key index {} in place", number(4)),
        Some(Kind::DropIndex) => format!("drop key index {}", number(4)),
        Some(Kind::DropSet) => format!("drop set {}", number(4)),
        Some(Kind::Metadata) => format!("metadata, {bytes} bytes"),
        Some(Kind::Replaced) => format!("places of {} replaced versions", bytes / REPLACED_BYTES),
        None => format!("unknown kind {:#04x}, {bytes} bytes", item.kind),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;
    use crate::options::Options;

    fn kinds(path: &Path) -> Vec<(String, String)> {
        let mut kinds = Vec::new();
        log(path, |line| {
            if line.kind == "damage" || line.kind == "unfinished" {
                eprintln!("{line:?}");
            }
            kinds.push((line.file, line.kind));
            true
        })
        .unwrap();
        kinds
    }

    fn with_kind(path: &Path, kind: &str) -> Vec<String> {
        kinds(path).into_iter().filter(|(_, found)| found == kind).map(|(file, _)| file).collect()
    }

    /// A store with a segment of several frames; returns its path and the segment's.
    fn store(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
        let path = dir.join("store");
        let store = Options::new().background(false).open(&path).unwrap();
        let set = store.record_set("a").unwrap();
        for number in 0..5 {
            store.write(|tx| tx.insert(&set, [number; 100])).unwrap();
        }
        store.close().unwrap();
        let file = kinds(&path).last().unwrap().0.clone();
        let segment = path.join(file);
        (path, segment)
    }

    #[test]
    fn the_end_of_the_newest_segment_may_be_unfinished() {
        let dir = tempfile::tempdir().unwrap();
        let (path, segment) = store(dir.path());
        let (whole, frames) = (std::fs::read(&segment).unwrap(), kinds(&path).len());
        // A frame cut off anywhere, in its header or after it.
        for cut in [1, 40, 100] {
            std::fs::write(&segment, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(with_kind(&path, "unfinished").len(), 1, "{cut} bytes are missing");
            assert_eq!((with_kind(&path, "damage").len(), kinds(&path).len()), (0, frames));
        }
        std::fs::write(&segment, [&whole[..], &whole[whole.len() - 64..whole.len() - 1]].concat()).unwrap();
        assert_eq!((with_kind(&path, "unfinished").len(), with_kind(&path, "damage").len()), (1, 0));
        // Space left by a killed writer is not a frame.
        std::fs::write(&segment, [&whole[..], &[0; 5_000]].concat()).unwrap();
        assert_eq!((with_kind(&path, "unfinished").len(), kinds(&path).len()), (0, frames));
        // A later segment that was just started changes nothing, and is itself unfinished.
        std::fs::write(&segment, &whole[..whole.len() - 1]).unwrap();
        for header in [0, 60, 128] {
            let name = FileKind::Records.file_name(SegmentSeq(99));
            std::fs::write(path.join(&name), vec![0; header]).unwrap();
            assert_eq!(with_kind(&path, "unfinished").len(), 2, "{header} bytes of the next one");
            assert_eq!(with_kind(&path, "damage").len(), 0);
        }
    }

    #[test]
    fn damage_is_still_called_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (path, segment) = store(dir.path());
        let whole = std::fs::read(&segment).unwrap();
        // The last byte, one in the middle, and one of the file header.
        for at in [whole.len() - 20, whole.len() / 2, 20] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&segment, bytes).unwrap();
            assert_eq!((with_kind(&path, "damage").len(), with_kind(&path, "unfinished").len()), (1, 0), "at {at}");
        }
        // A segment cut short although the log continues after it.
        std::fs::write(&segment, &whole).unwrap();
        let store = Options::new().background(false).open(&path).unwrap();
        store.mark("later").unwrap();
        store.close().unwrap();
        assert_ne!(kinds(&path).last().unwrap().0, segment.file_name().unwrap().to_str().unwrap());
        std::fs::write(&segment, &whole[..whole.len() - 1]).unwrap();
        assert_eq!((with_kind(&path, "damage").len(), with_kind(&path, "unfinished").len()), (1, 0));
    }

    #[test]
    fn a_header_that_comes_late_is_awaited_and_one_that_does_not_come_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (path, segment) = store(dir.path());
        let store = Options::new().background(false).open(&path).unwrap();
        store.mark("later").unwrap();
        store.close().unwrap();
        let whole = std::fs::read(&segment).unwrap();
        std::fs::write(&segment, []).unwrap();
        assert_eq!((with_kind(&path, "damage").len(), with_kind(&path, "unfinished").len()), (1, 0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(4 * BETWEEN_LOOKS);
                let (header, rest) = whole.split_at(SEGMENT_HEADER_BYTES);
                let mut file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
                file.seek(std::io::SeekFrom::Start(to_u64(SEGMENT_HEADER_BYTES))).unwrap();
                file.write_all(rest).unwrap();
                file.rewind().unwrap();
                file.write_all(header).unwrap();
            });
            assert_eq!((with_kind(&path, "damage").len(), with_kind(&path, "unfinished").len()), (0, 0));
        });
    }

    #[test]
    fn beside_a_writer_nothing_is_called_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Options::new().segment_bytes(64 << 10).open(&path).unwrap();
        let set = store.record_set("a").unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..400 {
                    let mut tx = store.begin().unwrap();
                    tx.insert(&set, vec![7; 20_000]).unwrap();
                    tx.commit_with(crate::txn::Durability::Buffered).unwrap();
                }
            });
            let mut listings = 0;
            while !writer.is_finished() {
                assert_eq!(with_kind(&path, "damage"), Vec::<String>::new());
                listings += 1;
            }
            writer.join().unwrap();
            assert!(listings > 0, "the writer was done before the first listing");
        });
        assert_eq!((with_kind(&path, "damage").len(), with_kind(&path, "unfinished").len()), (0, 0));
    }
}
