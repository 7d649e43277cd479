//! A state of a bucket as a backing that is only read, without a local copy.
//!
//! Owns: which parts of files were read lately, up to a limit. Never: changes the bucket.
//! Invariant: between two calls of `list` the state is the same one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parking_lot::{Mutex, RwLock};

use crate::backing::{Backing, BackingFile, BackingLock, ReadAt};
use crate::error::{Error, Result};
use crate::id::{to_u64, to_usize};
use crate::remote::bucket::Bucket;
use crate::remote::loading::{Advanced, Deletes, Loaded, PARALLEL};
use crate::remote::object::{LogPoint, Piece, Place};
use crate::remote::table::File;

/// What is larger is read in blocks of this size.
const BLOCK_BYTES: u64 = 128 << 10;
/// So often is the next object asked for before the log is listed: the next one may have been deleted.
const ASKED_MAX: u64 = 64;
/// Bytes of parts that are read before the reads that need them are answered.
const TOGETHER_BYTES: u64 = 32 << 20;
/// Bytes of parts that are kept, with what keeping one takes itself.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Names, and nodes of maps.
const KEPT_BYTES_EACH: usize = 512;

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
}

impl From<(LogPoint, Loaded)> for State {
    fn from((at, loaded): (LogPoint, Loaded)) -> Self {
        Self { at, number: 0, loaded, is_sealed: false, asked: 0 }
    }
}

/// Parts of objects: the object, where the part begins in it, its bytes.
#[derive(Debug, Default)]
struct Kept {
    parts: BTreeMap<(Path, u64), Arc<Vec<u8>>>,
    order: VecDeque<(Path, u64)>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, key: (Path, u64), part: &Arc<Vec<u8>>) {
        if part.len() > KEPT_BYTES_MAX / 4 || self.parts.get(&key).is_some_and(|kept| kept.len() >= part.len()) {
            return;
        }
        self.bytes += part.len();
        match self.parts.insert(key.clone(), Arc::clone(part)) {
            // Another read began at the same place, and was shorter.
            Some(shorter) => self.bytes -= shorter.len(),
            None => {
                self.bytes += KEPT_BYTES_EACH;
                self.order.push_back(key);
            }
        }
        while self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.parts.remove(&oldest).map_or(0, |part| part.len() + KEPT_BYTES_EACH);
        }
    }
}

impl Bucket {
    /// The newest state, or another that is retained, to be read from the bucket.
    ///
    /// # Errors
    /// `NotAStore` if the bucket is empty, `PointGone` if an object is missing, `Corrupt` if one is damaged, `Io` if a request fails.
    pub fn view(&self, point: Option<LogPoint>) -> Result<BucketView> {
        let state = RwLock::new(State::from(self.state(point)?));
        let (going, kept) = (Mutex::default(), Mutex::default());
        let inner = Inner { bucket: self.clone(), follows: point.is_none(), going, state, kept };
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
    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        Ok(Arc::clone(self.inner.state.read().loaded.table.file(name).ok_or(io::ErrorKind::NotFound)?))
    }

    /// Goes on to the newest state, unless it shows a chosen one.
    fn go_on(&self) -> io::Result<()> {
        if self.inner.follows {
            let _one_at_a_time = self.inner.going.lock();
            let state = self.inner.state.read().clone();
            let (at, number) = (state.at, state.number);
            let mut newer = self.inner.newer(state).map_err(io::Error::other)?;
            newer.number = number + u64::from(newer.at != at);
            *self.inner.state.write() = newer;
        }
        Ok(())
    }
}

/// A part of a file that is to be read.
#[derive(Debug)]
struct Need {
    file: Arc<str>,
    piece: Piece,
    /// What of the piece: the whole, or some blocks of it.
    begin: u64,
    end: u64,
    object: Path,
    in_object: u64,
}

impl Need {
    fn key(&self) -> (Path, u64) {
        (self.object.clone(), self.in_object + self.begin)
    }

    fn is_whole(&self) -> bool {
        (self.begin, self.end) == (0, self.piece.bytes)
    }
}

/// Reads that are answered together. What several of them need is read once.
#[derive(Debug, Default)]
struct Reads {
    needs: Vec<Need>,
    by_key: HashMap<(Path, u64), usize>,
    bytes: u64,
}

impl Reads {
    /// Adds a read. Returns which of the needs have its bytes, in their order.
    fn add(
        &mut self,
        inner: &Inner,
        name: &Arc<str>,
        file: &File,
        offset: u64,
        bytes: usize,
    ) -> io::Result<Vec<usize>> {
        let end = offset.checked_add(to_u64(bytes)).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > file.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let first = file.pieces.partition_point(|piece| piece.end() <= offset);
        let pieces = file.pieces.get(first..).unwrap_or_default().iter().take_while(|piece| piece.begin < end);
        let needs = pieces.map(|piece| {
            let at = offset.max(piece.begin);
            self.add_need(inner.need(name, piece, at, end - at))
        });
        Ok(needs.collect())
    }

    fn add_need(&mut self, need: Need) -> usize {
        let at = *self.by_key.entry(need.key()).or_insert(self.needs.len());
        match self.needs.get_mut(at) {
            Some(known) => {
                self.bytes += need.end.saturating_sub(known.end);
                known.end = known.end.max(need.end);
            }
            None => {
                self.bytes += need.end - need.begin;
                self.needs.push(need);
            }
        }
        at
    }

