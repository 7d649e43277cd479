//! An in-memory file system that knows what was synced, and fails on demand.
//!
//! Owns: counting calls, making them fail, the images that a power cut may leave, a log of calls in order. Never: holds
//! data that matters: it is for tests of the store, and of programs that use it.
//! Invariants: 1. An image contains what a backing guarantees, and of the rest what a seed chooses.
//! 2. The same calls with the same seeds give the same bytes.
//! 3. Nothing is read after a power cut.

mod medium;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io};

use parking_lot::Mutex;

use crate::backing::fault::medium::{Content, Directory, Entry, Node, Random, Survival};
use crate::backing::{Backing, BackingFile, BackingLock, check_name};
use crate::id::{to_u64, to_usize};

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailFor {
    /// One call fails.
    Once,
    /// This call fails, and every later one of its kind.
    Always,
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Creating a file.
    Create,
    /// Appending bytes.
    Append,
    /// Syncing a file.
    Sync,
    /// Deleting a file.
    Delete,
    /// Reading bytes of a file.
    Read,
}

/// How calls of one kind are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// They fail without effect.
    Fails(io::ErrorKind),
    /// They panic, as a custom backing may.
    Panics,
}

/// A successful call that changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file was created.
    Create {
        /// The file.
        name: String,
    },
    /// Bytes were appended.
    Append {
        /// The file.
        name: String,
        /// Their number.
        bytes: usize,
    },
    /// A file was synced.
    Sync {
        /// The file.
        name: String,
    },
    /// A file was deleted.
    Delete {
        /// The file.
        name: String,
    },
}

/// An in-memory file system for tests: fails on demand, and shows what a power cut would leave.
///
/// Calls of `create`, `append`, `sync` and `delete` are *steps*, numbered from 0; calls of `open`, `list` and `read_at`
/// are counted separately. Clones share everything. Changes of the directory are durable when their call succeeds, as
/// [`Backing`] requires.
///
/// ```
/// use std::sync::Arc;
/// use tenure::{Options, backing::FaultBacking};
///
/// let options = Options::new().background(false);
/// let backing = FaultBacking::new();
/// let store = options.open_backing(Arc::new(backing.clone()))?;
/// let notes = store.record_set("notes")?;
/// let kept = store.write(|tx| tx.insert(&notes, "acknowledged"))?;
///
/// // The power fails during the next call, and everything unsynced is lost.
/// backing.crash_at(backing.steps());
/// assert!(store.write(|tx| tx.insert(&notes, "too late")).is_err());
/// let store = options.open_backing(Arc::new(backing.crash_image_lose_all()))?;
/// assert_eq!(store.get(kept)?.as_slice(), Some(&b"acknowledged"[..]));
/// assert_eq!(store.stats().records, 1);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct FaultBacking {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    disk: Mutex<Disk>,
    is_locked: AtomicBool,
}

#[derive(Default)]
struct Disk {
    directory: Directory,
    steps: u64,
    reads: u64,
    crash_at: Option<u64>,
    is_dead: bool,
    fail: Option<(u64, io::ErrorKind, FailFor)>,
    fail_read: Option<(u64, io::ErrorKind, FailFor)>,
    broken: Option<(Call, Broken)>,
    bytes_max: Option<u64>,
    random: Random,
    events: Vec<Event>,
    recorded: Option<Arc<Mutex<Vec<Directory>>>>,
}

/// The outcome of a step.
enum Verdict {
    Succeeds,
    /// The power fails during it.
    PowerCut,
    Fails(io::ErrorKind),
}

fn power_is_out() -> io::Error {
    io::Error::other("power is out")
}

#[expect(clippy::panic, reason = "a test asked for it")]
fn planned_panic(call: Call) -> ! {
    panic!("a planned panic in {call:?}")
}

