//! A state of a bucket as a backing that is only read, without a local copy.
//!
//! Owns: which state is shown, and that its bytes are found where the writer has merged them. Never: changes the bucket.
//! Invariant: between two calls of `list` the state is the same one.

use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use parking_lot::{Mutex, RwLock};

use crate::backing::{Backing, BackingFile, BackingLock, ReadAt};
use crate::error::{Error, Result};
use crate::id::{to_u64, to_usize};
use crate::remote::bucket::Bucket;
use crate::remote::loading::{Advanced, Deletes, Loaded, PARALLEL};
use crate::remote::object::{LogPoint, Place};
use crate::remote::places::{AllOpened, Opened};
use crate::remote::reads::{Kept, Need, Reads};
use crate::remote::table::{File, Table};
use crate::remote::waits;

/// So often is the next object asked for before the log is listed: the next one may have been deleted.
const ASKED_MAX: u64 = 64;
/// Bytes of parts that are read before the reads that need them are answered.
const TOGETHER_BYTES: u64 = 32 << 20;
/// Log objects after which who goes on looks for a newer base than the one that its places come from.
const BASE_OBJECTS: u64 = 256;

/// The files of a bucket, read from it when they are needed. Open a store in it with `Options::read_only`.
///
/// A view of the newest state looks for a newer one each time that a store lists its files: when it is opened, and by
/// [`Store::refresh`](crate::Store::refresh). Parts that were read are kept in memory, 64 MiB of them.
#[derive(Debug, Clone)]
pub struct BucketView {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bucket: Bucket,
    follows: bool,
    /// Held while the next state is read, before `state`: one after the other, so that it never goes back.
    going: Mutex<()>,
    state: RwLock<State>,
    /// A later state, which has bytes of the one that is shown where no base up to that is left.
    later: RwLock<Option<Later>>,
    opened: AllOpened,
    kept: Mutex<Kept>,
}

/// The state that is shown.
#[derive(Debug, Clone)]
struct State {
    at: LogPoint,
    /// How many states were shown before.
    number: u64,
    loaded: Loaded,
    /// The epoch has ended.
    is_sealed: bool,
    /// Answers of `has_newer` since the log was listed.
    asked: u64,
    /// How often the places of bytes were loaded anew.
    moved: u64,
    /// At how many log objects since its base a newer one is looked for.
    base_due: u64,
}

/// What was the newest state, and the newest base.
#[derive(Debug)]
struct Later {
    at: LogPoint,
    base: Option<LogPoint>,
    table: Table,
}

impl State {
    fn new(at: LogPoint, loaded: Loaded) -> Self {
        let base_due = loaded.since_base.saturating_add(BASE_OBJECTS);
        Self { at, number: 0, loaded, is_sealed: false, asked: 0, moved: 0, base_due }
    }

    /// What was loaded after this one, of the same point or a later one.
    fn followed_by(&self, at: LogPoint, loaded: Loaded) -> Self {
        Self { number: self.number, moved: self.moved + 1, ..Self::new(at, loaded) }
    }
}

impl Bucket {
    /// The newest state, or another that is retained, to be read from the bucket.
    ///
    /// # Errors
    /// `NotAStore` if the bucket is empty, `PointGone` if an object is missing, `Corrupt` if one is damaged, `Io` if a request fails.
    pub fn view(&self, point: Option<LogPoint>) -> Result<BucketView> {
        let (at, loaded) = self.state(point)?;
        let inner = Inner {
            bucket: self.clone(),
            follows: point.is_none(),
            going: Mutex::default(),
            state: RwLock::new(State::new(at, loaded)),
            later: RwLock::default(),
            opened: AllOpened::default(),
            kept: Mutex::default(),
        };
        Ok(BucketView { inner: Arc::new(inner) })
    }

    fn state(&self, point: Option<LogPoint>) -> Result<(LogPoint, Loaded)> {
        let bucket = self.clone();
        self.run(async move {
            let empty = || Error::NotAStore { path: bucket.to_string(), why: "the bucket is empty".to_owned() };
            let point = match point {
                Some(point) => point,
                None => bucket.newest().await?.ok_or_else(empty)?,
            };
            Ok((point, bucket.load(point, Deletes::Apply).await?))
        })
    }
}

