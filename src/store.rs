//! The store: what a user opens.
//!
//! Owns: the handle, the background thread, closing. Never: does by itself what a floor below does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;
use parking_lot::ReentrantMutex;
use parking_lot::ReentrantMutexGuard;

use crate::backing::Backing;
use crate::backing::BackingLock;
use crate::backing::Files;
use crate::backing::Memory;
use crate::backup;
use crate::backup::BackupProgress;
use crate::backup::BackupReport;
use crate::backup::Destination;
use crate::catalogue::check_name;
use crate::engine::Engine;
use crate::error::Error;
use crate::error::Result;
use crate::extract::Extractor;
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::manifest::Body;
use crate::format::manifest::Snapshot;
use crate::format::manifest::SnapshotKind;
use crate::format::segment::FileKind;
use crate::gc::Collected;
use crate::gc::Collector;
use crate::heap::Answer;
use crate::heap::Effect;
use crate::heap::State;
use crate::id::RecordId;
use crate::id::Seq;
use crate::id::SetNumber;
use crate::indexing;
use crate::indexing::Wanted;
use crate::key_index::KeyRoot;
use crate::manifest::retained;
use crate::options::Options;
use crate::pins::Pins;
use crate::recovery;
use crate::recovery::Point;
use crate::recovery::RecoveryReport;
use crate::snapshot;
use crate::stats::IndexInfo;
use crate::stats::Mark;
use crate::stats::SegmentStats;
use crate::stats::SetStats;
use crate::stats::SnapshotInfo;
use crate::stats::Stats;
use crate::stats::ViewStats;
use crate::txn::Durability;
use crate::txn::Hold;
use crate::txn::Index;
use crate::txn::Lookup;
use crate::txn::Record;
use crate::txn::RecordSet;
use crate::txn::Transaction;
use crate::txn::View;

/// How often the background thread looks for idle work.
const BACKGROUND_TICK: Duration = Duration::from_millis(50);
/// How often the collector looks whether there is something to do.
const COLLECTOR_TICK: Duration = Duration::from_millis(5);
/// The longest pause of the background thread after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often `Store::write` runs a closure side by side with others before it runs it alone.
const RETRIES_SIDE_BY_SIDE: u32 = 8;
/// How often it tries in all.
const RETRIES_MAX: u32 = 64;

struct Inner {
    engine: Arc<Engine>,
    pins: Arc<Pins<State>>,
    options: Options,
    report: RecoveryReport,
    stop: Arc<AtomicBool>,
    background: Mutex<Vec<JoinHandle<()>>>,
    collector: Arc<Collector>,
    turnstile: ReentrantMutex<()>,
    /// Closures that run alone, or wait to.
    alone: AtomicUsize,
    /// One index is made or dropped at a time.
    indexing: Mutex<()>,
    lock: Mutex<Option<Box<dyn BackingLock>>>,
    closed: AtomicBool,
}

