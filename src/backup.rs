//! Backups of a running store, and restoring them.
//!
//! Owns: which files a backup needs, the marker of an unfinished one, verifying it. Never: blocks a writer, or trusts a copy
//! that it has not read back.
//! A backup holds the files that a saved snapshot lists, and a manifest with that one snapshot. It opens like any store. Sealed
//! segments never change; a repository keeps several backups with one copy of each.
//! Invariants: 1. While the file `unfinished` exists, the copy does not open. 2. It is deleted after everything was read back.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::backing::{Backing, Files, is_inside, mark_finished, mark_unfinished, refuse_unfinished};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::{Body, SegmentRow, Snapshot, SnapshotKind};
use crate::format::segment::FileKind;
use crate::gc::Collector;
use crate::id::{Seq, to_u64, to_usize};
use crate::manifest::{Loaded, Manifest};
use crate::options::Options;
use crate::store::Store;
use crate::verify::{VerifyReport, verify_backing};
use crate::{recovery, snapshot};

/// Bytes copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Options for a backup.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = tenure::Store::open(dir.path().join("things.tenure"))?;
/// // On the same file system, but sharing no bytes with the store.
/// let options = tenure::BackupOptions::new().link(false);
/// let report = store.backup_with_options(dir.path().join("backup"), &options, &mut |_| {})?;
/// assert_eq!(report.linked, 0);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BackupOptions {
    link: bool,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl BackupOptions {
    /// The default: hard links where possible.
    pub fn new() -> Self {
        Self { link: true }
    }

    /// Uses hard links where the file system allows them. They take no space and no time, and share their bytes with the
    /// store: a damaged block damages both. Default: yes.
    #[must_use]
    pub fn link(mut self, link: bool) -> Self {
        self.link = link;
        self
    }
}

/// Progress of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupProgress {
    /// Bytes copied or linked so far.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// Contents of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The last commit in it.
    pub seq: Seq,
    /// Files, not counting the manifest.
    pub files: u64,
    /// How many of them are hard links to files of the store; these take no space of their own.
    pub linked: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The result of reading it back.
    pub verified: VerifyReport,
}

/// The destination of a copy.
struct Destination {
    backing: Arc<dyn Backing>,
    /// Whether files may be hard-linked into it.
    may_link: bool,
}

/// Creates a directory for a copy; an existing one must be empty.
pub(crate) fn directory(path: &Path) -> Result<Files> {
    let shown = path.display().to_string();
    let files = Files::open(path).and_then(|files| Ok((files.is_empty()?, files)));
    match files {
        // Its creator may not have synced it.
        Ok((true, files)) => files.settle().map(|()| files).map_err(|source| Error::io("sync", shown, source)),
        Ok((false, _)) => Err(Error::Exists { path: shown }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Files::create(path).map_err(|source| Error::io("create", shown, source))
        }
        Err(source) => Err(Error::io("open", shown, source)),
    }
}

/// Copies a running store.
fn back_up(
    engine: &Engine,
    collector: &Collector,
    to: &Destination,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<BackupReport> {
    begin(&*to.backing)?;
    let source = engine.log.source();
    with_saved(engine, collector, |saved| copy(&engine.backing, saved, source.uuid, source.segment_bytes, to, progress))
}

/// Saves a snapshot of a running store, which is kept while it is copied.
pub(crate) fn with_saved<T>(
    engine: &Engine,
    collector: &Collector,
    copy: impl FnOnce(&Snapshot) -> Result<T>,
) -> Result<T> {
    // Kept like a named snapshot, so that nothing of it is reclaimed meanwhile.
    let saved = snapshot::save(engine, SnapshotKind::Named, snapshot::OF_A_COPY)?;
    // Nothing may be appended any more to segments that the snapshot lists: the log segment ended with it, and
    // survivors' segments end now.
    collector.end_segments();
    let hidden = Hidden { engine, saved: &saved.snapshot, is_dropped: false };
    let result = copy(&saved.snapshot);
    hidden.drop_now()?;
    result
}

/// The hidden snapshot that is kept while it is copied. It is dropped even if the progress callback panics.
struct Hidden<'e> {
    engine: &'e Engine,
    saved: &'e Snapshot,
    is_dropped: bool,
}

impl Hidden<'_> {
    fn drop_now(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.is_dropped = true;
        self.engine.manifest.append(|_| Body::Drop(self.saved.number))?;
        snapshot::drop_unneeded_pages(self.engine, &self.saved.segments);
        Ok(())
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        if !self.is_dropped {
            // The next opening drops what cannot be dropped now.
            drop(self.end());
        }
    }
}

