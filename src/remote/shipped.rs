//! The backing: local files, whose creates, syncs and deletes are noted for the bucket.
//!
//! Owns: what is noted, and when. Never: reads from the bucket, or notes what the local backing has not done.

use std::fmt::{Debug, Formatter};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::backing::{Backing, BackingFile, BackingLock, Backlog, ReadAt, Shipping, UNFINISHED};
use crate::error::{Error, Result};
use crate::remote::bucket::Bucket;
use crate::remote::journal::{End, Noted};
use crate::remote::local::{Local, is_mark, is_shipped};
use crate::remote::options::RemoteOptions;
use crate::remote::prune::Pruned;
use crate::remote::session::Session;
use crate::remote::shipped_file::ShippedFile;

/// A backing that ships what a local backing holds to a bucket. See `docs/remote.md`.
///
/// The local backing is empty, or one that has been used with the same bucket; all reads are answered from it. Acquiring the
/// writer's lock, which opening a store does, takes over the bucket, and fetches its files if the local backing is empty.
pub struct Remote {
    local: Arc<dyn Backing>,
    bucket: Bucket,
    options: RemoteOptions,
    session: Arc<RwLock<Option<Arc<Session>>>>,
}

impl Debug for Remote {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("local", &self.local).field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Remote {
    /// Ships a local backing to a bucket.
    pub fn new(local: Arc<dyn Backing>, bucket: Bucket, options: RemoteOptions) -> Self {
        Self { local, bucket, options, session: Arc::default() }
    }

    /// Deletes objects that only states older than the retention need. A store that is open does so by itself.
    ///
    /// # Errors
    /// `Fenced` if another writer has taken over, `Closed` if the store is not open for writing, `Io` if a request failed; the
    /// rest is deleted next time.
    pub fn prune(&self) -> Result<Pruned> {
        let session = self.session().ok_or(Error::Closed)?;
        self.bucket.prune(session.epoch, session.nonce, self.options.retention)
    }

    /// Whether an opening that fetched the bucket's files was interrupted, and nobody has gone on.
    fn is_half_fetched(&self) -> io::Result<bool> {
        Ok(self.session().is_none() && Local(&self.local).is_fetching()?)
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.session.read().clone()
    }
}

fn check(session: &Session) -> io::Result<()> {
    match session.journal.ended() {
        Some(end @ (End::Fenced { .. } | End::Failed(_))) => Err(io::Error::other(end.error())),
        Some(End::Closed) | None => Ok(()),
    }
}

impl Backing for Remote {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        if is_mark(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "files of this name mark a bucket's epochs"));
        }
        let file = self.local.create(name)?;
        let Some(session) = self.session().filter(|_| is_shipped(name)) else { return Ok(file) };
        let name: Arc<str> = Arc::from(name);
        session.gone.lock().retain(|gone| **gone != *name);
        session.journal.note([(Arc::clone(&name), Noted::Create)]);
        let shipped = Arc::new(ShippedFile::new(file, name, &session.journal));
        let mut files = session.files.lock();
        files.retain(|file| file.strong_count() > 0);
        files.push(Arc::downgrade(&shipped));
        Ok(shipped)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        if self.is_half_fetched()? {
            return Err(io::Error::other("not all files of the bucket were fetched: open the store for writing"));
        }
        self.local.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        // Who takes the lock fetches all files, whatever an interrupted opening has left.
        let hides_unfinished = self.is_half_fetched()?;
        let is_hidden = |name: &str| is_mark(name) || hides_unfinished && name == UNFINISHED;
        Ok(self.local.list()?.into_iter().filter(|name| !is_hidden(name)).collect())
    }

    fn reads_at_once(&self) -> usize {
        self.local.reads_at_once()
    }

    fn read_many(&self, reads: &mut [ReadAt<'_>]) -> io::Result<()> {
        self.local.read_many(reads)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.local.delete(name)?;
        if let Some(session) = self.session().filter(|_| is_shipped(name)) {
            session.journal.note([(Arc::from(name), Noted::Delete)]);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        let local = self.local.lock()?;
        let session = Session::begin(&self.bucket, &self.local, &self.options).map_err(|error| match error {
            Error::Locked { .. } => io::Error::new(io::ErrorKind::WouldBlock, error),
            other => io::Error::other(other),
        })?;
        *self.session.write() = Some(Arc::clone(&session));
        Ok(Box::new(RemoteLock { session, current: Arc::clone(&self.session), local: Some(local) }))
    }

    fn location(&self) -> String {
        format!("{} with {}", self.local.location(), self.bucket)
    }

    fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.local.directory()
    }

    fn link(&self, name: &str, into: &dyn Backing) -> io::Result<()> {
        self.local.link(name, into)
    }

    fn shipping(&self) -> Option<Arc<dyn Shipping>> {
        self.session().map(|session| -> Arc<dyn Shipping> { session })
    }
}

impl Shipping for Session {
    fn noted(&self) -> u64 {
        self.journal.noted()
    }

    fn wait(&self, noted: u64) -> io::Result<()> {
        Session::wait(self, noted)
    }

    fn check(&self) -> io::Result<()> {
        check(self)
    }

    fn opened(&self, is_whole: bool) {
        let gone = std::mem::take(&mut *self.gone.lock());
        if is_whole {
            self.journal.note(gone.into_iter().map(|name| (name, Noted::Delete)));
        }
    }

    fn backlog(&self) -> Backlog {
        self.journal.backlog()
    }
}

#[derive(Debug)]
struct RemoteLock {
    session: Arc<Session>,
    current: Arc<RwLock<Option<Arc<Session>>>>,
    local: Option<Box<dyn BackingLock>>,
}

impl BackingLock for RemoteLock {
    fn check(&self) -> io::Result<()> {
        check(&self.session)?;
        self.local.as_ref().map_or(Ok(()), |local| local.check())
    }
}

impl Drop for RemoteLock {
    fn drop(&mut self) {
        self.session.close();
        *self.current.write() = None;
        self.local = None;
    }
}