    /// Copies what was read for one of the reads.
    fn fill(&self, parts: &[Arc<Vec<u8>>], needs: &[usize], offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buffer);
        for index in needs {
            let (Some(need), Some(part)) = (self.needs.get(*index), parts.get(*index)) else { break };
            let found = part.get(to_usize(at - need.piece.begin - need.begin)..).unwrap_or_default();
            let bytes = found.len().min(rest.len()).min(to_usize(need.piece.end() - at));
            let (now, later) = rest.split_at_mut(bytes);
            now.copy_from_slice(found.get(..bytes).unwrap_or_default());
            (at, rest) = (at + to_u64(bytes), later);
        }
        if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Inner {
    /// The newest state, from an older one if all objects between are there.
    fn newer(&self, state: State) -> Result<State> {
        let (bucket, at) = (self.bucket.clone(), state.at);
        // Nothing follows the end of an epoch but another one.
        if state.is_sealed && !self.bucket.run(async move { bucket.has_next(at, true).await })? {
            return Ok(State { asked: 0, ..state });
        }
        let bucket = self.bucket.clone();
        let advanced = self.bucket.run(async move { bucket.advance(state.at, state.loaded).await });
        match advanced {
            Ok(Advanced::To(at, loaded, is_sealed)) => Ok(State { is_sealed, ..State::from((at, loaded)) }),
            Ok(Advanced::Lost) => self.bucket.state(None).map(State::from),
            // A base may have what a missing or a damaged object had.
            Err(error) if error.is_corruption() || matches!(error, Error::PointGone { .. }) => {
                self.bucket.state(None).map(State::from).map_err(|_again| error)
            }
            Err(error) => Err(error),
        }
    }

    /// What has the bytes of a file from an offset on, no more than `wanted` of them.
    fn need(&self, file: &Arc<str>, piece: &Piece, at: u64, wanted: u64) -> Need {
        let (object, in_object) = match piece.place {
            Place::Inline { at, offset } => (self.bucket.names.log(at), offset),
            Place::Data { at } => (self.bucket.names.data(file, at, piece.begin), 0),
        };
        let (begin, end) = if piece.bytes <= BLOCK_BYTES {
            (0, piece.bytes)
        } else {
            let inside = at - piece.begin;
            let begin = inside / BLOCK_BYTES * BLOCK_BYTES;
            (begin, (begin + BLOCK_BYTES).max(inside.saturating_add(wanted)).min(piece.bytes))
        };
        Need { file: Arc::clone(file), piece: *piece, begin, end, object, in_object }
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

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

/// Reads what the head of a file has, which needs no request.
fn from_head(file: &File, offset: u64, buffer: &mut [u8]) -> bool {
    let end = offset.saturating_add(to_u64(buffer.len()));
    let head = file.head.get(to_usize(offset)..to_usize(end));
    if let Some(head) = head {
        buffer.copy_from_slice(head);
    }
    head.is_some()
}

#[derive(Debug)]
struct ViewFile {
    inner: Arc<Inner>,
    name: Arc<str>,
    file: Arc<File>,
}

impl BackingFile for ViewFile {
    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if from_head(&self.file, offset, buffer) {
            return Ok(());
        }
        let mut reads = Reads::default();
        let needs = reads.add(&self.inner, &self.name, &self.file, offset, buffer.len())?;
        let parts = self.inner.parts(&reads.needs).map_err(io::Error::other)?;
        reads.fill(&parts, &needs, offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len())
    }
}

impl Backing for BucketView {
    fn create(&self, _name: &str) -> io::Result<Arc<dyn BackingFile>> {
        read_only()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let file = self.file(name)?;
        Ok(Arc::new(ViewFile { inner: Arc::clone(&self.inner), name: Arc::from(name), file }))
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
            let (mut together, mut needs) = (Reads::default(), Vec::new());
            for read in left.iter_mut() {
                if together.bytes >= TOGETHER_BYTES {
                    break;
                }
                let file = self.file(read.name)?;
                needs.push(if from_head(&file, read.offset, read.buffer) {
                    None
                } else {
                    let (name, bytes) = (Arc::from(read.name), read.buffer.len());
                    Some(together.add(&self.inner, &name, &file, read.offset, bytes)?)
                });
            }
            let parts = self.inner.parts(&together.needs).map_err(io::Error::other)?;
            let (some, rest) = std::mem::take(&mut left).split_at_mut(needs.len());
            for (read, needs) in some.iter_mut().zip(needs) {
                if let Some(needs) = needs {
                    together.fill(&parts, &needs, read.offset, read.buffer)?;
                }
            }
            left = rest;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_with_what_keeping_takes() {
        let mut kept = Kept::default();
        let part = Arc::new(vec![1; 10]);
        for number in 0..300_000 {
            kept.keep((Path::from("log"), number), &part);
        }
        assert!(kept.parts.len() <= KEPT_BYTES_MAX / KEPT_BYTES_EACH, "{} parts", kept.parts.len());
        assert!(kept.parts.len() == kept.order.len() && kept.parts.len() > 100_000);
        let longer = Arc::new(vec![1; 5000]);
        let key = (Path::from("log"), 299_999);
        for (part, wanted) in [(&longer, 5000), (&part, 5000)] {
            kept.keep(key.clone(), part);
            assert_eq!(kept.parts[&key].len(), wanted);
        }
        let bytes: usize = kept.parts.values().map(|part| part.len() + KEPT_BYTES_EACH).sum();
        assert_eq!(kept.bytes, bytes);
    }
}
