//! A read-only handle that goes on by itself.
//!
//! Owns: the thread that looks for new commits, and who waits for one. Never: writes to what it follows, or takes its lock, before it is
//! promoted.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::backing::{Backing, Files};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::Seq;
use crate::manifest;
use crate::options::Options;
use crate::recovery::{Settings, Step, advance, list};
#[cfg(feature = "remote")]
use crate::remote::{Bucket, Remote, RemoteOptions, waiting_until};
use crate::store::Store;
use crate::store::background::spawn;

/// How often a directory is looked at, and any other backing.
const OF_A_DIRECTORY: Duration = Duration::from_millis(25);
const OF_ANOTHER: Duration = Duration::from_millis(500);
/// The longest pause after looks that fail, unless the interval is longer.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often who waits for a commit looks whether the handle still goes on.
const GOES_ON: Duration = Duration::from_millis(250);
/// The pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// What is followed, to take it over.
#[derive(Debug)]
enum Origin {
    Directory(PathBuf),
    Backing(Arc<dyn Backing>),
    #[cfg(feature = "remote")]
    Bucket(Bucket),
}

/// A read-only handle of a store that another process, or another handle, writes: it goes on by itself. Each view is the state of a
/// commit, indexes included. `docs/following.md` says what it sees, and when.
///
/// It is a [`Store`] for everything that reads; clones of that handle go on with it. Dropping the follower ends its thread.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("things.tenure");
/// use std::time::Duration;
/// use tenure::Store;
/// let writer = Store::open(&path)?;
/// let notes = writer.record_set("notes")?;
/// let follower = Store::follow(&path)?;
/// let note = writer.write(|tx| tx.insert(&notes, "later"))?;
/// assert!(follower.wait_for(writer.last_seq(), Duration::from_secs(60))?);
/// assert_eq!(follower.get(note)?.as_slice(), Some(&b"later"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    store: Store,
    shared: Arc<Shared>,
    /// Not dropped in a forked child, where the thread does not exist.
    thread: ManuallyDrop<Option<JoinHandle<()>>>,
    origin: Origin,
}

/// How a [`Follower`] gets on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowerStats {
    /// The last commit that it shows.
    pub seq: Seq,
    /// How often it has looked for new commits.
    pub looks: u64,
    /// How often it has found some.
    pub advances: u64,
    /// How often it has loaded the newest state as a whole, because the log alone did not lead there. If it had fallen behind what
    /// the store keeps, it has gone on so.
    pub reloads: u64,
    /// How long ago it last found any.
    pub since_advance: Duration,
    /// Why it could not look, or go on, when it last tried. It tries again.
    pub error: Option<String>,
}

#[derive(Debug)]
struct State {
    looks: u64,
    advances: u64,
    advanced: Instant,
    error: Option<String>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Set with the lock of `state`, so that no pause misses it. Its thread waits for no request any more.
    ends: Arc<AtomicBool>,
    /// Notified after each look that found something, and when the follower ends.
    changed: Condvar,
}

impl Shared {
    fn note(&self, step: &Result<Step>) {
        let mut state = self.state.lock();
        state.looks += 1;
        match step {
            Ok(step) => {
                state.error = None;
                if *step != Step::Nothing {
                    state.advances += 1;
                    state.advanced = Instant::now();
                }
            }
            Err(error) => state.error = Some(error.to_string()),
        }
        drop(state);
        self.changed.notify_all();
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    fn run(&self, engine: &Engine, settings: &Settings, interval: Duration) {
        #[cfg(feature = "remote")]
        return waiting_until(&self.ends, || self.look_again_and_again(engine, settings, interval));
        #[cfg(not(feature = "remote"))]
        self.look_again_and_again(engine, settings, interval);
    }

    fn look_again_and_again(&self, engine: &Engine, settings: &Settings, interval: Duration) {
        // A look that fails may have cost as much as an opening.
        let mut pause = interval;
        loop {
            let next = Instant::now() + pause;
            let mut state = self.state.lock();
            while !self.ends() && !self.changed.wait_until(&mut state, next).timed_out() {}
            if self.ends() || engine.poison.check().is_err() {
                return;
            }
            drop(state);
            let step = advance(engine, settings, false);
            pause = if step.is_ok() { interval } else { (pause * 2).min(PAUSE_MAX.max(interval)) };
            self.note(&step);
        }
    }
}

impl Store {
    /// Follows a store in a directory, beside its writer in this or another process, or with the feature `remote` in a bucket that a URL names:
    /// a read-only handle that goes on by itself. See [`Options::follow`] for options.
    pub fn follow(location: impl AsRef<Path>) -> Result<Follower> {
        Options::new().follow(location)
    }
}

impl Options {
    /// Follows the store in a directory, or with the feature `remote` in a bucket that a URL names.
    ///
    /// # Errors
    /// Those of opening it read-only.
    pub fn follow(&self, location: impl AsRef<Path>) -> Result<Follower> {
        let location = location.as_ref();
        if let Some(url) = location.to_str().filter(|text| text.contains("://")) {
            return self.follow_url(url);
        }
        let store = self.clone().read_only(true).open(location)?;
        self.start_following(store, Origin::Directory(location.to_owned()), OF_A_DIRECTORY)
    }

