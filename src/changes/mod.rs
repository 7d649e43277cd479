//! The change feed: the commits of the log, each with what it did to records and sets.
//!
//! Owns: what of a commit is shown, and waiting for the next one. Never: takes the commit lock, or keeps more of a commit in
//! memory than the records that it changes more than once. `docs/changes.md` describes the guarantees.
//! Invariants: 1. Commits come in the order in which they count, each once, and none is left out without an error.
//! 2. Unless asked for, no commit is shown that a power cut could still take away.

mod commit;
mod consumer;
mod contents;
mod old;
mod reader;
mod rows;
mod segments;
mod value;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::changes::contents::Contents;
use crate::changes::reader::{Found, Reader};
use crate::changes::segments::Segments;
use crate::changes::value::Streams;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::{Seq, SetNumber};
use crate::store::Store;
use crate::txn::RecordSet;

pub use commit::{Change, ChangeKind, Commit, CommitChanges};
pub use consumer::Consumer;
pub use value::ChangeValue;

/// The longest pause before a waiting reader looks again.
const PAUSE_MAX: Duration = Duration::from_millis(20);
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What the commits of a feed have in common.
#[derive(Debug, Clone)]
struct Context {
    segments: Arc<Segments>,
    sets: Sets,
}

/// What is known about sets where a feed is.
#[derive(Debug, Clone, Default)]
struct Sets {
    names: BTreeMap<SetNumber, Arc<str>>,
    /// The sets that are shown, unless all are.
    wanted: Option<BTreeSet<SetNumber>>,
    /// Beside another process: to which sets pages were assigned since its state was read.
    pages: BTreeMap<u64, SetNumber>,
}

/// The commits after a given one, in order: see [`Store::changes`].
///
/// It is an iterator that ends where the log ends at the moment, and goes on when there is more. Use
/// [`next_timeout`](Self::next_timeout) to wait. It needs no callback and no runtime: a thread drives it, or a task that
/// polls it. It does not keep the store open, and it keeps nothing in the store: for that, [add a consumer](Store::add_consumer).
#[derive(Debug)]
pub struct Changes {
    engine: Arc<Engine>,
    reader: Reader,
    context: Arc<Context>,
    streams: Streams,
    position: Seq,
    ended: bool,
}

impl Store {
    /// The commits after this one, in order, each with the records that it inserted, updated and deleted. `Seq::ZERO` is before
    /// the first. Only durable commits are shown, unless [`early`](Changes::early) is set. What the collector moves is not
    /// shown.
    ///
    /// Works beside other threads and, with a handle that is open [read-only](crate::Options::read_only), beside a process that
    /// writes: new commits come without [`refresh`](Self::refresh).
    ///
    /// ```
    /// use tenure::{ChangeKind, Store};
    /// let store = Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let since = store.last_seq();
    /// let id = store.write(|tx| tx.insert(&notes, "first"))?;
    /// store.write(|tx| tx.delete(id))?;
    /// let mut seen = Vec::new();
    /// for commit in store.changes(since)? {
    ///     for change in commit?.changes() {
    ///         let change = change?;
    ///         seen.push((change.kind(), change.id()));
    ///     }
    /// }
    /// assert_eq!(seen, [(ChangeKind::Insert, Some(id)), (ChangeKind::Delete, Some(id))]);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `PointGone` if the store has no such commit yet, or the handle shows a past state. That the log does not go back so far is
    /// an error of the first call that looks for a commit.
    pub fn changes(&self, since: Seq) -> Result<Changes> {
        Changes::new(self, since)
    }
}

impl Changes {
    fn new(store: &Store, since: Seq) -> Result<Self> {
        let engine = store.shared_engine();
        engine.poison.check()?;
        let point = || format!("the changes after commit {since}");
        if store.shows_the_past() {
            let why = "this handle shows a past state; open the store itself".to_owned();
            return Err(Error::PointGone { point: point(), why });
        }
        let state = engine.heap.pin();
        if since > state.seq && !engine.read_only || since.0 == u64::MAX {
            return Err(Error::PointGone { point: point(), why: format!("the last commit is {}", state.seq) });
        }
        let names = state.catalogue.sets_with_records().map(|(number, set)| (number, Arc::clone(&set.name)));
        let sets = Sets { names: names.collect(), ..Sets::default() };
        // What was assigned since the state of the handle is learned on the way.
        let begin = if engine.read_only { since.min(state.seq) } else { since };
        drop(state);
        let reader = Reader::new(&engine, begin);
        let segments = Arc::new(Segments::new(&engine, reader.source()));
        let (context, streams) = (Arc::new(Context { segments, sets }), Streams::default());
        Ok(Self { engine, reader, context, streams, position: since, ended: false })
    }

