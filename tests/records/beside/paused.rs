//! A backing store that waits in the middle of a large append, and can refuse to delete files.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking};

/// An append is large from this size on.
const LARGE: usize = 256 << 10;
/// Nobody waits longer: what should go on meanwhile does not.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct Gate {
    /// Told when a large append has begun, and waits for the answer.
    ends: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
    keeps_files: AtomicBool,
}

/// The other side: waits for a large append, and lets it go on.
#[derive(Debug)]
pub struct Pause {
    begun: Receiver<()>,
    goes_on: SyncSender<()>,
}

impl Pause {
    pub fn wait(&self) {
        self.begun.recv_timeout(PATIENCE).expect("a large append");
    }

    pub fn go_on(&self) {
        self.goes_on.send(()).expect("somebody waits");
    }
}

#[derive(Debug, Clone)]
pub struct Paused {
    pub inner: FaultBacking,
    gate: Arc<Gate>,
}

impl Paused {
    pub fn new() -> Self {
        Self { inner: FaultBacking::new(), gate: Arc::default() }
    }

    /// The next large append stops half way.
    pub fn pause(&self) -> Pause {
        let ((tell, begun), (goes_on, wait)) = (sync_channel(1), sync_channel(1));
        *self.gate.ends.lock().unwrap() = Some((tell, wait));
        Pause { begun, goes_on }
    }

    /// From now on no file is deleted, though it is said to be.
    pub fn keep_files(&self) {
        self.gate.keeps_files.store(true, Ordering::Relaxed);
    }

    fn file(&self, name: &str, inner: Arc<dyn BackingFile>) -> Arc<dyn BackingFile> {
        Arc::new(PausedFile { inner, gate: Arc::clone(&self.gate), is_log: name.starts_with("log-") })
    }
}

impl Backing for Paused {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.create(name).map(|file| self.file(name, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.open(name).map(|file| self.file(name, file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        if self.gate.keeps_files.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.inner.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        "paused".to_owned()
    }
}

#[derive(Debug)]
struct PausedFile {
    inner: Arc<dyn BackingFile>,
    gate: Arc<Gate>,
    is_log: bool,
}

impl BackingFile for PausedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let ends = if bytes.len() < LARGE || !self.is_log { None } else { self.gate.ends.lock().unwrap().take() };
        let Some((tell, wait)) = ends else { return self.inner.append(bytes) };
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.inner.append(first)?;
        tell.send(()).unwrap();
        match wait.recv_timeout(PATIENCE * 2) {
            Ok(()) => self.inner.append(second),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
