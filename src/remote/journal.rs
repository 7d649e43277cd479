//! The journal: what the local backing has done and the bucket does not have yet, in order.
//!
//! Owns: the order of events, who waits for which of them, the size of the backlog. Never: does I/O.
//! Invariants: 1. Events leave in the order in which they were noted. 2. Events noted together leave together.
//! 3. A position is stored once all events up to it are.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::backing::{BackingFile, Backlog};
use crate::error::Error;

/// What a request gets that begins when the time for closing is over.
const MOMENT: Duration = Duration::from_millis(1);

/// An event, with the local file that still has its bytes.
#[derive(Debug)]
pub(super) enum Noted {
    Create,
    Range { file: Arc<dyn BackingFile>, begin: u64, end: u64 },
    Delete,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    pub(super) noted: Noted,
    /// How many events were noted by then.
    position: u64,
    since: Instant,
    /// It takes effect together with the one before it.
    is_joined: bool,
}

impl Item {
    pub(super) fn bytes(&self) -> u64 {
        match &self.noted {
            Noted::Range { begin, end, .. } => end - begin,
            Noted::Create | Noted::Delete => 0,
        }
    }
}

/// Why nothing more is stored.
#[derive(Clone, Debug)]
pub(super) enum End {
    Closed,
    Fenced { by: String, location: String },
    Failed(String),
}

impl End {
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Closed => Error::Closed,
            Self::Fenced { by, location } => Error::Fenced { location: location.clone(), by: by.clone() },
            Self::Failed(reason) => Error::Poisoned { reason: reason.clone() },
        }
    }
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    noted: u64,
    stored: u64,
    /// The highest position that somebody waits for.
    wanted: u64,
    backlog_bytes: u64,
    /// Of what the bucket lacked when the store was opened: the bytes that are not stored, and the position of its last event.
    opening: (u64, u64),
    /// Of the oldest event that was taken and is not stored.
    taken_since: Option<Instant>,
    closing_until: Option<Instant>,
    end: Option<End>,
    last_error: Option<String>,
}

/// What goes into one log object.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) position: u64,
    pub(super) bytes: u64,
}

/// When events leave the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long they are gathered if nobody waits.
    pub(super) lag: Duration,
    /// Bytes and events at which an object is full.
    pub(super) bytes_max: u64,
    pub(super) events_max: usize,
    /// Bytes at which nothing more is appended.
    pub(super) backlog_bytes_max: u64,
}

#[derive(Debug)]
pub(super) struct Journal {
    state: Mutex<State>,
    /// There is more to do for the uploader.
    grew: Condvar,
    /// More is stored, or nothing will be.
    shrank: Condvar,
    /// Until when closing may take, for requests that are under way.
    closes: watch::Sender<Option<Instant>>,
    pace: Pace,
    /// A fault of tests.
    overtakes: bool,
}

impl Journal {
    pub(super) fn new(pace: Pace, overtakes: bool) -> Self {
        let closes = watch::Sender::new(None);
        Self { state: Mutex::default(), grew: Condvar::new(), shrank: Condvar::new(), closes, pace, overtakes }
    }

    /// Notes what the bucket lacks when the store is opened. It is not appended any more, so it does not fill the backlog: otherwise a
    /// store with more than that could not be opened.
    pub(super) fn note_difference(&self, events: Vec<(Arc<str>, Noted)>) {
        self.note(events);
        let mut state = self.state.lock();
        state.opening = (state.backlog_bytes, state.noted);
    }