    /// Shows changes of these sets only: of their records, and that they were dropped or renamed. If a set is
    /// [cleared](Store::clear_set), the set that takes its place is shown.
    #[must_use]
    pub fn of_sets<'s>(mut self, sets: impl IntoIterator<Item = &'s RecordSet>) -> Self {
        let mut numbers = BTreeSet::new();
        for set in sets {
            // The handle's own number, which may be that of a set that was cleared since, and the one that it leads to now.
            numbers.insert(set.number());
            numbers.extend(self.engine.set_of_handle(&set.handle()));
        }
        Arc::make_mut(&mut self.context).sets.wanted = Some(numbers);
        self
    }

    /// Shows commits before they are durable. A power cut may take such a commit away, and another one may get its number: only for
    /// what ends with the process, such as a cache.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.reader.is_early = true;
        self
    }

    /// Shows only commits that the bucket has to which the store is shipped, as [`wait_remote`](Store::wait_remote) waits for. Others
    /// are lost with this machine's disk: another writer that takes over the bucket gives their numbers to other commits.
    ///
    /// # Errors
    /// `BadOption` if the store's backing ships nowhere.
    pub fn remote(mut self) -> Result<Self> {
        self.engine.check_shipping()?;
        self.reader.show_shipped();
        Ok(self)
    }

    /// The last commit that was passed. It may be later than the last one that was returned: commits without a visible change
    /// are passed silently.
    pub fn passed(&self) -> Seq {
        self.position
    }

    /// The next commit; `None` if there is none at the moment.
    ///
    /// # Errors
    /// `Gone` if the log does not lead there any more, `RolledBack` if the store was rolled back since: the next call then fails
    /// again. `Corrupt` with file and place if the log is damaged. `Closed` after the last commit of a store that was closed.
    pub fn try_next(&mut self) -> Result<Option<Commit>> {
        self.engine.poison.check_process()?;
        match self.reader.next_in_place() {
            Some(found) if found.is_plain && self.context.sets.wanted.is_none() && found.seq > self.position => {
                self.reader.accept(&found, None);
                self.position = found.seq;
                Ok(Some(Commit::new(&self.context, found, None)))
            }
            found => self.look_for_next(found),
        }
    }

    /// The next commit that is visible, beginning with the one that was found, if any.
    #[inline(never)]
    fn look_for_next(&mut self, mut found: Option<Found>) -> Result<Option<Commit>> {
        while let Some(next) = found.take().map_or_else(|| self.reader.next(), |found| Ok(Some(found)))? {
            let contents = match Contents::examine(&self.engine, &next, &mut self.context, &mut self.streams)? {
                Ok(contents) => contents,
                Err(damage) => {
                    if self.reader.refuse(damage) {
                        continue;
                    }
                    return Ok(None);
                }
            };
            self.reader.accept(&next, contents.named);
            if next.seq <= self.position {
                continue;
            }
            self.position = next.seq;
            if contents.is_visible {
                return Ok(Some(Commit::new(&self.context, next, contents.rare)));
            }
        }
        self.context.segments.close();
        self.engine.poison.check()?;
        Ok(None)
    }

    /// The next commit; waits for it if there is none at the moment. `None` after the timeout.
    ///
    /// A commit of this process is noticed when it becomes durable, one of another process within 20 ms of its watermark, and one
    /// in a bucket within half a second.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Commit>> {
        let until = Instant::now().checked_add(timeout);
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(commit) = self.try_next()? {
                return Ok(Some(commit));
            }
            let left = until.map_or(PAUSE_MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            self.pause(pause.min(left));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits until there may be another commit, or until the timeout.
    fn pause(&self, pause: Duration) {
        if self.engine.read_only || self.reader.is_early || self.reader.shipped.is_some() {
            std::thread::sleep(pause);
        } else {
            self.engine.log.wait_for_durable(self.reader.expected(), pause);
        }
    }
}

impl Iterator for Changes {
    type Item = Result<Commit>;

    /// The next commit; `None` if there is none at the moment, and once after each error.
    fn next(&mut self) -> Option<Result<Commit>> {
        if std::mem::take(&mut self.ended) {
            return None;
        }
        let next = self.try_next().transpose();
        self.ended = matches!(next, Some(Err(_)));
        next
    }
}
