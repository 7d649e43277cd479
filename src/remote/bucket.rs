//! A bucket: single requests to an object store, and the thread that drives them.
//!
//! Owns: the runtime, every request, the meaning of an outcome of a put. Never: believes the error of a put: what is stored decides;
//! or believes, or changes, what another directory has where that of the bucket was moved away.

use std::fmt::{Debug, Display, Formatter};
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::{io, thread};

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::backing::Process;
use crate::error::{Error, Result};
use crate::planted;
use crate::planted::Fault;
use crate::remote::home::Home;
use crate::remote::names::Names;
use crate::remote::object::{Object, decode};
use crate::remote::waits;

/// Where a store is in an object store: a bucket, and a prefix in it. Clones share the connections.
///
/// Credentials come from the environment or from the provider's own chain, never from the URL.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    pub(super) names: Arc<Names>,
    shown: Arc<str>,
    /// Its directory, if it is in a file system.
    home: Option<Home>,
    runtime: Arc<Runtime>,
    /// A planted fault: a log object that exists is taken for one's own.
    trusts_exists: bool,
}

impl Debug for Bucket {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.shown).finish()
    }
}

impl Display for Bucket {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The runtime of the object store's client, in a thread of its own.
#[derive(Debug)]
struct Runtime {
    handle: tokio::runtime::Handle,
    ends: Arc<tokio::sync::Notify>,
    /// Its thread exists only here.
    process: Process,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.ends.notify_one();
    }
}

impl Runtime {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let ends = Arc::new(tokio::sync::Notify::new());
        let ended = Arc::clone(&ends);
        let run = move || {
            runtime.block_on(ended.notified());
            // A blocking call that never returns must not keep the thread.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("tenure-remote".to_owned()).spawn(run)?;
        Ok(Self { handle, ends, process: Process::this() })
    }
}

/// What is known after a put.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is stored.
    Stored,
    /// Another object of this name is stored.
    Taken(Vec<u8>),
    /// Nothing: try again.
    Unknown(Error),
}

/// What is known after a get.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The bytes.
    Bytes(Vec<u8>),
    /// There is no object of this name.
    Nothing,
}

