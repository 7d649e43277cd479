//! The writer's lock, and the only place that checks whether it is still held.
//!
//! Owns: the lock, and every call that changes the backing. Never: creates or deletes a file, appends to the manifest,
//! or acknowledges a sync without checking the lock. A failed check ends the handle, even if the caller ignores the
//! result. Nor does it release the lock while a file has space after its end that the handle would give back later: views
//! hold files for as long as they live, and whoever has the lock next takes that space for part of them.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::backing::{Backing, BackingFile, BackingLock, Map, ReadAt, Shipping};
use crate::error::{Error, Result};
use crate::format::segment::FileKind;
use crate::log::Poison;

/// A backing with its lock held.
#[derive(Debug)]
pub(super) struct Guard {
    backing: Arc<dyn Backing>,
    /// Files that may have space after their end. They are held open: of one that is being dropped nobody knows whether it has given that
    /// space back. Before the lock, so that they are dropped before it.
    roomy: Mutex<Vec<Arc<dyn BackingFile>>>,
    lock: RwLock<Option<Box<dyn BackingLock>>>,
    /// The handle that losing the lock poisons, once the store is open.
    poison: OnceLock<Arc<Poison>>,
    lost: OnceLock<String>,
}

impl Guard {
    /// Takes the lock.
    pub(super) fn take(backing: &Arc<dyn Backing>) -> Result<Arc<Self>> {
        let lock = backing.lock().map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => Error::Locked { path: backing.location() },
            // A backing may say more than the kind of its error does.
            _ => match source.downcast::<Error>() {
                Ok(error) => error,
                Err(source) => Error::io("lock", backing.location(), source),
            },
        })?;
        let (backing, lock) = (Arc::clone(backing), RwLock::new(Some(lock)));
        Ok(Arc::new(Self { backing, lock, poison: OnceLock::new(), lost: OnceLock::new(), roomy: Mutex::default() }))
    }

    /// Sets the handle that losing the lock poisons.
    pub(super) fn ends(&self, poison: &Arc<Poison>) {
        self.poison.get_or_init(|| Arc::clone(poison));
        // It may have been lost already, and no later check would get far enough to say so.
        if let Some(lost) = self.lost.get() {
            self.poison(lost);
        }
    }

    /// The backing, for a handle that takes the lock again.
    pub(super) fn backing(&self) -> &Arc<dyn Backing> {
        &self.backing
    }

    /// Fails if the lock was lost or released.
    pub(super) fn check(&self) -> io::Result<()> {
        self.held(|| Ok(()))
    }

    /// Does something while the lock is held: it is not released before that has ended.
    fn held<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if let Some(lost) = self.lost.get() {
            return Err(io::Error::other(lost.clone()));
        }
        let lock = self.lock.read();
        let Some(held) = &*lock else { return Err(io::Error::other("the store was closed")) };
        if let Err(error) = held.check() {
            drop(lock);
            self.poison(self.lost.get_or_init(|| error.to_string()));
            return Err(error);
        }
        work()
    }

    fn poison(&self, lost: &str) {
        if let Some(poison) = self.poison.get() {
            poison.set(&Error::io("keep the lock of", self.backing.location(), io::Error::other(lost.to_owned())));
        }
    }

    /// Releases the lock.
    pub(super) fn release(&self) {
        let mut lock = self.lock.write();
        let mut roomy = self.roomy.lock();
        for file in &*roomy {
            // Space that stays is skipped by later openings.
            drop(file.preallocate(0));
        }
        roomy.clear();
        drop(roomy);
        *lock = None;
    }

    /// Gives up a lock inherited from a parent process, which keeps it.
    pub(super) fn leave(&self) {
        // A thread of the parent may have held this at the fork; then the descriptor stays open as long as the child
        // lives.
        if let Some(mut lock) = self.lock.try_write() {
            *lock = None;
        }
    }
}

/// The backing as the store sees it. Its files check the lock too.
#[derive(Debug, Clone)]
pub(super) struct Guarded(pub(super) Arc<Guard>);