fn is_no_room(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn is_hit(fault: Option<(u64, io::ErrorKind, FailFor)>, number: u64) -> Option<io::ErrorKind> {
    let hit = |(at, _, how): &(u64, io::ErrorKind, FailFor)| *at == number || (*how == FailFor::Always && *at < number);
    fault.filter(hit).map(|(_, kind, _)| kind)
}

impl Disk {
    fn step(&mut self) -> io::Result<Verdict> {
        if self.is_dead {
            return Err(power_is_out());
        }
        let number = self.steps;
        self.steps += 1;
        if self.crash_at.is_some_and(|at| at <= number) {
            self.is_dead = true;
            return Ok(Verdict::PowerCut);
        }
        Ok(is_hit(self.fail, number).map_or(Verdict::Succeeds, Verdict::Fails))
    }

    fn read(&mut self) -> io::Result<()> {
        if self.is_dead {
            return Err(power_is_out());
        }
        let number = self.reads;
        self.reads += 1;
        is_hit(self.fail_read, number).map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Records what a kill before this step would leave, and one during it.
    fn record(&self, within: impl FnOnce(&mut Directory)) {
        if let Some(recorded) = &self.recorded {
            let mut half = self.directory.copy();
            within(&mut half);
            recorded.lock().extend([self.directory.copy(), half]);
        }
    }

    fn is_full(&self) -> bool {
        self.bytes_max.is_some_and(|max| to_u64(self.directory.bytes()) >= max)
    }

    fn create(&mut self, name: &str) -> io::Result<Arc<Mutex<Content>>> {
        let verdict = self.step()?;
        if self.directory.find(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.record(|half| {
            half.nodes.insert(name.to_owned(), Node::new(Content::default(), Entry::Creating));
        });
        let (entry, error) = match verdict {
            Verdict::Succeeds if self.is_full() => return Err(io::ErrorKind::StorageFull.into()),
            Verdict::Succeeds => (Entry::Durable, None),
            Verdict::PowerCut => (Entry::Creating, Some(power_is_out())),
            // Either the file was created and its directory could not be synced, or it was not created.
            Verdict::Fails(kind) if !is_no_room(kind) && self.random.eighths(4) => (Entry::Creating, Some(kind.into())),
            Verdict::Fails(kind) => return Err(kind.into()),
        };
        let is_doubtful = error.is_some() && !self.is_dead;
        let node = Node { is_doubtful, ..Node::new(Content::default(), entry) };
        let content = Arc::clone(&node.content);
        self.directory.nodes.insert(name.to_owned(), node);
        if let Some(error) = error {
            return Err(error);
        }
        self.directory.sync();
        self.events.push(Event::Create { name: name.to_owned() });
        Ok(content)
    }

    fn delete(&mut self, name: &str) -> io::Result<()> {
        let verdict = self.step()?;
        self.record(|half| {
            if let Some(node) = half.nodes.get_mut(name) {
                node.entry = Entry::Deleting;
            }
        });
        let Some(node) = self.directory.nodes.get_mut(name).filter(|node| node.entry != Entry::Deleting) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match verdict {
            Verdict::Succeeds => {
                self.directory.nodes.remove(name);
                self.directory.sync();
                self.events.push(Event::Delete { name: name.to_owned() });
                Ok(())
            }
            Verdict::PowerCut => {
                node.entry = Entry::Deleting;
                Err(power_is_out())
            }
            Verdict::Fails(kind) => {
                if self.random.eighths(4) {
                    (node.entry, node.is_doubtful) = (Entry::Deleting, true);
                }
                Err(kind.into())
            }
        }
    }

    fn append(&mut self, name: &str, content: &Mutex<Content>, bytes: &[u8]) -> io::Result<()> {
        let verdict = self.step()?;
        let room = self.bytes_max.map_or(usize::MAX, |max| to_usize(max).saturating_sub(self.directory.bytes()));
        let (fits, error) = match verdict {
            Verdict::Succeeds if room < bytes.len() => {
                // Never everything but some zeros, after which a handle ends: a full disk should be met repeatedly.
                let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default();
                (room.min(last), Some(io::ErrorKind::StorageFull.into()))
            }
            Verdict::Succeeds => (bytes.len(), None),
            // The image determines how much of it is durable.
            Verdict::PowerCut => (bytes.len(), Some(power_is_out())),
            Verdict::Fails(kind) => {
                let most = if is_no_room(kind) { bytes.len().saturating_sub(1) } else { bytes.len() };
                (self.random.up_to(most), Some(kind.into()))
            }
        };
        self.record(|half| {
            if let Some(content) = half.find(name) {
                let part = bytes.len() * to_usize(self.steps % 8) / 8;
                content.lock().bytes.extend_from_slice(bytes.get(..part).unwrap_or_default());
            }
        });
        let mut content = content.lock();
        let (appended, missing) = bytes.split_at(fits.min(bytes.len()));
        content.bytes.extend_from_slice(appended);
        if let Some(error) = error {
            if is_no_room(error.kind()) && content.has_room && missing.iter().all(|byte| *byte == 0) {
                return Err(io::Error::other("no space, and zeros after the end could complete the partial append"));
            }
            return Err(error);
        }
        self.events.push(Event::Append { name: name.to_owned(), bytes: bytes.len() });
        Ok(())
    }

    fn sync(&mut self, name: &str, content: &Mutex<Content>) -> io::Result<()> {
        let verdict = self.step()?;
        if let Some(recorded) = &self.recorded {
            // During a sync nothing is certain to be durable.
            recorded.lock().push(self.directory.copy());
        }
        match verdict {
            Verdict::Succeeds => {
                content.lock().sync();
                self.events.push(Event::Sync { name: name.to_owned() });
                Ok(())
            }
            Verdict::PowerCut => Err(power_is_out()),
            Verdict::Fails(kind) => {
                content.lock().fail_to_sync();
                Err(kind.into())
            }
        }
    }
}

impl FaultBacking {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty directory; a seed chooses how much of a failing call takes effect.
    pub fn with_seed(seed: u64) -> Self {
        let backing = Self::default();
        backing.shared.disk.lock().random = Random::new(seed);
        backing
    }

    /// Number of changing calls so far: `create`, `append`, `sync`, `delete`. Also the number of the next one.
    pub fn steps(&self) -> u64 {
        self.shared.disk.lock().steps
    }

    /// Number of calls of `open`, `list` and `read_at` so far. Also the number of the next one.
    pub fn reads(&self) -> u64 {
        self.shared.disk.lock().reads
    }

    /// Makes the power fail during this step. The step and all later calls fail. The image chooses whether the step's
    /// effect is durable.
    pub fn crash_at(&self, step: u64) {
        self.shared.disk.lock().crash_at = Some(step);
    }

    /// Makes this step fail. An append may take effect partly, up to a length that a seed chooses. After an error other
    /// than lack of space, a file to be created or deleted may or may not exist. Bytes covered by a failed sync stay
    /// unsynced forever.
    pub fn fail_at(&self, step: u64, kind: io::ErrorKind, how_long: FailFor) {
        self.shared.disk.lock().fail = Some((step, kind, how_long));
    }

    /// Makes this call of `open`, `list` or `read_at` fail.
    pub fn fail_read_at(&self, read: u64, kind: io::ErrorKind, how_long: FailFor) {
        self.shared.disk.lock().fail_read = Some((read, kind, how_long));
    }

    /// Breaks every call of this kind from now on, whatever its number.
    pub fn break_calls(&self, call: Call, broken: Broken) {
        self.shared.disk.lock().broken = Some((call, broken));
    }

    /// How calls of this kind are broken, if they are.
    fn meet(&self, call: Call) -> io::Result<()> {
        // Not while a lock is held.
        let broken = self.shared.disk.lock().broken.filter(|(kind, _)| *kind == call);
        match broken {
            None => Ok(()),
            Some((_, Broken::Fails(kind))) => Err(kind.into()),
            Some((_, Broken::Panics)) => planned_panic(call),
        }
    }

    /// From now on nothing fails, unless the power has failed.
    pub fn heal(&self) {
        let mut disk = self.shared.disk.lock();
        (disk.fail, disk.fail_read, disk.broken, disk.bytes_max) = (None, None, None, None);
        if !disk.is_dead {
            disk.crash_at = None;
        }
    }

    /// Limits the total size of all files. An append beyond it writes what fits and fails with `StorageFull`. On a full
    /// disk no file can be created.
    pub fn disk_bytes_max(&self, bytes: Option<u64>) {
        self.shared.disk.lock().bytes_max = bytes;
    }

    /// Total size of all files.
    pub fn disk_bytes(&self) -> u64 {
        to_u64(self.shared.disk.lock().directory.bytes())
    }

    /// The possible contents of the disk after a power cut now, as a seed chooses: everything synced; of the rest any
    /// sectors of 512 bytes, with zeros for the others, up to any length, and beyond it if `preallocate` was called.
    /// Nothing in the image is locked or unsynced.
    #[must_use]
    pub fn crash_image(&self, seed: u64) -> Self {
        self.image(Survival::Some(Random::new(seed)), seed)
    }

    /// The image after a power cut that lost nothing.
    #[must_use]
    pub fn crash_image_keep_all(&self) -> Self {
        self.image(Survival::All, 0)
    }

    /// The image after a power cut that lost everything it could.
    #[must_use]
    pub fn crash_image_lose_all(&self) -> Self {
        self.image(Survival::Nothing, 0)
    }

    /// The contents after the process was killed: everything written, with unsynced bytes still unsynced. The lock is
    /// free, faults are cleared, and handles of this file system do not affect the image.
    #[must_use]
    pub fn kill_image(&self) -> Self {
        let image = Self::default();
        {
            let (mut to, from) = (image.shared.disk.lock(), self.shared.disk.lock());
            to.directory = from.directory.copy();
            (to.random, to.bytes_max) = (from.random.clone(), from.bytes_max);
            to.recorded.clone_from(&from.recorded);
        }
        image
    }

    /// The same after the page cache was evicted: bytes of a failed sync read as they are on disk, as zeros. Bytes
    /// without a sync attempt are still there.
    #[must_use]
    pub fn kill_image_evicted(&self) -> Self {
        let image = self.kill_image();
        image.shared.disk.lock().directory.evict();
        image
    }

    /// From now on records, for each step, what a kill would leave before it and during it. Images of `kill_image`
    /// continue recording.
    pub fn record(&self) {
        self.shared.disk.lock().recorded = Some(Arc::default());
    }

    /// Takes what was recorded, in order, and stops recording.
    pub fn take_recorded(&self) -> Vec<Self> {
        let recorded = self.shared.disk.lock().recorded.clone();
        let image = |directory| {
            let image = Self::default();
            image.shared.disk.lock().directory = directory;
            image
        };
        recorded.map(|recorded| std::mem::take(&mut *recorded.lock())).into_iter().flatten().map(image).collect()
    }

    fn image(&self, survival: Survival, seed: u64) -> Self {
        let image = Self::with_seed(seed);
        image.shared.disk.lock().directory = self.shared.disk.lock().directory.after_power_cut(survival);
        image
    }

    /// The successful changing calls, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.shared.disk.lock().events.clone()
    }

    /// Bytes of a file that a power cut may take away; none for a missing file.
    pub fn unsynced_bytes(&self, name: &str) -> u64 {
        let disk = self.shared.disk.lock();
        disk.directory.find(name).map_or(0, |content| to_u64(content.lock().unsynced_bytes()))
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.shared.disk.lock().directory.seen().map(|(name, _)| name.clone()).collect()
    }

    /// The bytes of a file, if it exists.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.change(name, |content| content.bytes.clone())
    }

    /// Creates or replaces a file with these bytes, all durable.
    pub fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        let node = Node::new(Content::durable(bytes.into()), Entry::Durable);
        self.shared.disk.lock().directory.nodes.insert(name.to_owned(), node);
    }

    /// Changes a byte as bit rot does, visible to open handles too. Returns whether the byte exists.
    pub fn corrupt(&self, name: &str, offset: u64, xor: u8) -> bool {
        let flip = |content: &mut Content| content.bytes.get_mut(to_usize(offset)).map(|byte| *byte ^= xor);
        self.change(name, flip).flatten().is_some()
    }

    /// Truncates a file. Returns whether it exists.
    pub fn truncate(&self, name: &str, len: u64) -> bool {
        self.change(name, |content| content.truncate(to_usize(len))).is_some()
    }

    /// Removes a file. Returns whether it existed.
    pub fn remove(&self, name: &str) -> bool {
        self.shared.disk.lock().directory.nodes.remove(name).is_some()
    }

    fn change<T>(&self, name: &str, change: impl FnOnce(&mut Content) -> T) -> Option<T> {
        let disk = self.shared.disk.lock();
        let content = disk.directory.find(name)?;
        Some(change(&mut content.lock()))
    }

    fn handle(&self, name: &str, content: Arc<Mutex<Content>>, writable: bool) -> Arc<dyn BackingFile> {
        Arc::new(Handle { backing: self.clone(), name: name.to_owned(), content, writable })
    }
}