impl Bucket {
    /// A bucket behind any object store, with all names below a prefix, which may be empty.
    ///
    /// # Errors
    /// `Io` if its thread cannot be started.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let shown = format!("{store}/{prefix}");
        Self::shown(store, Path::from(prefix), shown, None)
    }

    pub(super) fn shown(store: Arc<dyn ObjectStore>, prefix: Path, shown: String, home: Option<Home>) -> Result<Self> {
        let runtime = Runtime::start().map_err(|source| Error::io("start a thread for", &shown, source))?;
        let trusts_exists = planted::is(Fault::ExistsIsStored);
        let names = Arc::new(Names::new(prefix));
        Ok(Self { store, names, shown: shown.into(), home, runtime: Arc::new(runtime), trusts_exists })
    }

    /// Its directory, if it is in a file system.
    pub(crate) fn directory(&self) -> Option<&FilePath> {
        self.home.as_ref().map(Home::path)
    }

    /// Runs a future on the bucket's thread, and waits for it, unless that of this thread is ended.
    pub(super) fn run<T: Send + 'static>(&self, future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        if !self.runtime.process.is_current() {
            return Err(Error::OtherProcess { owner: self.runtime.process.id() });
        }
        waits::check()?;
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        // Nobody waits for it any more, if it cannot be sent.
        let task = self.runtime.handle.spawn(async move { sender.send(future.await).unwrap_or_default() });
        let ended = || {
            let source = io::Error::other("its thread has ended");
            Err(Error::io("reach", &*self.shown, source))
        };
        match waits::receive(&receiver) {
            Ok(answer) => answer.unwrap_or_else(ended),
            Err(error) => {
                task.abort();
                Err(error)
            }
        }
    }

    /// Runs a future on the bucket's thread, and does not wait for it.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.handle.spawn(future));
    }

    pub(super) fn error(&self, action: &'static str, name: &Path, error: object_store::Error) -> Error {
        let kind = match &error {
            object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                io::ErrorKind::PermissionDenied
            }
            _ => io::ErrorKind::Other,
        };
        Error::io(action, format!("{name} in {}", self.shown), io::Error::new(kind, error))
    }

    /// Fails if the directory of the bucket is not where it was.
    async fn check_home(&self) -> Result<()> {
        match &self.home {
            Some(home) => home.check().await,
            None => Ok(()),
        }
    }

    /// Puts an object that must not exist. `is_own` says whether what is found after a failure is this object.
    pub(super) async fn put(&self, name: &Path, bytes: PutPayload, is_own: impl Fn(&[u8]) -> bool + Send) -> Outcome {
        if let Err(error) = self.check_home().await {
            return Outcome::Unknown(error);
        }
        let outcome = self.put_where_it_is(name, bytes, is_own).await;
        // Before anything is acknowledged: it may have been moved since.
        self.check_home().await.map_or_else(Outcome::Unknown, |()| outcome)
    }

    async fn put_where_it_is(&self, name: &Path, bytes: PutPayload, is_own: impl Fn(&[u8]) -> bool + Send) -> Outcome {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let Err(error) = self.store.put_opts(name, bytes, options).await else { return Outcome::Stored };
        let exists = matches!(error, object_store::Error::AlreadyExists { .. });
        if self.trusts_exists && exists && self.names.log_in(name).is_some() {
            return Outcome::Stored;
        }
        match self.get(name).await {
            Ok(Found::Bytes(bytes)) if is_own(&bytes) => Outcome::Stored,
            Ok(Found::Bytes(bytes)) => Outcome::Taken(bytes),
            Ok(Found::Nothing) | Err(_) => Outcome::Unknown(self.error("put", name, error)),
        }
    }

    /// Puts an object in place of the one that there may be.
    pub(super) async fn replace(&self, name: &Path, bytes: PutPayload) -> Outcome {
        if let Err(error) = self.check_home().await {
            return Outcome::Unknown(error);
        }
        let options = PutOptions { mode: PutMode::Overwrite, ..PutOptions::default() };
        let outcome = match self.store.put_opts(name, bytes, options).await {
            Ok(_) => Outcome::Stored,
            Err(error) => Outcome::Unknown(self.error("put", name, error)),
        };
        self.check_home().await.map_or_else(Outcome::Unknown, |()| outcome)
    }

    /// What a request found; `None` if there is no object of this name.
    async fn found<T>(&self, action: &'static str, name: &Path, got: object_store::Result<T>) -> Result<Option<T>> {
        self.check_home().await?;
        match got {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(action, name, error)),
        }
    }

    pub(super) async fn get(&self, name: &Path) -> Result<Found> {
        let read = async { self.store.get(name).await?.bytes().await };
        let found = self.found("read", name, read.await).await?;
        Ok(found.map_or(Found::Nothing, |bytes| Found::Bytes(bytes.into())))
    }

    /// The same; of an object with more than `most` bytes, one more than these.
    pub(super) async fn get_most(&self, name: &Path, most: u64) -> Result<Option<Vec<u8>>> {
        let read = async {
            let found = self.store.get(name).await?;
            if found.meta.size <= most {
                return found.bytes().await;
            }
            self.store.get_range(name, 0..most.saturating_add(1)).await
        };
        Ok(self.found("read", name, read.await).await?.map(Into::into))
    }

    /// A range of bytes of an object, or why there is none.
    pub(super) async fn range(&self, name: &Path, range: Range<u64>) -> Result<object_store::Result<Vec<u8>>> {
        let read = self.store.get_range(name, range).await;
        self.check_home().await?;
        Ok(read.map(Into::into))
    }

    /// What a listing says about an object, if there is one. Its bytes are not sent.
    pub(super) async fn look_for(&self, name: &Path) -> Result<Option<ObjectMeta>> {
        self.found("look for", name, self.store.head(name).await).await
    }

    /// Deletes an object, which may be gone already.
    pub(super) async fn delete(&self, name: &Path) -> Result<()> {
        self.check_home().await?;
        self.found("delete", name, self.store.delete(name).await).await.map(drop)
    }

    /// Whether nothing at all is below its prefix, neither as its objects have it nor as it was given.
    pub(super) async fn is_bare(&self) -> Result<bool> {
        for prefix in self.names.prefixes() {
            let below = (!prefix.as_ref().is_empty()).then_some(prefix);
            let first = self.store.list(below).next().await.transpose();
            if self.found("list", prefix, first).await?.flatten().is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An object that must exist.
    pub(super) async fn need(&self, name: &Path) -> Result<Vec<u8>> {
        match self.get(name).await? {
            Found::Bytes(bytes) => Ok(bytes),
            Found::Nothing => Err(Error::PointGone {
                point: format!("a state of {}", self.shown),
                why: format!("{name} is gone, and it needs that"),
            }),
        }
    }

    /// An object that must exist, decoded.
    pub(super) async fn object(&self, name: &Path) -> Result<Object> {
        decode(name.as_ref(), &self.need(name).await?)
    }

    /// All objects in a folder whose names come after another.
    pub(super) async fn list(&self, folder: &Path, after: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let listed = match after {
            Some(after) => self.store.list_with_offset(Some(folder), after),
            None => self.store.list(Some(folder)),
        };
        let listed = listed.try_collect().await.map_err(|error| self.error("list", folder, error))?;
        self.check_home().await.map(|()| listed)
    }
}