    /// Follows the store in any backing.
    ///
    /// # Errors
    /// Those of opening it read-only.
    pub fn follow_backing(&self, backing: Arc<dyn Backing>) -> Result<Follower> {
        let store = self.clone().read_only(true).open_backing(Arc::clone(&backing))?;
        self.start_following(store, Origin::Backing(backing), OF_ANOTHER)
    }

    /// Follows the store in a bucket: it looks for new commits with one request.
    ///
    /// # Errors
    /// Those of [`Bucket::view`], and of opening it.
    #[cfg(feature = "remote")]
    pub fn follow_bucket(&self, bucket: &Bucket) -> Result<Follower> {
        let store = self.clone().read_only(true).open_backing(Arc::new(bucket.view(None)?))?;
        self.start_following(store, Origin::Bucket(bucket.clone()), OF_ANOTHER)
    }

    #[cfg(feature = "remote")]
    fn follow_url(&self, url: &str) -> Result<Follower> {
        self.follow_bucket(&Bucket::existing(url)?)
    }

    #[cfg(not(feature = "remote"))]
    #[expect(clippy::unused_self, reason = "with the feature it is used")]
    fn follow_url(&self, url: &str) -> Result<Follower> {
        // What a URL must not have may be in this one.
        let path = format!("{}://…", url.split("://").next().unwrap_or_default());
        let why = "this program was built without the feature `remote`, with which it can read a bucket".to_owned();
        Err(Error::NotAStore { path, why })
    }

    fn start_following(&self, store: Store, origin: Origin, interval: Duration) -> Result<Follower> {
        let interval = self.follow_interval.unwrap_or(interval);
        let state = State { looks: 0, advances: 0, advanced: Instant::now(), error: None };
        let shared = Shared { state: Mutex::new(state), ends: Arc::default(), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let settings = store.inner.options.settings();
        let run = {
            let shared = Arc::clone(&shared);
            move |engine: &Engine| shared.run(engine, &settings, interval)
        };
        let thread = ManuallyDrop::new(Some(spawn("tenure-follower", &store.inner.engine, run)?));
        Ok(Follower { store, shared, thread, origin })
    }
}

impl Follower {
    /// The handle that goes on. A clone of it goes on for as long as the follower exists.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Looks for new commits now. Returns the last one that it shows.
    ///
    /// # Errors
    /// Those of opening the store; the follower keeps its state and tries again.
    pub fn look(&self) -> Result<Seq> {
        let engine = self.store.engine();
        engine.poison.check()?;
        let step = advance(engine, &self.store.inner.options.settings(), true);
        self.shared.note(&step);
        step.map(|_| self.last_seq())
    }

    /// Waits until it shows a commit, or the time is over. Returns whether it does; [`FollowerStats::error`] may say why it does not.
    ///
    /// # Errors
    /// `Poisoned` if its thread has ended, `Closed` if the handle was closed.
    pub fn wait_for(&self, seq: Seq, timeout: Duration) -> Result<bool> {
        let until = Instant::now().checked_add(timeout);
        // In a forked child the lock may be held by a thread that does not exist there.
        self.store.engine().poison.check()?;
        let mut state = self.shared.state.lock();
        loop {
            if self.last_seq() >= seq {
                return Ok(true);
            }
            self.store.engine().poison.check()?;
            let now = Instant::now();
            if until.is_some_and(|until| until <= now) {
                return Ok(false);
            }
            let next = now + GOES_ON;
            self.shared.changed.wait_until(&mut state, until.map_or(next, |until| until.min(next)));
        }
    }