impl fmt::Debug for FaultBacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultBacking")
            .field("steps", &self.steps())
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Handle {
    backing: FaultBacking,
    name: String,
    content: Arc<Mutex<Content>>,
    writable: bool,
}

impl BackingFile for Handle {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.backing.meet(Call::Append)?;
        self.backing.shared.disk.lock().append(&self.name, &self.content, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.backing.meet(Call::Sync)?;
        self.backing.shared.disk.lock().sync(&self.name, &self.content)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.backing.meet(Call::Read)?;
        self.backing.shared.disk.lock().read()?;
        let content = self.content.lock();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = content.bytes.get(begin..begin.saturating_add(buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        if self.backing.shared.disk.lock().is_dead {
            return Err(power_is_out());
        }
        Ok(to_u64(self.content.lock().bytes.len()))
    }

    fn preallocate(&self, _bytes: u64) -> io::Result<()> {
        // What was truncated may come back after a power cut.
        self.content.lock().has_room = true;
        Ok(())
    }
}

struct FaultLock {
    shared: Arc<Shared>,
}

impl fmt::Debug for FaultLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultLock")
    }
}

impl BackingLock for FaultLock {}

impl Drop for FaultLock {
    fn drop(&mut self) {
        self.shared.is_locked.store(false, Ordering::Release);
    }
}

impl Backing for FaultBacking {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        check_name(name)?;
        self.meet(Call::Create)?;
        let content = self.shared.disk.lock().create(name)?;
        Ok(self.handle(name, content, true))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        check_name(name)?;
        let mut disk = self.shared.disk.lock();
        disk.read()?;
        let content = disk.directory.find(name).map(Arc::clone).ok_or(io::ErrorKind::NotFound)?;
        drop(disk);
        Ok(self.handle(name, content, false))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.shared.disk.lock().read()?;
        Ok(self.names())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.meet(Call::Delete)?;
        self.shared.disk.lock().delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        if self.shared.disk.lock().is_dead {
            return Err(power_is_out());
        }
        if self.shared.is_locked.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultLock { shared: Arc::clone(&self.shared) }))
    }

    fn location(&self) -> String {
        "fault".to_owned()
    }
}