impl Backing for Guarded {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let file = self.0.held(|| self.0.backing.create(name))?;
        let is_manifest = matches!(FileKind::parse_name(name), Some((FileKind::Manifest, _)));
        Ok(Arc::new(GuardedFile { file, guard: Arc::clone(&self.0), is_manifest }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.0.backing.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.backing.list()
    }

    fn reads_at_once(&self) -> usize {
        self.0.backing.reads_at_once()
    }

    fn read_many(&self, reads: &mut [ReadAt<'_>]) -> io::Result<()> {
        self.0.backing.read_many(reads)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.0.held(|| self.0.backing.delete(name))
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.0.backing.lock()
    }

    fn location(&self) -> String {
        self.0.backing.location()
    }

    fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.0.backing.directory()
    }

    fn link(&self, name: &str, into: &dyn Backing) -> io::Result<()> {
        self.0.backing.link(name, into)
    }

    fn shipping(&self) -> Option<Arc<dyn Shipping>> {
        self.0.backing.shipping()
    }
}

#[derive(Debug)]
struct GuardedFile {
    file: Arc<dyn BackingFile>,
    guard: Arc<Guard>,
    is_manifest: bool,
}

impl BackingFile for GuardedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        // Bytes appended to a segment behind another writer's back do no harm as long as no sync of them is
        // acknowledged.
        if self.is_manifest {
            self.guard.check()?;
        }
        self.file.append(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        // Checked afterwards: another writer may hold the lock by now and have read or cut off these bytes, so they
        // must not be acknowledged.
        self.guard.check()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        self.file.map(capacity)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            let mut roomy = self.guard.roomy.lock();
            let given_back = self.file.preallocate(0);
            roomy.retain(|file| !Arc::ptr_eq(file, &self.file));
            return given_back;
        }
        self.guard.held(|| {
            let mut roomy = self.guard.roomy.lock();
            // Of those that nobody else has, the handles give it back.
            roomy.retain(|file| Arc::strong_count(file) > 1);
            roomy.push(Arc::clone(&self.file));
            drop(roomy);
            self.file.preallocate(bytes)
        })
    }

    fn seal(&self) -> io::Result<()> {
        self.file.seal()
    }

    fn let_go(&self, offset: u64, bytes: u64) {
        self.file.let_go(offset, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::backing::{Files, Memory};

    /// A file that takes its time to give its space back when it is dropped.
    #[derive(Debug)]
    struct Slow {
        dropped: Sender<()>,
        may_end: Mutex<Receiver<()>>,
        given_back: Arc<AtomicBool>,
    }

    impl BackingFile for Slow {
        fn append(&self, _bytes: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<()> {
            Ok(())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn preallocate(&self, bytes: u64) -> io::Result<()> {
            self.given_back.store(bytes == 0, Ordering::Release);
            Ok(())
        }
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            if !self.given_back.load(Ordering::Acquire) {
                self.dropped.send(()).unwrap_or_default();
                self.may_end.lock().recv().unwrap_or_default();
                self.given_back.store(true, Ordering::Release);
            }
        }
    }

    #[test]
    fn a_file_that_is_being_dropped_has_given_its_space_back_before_the_lock_is_released() {
        let backing: Arc<dyn Backing> = Arc::new(Memory::new());
        let guard = Guard::take(&backing).expect("the lock");
        let ((dropped, is_dropped), (ends, may_end)) = (channel(), channel());
        let given_back = Arc::new(AtomicBool::new(false));
        let slow = Slow { dropped: dropped.clone(), may_end: Mutex::new(may_end), given_back: Arc::clone(&given_back) };
        let file = GuardedFile { file: Arc::new(slow), guard: Arc::clone(&guard), is_manifest: false };
        file.preallocate(1 << 20).expect("takes it");
        let other = std::thread::spawn(move || {
            drop(file);
            dropped.send(()).unwrap_or_default();
        });
        // It is being dropped, or was.
        is_dropped.recv().expect("the other thread lives");
        guard.release();
        let was_given_back = given_back.load(Ordering::Acquire);
        drop::<Sender<()>>(ends);
        other.join().expect("no panic");
        assert!(was_given_back, "before the lock was released");
    }

    #[test]
    fn a_lock_that_is_lost_before_the_store_is_open_ends_the_handle() {
        let dir = tempfile::tempdir().expect("a directory");
        let backing: Arc<dyn Backing> = Arc::new(Files::open(dir.path()).expect("files"));
        let guard = Guard::take(&backing).expect("the lock");
        std::fs::remove_file(dir.path().join("lock")).expect("removes it");
        assert!(guard.check().is_err());
        let poison = Arc::new(Poison::default());
        guard.ends(&poison);
        assert!(matches!(poison.check(), Err(Error::Poisoned { .. })));
    }
}
