//! A custom backing: each append becomes an object that is put once and never changed, as in an object store.
//!
//! A file is a numbered series of such objects. An acknowledged put is durable, so `sync` has nothing to do. Here the
//! objects are in a map; for a real service, `put` and `get` are the only two calls to replace.
//!
//! Run it with `cargo run --example custom_backing`. `docs/backing.md` says what a backing must guarantee.

#![expect(clippy::print_stdout, reason = "an example that shows what it does")]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure::Options;
use tenure::backing::{Backing, BackingFile, BackingLock, check_name};

/// The objects of one file, in the order of their numbers.
#[derive(Debug, Default)]
struct Objects {
    objects: Mutex<Vec<Object>>,
}

/// An immutable object, and the offset of the file at which it starts.
#[derive(Debug, Clone)]
struct Object {
    begin: u64,
    bytes: Arc<[u8]>,
}

impl Object {
    fn end(&self) -> u64 {
        self.begin + self.bytes.len() as u64
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Objects {
    /// Puts the next object. Readers see it completely or not at all.
    fn put(&self, bytes: &[u8]) {
        let mut objects = lock(&self.objects);
        let begin = objects.last().map_or(0, Object::end);
        objects.push(Object { begin, bytes: bytes.into() });
    }

    /// The object that holds the byte at an offset.
    fn get(&self, offset: u64) -> Option<Object> {
        let objects = lock(&self.objects);
        let number = objects.partition_point(|object| object.end() <= offset);
        objects.get(number).cloned()
    }
}

/// A handle. It keeps the objects of its file alive, even after the file is deleted.
#[derive(Debug)]
struct ObjectFile {
    file: Arc<Objects>,
    is_writable: bool,
}

impl BackingFile for ObjectFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !bytes.is_empty() {
            self.file.put(bytes);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let object = self.file.get(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
            let from = usize::try_from(offset - object.begin).map_err(io::Error::other)?;
            let part = object.bytes.get(from..).unwrap_or_default();
            let len = part.len().min(buffer.len());
            let (filled, rest) = buffer.split_at_mut(len);
            filled.copy_from_slice(&part[..len]);
            (buffer, offset) = (rest, offset + len as u64);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.file.objects).last().map_or(0, Object::end))
    }
}

/// Append-only files in a bucket. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    files: Arc<Mutex<BTreeMap<String, Arc<Objects>>>>,
    is_locked: Arc<AtomicBool>,
}

/// With several processes this must be a lease, so that the lock ends with its holder.
#[derive(Debug)]
struct BucketLock {
    is_locked: Arc<AtomicBool>,
}

impl BackingLock for BucketLock {}

impl Drop for BucketLock {
    fn drop(&mut self) {
        self.is_locked.store(false, Ordering::Release);
    }
}

impl Backing for Bucket {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        check_name(name)?;
        let mut files = lock(&self.files);
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::clone(files.entry(name.to_owned()).or_default());
        Ok(Arc::new(ObjectFile { file, is_writable: true }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        check_name(name)?;
        let file = lock(&self.files).get(name).map(Arc::clone).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(ObjectFile { file, is_writable: false }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        lock(&self.files).remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        if self.is_locked.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(BucketLock { is_locked: Arc::clone(&self.is_locked) }))
    }

    fn location(&self) -> String {
        "a bucket".to_owned()
    }
}

/// Creates a store in a bucket, and reopens it.
pub fn main() -> tenure::Result<()> {
    let bucket = Bucket::default();
    let store = Options::new().open_backing(Arc::new(bucket.clone()))?;
    let notes = store.record_set("notes")?;
    let id = store.write(|tx| tx.insert(&notes, "kept in objects"))?;
    store.close()?;

    for (name, file) in lock(&bucket.files).iter() {
        for (number, object) in lock(&file.objects).iter().enumerate() {
            println!("{name}, object {number}: {} bytes", object.bytes.len());
        }
    }
    let store = Options::new().open_backing(Arc::new(bucket))?;
    println!("record {id}: {}", String::from_utf8_lossy(&store.get(id)?.bytes()?));
    store.close()
}
