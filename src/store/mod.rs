//! The store: the handle that a user opens.
//!
//! Owns: the handle, the background threads, closing. Never: does a lower layer's work itself.

pub use following::{Follower, FollowerStats};

use crate::store::background::{run_background, run_collector, spawn};
use crate::store::emptying::Emptying;
use crate::store::guard::{Guard, Guarded};
mod background;
#[cfg(test)]
mod copying;
mod emptying;
mod files;
mod following;
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
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Mutex, ReentrantMutex};

use crate::backing::{Backing, Memory, refuse_unfinished};
use crate::catalogue::check_name;
use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::manifest::SnapshotKind;
use crate::gc::Collector;
use crate::heap::{Answer, Effect};
use crate::id::{RecordId, Seq, SetNumber};
use crate::options::Options;
use crate::recovery::{Point, RecoveryReport, Settings};
use crate::reserve::Release;
use crate::txn::{Lookup, Record, RecordSet, View};
use crate::{recovery, snapshot};

struct Inner {
    engine: Arc<Engine>,
    options: Options,
    report: RecoveryReport,
    stop: Arc<AtomicBool>,
    /// Not dropped in a forked child, where the threads do not exist: dropping a join handle would touch its thread.
    background: Mutex<ManuallyDrop<Vec<JoinHandle<()>>>>,
    collector: Arc<Collector>,
    turnstile: ReentrantMutex<()>,
    /// Number of closures that run alone or wait to.
    alone: AtomicUsize,
    /// How often `write` has run a closure again.
    retries: AtomicU64,
    /// Serialises creating and dropping indexes.
    indexing: Mutex<()>,
    /// How far dropped sets are emptied, without a thread that does it.
    emptying: Mutex<Emptying>,
    /// The lock, unless the store is open read-only.
    guard: Option<Arc<Guard>>,
    /// The past point that this handle shows, if it never shows a later one.
    past: Option<Point>,
    closed: AtomicBool,
}

