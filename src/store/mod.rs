//! The store: what a user opens.
//!
//! Owns: the handle, the background thread, closing. Never: does by itself what a floor below does.

use crate::store::background::{run_background, run_collector, spawn};
use crate::store::guard::{Guard, Guarded};
mod background;
mod emptying;
mod files;
mod guard;
mod indexes;
mod opening;
mod past;
mod sets;
mod space;
mod statistics;
#[cfg(test)]
mod tests;
mod writing;

use std::fmt;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Mutex, ReentrantMutex};

use crate::backing::{Backing, Memory};
use crate::catalogue::check_name;
use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::manifest::SnapshotKind;
use crate::gc::Collector;
use crate::heap::{Answer, Effect, State};
use crate::id::{RecordId, Seq, SetNumber};
use crate::options::Options;
use crate::pins::Pins;
use crate::recovery::RecoveryReport;
use crate::reserve::Release;
use crate::txn::{Lookup, Record, RecordSet, View};
use crate::{recovery, snapshot};

struct Inner {
    engine: Arc<Engine>,
    pins: Arc<Pins<State>>,
    options: Options,
    report: RecoveryReport,
    stop: Arc<AtomicBool>,
    /// Left alone where the threads are not: to let go of a handle asks for its thread.
    background: Mutex<ManuallyDrop<Vec<JoinHandle<()>>>>,
    collector: Arc<Collector>,
    turnstile: ReentrantMutex<()>,
    /// Closures that run alone, or wait to.
    alone: AtomicUsize,
    /// One index is made or dropped at a time.
    indexing: Mutex<()>,
    /// The lock, unless the store is open for reading only.
    guard: Option<Arc<Guard>>,
    /// Whether it shows a state of the past, and none that comes later.
    is_of_the_past: bool,
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
        recovery::refuse_unfinished(&**backing)?;
        let settings = options.settings();
        if settings.read_only {
            return Self::run(options, None, recovery::open_beside_a_writer(backing, &settings)?, false);
        }
        Self::start_locked(Guard::take(backing)?, options)
    }

    /// A store whose lock is held, opened for writing.
    fn start_locked(guard: Arc<Guard>, options: &Options) -> Result<Self> {
        let settings = options.settings();
        let guarded: Arc<dyn Backing> = Arc::new(Guarded(Arc::clone(&guard)));
        let (opened, released) = recovery::open_with_reserve(&guarded, &settings)?;
        guard.ends(&opened.0.poison);
        let store = Self::run(options, Some(guard), opened, false)?;
        if released {
            // At once: what the opening has left of it is for the next one.
            store.engine().keep_reserve();
        } else if !store.recovery_report().clean {
            // A process that is killed again and again would leave a segment each time.
            store.collector().tidy(store.engine());
            store.engine().poison.check()?;
        }
        Ok(store)
    }

    /// A store over what was opened.
    fn run(
        options: &Options,
        guard: Option<Arc<Guard>>,
        (engine, report): (Engine, RecoveryReport),
        is_of_the_past: bool,
    ) -> Result<Self> {
        let read_only = engine.read_only;
        let engine = Arc::new(engine);
        let stop = Arc::new(AtomicBool::new(false));
        let collector = Arc::new(Collector::new(options.gc()));
        collector.pause(!options.collector);
        Collector::note_size(&engine);
        let mut threads = Vec::new();
        if options.background && !read_only {
            let (guard, stop, interval) = (guard.clone(), Arc::clone(&stop), options.sync_interval);
            let run = move |engine: &Engine| run_background(engine, guard.as_deref(), &stop, interval);
            threads.push(spawn("tenure", &engine, run)?);
        }
        if options.background && !read_only {
            let (stop, collector) = (Arc::clone(&stop), Arc::clone(&collector));
            let run = move |engine: &Engine| run_collector(engine, &collector, &stop);
            threads.push(spawn("tenure-collector", &engine, run)?);
        }
        let background = Mutex::new(ManuallyDrop::new(threads));
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
            guard,
            is_of_the_past,
            closed: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn collector(&self) -> &Collector {
        &self.inner.collector
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The record set of this name, made on first use.
    ///
    /// # Errors
    /// `NoSuchSet` if it is not there and this handle only reads.
    pub fn record_set(&self, name: &str) -> Result<RecordSet> {
        if let Some(set) = self.find_set(name) {
            return Ok(set);
        }
        check_name("record set", name)?;
        let engine = self.engine();
        if engine.read_only {
            return Err(Error::NoSuchSet { name: name.to_owned() });
        }
        engine.check_writable()?;
        engine.check_reserve(0)?;
        engine.announce(0, Need::Ordinary)?;
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
        let mut effects = vec![Effect::CreateSet(number, name.to_owned())];
        engine.append_and_apply(&guard, &mut frame, &mut effects, Need::Ordinary)?;
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

    /// One record, outside any view: the newest version.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a third faster: the misses of several reads overlap; see docs/decisions")]
    pub fn get(&self, id: RecordId) -> Result<Record<'_>> {
        let state = self.engine().heap.current();
        if let Some(found) = state.lookup_plain(id).map(|(found, _)| found) {
            return Ok(Record::plain_for_a_moment(state, found));
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

    /// Every commit up to this one is on the medium, and a view that is taken afterwards sees it.
    pub fn durable_seq(&self) -> Seq {
        // A commit may be on the medium a moment before it is visible.
        self.engine().log.durable_seq().min(self.last_seq())
    }

    /// The last commit. A view that is taken afterwards sees it.
    pub fn last_seq(&self) -> Seq {
        self.engine().heap.seq()
    }

    /// Waits until a commit is on the medium, syncing if nobody else does.
    pub fn wait_durable(&self, seq: Seq) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().make_durable(seq.min(self.last_seq()))
    }

    /// What opening this handle found.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.inner.report
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

impl Inner {
    fn close(&self) -> Result<()> {
        self.engine.poison.check_process()?;
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.stop.store(true, Ordering::Release);
        self.engine.grown.notify_all();
        for thread in std::mem::take(&mut **self.background.lock()) {
            // The thread's own failures have poisoned the handle.
            drop(thread.join());
        }
        if !self.engine.read_only && self.engine.check_writable().is_ok() {
            self.engine.log.give_up_spare();
        }
        let result = self.engine.poison.check().and_then(|()| {
            let is_needed = !self.engine.read_only && snapshot::is_needed_at_close(&self.engine);
            if is_needed { self.save_at_close() } else { Ok(()) }
        });
        if !self.engine.read_only && self.engine.poison.check().is_ok() {
            // What cannot go now goes with the next opening.
            drop(self.collector.end(&self.engine));
            // Also smaller, now that nothing waits to be saved. What there is no room for the next opening tries again.
            self.engine.keep_reserve_if_used();
        }
        if result.is_ok() && !self.engine.read_only {
            self.engine.manifest.prove();
        }
        self.end(result.as_ref().err());
        result
    }

    /// Saves the snapshot with which the next opening replays nothing. Where there is no room for one, the log has everything.
    fn save_at_close(&self) -> Result<()> {
        let engine = &*self.engine;
        // Before anything that may find no room.
        engine.make_durable(engine.log.last_seq())?;
        if engine.log.appended_bytes() > 0 {
            self.collector.tidy(engine);
            engine.poison.check()?;
        }
        let saved = engine.with_reserve(Release::Most, || snapshot::save(engine, SnapshotKind::Close, ""));
        if matches!(saved, Err(Error::NoSpace { .. })) {
            // The next opening need not copy what the log tells to be durable, which takes room.
            engine.prove();
        }
        if saved.is_ok() {
            // What a mark kept it may keep no longer. What cannot be deleted is deleted by the next opening.
            drop(self.collector.sweep(engine));
        }
        saved.map(drop)
    }

    /// Lets go of the store once nothing that another handle or thread does can write any more.
    fn end(&self, error: Option<&Error>) {
        let engine = &self.engine;
        let snapshots = engine.page_writer.lock();
        let commits = engine.lock_commit();
        engine.poison.set(error.unwrap_or(&Error::Closed));
        drop(commits);
        drop(snapshots);
        engine.manifest.wait_idle();
        // Another clone may be collecting: its files must not come or go when another process has the store.
        self.collector.wait_idle();
        if let Some(guard) = &self.guard {
            guard.release();
        }
        // One may hold the store.
        engine.forget_extractors();
    }

    /// What a child may do with the store of its parent: nothing. Its threads are not here, and locks that they held when
    /// the child was forked stay held.
    fn leave(&self) {
        if let Some(guard) = &self.guard {
            guard.leave();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.engine.poison.is_ours() {
            drop(self.close());
        } else {
            self.leave();
        }
    }
}