impl BucketView {
    /// The state that it shows.
    pub fn point(&self) -> LogPoint {
        self.inner.state.read().at
    }

    /// Whether the bucket has a newer state than the one that is shown: one request. `Store::refresh` goes on to it.
    ///
    /// After every 64th call the answer is `true`, so that who polls looks at the whole log from time to time: the next object may
    /// be one of those that were deleted, when the view is older than the retention. A view of a chosen point has none.
    ///
    /// # Errors
    /// `Io` if the request fails.
    pub fn has_newer(&self) -> Result<bool> {
        let (at, is_sealed) = {
            let mut state = self.inner.state.write();
            state.asked += 1;
            if state.asked >= ASKED_MAX {
                return Ok(self.inner.follows);
            }
            (state.at, state.is_sealed)
        };
        if !self.inner.follows {
            return Ok(false);
        }
        let bucket = self.inner.bucket.clone();
        self.inner.bucket.run(async move { bucket.has_next(at, is_sealed).await })
    }
}

impl BucketView {
    /// Goes on to the newest state, unless it shows a chosen one.
    fn go_on(&self) -> io::Result<()> {
        if self.inner.follows {
            let _one_at_a_time = waits::lock(&self.inner.going).map_err(io::Error::other)?;
            let state = self.inner.state.read().clone();
            let (at, number) = (state.at, state.number);
            let mut newer = self.inner.newer(state).map_err(io::Error::other)?;
            newer.number = number + u64::from(newer.at != at);
            if newer.at != at {
                *self.inner.later.write() = None;
            }
            self.inner.show(newer);
        }
        Ok(())
    }
}

impl Inner {
    /// Shows a state. If it has new places of bytes, open files go on to them.
    fn show(&self, state: State) {
        let (moved, table) = (state.moved, state.loaded.table.clone());
        let before = std::mem::replace(&mut *self.state.write(), state);
        if before.moved != moved {
            self.opened.move_to(&table);
        }
    }

    /// The newest state, from an older one if all objects between are there.
    fn newer(&self, state: State) -> Result<State> {
        let (bucket, at) = (self.bucket.clone(), state.at);
        // Nothing follows the end of an epoch but another one.
        if state.is_sealed && !self.bucket.run(async move { bucket.has_next(at, true).await })? {
            return Ok(State { asked: 0, ..state });
        }
        let state = if state.loaded.since_base >= state.base_due { self.with_newer_base(state) } else { state };
        let (bucket, loaded) = (self.bucket.clone(), state.loaded.clone());
        let advanced = self.bucket.run(async move { bucket.advance(at, loaded).await });
        match advanced {
            Ok(Advanced::To(at, loaded, is_sealed)) => {
                // Who has opened a file that is deleted now can read it for as long as its bytes are retained: later bases do not know them.
                if self.opened.loses_some(&state.loaded.table, &loaded.table)
                    && let Ok(Some(last)) = self.find_newer_base(&state)
                {
                    self.opened.move_to(&last.loaded.table);
                }
                Ok(State { at, loaded, is_sealed, asked: 0, ..state })
            }
            Ok(Advanced::Lost) => self.newest(&state),
            // A base may have what a missing or a damaged object had.
            Err(error) if error.is_corruption() || matches!(error, Error::PointGone { .. }) => {
                self.newest(&state).map_err(|_again| error)
            }
            Err(error) => Err(error),
        }
    }

    fn newest(&self, before: &State) -> Result<State> {
        let (at, loaded) = self.bucket.state(None)?;
        Ok(before.followed_by(at, loaded))
    }

    /// The same state with the places of a newer base, if there is one that can be read. Without one what it has may serve as well.
    fn with_newer_base(&self, state: State) -> State {
        match self.find_newer_base(&state) {
            Ok(Some(found)) => {
                self.show(found.clone());
                found
            }
            Ok(None) | Err(_) => {
                let base_due = state.loaded.since_base.saturating_add(BASE_OBJECTS);
                State { base_due, ..state }
            }
        }
    }

    fn find_newer_base(&self, state: &State) -> Result<Option<State>> {
        let (bucket, at, known) = (self.bucket.clone(), state.at, state.loaded.clone());
        let loaded = self.bucket.run(async move { bucket.with_newer_base(at, known).await })?;
        let (is_sealed, asked) = (state.is_sealed, state.asked);
        Ok(loaded.map(|loaded| State { is_sealed, asked, ..state.followed_by(at, loaded) }))
    }

