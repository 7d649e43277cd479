//! The uploader: a thread that puts what the journal holds into the bucket.
//!
//! Owns: the numbers of one epoch's log, and its bases. Never: puts a log object before the one with the number before it is
//! known to be stored, or one that names data that is not.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use object_store::PutPayload;
use object_store::path::Path;

use crate::backing::{Backing, BackingFile};
use crate::error::{Error, Result};
use crate::id::to_usize;
use crate::remote::bucket::{Bucket, Found, Outcome};
use crate::remote::epochs::is_own;
use crate::remote::journal::{Batch, End, EndsWithPanic, Item, Journal, Noted};
use crate::remote::loading::Loaded;
use crate::remote::merging::{Allowance, Merge, choose};
use crate::remote::object::{
    Body, Event, HEAD_BYTES, LogPoint, Nonce, Object, Piece, Place, decode, encode, inline_begin,
};
use crate::remote::options::RemoteOptions;

/// Data objects that are read and put at a time.
const PARTS_AT_ONCE: usize = 4;
/// A range below this is always inline.
const ALONE_BYTES_MIN: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Uploader {
    pub(super) bucket: Bucket,
    pub(super) journal: Arc<Journal>,
    pub(super) options: RemoteOptions,
    pub(super) nonce: Nonce,
    /// The last log object of this epoch.
    pub(super) at: LogPoint,
    pub(super) loaded: Loaded,
    /// The local files.
    pub(super) local: Arc<dyn Backing>,
    /// What bases may merge.
    pub(super) allowance: Allowance,
    /// When deleting what is not needed was last begun.
    pub(super) pruned: Option<Instant>,
}

/// A part of a file that becomes an object.
struct Part {
    name: Path,
    file: Arc<dyn BackingFile>,
    begin: u64,
    bytes: u64,
}

/// What a batch becomes.
#[derive(Default)]
struct Prepared {
    events: Vec<Event>,
    inline: Vec<Vec<u8>>,
    parts: Vec<Part>,
}

impl Uploader {
    /// Uploads until the journal is closed and empty, or ends.
    pub(super) fn run(mut self) {
        let journal = Arc::clone(&self.journal);
        let _panic = EndsWithPanic(&journal);
        while let Some(batch) = self.journal.next() {
            match self.upload(&batch) {
                Ok(true) => self.journal.stored(&batch),
                Ok(false) => break,
                Err(error) => {
                    self.journal.end(End::Failed(error.to_string()));
                    return;
                }
            }
            self.put_base();
        }
        if self.journal.ended().is_none() {
            let at = self.following();
            let seal = Object { nonce: self.nonce, at, body: Body::Seal { is_own: true } };
            drop(self.put_until_known(&self.bucket.names.log(at), encode(&seal, &[]), at));
            self.journal.end(End::Closed);
        }
    }

    fn following(&self) -> LogPoint {
        LogPoint { number: self.at.number + 1, ..self.at }
    }

    /// Uploads a batch. Says whether it is stored; if not, the journal ends.
    fn upload(&mut self, batch: &Batch) -> Result<bool> {
        let at = self.following();
        let Some(prepared) = prepare(&self.bucket, &batch.items, at, self.options.part_bytes, &self.journal)? else {
            return Ok(self.gives_up());
        };
        if !self.put_parts(&prepared.parts)? {
            return Ok(false);
        }
        let events = prepared.events;
        let body = Body::Events { millis: now_millis(), events };
        let object = Object { nonce: self.nonce, at, body };
        let inline: Vec<&[u8]> = prepared.inline.iter().map(Vec::as_slice).collect();
        let bytes = encode(&object, &inline);
        let name = self.bucket.names.log(at);
        if !self.put_until_known(&name, bytes, at)? {
            return Ok(false);
        }
        self.at = at;
        self.loaded.since_base += 1;
        self.allowance.uploaded(batch.bytes);
        if let Body::Events { events, .. } = object.body {
            for event in events {
                self.loaded.table.apply(name.as_ref(), event)?;
            }
        }
        Ok(true)
    }

    /// Puts a log object until it is known whether it is stored. If another is there, this writer is fenced.
    fn put_until_known(&self, name: &Path, bytes: Vec<u8>, at: LogPoint) -> Result<bool> {
        let payload = PutPayload::from(bytes);
        let nonce = self.nonce;
        self.repeat(|| {
            let (bucket, name, payload) = (self.bucket.clone(), name.clone(), payload.clone());
            async move { Ok(vec![bucket.put(&name, payload, |found| is_own(found, nonce, at)).await]) }
        })
    }

