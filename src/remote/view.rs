//! A state of a bucket as a backing that is only read, without a local copy.
//!
//! Owns: which parts of files were read lately, up to a limit. Never: changes the bucket.
//! Invariant: between two calls of `list` the state is the same one.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::{Mutex, RwLock};

use crate::backing::{Backing, BackingFile, BackingLock};
use crate::error::{Error, Result};
use crate::id::{to_u64, to_usize};
use crate::remote::bucket::Bucket;
use crate::remote::loading::{Deletes, Loaded};
use crate::remote::object::{LogPoint, Piece, Place};

/// What is larger is read in blocks of this size.
const BLOCK_BYTES: u64 = 128 << 10;
/// Bytes of parts that are kept.
const KEPT_BYTES_MAX: usize = 64 << 20;

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
    state: RwLock<(LogPoint, Loaded)>,
    kept: Mutex<Kept>,
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
        if part.len() > KEPT_BYTES_MAX / 4 || self.parts.contains_key(&key) {
            return;
        }
        self.bytes += part.len();
        self.parts.insert(key.clone(), Arc::clone(part));
        self.order.push_back(key);
        while self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.parts.remove(&oldest).map_or(0, |part| part.len());
        }
    }
}

impl Bucket {
    /// The newest state, or another that is retained, to be read from the bucket.
    ///
    /// # Errors
    /// `NotAStore` if the bucket is empty, `PointGone` if an object is missing, `Corrupt` if one is damaged, `Io` if a request fails.
    pub fn view(&self, point: Option<LogPoint>) -> Result<BucketView> {
        let state = RwLock::new(self.state(point)?);
        let inner = Inner { bucket: self.clone(), follows: point.is_none(), state, kept: Mutex::default() };
        Ok(BucketView { inner: Arc::new(inner) })
    }

    fn state(&self, point: Option<LogPoint>) -> Result<(LogPoint, Loaded)> {
        let bucket = self.clone();
        self.run(None, async move {
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
        self.inner.state.read().0
    }
}

impl Inner {
    /// A part of a file with the byte at an offset, and where in the file it begins. No more than `wanted` bytes are needed.
    fn part(&self, file: &str, piece: &Piece, at: u64, wanted: u64) -> Result<(Arc<Vec<u8>>, u64)> {
        let (name, in_object) = match piece.place {
            Place::Inline { at, offset } => (self.bucket.names.log(at), offset),
            Place::Data { at } => (self.bucket.names.data(file, at, piece.begin), 0),
        };
        let is_whole = piece.bytes <= BLOCK_BYTES;
        let (begin, end) = if is_whole {
            (0, piece.bytes)
        } else {
            let inside = at - piece.begin;
            let begin = inside / BLOCK_BYTES * BLOCK_BYTES;
            let end = (begin + BLOCK_BYTES).max(inside.saturating_add(wanted));
            (begin, end.min(piece.bytes))
        };
        let key = (name.clone(), in_object + begin);
        let kept = self.kept.lock().parts.get(&key).filter(|part| begin + to_u64(part.len()) >= end).map(Arc::clone);
        if let Some(part) = kept {
            return Ok((part, piece.begin + begin));
        }
        let (bucket, file, whole) = (self.bucket.clone(), file.to_owned(), *piece);
        let read = async move {
            if is_whole {
                return bucket.piece(&file, &whole).await;
            }
            // The store checks what it reads; the checksum here is one of the whole piece.
            let bytes = bucket.store.get_range(&name, in_object + begin..in_object + end).await;
            bytes.map(Vec::from).map_err(|error| bucket.error("read", &name, error))
        };
        let part = Arc::new(self.bucket.run(None, read)?);
        if to_u64(part.len()) != end - begin {
            return Err(Error::corrupt(key.0.as_ref(), key.1, "a part of a file", end - begin, part.len()));
        }
        self.kept.lock().keep(key, &part);
        Ok((part, piece.begin + begin))
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

#[derive(Debug)]
struct ViewFile {
    inner: Arc<Inner>,
    name: String,
    pieces: Vec<Piece>,
}

impl BackingFile for ViewFile {
    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let piece = self.pieces.get(self.pieces.partition_point(|piece| piece.end() <= at));
            let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
            let part = self.inner.part(&self.name, piece, at, to_u64(rest.len()));
            let (part, begin) = part.map_err(io::Error::other)?;
            let found = part.get(to_usize(at - begin)..).unwrap_or_default();
            let bytes = found.len().min(rest.len());
            let (now, later) = rest.split_at_mut(bytes);
            now.copy_from_slice(found.get(..bytes).unwrap_or_default());
            if bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (at, rest) = (at + to_u64(bytes), later);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.pieces.last().map_or(0, Piece::end))
    }
}

impl Backing for BucketView {
    fn create(&self, _name: &str) -> io::Result<Arc<dyn BackingFile>> {
        read_only()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let state = self.inner.state.read();
        let pieces = state.1.table.pieces_of(name).ok_or(io::ErrorKind::NotFound)?.to_vec();
        Ok(Arc::new(ViewFile { inner: Arc::clone(&self.inner), name: name.to_owned(), pieces }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        if self.inner.follows {
            let state = self.inner.bucket.state(None).map_err(io::Error::other)?;
            *self.inner.state.write() = state;
        }
        Ok(self.inner.state.read().1.table.iter().map(|(name, _)| name.to_owned()).collect())
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