    /// Reads. If an object is gone, its bytes may be elsewhere: a writer merges small parts, and deletes what they were in. Then the
    /// places that the newest base up to this state has are tried, and last those of the newest state.
    fn read<T>(&self, mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut before = self.state.read().moved;
        let gone = match read() {
            Err(error) if is_gone(&error) => error,
            result => return result,
        };
        for is_last in [false, true] {
            match if is_last { self.move_to_newest(before) } else { self.move_to_base(before) } {
                Ok(true) => {
                    before = self.state.read().moved;
                    match read() {
                        Err(error) if is_gone(&error) => {}
                        result => return result,
                    }
                }
                Ok(false) => {}
                Err(error)
                    if error.is_corruption() || matches!(error, Error::PointGone { .. } | Error::NotAStore { .. }) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Err(gone)
    }

    /// Does the first of some reads, at least one. Returns how many.
    fn read_some(&self, reads: &mut [ReadAt<'_>]) -> io::Result<usize> {
        let (mut together, mut needs) = (Reads::default(), Vec::new());
        for read in reads.iter_mut() {
            if together.bytes >= TOGETHER_BYTES {
                break;
            }
            let (bytes, file) = self.file(&self.state.read(), read.name)?;
            let name = Arc::from(read.name);
            needs.push(together.add(&self.bucket.names, &name, (bytes, &file), read.offset, read.buffer)?);
        }
        let parts = self.parts(&together.needs).map_err(io::Error::other)?;
        for (read, needs) in reads.iter_mut().zip(&needs) {
            if let Some(needs) = needs {
                together.fill(&parts, needs, read.offset, read.buffer)?;
            }
        }
        Ok(needs.len())
    }

    /// How many bytes a file of the state has, and where they are.
    fn file(&self, state: &State, name: &str) -> io::Result<(u64, Arc<File>)> {
        let file = state.loaded.table.file(name).ok_or(io::ErrorKind::NotFound)?;
        let later = self.later.read();
        let moved = later.as_ref().and_then(|later| later.table.file(name)).filter(|moved| moved.goes_on_from(file));
        Ok((file.len(), Arc::clone(moved.unwrap_or(file))))
    }

    /// Goes on to the places of the newest base up to this state. Says whether there are others than before.
    fn move_to_base(&self, before: u64) -> Result<bool> {
        let _one_at_a_time = waits::lock(&self.going)?;
        let state = self.state.read().clone();
        if state.moved != before {
            return Ok(true);
        }
        let found = self.find_newer_base(&state)?;
        let is_found = found.is_some();
        if let Some(found) = found {
            self.show(found);
        }
        Ok(is_found)
    }

    /// Takes the places of the newest state as well. The state that is shown stays the same. Says whether there are others than before.
    fn move_to_newest(&self, before: u64) -> Result<bool> {
        let _one_at_a_time = waits::lock(&self.going)?;
        let bucket = self.bucket.clone();
        let newest = self.bucket.run(async move {
            let Some(at) = bucket.newest().await? else { return Ok(None) };
            Ok(Some((at, bucket.bases(at).await?.last().copied())))
        })?;
        // The same state has other places only in another base.
        let has = |later: &Later| newest == Some((later.at, later.base));
        if self.later.read().as_ref().is_some_and(has) {
            return Ok(self.state.read().moved != before);
        }
        let (at, loaded) = self.bucket.state(newest.map(|(at, _)| at))?;
        let later = Later { at, base: newest.and_then(|(_, base)| base), table: loaded.table };
        self.opened.move_to(&later.table);
        *self.later.write() = Some(later);
        self.state.write().moved += 1;
        Ok(true)
    }

    /// The bytes of parts of files. Those that are not kept are read from the bucket, several at a time.
    fn parts(&self, needs: &[Need]) -> Result<Vec<Arc<Vec<u8>>>> {
        let mut found: Vec<Option<Arc<Vec<u8>>>> = Vec::with_capacity(needs.len());
        {
            let (kept, state) = (self.kept.lock(), self.state.read());
            for need in needs {
                let part = kept.parts.get(&need.key()).filter(|part| to_u64(part.len()) >= need.end - need.begin);
                found.push(part.map(Arc::clone).or_else(|| inline(&state.loaded, need)));
            }
        }
        let missing: Vec<usize> = (0..needs.len()).filter(|at| found.get(*at).is_some_and(Option::is_none)).collect();
        if missing.is_empty() {
            return Ok(found.into_iter().flatten().collect());
        }
        let reads = missing.iter().filter_map(|at| needs.get(*at)).map(|need| {
            let (bucket, file, is_whole, piece) =
                (self.bucket.clone(), Arc::clone(&need.file), need.is_whole(), need.piece);
            let (object, range) = (need.object.clone(), need.in_object + need.begin..need.in_object + need.end);
            async move {
                if is_whole {
                    return bucket.piece(&file, &piece).await;
                }
                // The store checks what it reads; the checksum here is one of the whole piece.
                let (begin, end, bytes) = (range.start, range.end, range.end - range.start);
                let read = match bucket.range(&object, range).await? {
                    Ok(read) => read,
                    Err(error) => return Err(bucket.unread(&file, &object, end, error).await),
                };
                if to_u64(read.len()) != bytes {
                    return Err(Error::corrupt(object.as_ref(), begin, "a part of a file", bytes, read.len()));
                }
                Ok(read)
            }
        });
        let reads: Vec<_> = reads.collect();
        let reads = async move { futures_util::stream::iter(reads).buffered(PARALLEL).try_collect::<Vec<_>>().await };
        let read = self.bucket.run(reads)?;
        let mut kept = self.kept.lock();
        for (at, bytes) in missing.into_iter().zip(read) {
            let part = Arc::new(bytes);
            if let (Some(need), Some(found)) = (needs.get(at), found.get_mut(at)) {
                kept.keep(need.key(), &part);
                *found = Some(part);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// A part that is in a log object which was read for the state.
fn inline(loaded: &Loaded, need: &Need) -> Option<Arc<Vec<u8>>> {
    let Place::Inline { at, .. } = need.piece.place else { return None };
    let begin = to_usize(need.in_object + need.begin);
    let bytes = loaded.log(at)?.get(begin..begin + to_usize(need.end - need.begin))?;
    Some(Arc::new(bytes.to_vec()))
}

/// Whether an object that a read needs does not exist.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(Error::PointGone { .. }))
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

#[derive(Debug)]
struct ViewFile {
    inner: Arc<Inner>,
    opened: Arc<Opened>,
}

impl BackingFile for ViewFile {
    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read(|| {
            let (name, bytes, file) = (&self.opened.name, self.opened.bytes, self.opened.file());
            let mut reads = Reads::default();
            let names = &self.inner.bucket.names;
            let Some(needs) = reads.add(names, name, (bytes, &file), offset, buffer)? else { return Ok(()) };
            let parts = self.inner.parts(&reads.needs).map_err(io::Error::other)?;
            reads.fill(&parts, &needs, offset, buffer)
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.opened.bytes)
    }
}

impl Backing for BucketView {
    fn create(&self, _name: &str) -> io::Result<Arc<dyn BackingFile>> {
        read_only()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        // While it is opened nothing moves.
        let state = self.inner.state.read();
        let (bytes, file) = self.inner.file(&state, name)?;
        let opened = self.inner.opened.open(name, bytes, file);
        Ok(Arc::new(ViewFile { inner: Arc::clone(&self.inner), opened }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.go_on()?;
        Ok(self.inner.state.read().loaded.table.iter().map(|(name, _)| name.to_owned()).collect())
    }

    fn reads_at_once(&self) -> usize {
        PARALLEL
    }

    fn read_many(&self, reads: &mut [ReadAt<'_>]) -> io::Result<()> {
        let mut left = reads;
        while !left.is_empty() {
            let done = self.inner.read(|| self.inner.read_some(left))?;
            left = std::mem::take(&mut left).split_at_mut(done).1;
        }
        Ok(())
    }

    fn look_again(&self) -> io::Result<Option<u64>> {
        if self.has_newer().map_err(io::Error::other)? {
            self.go_on()?;
        }
        Ok(Some(self.inner.state.read().number))
    }

    fn delete(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        read_only()
    }

    fn location(&self) -> String {
        self.inner.bucket.to_string()
    }
}