    /// How it gets on.
    pub fn progress(&self) -> FollowerStats {
        let state = self.shared.state.lock();
        FollowerStats {
            seq: self.last_seq(),
            looks: state.looks,
            advances: state.advances,
            reloads: self.store.engine().following.reloads(),
            since_advance: state.advanced.elapsed(),
            error: state.error.clone(),
        }
    }

    /// Takes the store over: ends the follower and opens the store for writing, once its writer has closed it or its process has ended. Waits
    /// for that so long at most. For a bucket see `promote_into`.
    ///
    /// # Errors
    /// `Locked` if the writer is still there, `NotAStore` if another store is in its place now, `BadOption` if this follows a bucket, and
    /// those of opening.
    pub fn promote(self, options: &Options, within: Duration) -> Result<Store> {
        match &self.origin {
            Origin::Directory(path) => {
                // What cannot be read, opening says.
                Files::read_only(path).map_or(Ok(()), |files| self.check_place(&files))?;
            }
            Origin::Backing(backing) => self.check_place(&**backing)?,
            #[cfg(feature = "remote")]
            Origin::Bucket(_) => {}
        }
        let (origin, until) = (self.end(), Instant::now().checked_add(within));
        let options = options.clone().read_only(false).create(false);
        loop {
            let opened = match &origin {
                Origin::Directory(path) => options.open(path),
                Origin::Backing(backing) => options.open_backing(Arc::clone(backing)),
                #[cfg(feature = "remote")]
                Origin::Bucket(bucket) => {
                    let why = "a bucket is taken over into a local directory: use `promote_into`";
                    return Err(Error::BadOption { option: "promote", got: bucket.to_string(), why });
                }
            };
            match opened {
                Err(Error::Locked { .. }) if until.is_none_or(|until| Instant::now() < until) => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Takes a bucket over: ends the follower, fences the bucket's writer, and opens the store for writing in a local backing, which is
    /// empty or has been used with this bucket.
    ///
    /// # Errors
    /// `Locked` if another takes it over at the same time, `NotAStore` if the bucket holds another store now, `BadOption` if this does not
    /// follow a bucket, and those of opening.
    #[cfg(feature = "remote")]
    pub fn promote_into(self, local: Arc<dyn Backing>, options: &Options, remote: RemoteOptions) -> Result<Store> {
        if let Origin::Bucket(bucket) = &self.origin {
            // Nobody is fenced in vain.
            self.check_place(&bucket.view(None)?)?;
        }
        let Origin::Bucket(bucket) = self.end() else {
            let why = "this follows no bucket: use `promote`";
            return Err(Error::BadOption { option: "promote_into", got: local.location(), why });
        };
        let remote = Remote::new(local, bucket, remote.take_over(true));
        options.clone().read_only(false).open_backing(Arc::new(remote))
    }

    /// Fails if a place holds another store than the one that was followed.
    fn check_place(&self, backing: &dyn Backing) -> Result<()> {
        let found = list(backing).and_then(|files| manifest::load(backing, &files.manifests));
        match found {
            Ok(found) if found.uuid != self.store.engine().store_id() => {
                let why = "another store has taken the place of the one that was followed".to_owned();
                Err(Error::NotAStore { path: backing.location(), why })
            }
            _ => Ok(()),
        }
    }

    fn end(mut self) -> Origin {
        self.stop();
        let nothing = Origin::Directory(PathBuf::new());
        std::mem::replace(&mut self.origin, nothing)
    }

    fn stop(&mut self) {
        // A forked child has no thread, and must not wait for one.
        if self.store.engine().poison.check_process().is_err() {
            return;
        }
        let state = self.shared.state.lock();
        self.shared.ends.store(true, Ordering::Release);
        drop(state);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its own failure has poisoned the handle.
            drop(thread.join());
        }
    }
}

impl Deref for Follower {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}