/// An open store. Clones share it; the last one to go closes it.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("things.tenure");
/// let store = tenure::Store::open(&path)?;
/// let people = store.record_set("people")?;
/// let ada = store.write(|tx| tx.insert(&people, "Ada"))?;
/// store.close()?;
///
/// let store = tenure::Store::open(&path)?;
/// assert_eq!(store.get(ada)?.as_slice(), Some(&b"Ada"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("location", &self.inner.engine.backing.location()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory with the default options, making it where there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    /// A store in memory, for tests.
    pub fn in_memory() -> Result<Self> {
        Options::new().open_backing(Arc::new(Memory::new()))
    }

    pub(crate) fn start(backing: &Arc<dyn Backing>, options: &Options) -> Result<Self> {
        let settings = options.settings();
        let lock = if settings.read_only { None } else { Some(take_lock(&**backing)?) };
        backup::refuse_unfinished(&**backing)?;
        let opened = recovery::open_beside_a_writer(backing, &settings)?;
        Self::run(options, lock, opened)
    }

    /// A store over what was opened.
    fn run(
        options: &Options,
        lock: Option<Box<dyn BackingLock>>,
        (engine, report): (Engine, RecoveryReport),
    ) -> Result<Self> {
        let read_only = engine.read_only;
        let engine = Arc::new(engine);
        let stop = Arc::new(AtomicBool::new(false));
        let collector = Arc::new(Collector::new(options.gc()));
        collector.pause(!options.collector);
        let mut threads = Vec::new();
        if options.background && !read_only {
            let (engine, stop, interval) = (Arc::clone(&engine), Arc::clone(&stop), options.sync_interval);
            threads.push(spawn("tenure", move || run_background(&engine, &stop, interval))?);
        }
        if options.background && !read_only {
            let (engine, stop, collector) = (Arc::clone(&engine), Arc::clone(&stop), Arc::clone(&collector));
            threads.push(spawn("tenure-collector", move || run_collector(&engine, &collector, &stop))?);
        }
        let background = Mutex::new(threads);
        let inner = Inner {
            engine,
            pins: Arc::default(),
            options: options.clone(),
            report,
            stop,
            background,
            collector,
            turnstile: ReentrantMutex::new(()),
            alone: AtomicUsize::new(0),
            indexing: Mutex::new(()),
            lock: Mutex::new(lock),
            closed: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The record set of this name, made on first use.
    pub fn record_set(&self, name: &str) -> Result<RecordSet> {
        if let Some(set) = self.find_set(name) {
            return Ok(set);
        }
        check_name("record set", name)?;
        let engine = self.engine();
        engine.check_writable()?;
        let guard = engine.lock_commit();
        if let Some(set) = self.find_set(name) {
            return Ok(set);
        }
        let catalogue = Arc::clone(&engine.heap.pin().catalogue);
        let number = catalogue.next_set();
        if number.0 == u32::MAX {
            return Err(Error::Exhausted { what: "record set", limit: u32::MAX.into() });
        }
        let mut payload = number.0.to_le_bytes().to_vec();
        payload.extend_from_slice(name.as_bytes());
        let mut frame = FrameBuilder::new();
        frame.control(Kind::CreateSet, &payload);
        engine.append_and_apply(&guard, &mut frame, &mut vec![Effect::CreateSet(number, name.to_owned())])?;
        drop(guard);
        Ok(RecordSet::new(catalogue.store(), number, Arc::from(name)))
    }

    /// The record set of this name, if there is one.
    pub fn find_set(&self, name: &str) -> Option<RecordSet> {
        let state = self.engine().heap.pin();
        let found = state.catalogue.find(name);
        found.map(|(number, set)| RecordSet::new(state.catalogue.store(), number, Arc::clone(&set.name)))
    }

    /// All record sets, oldest first.
    pub fn record_sets(&self) -> Vec<RecordSet> {
        let state = self.engine().heap.pin();
        let store = state.catalogue.store();
        let sets = state.catalogue.user_sets();
        sets.map(|(number, set)| RecordSet::new(store, number, Arc::clone(&set.name))).collect()
    }

    /// A key index of a set in which a key can have many records. Made if it is not there, while readers and writers go on;
    /// made anew if its extractor has another name or version. Returns when it is complete.
    ///
    /// # Errors
    /// `NoSuchIndex` if there is a unique index of this name, `KeyTooLong` if a record has such a key.
    pub fn index(&self, set: &RecordSet, name: &str, extractor: Extractor) -> Result<Index> {
        self.open_index(set, name, false, extractor)
    }

    /// A key index of a set in which a key has one record at most.
    ///
    /// # Errors
    /// As [`index`](Self::index), and `UniqueViolation` if two records have the same key: then no index is made.
    ///
    /// ```
    /// use tenure::extract::Extractor;
    /// let store = tenure::Store::in_memory()?;
    /// let words = store.record_set("words")?;
    /// store.unique_index(&words, "word", Extractor::new("whole", 1, |record, keys| keys.push(record)))?;
    /// store.write(|tx| tx.insert(&words, "once"))?;
    /// let twice = store.write(|tx| tx.insert(&words, "once"));
    /// assert!(matches!(twice, Err(tenure::Error::UniqueViolation { .. })));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn unique_index(&self, set: &RecordSet, name: &str, extractor: Extractor) -> Result<Index> {
        self.open_index(set, name, true, extractor)
    }

    fn open_index(&self, set: &RecordSet, name: &str, is_unique: bool, extractor: Extractor) -> Result<Index> {
        check_name("index", name)?;
        let store = self.engine().heap.catalogue().store();
        set.check_store(&self.engine().heap.catalogue())?;
        let _turn = self.inner.indexing.lock();
        let wanted = Wanted { set: set.number(), name, is_unique, extractor };
        indexing::open(self.engine(), &wanted).map(|definition| Index::new(store, definition))
    }

    /// The index of this name, if there is one. It can be read whether its extractor is there or not.
    pub fn find_index(&self, set: &RecordSet, name: &str) -> Option<Index> {
        let catalogue = self.engine().heap.catalogue();
        let found = catalogue.indexes_of(set.number()).find(|index| index.definition.name == name)?;
        Some(Index::new(catalogue.store(), Arc::clone(&found.definition)))
    }

    /// The indexes of a set.
    pub fn indexes(&self, set: &RecordSet) -> Vec<IndexInfo> {
        let state = self.engine().heap.pin();
        let info = |index: &crate::catalogue::Index| IndexInfo {
            name: index.definition.name.clone(),
            number: index.definition.number,
            unique: index.definition.unique,
            extractor: index.definition.extractor.clone(),
            version: index.definition.version,
            spec: index.definition.spec.clone(),
            ready: index.is_ready,
            entries: state.indexes.get(&index.definition.number).map_or(0, KeyRoot::len),
        };
        state.catalogue.indexes_of(set.number()).map(info).collect()
    }

    /// Drops an index. Views that see it go on.
    pub fn drop_index(&self, index: &Index) -> Result<()> {
        let _turn = self.inner.indexing.lock();
        index.check_store(self.engine().heap.catalogue().store())?;
        indexing::drop_index(self.engine(), index.number())
    }

    /// Makes an index anew from the records, with the extractor that it has. Readers do not have it until it is complete. The
    /// result takes the place of `index`, which is there for older views only.
    ///
    /// # Errors
    /// `NoExtractor` if its extractor is code that was not given, and those of making one: then the index is dropped.
    ///
    /// ```
    /// use tenure::extract::Extractor;
    /// let store = tenure::Store::in_memory()?;
    /// let words = store.record_set("words")?;
    /// let whole = Extractor::new("whole", 1, |record, keys| keys.push(record));
    /// let index = store.index(&words, "word", whole)?;
    /// let once = store.write(|tx| tx.insert(&words, "once"))?;
    /// let index = store.rebuild_index(&index)?;
    /// assert_eq!(index.get(&store.view(), &b"once"[..])?, Some(once));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn rebuild_index(&self, index: &Index) -> Result<Index> {
        let _turn = self.inner.indexing.lock();
        let store = self.engine().heap.catalogue().store();
        index.check_store(store)?;
        indexing::rebuild(self.engine(), index.number()).map(|definition| Index::new(store, definition))
    }

    /// Compares an index with the records of its set; gives what differs, at most 100 lines. Holds the keys of the set in
    /// memory.
    pub fn verify_index(&self, index: &Index) -> Result<Vec<String>> {
        index.check_store(self.engine().heap.catalogue().store())?;
        indexing::verify(self.engine(), index.number(), 100)
    }

    /// Begins a write transaction.
    pub fn begin(&self) -> Result<Transaction> {
        if !self.inner.engine.read_only {
            self.inner.collector.pay(&self.inner.engine);
        }
        Transaction::new(&self.inner.engine)
    }

    /// Runs a transaction and commits it with the durability of the options. On a conflict the closure runs again; after
    /// several conflicts it runs alone: closures that other threads bring meanwhile wait until it is done. Transactions of
    /// [`begin`](Self::begin) do not wait. So a closure must not wait for a thread that calls `write`, or for a lock that such a
    /// thread holds.
    ///
    /// # Errors
    /// What the closure returns, or what the commit does; a conflict only after 64 attempts.
    pub fn write<T>(&self, mut body: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        let (mut attempt, mut turn) = (0, None);
        loop {
            if attempt >= RETRIES_SIDE_BY_SIDE {
                // Kept through all further attempts: those that run by now come to an end, and no others begin.
                turn.get_or_insert_with(|| Alone::new(&self.inner));
            } else if self.inner.alone.load(Ordering::Acquire) > 0 {
                drop(self.inner.turnstile.lock());
            }
            let mut tx = self.begin()?;
            let result = body(&mut tx).and_then(|value| tx.commit(self.inner.options.durability).map(|_| value));
            attempt += 1;
            match result {
                Err(error) if error.is_conflict() && attempt < RETRIES_MAX => {}
                other => return other,
            }
        }
    }

    /// One record, outside any view: the newest version.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a third faster: the misses of several reads overlap; see docs/decisions")]
    pub fn get(&self, id: RecordId) -> Result<Record<'_>> {
        let state = self.engine().heap.current();
        if let Some(found) = state.lookup_plain(id) {
            return Ok(Record::plain(Hold::Moment(state), found));
        }
        drop(state);
        self.get_any(id)
    }

    #[cold]
    fn get_any(&self, id: RecordId) -> Result<Record<'_>> {
        match self.lookup(id)? {
            Lookup::Live(record) => Ok(record),
            Lookup::Deleted => Err(Error::Deleted { id }),
            Lookup::NeverAllocated => Err(Error::NeverAllocated { id }),
        }
    }

    /// One record, outside any view, or what became of it.
    pub fn lookup(&self, id: RecordId) -> Result<Lookup<'_>> {
        let (state, answer) = self.engine().heap.lookup_now(id)?;
        let found = match answer {
            Answer::Live(found) => found,
            Answer::Deleted => return Ok(Lookup::Deleted),
            Answer::NeverAllocated => return Ok(Lookup::NeverAllocated),
        };
        if state.root.set_of_slot(id.slot()) < SetNumber::FIRST_USER {
            return Ok(Lookup::NeverAllocated);
        }
        if !found.is_head {
            return Record::moment(state, found).map(Lookup::Live);
        }
        // The chunks must stay while they are read.
        drop(state);
        let state = self.engine().heap.pin();
        Ok(match state.lookup(id)? {
            Answer::Live(found) => Lookup::Live(Record::shared(state, found)?),
            Answer::Deleted => Lookup::Deleted,
            Answer::NeverAllocated => Lookup::NeverAllocated,
        })
    }

    /// A consistent state of now, for as long as it is held.
    pub fn view(&self) -> View {
        View::new(self.engine(), &self.inner.pins)
    }

    /// Makes every commit durable that was acknowledged so far.
    pub fn sync(&self) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().make_durable(self.last_seq())
    }

    /// Every commit up to this one is on the medium.
    pub fn durable_seq(&self) -> Seq {
        self.engine().log.durable_seq()
    }

    /// The last commit.
    pub fn last_seq(&self) -> Seq {
        self.engine().log.last_seq()
    }

    /// Waits until a commit is on the medium, syncing if nobody else does.
    pub fn wait_durable(&self, seq: Seq) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().make_durable(seq.min(self.last_seq()))
    }

    /// Saves a snapshot now. Writers go on meanwhile.
    pub fn save_snapshot(&self) -> Result<SnapshotInfo> {
        let saved = snapshot::save(self.engine(), SnapshotKind::Automatic, "")?;
        let mut info = snapshot_info(&saved.snapshot);
        (info.pages_written, info.bytes_written) = (saved.pages, saved.bytes);
        Ok(info)
    }

    /// Saves a snapshot that is kept until it is dropped. The space of what it sees is kept with it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("things.tenure");
    /// use tenure::{Options, Point, Store};
    /// let store = Store::open(&path)?;
    /// let notes = store.record_set("notes")?;
    /// let id = store.write(|tx| tx.insert(&notes, "old"))?;
    /// store.save_named_snapshot("before the change")?;
    /// store.write(|tx| tx.update(id, "new"))?;
    ///
    /// // Beside the store, for reading.
    /// let before = Options::new().open_at(&path, &Point::Name("before the change".to_owned()))?;
    /// assert_eq!(before.get(id)?.as_slice(), Some(&b"old"[..]));
    ///
    /// // Back to it. What came after is gone; its IDs and commit numbers do not come back.
    /// let store = store.roll_back_to(&Point::Name("before the change".to_owned()))?;
    /// assert_eq!(store.get(id)?.as_slice(), Some(&b"old"[..]));
    /// store.drop_snapshot("before the change")?;
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BadName` if there is one of this name, and what [`save_snapshot`](Self::save_snapshot) says.
    pub fn save_named_snapshot(&self, name: &str) -> Result<SnapshotInfo> {
        check_name("snapshot", name)?;
        if self.snapshots()?.iter().any(|snapshot| snapshot.name.as_deref() == Some(name)) {
            let why = "there is one of this name";
            return Err(Error::BadName { what: "snapshot", name: name.to_owned(), why });
        }
        let saved = snapshot::save(self.engine(), SnapshotKind::Named, name)?;
        let mut info = snapshot_info(&saved.snapshot);
        (info.pages_written, info.bytes_written) = (saved.pages, saved.bytes);
        Ok(info)
    }

    /// Drops a named snapshot. The space that only it kept goes back now or with the next collection.
    ///
    /// # Errors
    /// `PointGone` if there is none of this name.
    pub fn drop_snapshot(&self, name: &str) -> Result<()> {
        let engine = self.engine();
        engine.check_writable()?;
        let named = self.snapshots()?.into_iter().find(|snapshot| snapshot.name.as_deref() == Some(name));
        let Some(named) = named else {
            let why = "no such snapshot is kept".to_owned();
            return Err(Error::PointGone { point: format!("snapshot {name:?}"), why });
        };
        engine.manifest.append(|_| Body::Drop(named.number))?;
        snapshot::drop_unneeded_pages(engine);
        self.inner.collector.sweep(engine)
    }

    /// Takes the store back to a state of the past: a saved snapshot, or a mark or commit as long as the log from a saved
    /// snapshot to it is kept. What was committed since is gone. No commit number and no ID that was given since comes
    /// back with another meaning: the state becomes that of a new commit, and slots go on with higher counts.
    ///
    /// This handle and its clones are closed; views that exist go on. After a crash in between the store is in the one state
    /// or in the other.
    ///
    /// # Errors
    /// `PointGone` if there is no way back to that state; then nothing has changed, and the store is closed.
    pub fn roll_back_to(self, point: &Point) -> Result<Self> {
        let (backing, options) = (Arc::clone(&self.engine().backing), self.inner.options.clone());
        self.engine().check_writable()?;
        self.inner.close()?;
        let lock = take_lock(&*backing)?;
        recovery::roll_back(&backing, &options.settings(), point)?;
        drop(lock);
        Self::start(&backing, &options)
    }

    /// Makes a consistent copy of the store in a new or empty directory, while readers and writers go on. Files are hard links
    /// where the file system allows it, and copies otherwise; sealed files never change. The copy is read back before this
    /// returns. It is opened like any store, or made into one by [`backup::restore`](crate::backup::restore).
    ///
    /// After an interruption the directory says that it is unfinished, and is not opened.
    ///
    /// # Errors
    /// `Exists` if the directory is not empty, and what the file systems say.
    pub fn backup_to(&self, directory: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(directory, &mut |_| {})
    }

    /// As [`backup_to`](Self::backup_to); tells how far it is.
    ///
    /// # Errors
    /// As [`backup_to`](Self::backup_to).
    pub fn backup_with(
        &self,
        directory: impl AsRef<Path>,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<BackupReport> {
        self.engine().check_writable()?;
        let backing = Arc::new(backup::directory(directory.as_ref())?);
        self.back_up(&Destination { backing, link_into: Some(directory.as_ref()) }, progress)
    }

    /// The same into any backing store that holds nothing.
    ///
    /// # Errors
    /// As [`backup_to`](Self::backup_to).
    #[expect(clippy::needless_pass_by_value, reason = "as where a store is opened")]
    pub fn backup_to_backing(&self, backing: Arc<dyn Backing>) -> Result<BackupReport> {
        self.back_up(&Destination { backing, link_into: None }, &mut |_| {})
    }

    fn back_up(&self, to: &Destination<'_>, progress: &mut dyn FnMut(BackupProgress)) -> Result<BackupReport> {
        self.engine().check_writable()?;
        self.inner.collector.end_segments();
        let report = backup::back_up(self.engine(), to, progress)?;
        self.inner.collector.sweep(self.engine())?;
        Ok(report)
    }

    /// The saved snapshots that are kept, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let entries = self.engine().manifest.entries();
        let kept = retained(&entries);
        let snapshots = kept.iter().filter_map(|number| entries.get(number));
        Ok(snapshots
            .filter_map(|body| if let Body::Snapshot(snapshot) = body { Some(snapshot) } else { None })
            .filter(|snapshot| snapshot.name != snapshot::OF_A_COPY)
            .map(|snapshot| snapshot_info(snapshot))
            .collect())
    }

    /// Names the state of now: a light snapshot, a few bytes in the log. A name that is used again moves.
    pub fn mark(&self, name: &str) -> Result<Seq> {
        check_name("mark", name)?;
        let mut frame = FrameBuilder::new();
        frame.control(Kind::Mark, name.as_bytes());
        let engine = self.engine();
        let seq = engine.commit_frame(&mut frame, &mut vec![Effect::Mark(name.to_owned())], || Ok(()))?;
        if self.inner.options.durability == Durability::Sync {
            engine.make_durable(seq)?;
        }
        Ok(seq)
    }

    /// The named marks.
    pub fn marks(&self) -> Vec<Mark> {
        let state = self.engine().heap.pin();
        state.catalogue.marks().map(|(name, seq)| Mark { name: name.to_owned(), seq }).collect()
    }

    /// What opening this handle found.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.inner.report
    }

    /// What the store holds and costs now. Takes time in proportion to the number of index pages, and for each state that
    /// views see to the number of pages that have changed since.
    pub fn stats(&self) -> Stats {
        let engine = self.engine();
        let state = engine.heap.pin();
        let set = |name: &str, set: &crate::catalogue::Set| SetStats {
            name: name.to_owned(),
            records: set.records,
            bytes: set.bytes,
        };
        let sets: Vec<SetStats> = state.catalogue.user_sets().map(|(_, row)| set(&row.name, row)).collect();
        let chunks = state.catalogue.set(SetNumber::CHUNKS).map(|row| set("chunks", row));
        let chunks = chunks.unwrap_or(SetStats { name: "chunks".to_owned(), records: 0, bytes: 0 });
        let mut segments: Vec<SegmentStats> = state
            .table
            .iter()
            .map(|(_, segment)| SegmentStats {
                file: segment.name().to_owned(),
                kind: FileKind::Records,
                generation: segment.header().generation,
                bytes: segment.len().unwrap_or_default(),
                live_bytes: segment.live_bytes(),
            })
            .collect();
        let pages = engine.pages.all_rows().into_iter();
        segments.extend(pages.map(|(file, bytes, live_bytes)| SegmentStats {
            file,
            kind: FileKind::Pages,
            generation: 0,
            bytes,
            live_bytes,
        }));
        let (dirty_pages, dirty_bytes) = (engine.heap.dirty_pages(), engine.heap.dirty_bytes());
        let directory_bytes = state.root.directory_bytes();
        Stats {
            records: sets.iter().map(|set| set.records).sum(),
            record_bytes: sets.iter().map(|set| set.bytes).sum::<u64>() + chunks.bytes,
            sets,
            chunks,
            segments,
            collected: self.inner.collector.collected(),
            retired: self.inner.collector.retired(),
            last_seq: engine.log.last_seq(),
            durable_seq: engine.log.durable_seq(),
            timeline: engine.log.timeline(),
            dirty_pages,
            dirty_nodes: engine.heap.with_indexes(|indexes| indexes.dirty()),
            dirty_bytes,
            directory_bytes,
            heap_bytes: dirty_bytes + directory_bytes,
            views: view_stats(&self.inner.pins, &state),
            log_bytes_since_snapshot: engine.replay_bytes.load(Ordering::Relaxed),
            log_bytes_appended: engine.log.appended_bytes(),
            index_log_bytes_appended: engine.index_log_bytes.load(Ordering::Relaxed),
        }
    }

    /// Gives dead space back to the file system: records that live in segments with dead ones are copied together, and what is
    /// emptied is deleted, until nothing is left to gain or the time is over. Saves up to three snapshots. Readers and
    /// writers go on. What a view, a named snapshot or a mark keeps stays until they are gone.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let ids = store.write(|tx| (0..9_000).map(|_| tx.insert(&notes, [7; 900])).collect::<tenure::Result<Vec<_>>>())?;
    /// store.write(|tx| ids.iter().skip(9).try_for_each(|id| tx.delete(*id)))?;
    /// let collected = store.collect(None)?;
    /// assert!(collected.bytes_deleted > 8_000_000);
    /// assert_eq!(store.get(ids[0])?.len(), 900);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ReadOnly`, `NoSpace` if not even one segment more can be made, or what the backing store says.
    pub fn collect(&self, budget: Option<Duration>) -> Result<Collected> {
        self.collect_with(budget, &mut |_| {})
    }

    /// As [`collect`](Self::collect); tells what has been done so far, again and again.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn collect_with(&self, budget: Option<Duration>, progress: &mut dyn FnMut(Collected)) -> Result<Collected> {
        self.engine().check_writable()?;
        self.inner.collector.collect(self.engine(), budget, progress)
    }

    /// Whether space is collected in the background and in transactions, until this is said again or the store is closed.
    pub fn set_collecting(&self, collecting: bool) {
        self.inner.collector.pause(!collecting);
    }

    /// Closes the store: everything is synced and a snapshot is saved, so that the next opening replays nothing.
    /// Dropping the last clone does the same and ignores errors; views that exist go on.
    ///
    /// # Errors
    /// What the snapshot says. The log has every commit in any case.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