/// Contents of a backup, or of a store without a writer: its newest snapshot, with which the log ends.
fn closed(from: &Arc<dyn Backing>) -> Result<(Engine, Snapshot)> {
    let settings = Options::new().read_only(true).settings();
    let (engine, report) = recovery::open_beside_a_writer(from, &settings)?;
    let newest = engine.manifest.with_kept(|kept| kept.snapshots().next_back().cloned());
    // A copy of a running store has reserved pages, like a crashed store, and its log ends with the snapshot.
    let is_whole = report.frames_replayed == 0 && report.cut.is_none() && report.fell_back.is_empty();
    let Some(newest) = newest.filter(|newest| newest.kind == SnapshotKind::Close && is_whole) else {
        let why = "it was not closed: open it once, or back it up while it is open".to_owned();
        return Err(Error::NotAStore { path: from.location(), why });
    };
    Ok((engine, newest))
}

/// Refuses a directory that is `store`'s own or inside it, wherever that is now.
pub(crate) fn refuse_inside(directory: &Path, store: &dyn Backing) -> Result<()> {
    // A directory that is not empty is refused for that reason.
    let holds_nothing = std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
    if holds_nothing && store.directory().is_some_and(|store| is_inside(directory, store)) {
        let path = directory.display().to_string();
        return Err(Error::BadDestination { path, why: "it is inside the store's own directory" });
    }
    Ok(())
}

/// Marks an empty place as an unfinished copy.
pub(crate) fn begin(backing: &dyn Backing) -> Result<()> {
    let names = backing.list().map_err(|source| Error::io("list", backing.location(), source))?;
    if !names.is_empty() {
        return Err(Error::Exists { path: backing.location() });
    }
    mark_unfinished(backing)
}

fn copy(
    from: &Arc<dyn Backing>,
    snapshot: &Snapshot,
    uuid: [u8; 16],
    segment_bytes: u64,
    to: &Destination,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<BackupReport> {
    let bytes_total = snapshot.segments.iter().map(|row| row.bytes).sum();
    let (mut bytes, mut linked) = (0, 0);
    for row in &snapshot.segments {
        let name = file_name(row);
        if to.may_link && link(&**from, &*to.backing, &name)? {
            linked += 1;
        } else {
            copy_file(&**from, &*to.backing, &name, row.bytes)?;
        }
        bytes += row.bytes;
        progress(BackupProgress { bytes, bytes_total });
    }
    write_manifest(&to.backing, snapshot, uuid, segment_bytes)?;
    let verified = finish(&to.backing)?;
    Ok(BackupReport { seq: snapshot.seq, files: to_u64(snapshot.segments.len()), linked, bytes, verified })
}

/// The file of a segment that a snapshot lists.
pub(crate) fn file_name(row: &SegmentRow) -> String {
    if row.pages { FileKind::Pages } else { FileKind::Records }.file_name(row.segment)
}

/// Writes the manifest of a copy: this snapshot alone, as if the store had been closed with it.
pub(crate) fn write_manifest(
    into: &Arc<dyn Backing>,
    snapshot: &Snapshot,
    uuid: [u8; 16],
    segment_bytes: u64,
) -> Result<()> {
    let loaded = Loaded { uuid, segment_bytes, ..Loaded::default() };
    let manifest = Manifest::new(Arc::clone(into), &loaded, Arc::default());
    manifest.append(|number| {
        // Marks refer to commits between snapshots, and the log between them is not included.
        let (name, reserved_from) = (String::new(), number + 1);
        let (kind, marks) = (SnapshotKind::Close, Vec::new());
        Body::Snapshot(Box::new(Snapshot { number, kind, name, reserved_from, marks, ..snapshot.clone() }))
    })?;
    Ok(())
}

/// Reads everything that a copy refers to; the first problem is an error.
pub(crate) fn read_back(backing: &Arc<dyn Backing>) -> Result<VerifyReport> {
    let verified = verify_backing(backing, &mut |_| {})?;
    match verified.problems.first() {
        Some(problem) => {
            Err(Error::corrupt(problem.file.clone(), problem.offset, "copy", "what was saved", &problem.what))
        }
        None => Ok(verified),
    }
}

/// Reads a copy back, and declares it complete.
pub(crate) fn finish(backing: &Arc<dyn Backing>) -> Result<VerifyReport> {
    let verified = read_back(backing)?;
    mark_finished(&**backing)?;
    Ok(verified)
}

/// Links a file; false if links are impossible there, so that it has to be copied. Any other failure may have left the link and
/// is reported.
fn link(from: &dyn Backing, to: &dyn Backing, name: &str) -> Result<bool> {
    use io::ErrorKind::{CrossesDevices, InvalidInput, PermissionDenied, TooManyLinks, Unsupported};
    match from.link(name, to) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            Unsupported | CrossesDevices | TooManyLinks | PermissionDenied | InvalidInput => Ok(false),
            _ => Err(Error::io("link", name, error)),
        },
    }
}