    /// Notes events that take effect together.
    pub(super) fn note(&self, events: impl IntoIterator<Item = (Arc<str>, Noted)>) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        let mut is_joined = false;
        for (name, noted) in events {
            state.noted += 1;
            let position = state.noted;
            let item = Item { name, noted, position, since: Instant::now(), is_joined };
            state.backlog_bytes += item.bytes();
            let merges = !is_joined && self.pace.events_max > 1;
            if !(merges && state.queue.back_mut().is_some_and(|last| extend(last, &item))) {
                state.queue.push_back(item);
                if self.overtakes {
                    overtake(&mut state.queue);
                }
            }
            is_joined = true;
        }
        drop(state);
        self.grew.notify_one();
    }

    /// The next events to store: once somebody waits for them, or they have waited long enough, or there are many. `None` when
    /// there are none and nothing more comes.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        loop {
            if state.end.is_some() {
                return None;
            }
            let Some(oldest) = state.queue.front() else {
                if state.closing_until.is_some() {
                    return None;
                }
                self.grew.wait(&mut state);
                continue;
            };
            let due = oldest.since + self.pace.lag;
            let is_wanted = state.wanted > state.stored || state.closing_until.is_some();
            if is_wanted || state.backlog_bytes >= self.pace.bytes_max || due <= Instant::now() {
                return Some(self.take(&mut state));
            }
            self.grew.wait_until(&mut state, due);
        }
    }

    fn take(&self, state: &mut State) -> Batch {
        let mut batch = Batch { items: Vec::new(), position: 0, bytes: 0 };
        state.taken_since = state.queue.front().map(|item| item.since);
        while let Some(next) = state.queue.front() {
            let is_full = batch.bytes >= self.pace.bytes_max || batch.items.len() >= self.pace.events_max;
            if is_full && !next.is_joined {
                break;
            }
            let Some(item) = state.queue.pop_front() else { break };
            batch.bytes += item.bytes();
            batch.position = item.position;
            batch.items.push(item);
        }
        batch
    }

    /// All events of a batch are stored.
    pub(super) fn stored(&self, batch: &Batch) {
        let mut state = self.state.lock();
        state.stored = batch.position;
        state.backlog_bytes = state.backlog_bytes.saturating_sub(batch.bytes);
        if state.stored >= state.opening.1 {
            state.opening.0 = 0;
        }
        state.taken_since = None;
        state.last_error = None;
        drop(state);
        self.shrank.notify_all();
    }

    /// Waits until everything up to a position is stored.
    pub(super) fn wait(&self, position: u64, until: Option<Instant>) -> io::Result<()> {
        let mut state = self.state.lock();
        state.wanted = state.wanted.max(position);
        self.grew.notify_one();
        loop {
            if state.stored >= position {
                return Ok(());
            }
            if let Some(end) = &state.end {
                return Err(io::Error::other(end.error()));
            }
            match until {
                // It may be stored, or the end have come, at the very moment.
                Some(until)
                    if self.shrank.wait_until(&mut state, until).timed_out()
                        && state.stored < position
                        && state.end.is_none() =>
                {
                    let why = state.last_error.clone().unwrap_or_else(|| "it is slow".to_owned());
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("the bucket does not have it yet: {why}"),
                    ));
                }
                Some(_) => {}
                None => self.shrank.wait(&mut state),
            }
        }
    }

    /// Pauses the uploader after a failure, unless the journal ends first. Says whether to go on.
    pub(super) fn pause(&self, pause: Duration, error: &Error) -> bool {
        let mut state = self.state.lock();
        state.last_error = Some(error.to_string());
        let mut until = Instant::now() + pause;
        while state.end.is_none() {
            if let Some(closing) = state.closing_until {
                if closing <= Instant::now() {
                    return false;
                }
                until = until.min(closing);
            }
            if until <= Instant::now() || self.grew.wait_until(&mut state, until).timed_out() {
                return true;
            }
        }
        false
    }

    /// Whether there is no more time for closing. What begins at the end of it gets a moment.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().closing_until.is_some_and(|until| until + MOMENT <= Instant::now())
    }

    /// Returns once the time for closing is over.
    pub(super) async fn closed(&self) {
        let mut closes = self.closes.subscribe();
        let until = closes.wait_for(Option::is_some).await.ok().and_then(|until| *until);
        // What begins at the end of it gets a moment.
        let until = until.unwrap_or_else(Instant::now).max(Instant::now() + MOMENT);
        tokio::time::sleep_until(until.into()).await;
    }

    /// Stores what there is, but gives up at some time.
    pub(super) fn close(&self, until: Instant) {
        self.state.lock().closing_until = Some(until);
        self.closes.send_replace(Some(until));
        self.grew.notify_all();
    }

    /// Nothing more is stored.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        state.queue.clear();
        (state.backlog_bytes, state.opening) = (0, (0, 0));
        drop(state);
        self.grew.notify_all();
        self.shrank.notify_all();
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.state.lock().end.clone()
    }

    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.backlog_bytes.saturating_sub(state.opening.0) >= self.pace.backlog_bytes_max
    }

    pub(super) fn noted(&self) -> u64 {
        self.state.lock().noted
    }

    pub(super) fn backlog(&self) -> Backlog {
        let state = self.state.lock();
        let since = state.taken_since.or_else(|| state.queue.front().map(|item| item.since));
        Backlog {
            noted: state.noted,
            stored: state.stored,
            bytes: state.backlog_bytes,
            age: since.map(|since| since.elapsed()).unwrap_or_default(),
            error: state.last_error.clone(),
        }
    }
}

/// Ends the journal when the uploader ends without having done so, which only a panic does. Nobody waits for ever.
#[derive(Debug)]
pub(super) struct EndsWithPanic<'j>(pub(super) &'j Journal);

impl Drop for EndsWithPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(End::Failed("the thread that uploads to the bucket panicked".to_owned()));
        }
    }
}

/// Adds a range to the one before it, if that ends where it begins.
fn extend(last: &mut Item, next: &Item) -> bool {
    let same = last.name == next.name && !last.is_joined;
    match (&mut last.noted, &next.noted) {
        (Noted::Range { end, .. }, Noted::Range { begin, end: reach, .. }) if same && end == begin => {
            *end = *reach;
            last.position = next.position;
            true
        }
        _ => false,
    }
}

/// Moves a range of a manifest that was noted last before up to three events of other files. The positions stay in order.
fn overtake(queue: &mut VecDeque<Item>) {
    for at in (queue.len().saturating_sub(3)..queue.len()).rev().filter(|at| *at > 0) {
        let [Some(before), Some(last)] = [queue.get(at - 1), queue.get(at)] else { return };
        let is_manifest = last.name.starts_with("manifest") && matches!(last.noted, Noted::Range { .. });
        if !is_manifest || before.name == last.name || before.is_joined || last.is_joined {
            return;
        }
        let positions = [before.position, last.position];
        queue.swap(at - 1, at);
        for (item, position) in queue.range_mut(at - 1..=at).zip(positions) {
            item.position = position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_when_the_time_is_over_is_stored() {
        let pace = Pace { lag: Duration::ZERO, bytes_max: 1, events_max: 1, backlog_bytes_max: 1 };
        let journal = Journal::new(pace, false);
        journal.note([(Arc::from("a"), Noted::Create)]);
        for is_stored in [true, false] {
            let position = if is_stored { 1 } else { 2 };
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| journal.wait(position, Some(Instant::now() + Duration::from_millis(50))));
                while journal.state.lock().wanted < position {
                    std::thread::yield_now();
                }
                // Whoever waits wakes up when its time is over, and gets the lock afterwards.
                let mut state = journal.state.lock();
                std::thread::sleep(Duration::from_millis(200));
                state.stored = 1;
                drop(state);
                let result = waits.join().expect("ends");
                assert_eq!(result.is_ok(), is_stored, "{result:?}");
            });
        }
    }
}