/// The turn of a closure that runs alone.
struct Alone<'s> {
    inner: &'s Inner,
    _turn: ReentrantMutexGuard<'s, ()>,
}

impl<'s> Alone<'s> {
    fn new(inner: &'s Inner) -> Self {
        // Others look at the count, and then wait for the lock.
        inner.alone.fetch_add(1, Ordering::AcqRel);
        Self { inner, _turn: inner.turnstile.lock() }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.inner.alone.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What each view keeps. Views of one state are compared once.
fn view_stats(pins: &Pins<State>, now: &State) -> Vec<ViewStats> {
    let mut known = BTreeMap::new();
    let views = pins.list().into_iter().map(|(state, age)| {
        let kept = *known.entry(Arc::as_ptr(&state)).or_insert_with(|| state.kept_from(now));
        ViewStats { seq: state.seq, age, heap_bytes: kept.heap, log_bytes: kept.log, page_bytes: kept.pages }
    });
    views.collect()
}

fn snapshot_info(snapshot: &Snapshot) -> SnapshotInfo {
    SnapshotInfo {
        number: snapshot.number,
        name: Some(snapshot.name.clone()).filter(|name| !name.is_empty()),
        kind: snapshot.kind,
        seq: snapshot.seq,
        time: UNIX_EPOCH + Duration::from_micros(snapshot.time_micros),
        pages_written: 0,
        bytes_written: 0,
    }
}

fn take_lock(backing: &dyn Backing) -> Result<Box<dyn BackingLock>> {
    let location = backing.location();
    backing.lock().map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked { path: location },
        _ => Error::io("lock", location, source),
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map_err(|source| Error::io("start", "a background thread", source))
}

/// Collects when segments come near the cap, and deletes what views have let go of.
fn run_collector(engine: &Engine, collector: &Collector, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) && engine.poison.check().is_ok() {
        match collector.work(engine) {
            Ok(true) => {}
            Ok(false) => {
                // What cannot be deleted now can be later.
                drop(collector.sweep(engine));
                std::thread::sleep(COLLECTOR_TICK);
            }
            Err(_) => std::thread::sleep(BACKGROUND_TICK),
        }
    }
}

/// Saves snapshots when they are due, syncs at intervals, makes segments ready, writes watermarks when idle.
fn run_background(engine: &Engine, stop: &AtomicBool, interval: Option<Duration>) {
    let (mut synced, mut pause) = (Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Acquire) {
        {
            let mut guard = engine.grown_lock.lock();
            if !engine.snapshot_is_due() && !stop.load(Ordering::Acquire) {
                let tick = interval.unwrap_or(BACKGROUND_TICK).min(BACKGROUND_TICK);
                engine.grown.wait_for(&mut guard, tick);
            }
        }
        if engine.poison.check().is_err() {
            return;
        }
        let mut results = vec![engine.log.prepare_spare()];
        if engine.snapshot_is_due() {
            results.push(snapshot::save_if(engine, || engine.snapshot_is_due()));
        }
        if interval.is_some_and(|interval| synced.elapsed() >= interval) {
            synced = Instant::now();
            results.push(engine.make_durable(engine.log.last_seq()));
        }
        results.push(engine.write_watermark_when_idle());
        engine.heap.reclaim();
        // A full disk is the next commit's to report; everything else has poisoned the handle. Trying again at once would
        // only wear the disk.
        pause = if results.iter().any(Result::is_err) {
            (pause * 2).clamp(BACKGROUND_TICK, PAUSE_MAX)
        } else {
            Duration::ZERO
        };
        let until = Instant::now() + pause;
        while Instant::now() < until && !stop.load(Ordering::Acquire) {
            std::thread::sleep(BACKGROUND_TICK);
        }
    }
}

impl Inner {
    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.stop.store(true, Ordering::Release);
        self.engine.grown.notify_all();
        for thread in self.background.lock().drain(..) {
            // The thread's own failures have poisoned the handle, and the snapshot says so.
            drop(thread.join());
        }
        let result = if self.engine.read_only || !snapshot::is_needed_at_close(&self.engine) {
            Ok(())
        } else {
            snapshot::save(&self.engine, SnapshotKind::Close, "").map(drop)
        };
        self.end(result.as_ref().err());
        result
    }