/// Copies the first `len` bytes of a file and syncs them.
fn copy_file(from: &dyn Backing, to: &dyn Backing, name: &str, len: u64) -> Result<()> {
    let source = from.open(name).map_err(|source| Error::io("open", name, source))?;
    let there = source.len().map_err(|source| Error::io("measure", name, source))?;
    if there < len {
        return Err(Error::corrupt(name, there, "segment", format!("{len} bytes"), format!("{there}")));
    }
    let copy = to.create(name).map_err(|source| Error::io("create", name, source))?;
    let mut piece = vec![0; to_usize(PIECE_BYTES.min(len))];
    let mut offset = 0;
    while offset < len {
        let part = piece.get_mut(..to_usize(PIECE_BYTES.min(len - offset))).unwrap_or_default();
        source.read_at(offset, part).map_err(|source| Error::io("read", name, source))?;
        copy.append(part).map_err(|source| Error::io("append to", name, source))?;
        source.let_go(offset, to_u64(part.len()));
        offset += to_u64(part.len());
    }
    copy.sync().map_err(|source| Error::io("sync", name, source))?;
    copy.let_go(0, len);
    Ok(())
}

/// Restores the backup in `from` to the directory `to`. Files are copied, so the two share nothing.
/// The backup must be complete; `from` may also be any store that was closed.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let [path, backup, restored] = ["things.tenure", "backup", "restored.tenure"].map(|name| dir.path().join(name));
/// let store = tenure::Store::open(&path)?;
/// let notes = store.record_set("notes")?;
/// let id = store.write(|tx| tx.insert(&notes, "a"))?;
/// store.backup_to(&backup)?;
/// store.write(|tx| tx.delete(id))?;
///
/// tenure::backup::restore(&backup, &restored, &mut |_| {})?;
/// let restored = tenure::Store::open(&restored)?;
/// assert_eq!(restored.get(id)?.as_slice(), Some(&b"a"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
///
/// # Errors
/// `NotAStore` if `from` is not a store, is an unfinished copy, or was not closed, `Exists` if `to` is not empty, and `BadDestination`
/// if `to` is inside `from`; in these cases nothing is created. `Corrupt` if the copy fails verification; then `to` stays marked as unfinished.
pub fn restore(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<BackupReport> {
    let path = from.as_ref();
    let shown = path.display().to_string();
    let source = Files::read_only(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotAStore { path: shown.clone(), why: "it does not exist".to_owned() },
        io::ErrorKind::NotADirectory => {
            Error::NotAStore { path: shown.clone(), why: "it is not a directory".to_owned() }
        }
        _ => Error::io("open", shown.clone(), source),
    })?;
    let source: Arc<dyn Backing> = Arc::new(source);
    // Before anything is created.
    refuse_unfinished(&*source)?;
    refuse_inside(to.as_ref(), &*source)?;
    let (engine, newest) = closed(&source)?;
    let to = Destination { backing: Arc::new(directory(to.as_ref())?), may_link: false };
    begin(&*to.backing)?;
    let segments = engine.log.source();
    copy(&source, &newest, segments.uuid, segments.segment_bytes, &to, progress)
}

impl Store {
    /// Backs up the store to a new or empty directory, while readers and writers continue. Files are hard links
    /// where the file system allows them, and copies otherwise; sealed files never change. The backup is read back before this
    /// returns. It opens like any store; [`backup::restore`](crate::backup::restore) copies it back.
    ///
    /// An interrupted backup is marked as unfinished and does not open.
    ///
    /// # Errors
    /// `Exists` if the directory is not empty, `BadDestination` if it is inside the store's own, and errors of the file systems.
    pub fn backup_to(&self, directory: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(directory, &mut |_| {})
    }

    /// Like [`backup_to`](Self::backup_to), and reports progress.
    ///
    /// # Errors
    /// As [`backup_to`](Self::backup_to).
    pub fn backup_with(
        &self,
        directory: impl AsRef<Path>,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<BackupReport> {
        self.backup_with_options(directory, &BackupOptions::new(), progress)
    }

    /// Like [`backup_with`](Self::backup_with), with options.
    ///
    /// # Errors
    /// As [`backup_to`](Self::backup_to).
    pub fn backup_with_options(
        &self,
        directory: impl AsRef<Path>,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<BackupReport> {
        self.engine().check_writable()?;
        refuse_inside(directory.as_ref(), &*self.engine().backing)?;
        let backing = Arc::new(self::directory(directory.as_ref())?);
        self.back_up(&Destination { backing, may_link: options.link }, progress)
    }

    /// Like [`backup_to`](Self::backup_to), to any empty backing.
    ///
    /// # Errors
    /// As [`backup_to`](Self::backup_to).
    pub fn backup_to_backing(&self, backing: Arc<dyn Backing>) -> Result<BackupReport> {
        self.back_up(&Destination { backing, may_link: false }, &mut |_| {})
    }

    fn back_up(&self, to: &Destination, progress: &mut dyn FnMut(BackupProgress)) -> Result<BackupReport> {
        self.engine().check_writable()?;
        let report = back_up(self.engine(), self.collector(), to, progress)?;
        self.collector().sweep(self.engine())?;
        Ok(report)
    }
}