/// An open store. Clones share it; dropping the last clone closes it.
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
    /// Opens the store in a directory with the default options, and creates it if it does not exist.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    /// Creates a store in memory, for tests.
    pub fn in_memory() -> Result<Self> {
        Options::new().open_backing(Arc::new(Memory::new()))
    }

    pub(crate) fn start(backing: &Arc<dyn Backing>, options: &Options) -> Result<Self> {
        refuse_unfinished(&**backing)?;
        let settings = options.settings();
        if settings.read_only {
            return Self::run(options, None, recovery::open_beside_a_writer(backing, &settings)?, None);
        }
        Self::start_locked(Guard::take(backing)?, options)
    }

    /// Opens a store for writing whose lock is held.
    fn start_locked(guard: Arc<Guard>, options: &Options) -> Result<Self> {
        let settings = Settings { has_background: options.background, ..options.settings() };
        let guarded: Arc<dyn Backing> = Arc::new(Guarded(Arc::clone(&guard)));
        let (opened, released) = recovery::open_with_reserve(&guarded, &settings)?;
        guard.ends(&opened.0.poison);
        let store = Self::run(options, Some(guard), opened, None)?;
        if let Some(shipping) = store.engine().backing.shipping() {
            let report = store.recovery_report();
            shipping.opened(report.damaged.is_empty() && report.fell_back.is_empty());
        }
        if released {
            // At once: the next opening needs whatever this one left of the reserve.
            store.engine().keep_reserve();
        } else if !store.recovery_report().clean {
            // Otherwise a process that is killed again and again would leave a segment each time.
            store.collector().tidy(store.engine());
            store.engine().poison.check()?;
        }
        Ok(store)
    }

    /// Starts the handle and its threads over an opened engine.
    fn run(
        options: &Options,
        guard: Option<Arc<Guard>>,
        (engine, report): (Engine, RecoveryReport),
        past: Option<Point>,
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
            // Here, not in the thread: tests ask for parts of another size in the thread that opens a store.
            let emptying = Emptying::new();
            let run = move |engine: &Engine| run_background(engine, guard.as_deref(), &stop, interval, emptying);
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
            options: options.clone(),
            report,
            stop,
            background,
            collector,
            turnstile: ReentrantMutex::new(()),
            alone: AtomicUsize::new(0),
            retries: AtomicU64::new(0),
            indexing: Mutex::new(()),
            emptying: Mutex::new(Emptying::new()),
            guard,
            past,
            closed: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// For a handle that shows a past state: that state again, with all IDs assigned since marked as used.
    pub(crate) fn past_to_copy(&self) -> Result<Option<Engine>> {
        let Some(point) = &self.inner.past else { return Ok(None) };
        recovery::open_to_copy(&self.engine().backing, &self.inner.options.settings(), point).map(Some)
    }

    pub(crate) fn collector(&self) -> &Collector {
        &self.inner.collector
    }

    pub(crate) fn shared_engine(&self) -> Arc<Engine> {
        Arc::clone(&self.inner.engine)
    }

    /// Whether it shows a past state and never a later one.
    pub(crate) fn shows_the_past(&self) -> bool {
        self.inner.past.is_some()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Returns the record set of this name, and creates it if it does not exist. A new set is durable after the next durable commit.
    ///
    /// # Errors
    /// `NoSuchSet` if it does not exist and the store is open read-only.
    pub fn record_set(&self, name: &str) -> Result<RecordSet> {
        self.engine().poison.check_process()?;
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
        Ok(RecordSet::new(catalogue.origin(), number, Arc::from(name)))
    }

    /// The record set of this name, if it exists.
    pub fn find_set(&self, name: &str) -> Option<RecordSet> {
        let state = self.engine().heap.pin();
        let found = state.catalogue.find(name);
        found.map(|(number, set)| RecordSet::new(state.catalogue.origin(), number, Arc::clone(&set.name)))
    }

    /// All record sets, oldest first.
    pub fn record_sets(&self) -> Vec<RecordSet> {
        let state = self.engine().heap.pin();
        let origin = state.catalogue.origin();
        let sets = state.catalogue.user_sets();
        sets.map(|(number, set)| RecordSet::new(origin, number, Arc::clone(&set.name))).collect()
    }

    /// Reads the newest version of a record, outside any view.
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

    /// Reads the newest version of a record, or tells whether its ID was deleted or never assigned.
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
        // The chunks must be kept while they are read.
        drop(state);
        let state = self.engine().heap.pin();
        Ok(match state.lookup(id)? {
            Answer::Live(found) => Lookup::Live(Record::shared(state, found)?),
            Answer::Deleted => Lookup::Deleted,
            Answer::NeverAllocated => Lookup::NeverAllocated,
        })
    }

    /// Takes a view: a consistent state as of now, kept until the view is dropped.
    pub fn view(&self) -> View {
        View::new(self.engine())
    }

    /// Makes all commits acknowledged so far durable.
    pub fn sync(&self) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().make_durable(self.last_seq())
    }

    /// Waits until a commit is durable, and the bucket that the store is shipped to has it.
    ///
    /// # Errors
    /// `BadOption` if the store's backing ships nowhere, `Fenced` if another writer has taken over the bucket, `Indeterminate` if the
    /// commit is not known to be there.
    pub fn wait_remote(&self, seq: Seq) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().make_remote(seq)
    }

    /// The last commit that the bucket is known to have to which the store is shipped: it and every commit before it survive the loss of
    /// this machine. `None` if the store is shipped nowhere. It is exact for commits that were
    /// [waited for](Self::wait_remote); of others it is the last one that was durable when this, the statistics or a wait asked before, as
    /// far as the bucket has it by now.
    pub fn remote_seq(&self) -> Option<Seq> {
        self.engine().backlog().map(|(seq, _)| seq)
    }

    /// The last durable commit. It and every commit before it survive a power cut, and a view taken afterwards sees
    /// them.
    pub fn durable_seq(&self) -> Seq {
        // A commit may be durable a moment before it is visible.
        self.engine().log.durable_seq().min(self.last_seq())
    }

    /// The last commit. A view taken afterwards sees it.
    pub fn last_seq(&self) -> Seq {
        self.engine().heap.seq()
    }

    /// Waits until a commit is durable, and syncs if no other thread does.
    pub fn wait_durable(&self, seq: Seq) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().make_durable(seq.min(self.last_seq()))
    }

    /// The recovery report of this handle's opening.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.inner.report
    }

    /// Closes the store: syncs everything and saves a snapshot, so that the next opening replays nothing. Dropping the
    /// last clone does the same and ignores errors. Existing views stay valid.
    ///
    /// # Errors
    /// Those of saving a snapshot. The log has every commit in any case.
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
        self.engine.growth.notify();
        for thread in std::mem::take(&mut **self.background.lock()) {
            // The thread's own failures have already poisoned the handle.
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
            if result.is_ok() {
                self.engine.log.closes_with_snapshot();
            }
            // The next opening deletes what cannot be deleted now.
            drop(self.collector.end(&self.engine));
            // The reserve may also shrink, since nothing waits to be saved any more. If there is no room for it, the
            // next opening tries again.
            self.engine.keep_reserve_if_used();
        }
        if result.is_ok() && !self.engine.read_only {
            // What is not durable by now is not needed: a failure costs the next opening time.
            drop(self.engine.log.finish());
            self.engine.manifest.prove();
        }
        self.end(result.as_ref().err());
        result
    }

    /// Saves the snapshot that lets the next opening replay nothing. Without room for a snapshot, the log still has
    /// everything.
    fn save_at_close(&self) -> Result<()> {
        let engine = &*self.engine;
        // First, before anything that may run out of space.
        engine.make_durable(engine.log.last_seq())?;
        // The snapshot begins behind the last watermark.
        engine.log.sync_whole()?;
        if engine.log.appended_bytes() > 0 {
            self.collector.tidy(engine);
            engine.poison.check()?;
        }
        let saved = engine.with_reserve(Release::Most, || snapshot::save(engine, SnapshotKind::Close, ""));
        if matches!(saved, Err(Error::NoSpace { .. })) {
            // Spares the next opening from copying what the log proves durable, which would take space.
            engine.prove();
        }
        if saved.is_ok() {
            // Marks may need less now. Whatever cannot be deleted here is deleted by the next opening.
            drop(self.collector.sweep(engine));
        }
        saved.map(drop)
    }

    /// Releases the store once no other handle or thread can write any more.
    fn end(&self, error: Option<&Error>) {
        let engine = &self.engine;
        let snapshots = engine.page_writer.lock();
        let commits = engine.lock_commit();
        if error.is_none() && !engine.read_only {
            // Another clone may have committed meanwhile: a large commit keeps this one waiting here. A failure costs the next
            // opening time.
            drop(engine.log.finish());
        }
        engine.poison.set(error.unwrap_or(&Error::Closed));
        drop(commits);
        drop(snapshots);
        engine.manifest.wait_idle();
        // Another clone may be collecting: its files must not come and go once another process has the store.
        self.collector.wait_idle();
        if let Some(guard) = &self.guard {
            guard.release();
        }
        // An extractor may hold a clone of the store.
        engine.registry.forget();
    }

    /// Leaves the parent's store alone in a forked child: its threads do not exist here, and locks that they held at
    /// the fork stay held.
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