    /// Lets go of the store once nothing that another handle or thread does can write any more.
    fn end(&self, error: Option<&Error>) {
        let engine = &self.engine;
        let snapshots = engine.page_writer.lock();
        let commits = engine.lock_commit();
        engine.poison.set(error.unwrap_or(&Error::Poisoned { reason: "it was closed".to_owned() }));
        drop(commits);
        drop(snapshots);
        engine.manifest.wait_idle();
        *self.lock.lock() = None;
    }
}

impl Options {
    /// Opens the store in a directory, making it where there is none.
    ///
    /// # Errors
    /// `NotAStore`, `Locked`, `Unsupported`, `Corrupt`, or what the file system says.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        self.check()?;
        let refused = |why: &str| Error::NotAStore { path: shown.clone(), why: why.to_owned() };
        let backing = match std::fs::metadata(path) {
            Ok(found) if !found.is_dir() => return Err(refused("it is not a directory")),
            Ok(_) if self.read_only => Files::read_only(path),
            Ok(_) => {
                let mut entries = std::fs::read_dir(path).map_err(|source| Error::io("list", &shown, source))?;
                let ours = |entry: std::io::Result<std::fs::DirEntry>| {
                    entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_store_file))
                };
                let empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
                if !empty && !entries.any(ours) {
                    return Err(refused("it holds other files and no manifest"));
                }
                if empty && !self.create {
                    return Err(refused("it is empty"));
                }
                Files::open(path)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if self.read_only || !self.create {
                    return Err(refused("there is nothing"));
                }
                Files::create(path)
            }
            Err(source) => return Err(Error::io("open", shown, source)),
        };
        let backing = backing.map_err(|source| Error::io("open", &shown, source))?;
        self.open_backing(Arc::new(backing))
    }

    /// Opens the store in a directory for reading, as it was at a point of its past. A writer may go on beside it.
    ///
    /// # Errors
    /// `PointGone` if there is no way to that state, and what [`open`](Self::open) says.
    pub fn open_at(&self, path: impl AsRef<Path>, point: &Point) -> Result<Store> {
        let (path, shown) = (path.as_ref(), path.as_ref().display().to_string());
        let backing = Files::read_only(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotAStore { path: shown, why: "there is nothing".to_owned() },
            _ => Error::io("open", shown, source),
        })?;
        self.open_backing_at(Arc::new(backing), point)
    }

    /// The same in any backing store.
    ///
    /// # Errors
    /// As [`open_at`](Self::open_at).
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps it")]
    pub fn open_backing_at(&self, backing: Arc<dyn Backing>, point: &Point) -> Result<Store> {
        self.check()?;
        Store::run(self, None, recovery::open_at(&backing, &self.settings(), point)?)
    }

    /// Opens the store in any backing store.
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps it")]
    pub fn open_backing(&self, backing: Arc<dyn Backing>) -> Result<Store> {
        self.check()?;
        Store::start(&backing, self)
    }
}

/// Whether a file name is one that a store uses.
fn is_store_file(name: &str) -> bool {
    name == "lock" || FileKind::parse_name(name).is_some()
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.close());
    }
}