    /// Puts data objects, several at a time.
    fn put_parts(&self, parts: &[Part]) -> Result<bool> {
        for some in parts.chunks(PARTS_AT_ONCE) {
            let mut read = Vec::new();
            for part in some {
                if self.journal.is_over() {
                    return Ok(self.gives_up());
                }
                let mut bytes = vec![0; to_usize(part.bytes)];
                let failed = |source| Error::io("read", part.name.to_string(), source);
                part.file.read_at(part.begin, &mut bytes).map_err(failed)?;
                read.push((part.name.clone(), PutPayload::from(bytes)));
            }
            let stored = self.repeat(|| {
                let (bucket, read) = (self.bucket.clone(), read.clone());
                async move {
                    let puts = read.into_iter().map(|(name, payload)| {
                        let (bucket, wanted) = (bucket.clone(), payload.clone());
                        async move {
                            let is_own = |found: &[u8]| wanted.iter().flatten().eq(found.iter());
                            bucket.put(&name, payload, is_own).await
                        }
                    });
                    Ok(futures_util::stream::iter(puts).buffered(PARTS_AT_ONCE).collect::<Vec<_>>().await)
                }
            })?;
            if !stored {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Repeats puts until the outcome of all is known, or the journal ends.
    fn repeat<F>(&self, puts: impl Fn() -> F) -> Result<bool>
    where
        F: Future<Output = Result<Vec<Outcome>>> + Send + 'static,
    {
        let (mut pause, longest) = self.options.retry;
        loop {
            let unknown = match self.request(puts()) {
                Ok(outcomes) => {
                    let mut unknown = None;
                    for outcome in outcomes {
                        match outcome {
                            Outcome::Stored => {}
                            Outcome::Taken(bytes) => {
                                self.fenced(&bytes);
                                return Ok(false);
                            }
                            Outcome::Unknown(error) => unknown = Some(error),
                        }
                    }
                    unknown
                }
                Err(error) => Some(error),
            };
            let Some(error) = unknown else { return Ok(true) };
            if !self.journal.pause(pause, &error) {
                return Ok(self.gives_up());
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// There is no time left: nothing more is stored. What the bucket has of it is known to the next opening.
    fn gives_up(&self) -> bool {
        self.journal.end(End::Closed);
        false
    }

    fn fenced(&self, bytes: &[u8]) {
        let by = match decode("", bytes) {
            Ok(Object { body: Body::Seal { .. }, at, .. }) => format!("the log of epoch {} ends before {at}", at.epoch),
            Ok(Object { at, .. }) => format!("it has written {at}"),
            Err(_) => "an object that is not this writer's is in the way".to_owned(),
        };
        self.journal.end(End::Fenced { by, location: self.bucket.to_string() });
    }

    /// Whether the bucket still has this writer's epoch. If not, the journal ends: what is put into a bucket that was emptied is no
    /// store.
    fn is_there(&self) -> bool {
        let (bucket, epoch) = (self.bucket.clone(), LogPoint { number: 0, ..self.at });
        let name = bucket.names.epoch(epoch.epoch);
        let shown = format!("{name} in {}", self.bucket);
        match self.request(async move { bucket.get(&name).await }) {
            Ok(Found::Bytes(bytes)) if is_own(&bytes, self.nonce, epoch) => true,
            Ok(found) => {
                let what = if found == Found::Nothing { "is gone" } else { "is not this writer's any more" };
                let why = "objects were deleted or replaced that no program may touch";
                self.journal.end(End::Failed(format!("the epoch of this opening, {shown}, {what}: {why}")));
                false
            }
            // The next base brings another attempt.
            Err(_) => true,
        }
    }

    /// Runs requests, but not beyond the time that closing may take.
    fn request<T: Send + 'static>(&self, future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (journal, shown) = (Arc::clone(&self.journal), self.bucket.to_string());
        self.bucket.run(async move {
            match select(pin!(future), pin!(journal.closed())).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(Error::io("reach", shown, io::ErrorKind::TimedOut.into())),
            }
        })
    }

    /// Writes a base, if one is due. If that fails, the next log object brings another attempt.
    fn put_base(&mut self) {
        if self.loaded.since_base < self.options.base_every || !self.is_there() {
            return;
        }
        self.merge();
        let (bucket, nonce, at) = (self.bucket.clone(), self.nonce, self.at);
        let body = Body::Base { millis: now_millis(), files: self.loaded.table.to_base() };
        let bytes = encode(&Object { nonce, at, body }, &[]);
        let put = async move {
            let name = bucket.names.base(at);
            Ok(bucket.put(&name, PutPayload::from(bytes), |found| is_own(found, nonce, at)).await)
        };
        if let Ok(Outcome::Stored) = self.request(put) {
            self.loaded.since_base = 0;
            self.prune();
        }
    }
}

impl Uploader {
    /// Merges small parts of files, so that who opens the bucket needs few requests. What fails stays as it is.
    fn merge(&mut self) {
        let at = self.at;
        let merges = choose(&self.loaded.table, self.allowance);
        let read = merges.into_iter().take_while(|_| !self.journal.is_over()).filter_map(|merge| {
            let bytes = read_checked(&*self.local, &merge)?;
            Some((self.bucket.names.data(&merge.name, at, merge.begin()), merge, PutPayload::from(bytes)))
        });
        let read: Vec<_> = read.collect();
        let bucket = self.bucket.clone();
        let put = async move {
            let puts = read.into_iter().map(|(name, merge, payload)| {
                let (bucket, wanted) = (bucket.clone(), payload.clone());
                async move {
                    let is_own = |found: &[u8]| wanted.iter().flatten().eq(found.iter());
                    let outcome = bucket.put(&name, payload, is_own).await;
                    matches!(outcome, Outcome::Stored).then_some((merge, wanted))
                }
            });
            Ok(futures_util::stream::iter(puts).buffered(PARTS_AT_ONCE).collect::<Vec<_>>().await)
        };
        let Ok(stored) = self.request(put) else { return };
        for (merge, payload) in stored.into_iter().flatten() {
            self.allowance.used(merge.bytes);
            let mut hasher = crc32fast::Hasher::new();
            payload.iter().for_each(|bytes| hasher.update(bytes));
            let piece = Piece {
                begin: merge.begin(),
                bytes: merge.bytes,
                checksum: hasher.finalize(),
                place: Place::Data { at },
            };
            self.loaded.table.replace(&merge.name, piece);
        }
    }

    /// Deletes what is not needed any more, from time to time. What fails is tried again next time.
    fn prune(&mut self) {
        let Some(every) = self.options.prune_every else { return };
        if self.pruned.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        self.pruned = Some(Instant::now());
        let pruning = self.bucket.clone().prune_now(self.at.epoch, self.nonce, self.options.retention);
        self.bucket.spawn(async move { drop(pruning.await) });
    }
}

/// The bytes of parts, if the local file still has them as they were uploaded.
fn read_checked(local: &dyn Backing, merge: &Merge) -> Option<Vec<u8>> {
    let file = local.open(&merge.name).ok()?;
    let mut bytes = vec![0; to_usize(merge.bytes)];
    file.read_at(merge.begin(), &mut bytes).ok()?;
    let mut rest = &bytes[..];
    for piece in &merge.pieces {
        let (part, after) = rest.split_at_checked(to_usize(piece.bytes))?;
        if crc32fast::hash(part) != piece.checksum {
            return None;
        }
        rest = after;
    }
    Some(bytes)
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reads what is small, and cuts what is large into parts. `None` if the time for closing is over before all of it is read.
fn prepare(
    bucket: &Bucket,
    items: &[Item],
    at: LogPoint,
    part_bytes: u64,
    journal: &Journal,
) -> Result<Option<Prepared>> {
    let mut prepared = Prepared::default();
    let mut inline_bytes = 0;
    for item in items {
        let name = item.name.to_string();
        match &item.noted {
            Noted::Create => prepared.events.push(Event::Create { name }),
            Noted::Delete => prepared.events.push(Event::Delete { name }),
            Noted::Range { file, begin, end } => {
                let mut at_byte = *begin;
                while at_byte < *end {
                    if journal.is_over() {
                        return Ok(None);
                    }
                    let left = end - at_byte;
                    let bytes = if left >= part_bytes.saturating_mul(2) { part_bytes } else { left };
                    let mut content = vec![0; to_usize(bytes)];
                    file.read_at(at_byte, &mut content).map_err(|source| Error::io("read", &name, source))?;
                    let checksum = crc32fast::hash(&content);
                    let is_alone =
                        bytes >= part_bytes || (bytes >= ALONE_BYTES_MIN && inline_bytes + bytes > part_bytes);
                    let head =
                        if at_byte == 0 { content.get(..HEAD_BYTES).unwrap_or(&content).to_vec() } else { Vec::new() };
                    let place = if is_alone {
                        let part = bucket.names.data(&name, at, at_byte);
                        prepared.parts.push(Part { name: part, file: Arc::clone(file), begin: at_byte, bytes });
                        Place::Data { at }
                    } else {
                        let offset = inline_bytes;
                        inline_bytes += bytes;
                        prepared.inline.push(content);
                        Place::Inline { at, offset }
                    };
                    let piece = Piece { begin: at_byte, bytes, checksum, place };
                    prepared.events.push(Event::Range { name: name.clone(), piece, head });
                    at_byte += bytes;
                }
            }
        }
    }
    let begin = inline_begin(&prepared.events);
    for event in &mut prepared.events {
        if let Event::Range { piece: Piece { place: Place::Inline { offset, .. }, .. }, .. } = event {
            *offset += begin;
        }
    }
    Ok(Some(prepared))
}
