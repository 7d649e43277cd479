//! Files that are only read: any number of them, with a few descriptors.
//!
//! Owns: which of these files currently have a descriptor. The others are reopened by name when they are read. Never:
//! reads a file other than the one first opened, or loses one that this process deletes. Locks, in this order: the
//! ring, the cold files, a handle's descriptor. A reader holds only the last.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use smallvec::SmallVec;

use crate::backing::allowance::{DESCRIPTORS_LEAST, descriptors_max};
use crate::backing::files::directory::{Directory, Identity, is_file};
use crate::backing::files::file::let_go;
use crate::backing::{BackingFile, Map};
use crate::error::is_out_of_descriptors;

/// A file that was opened for reading.
#[derive(Debug)]
pub(super) struct ReadFile {
    handle: Arc<Handle>,
    /// Size of the file when it was opened.
    len: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Handle {
    directory: Arc<Directory>,
    cold: Arc<Cold>,
    name: String,
    identity: Identity,
    descriptor: RwLock<Option<File>>,
    /// Whether it was read since the last check.
    is_used: AtomicBool,
}

/// Handles of one directory without a descriptor, by the identity of the file to reopen.
#[derive(Debug, Default)]
pub(super) struct Cold {
    handles: Mutex<BTreeMap<Identity, SmallVec<[Weak<Handle>; 1]>>>,
}

/// Handles of this process with a descriptor, roughly in order of least recent use.
static RING: Mutex<VecDeque<Weak<Handle>>> = Mutex::new(VecDeque::new());

/// Retries a call that found no free descriptor, after read-only files have given up theirs.
pub(super) fn with_descriptors<T>(call: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match call() {
        Err(error) if is_out_of_descriptors(&error) && give_up_all() => call(),
        result => result,
    }
}

/// Whether there were any.
fn give_up_all() -> bool {
    let mut ring = RING.lock();
    let before = ring.len();
    ring.retain(|handle| handle.upgrade().is_some_and(|handle| !handle.give_up()));
    ring.len() < before
}

/// Counts a handle that got a descriptor, and takes those of others if there are too many.
fn admit(handle: &Arc<Handle>) {
    let mut ring = RING.lock();
    // As many as that are always allowed: then the limit need not be asked for.
    let max = if ring.len() < DESCRIPTORS_LEAST { DESCRIPTORS_LEAST } else { descriptors_max() };
    // Each is passed over at most once.
    let mut looks = 2 * ring.len();
    while ring.len() >= max && looks > 0 {
        looks -= 1;
        let Some(first) = ring.pop_front() else { break };
        if let Some(other) = first.upgrade() {
            let stays = other.is_used.swap(false, Ordering::Relaxed) || !other.give_up();
            if stays {
                ring.push_back(first);
            }
        }
    }
    ring.push_back(Arc::downgrade(handle));
}

impl ReadFile {
    pub(super) fn open(directory: &Arc<Directory>, cold: &Arc<Cold>, name: &str) -> io::Result<Self> {
        let file = with_descriptors(|| directory.open_file(name))?;
        let found = rustix::fs::fstat(&file)?;
        if !is_file(&found) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let handle = Arc::new(Handle {
            directory: Arc::clone(directory),
            cold: Arc::clone(cold),
            name: name.to_owned(),
            identity: Identity::of(&found),
            descriptor: RwLock::new(Some(file)),
            is_used: AtomicBool::new(false),
        });
        admit(&handle);
        let len = u64::try_from(found.st_size).unwrap_or_default();
        Ok(Self { handle, len: Arc::new(AtomicU64::new(len)) })
    }
}

impl Handle {
    fn with<T>(self: &Arc<Self>, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        self.is_used.store(true, Ordering::Relaxed);
        {
            let descriptor = self.descriptor.read();
            if let Some(file) = &*descriptor {
                return read(file);
            }
        }
        let found = with_descriptors(|| self.find());
        let mut cold = self.cold.handles.lock();
        let mut descriptor = self.descriptor.write();
        let is_first = descriptor.is_none();
        // Another reader, or the thread that deleted the file, may have opened it by now.
        if is_first {
            *descriptor = Some(found?);
            forget(&mut cold, self);
        }
        drop(cold);
        let descriptor = RwLockWriteGuard::downgrade(descriptor);
        let result = descriptor.as_ref().map_or_else(|| Err(io::ErrorKind::NotFound.into()), read);
        drop(descriptor);
        if is_first {
            admit(self);
        }
        result
    }

    /// The file that was first opened.
    fn find(&self) -> io::Result<File> {
        let file = self.directory.open_file(&self.name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let what =
                    "its file was deleted after the store was opened, by the store's writer or by another program";
                io::Error::new(io::ErrorKind::NotFound, format!("{what}: open the store again"))
            }
            _ => error,
        })?;
        if Identity::of_file(&file)? == self.identity {
            return Ok(file);
        }
        let what = "another file has taken its place since the store was opened";
        Err(io::Error::other(format!("{what}: keep other programs from the store's files, and open it again")))
    }

    /// Gives up the descriptor. False if it is being read from.
    fn give_up(self: &Arc<Self>) -> bool {
        let mut cold = self.cold.handles.lock();
        let Some(mut descriptor) = self.descriptor.try_write() else { return false };
        // A deleted file could not be found again: it keeps its descriptor, and leaves the ring with it.
        if self.directory.identity(&self.name).is_ok_and(|found| found == self.identity) {
            cold.entry(self.identity).or_default().push(Arc::downgrade(self));
            *descriptor = None;
        }
        true
    }
}

fn forget(cold: &mut BTreeMap<Identity, SmallVec<[Weak<Handle>; 1]>>, handle: &Handle) {
    if let Some(handles) = cold.get_mut(&handle.identity) {
        handles.retain(|other| !std::ptr::eq(other.as_ptr(), handle));
        if handles.is_empty() {
            cold.remove(&handle.identity);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.descriptor.get_mut().is_none() {
            forget(&mut self.cold.handles.lock(), self);
        } else if let Some(mut ring) = RING.try_lock() {
            // A segment is opened, mapped and needs its descriptor no more: then the ring stays short. Others leave it in
            // their turn, and so do those that are dropped by a thread that holds the ring.
            if ring.back().is_some_and(|last| std::ptr::eq(last.as_ptr(), self)) {
                ring.pop_back();
            }
        }
    }
}

impl Cold {
    /// Removes a file. Handles that could not find it again open it first, for good.
    pub(super) fn remove(&self, directory: &Directory, name: &str) -> io::Result<()> {
        with_descriptors(|| {
            // Handles dropped here would look themselves up among the cold ones.
            let mut kept: SmallVec<[Arc<Handle>; 2]> = SmallVec::new();
            let mut cold = self.handles.lock();
            if !cold.is_empty() {
                let identity = directory.identity(name)?;
                kept.extend(cold.get(&identity).into_iter().flatten().filter_map(Weak::upgrade));
                for handle in &kept {
                    *handle.descriptor.write() = Some(directory.open_file(name)?);
                    forget(&mut cold, handle);
                }
            }
            let removed = directory.remove(name);
            drop(cold);
            drop(kept);
            removed
        })
    }
}

impl BackingFile for ReadFile {
    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.with(File::sync_data)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.handle.with(|file| file.read_exact_at(buffer, offset))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Map>> {
        self.handle.with(|file| Map::of_file(file, capacity, Arc::clone(&self.len)))
    }

    fn let_go(&self, offset: u64, bytes: u64) {
        drop(self.handle.with(|file| {
            let_go(file, offset, bytes);
            Ok(())
        }));
    }
}
