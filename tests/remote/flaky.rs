//! An object store in memory that counts requests, and answers wrongly when asked to.

use std::fmt::{Debug, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use crate::common::Rng;

/// How the answer to a put goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is stored, and the connection drops.
    AnswerLost,
    /// It is stored, answered with 500, and the client's own retry finds it.
    StoredThenExists,
    /// Nothing is stored, and 409 looks like an object that exists.
    ConflictStoresNothing,
    /// Nothing is stored.
    Unavailable,
    /// It is answered with an error, and stored some requests later.
    StoredLate,
}

pub const FAULTS: [Fault; 5] =
    [Fault::AnswerLost, Fault::StoredThenExists, Fault::ConflictStoresNothing, Fault::Unavailable, Fault::StoredLate];

/// Requests, by kind.
#[derive(Debug, Default)]
pub struct Counts {
    pub puts: AtomicU64,
    pub put_bytes: AtomicU64,
    pub gets: AtomicU64,
    pub get_bytes: AtomicU64,
    /// Puts that are under way, and the most there ever were.
    pub putting: AtomicU64,
    pub putting_most: AtomicU64,
    pub lists: AtomicU64,
    /// Objects in the answers to them.
    pub listed: Arc<AtomicU64>,
    pub deletes: AtomicU64,
}

impl Counts {
    pub fn all(&self) -> u64 {
        [&self.puts, &self.gets, &self.lists, &self.deletes].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub fn puts(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }
}

type Late = Vec<(u64, Path, PutPayload, PutOptions)>;

#[derive(Debug)]
pub struct Flaky {
    inner: Arc<InMemory>,
    pub counts: Counts,
    pub is_down: AtomicBool,
    /// Reads and lists are not answered; how many there are.
    hangs: AtomicBool,
    hanging: AtomicU64,
    /// Ignores the condition of puts.
    pub overwrites: AtomicBool,
    /// One in so many requests fails; 0 for none.
    one_in: AtomicU64,
    pub faults: AtomicU64,
    rng: Mutex<Rng>,
    late: Mutex<Late>,
    slow: Mutex<Duration>,
    loses_epochs: AtomicBool,
    /// Epochs that were not stored, and whether they are before the next one.
    lost_epochs: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    epochs_come_late: AtomicBool,
    before_log: Mutex<Option<Hook>>,
}

/// What is done once.
struct Hook(Box<dyn FnOnce() + Send>);

impl Debug for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl Display for Flaky {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("flaky")
    }
}

impl Flaky {
    pub fn new(seed: u64) -> Arc<Self> {
        Self::over(Arc::new(InMemory::new()), seed)
    }

    pub fn over(inner: Arc<InMemory>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner,
            counts: Counts::default(),
            is_down: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            hanging: AtomicU64::new(0),
            overwrites: AtomicBool::new(false),
            one_in: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            rng: Mutex::new(Rng::new(seed)),
            late: Mutex::default(),
            slow: Mutex::default(),
            loses_epochs: AtomicBool::new(false),
            lost_epochs: Mutex::default(),
            epochs_come_late: AtomicBool::new(false),
            before_log: Mutex::default(),
        })
    }

    pub fn store(self: &Arc<Self>) -> Arc<dyn ObjectStore> {
        Arc::clone(self) as Arc<dyn ObjectStore>
    }

    pub fn fail_one_in(&self, requests: u64) {
        self.one_in.store(requests, Ordering::Relaxed);
    }

    /// Puts take this long.
    pub fn slow(&self, by: Duration) {
        *self.slow.lock() = by;
    }

    /// Reads and lists are never answered.
    pub fn hang(&self, hang: bool) {
        self.hangs.store(hang, Ordering::Relaxed);
    }

    /// How many were not.
    pub fn hanging(&self) -> u64 {
        self.hanging.load(Ordering::Relaxed)
    }

    fn is_unanswered(&self) -> bool {
        let hangs = self.hangs.load(Ordering::Relaxed);
        self.hanging.fetch_add(u64::from(hangs), Ordering::Relaxed);
        hangs
    }

    /// Epochs are not stored.
    pub fn lose_epochs(&self, lose: bool) {
        self.loses_epochs.store(lose, Ordering::Relaxed);
    }

    /// Epochs that were lost arrive just before the next one.
    pub fn deliver_lost_epochs_late(&self) {
        self.epochs_come_late.store(true, Ordering::Relaxed);
    }

    /// Something is done before the next log object is put.
    pub fn before_the_next_log(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_log.lock() = Some(Hook(Box::new(hook)));
    }

    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// A copy of all objects at this moment.
    pub fn fork(&self) -> InMemory {
        self.inner.fork()
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        let listed = futures_util::TryStreamExt::try_collect::<Vec<_>>(self.inner.list(None));
        let listed = run(listed).expect("a list");
        listed.into_iter().map(|meta| format!("/{}", meta.location)).collect()
    }

    /// Changes a byte in the middle of an object.
    pub fn damage(&self, name: &str) {
        let path = Path::from(name.trim_start_matches('/'));
        let mut bytes = run(async { self.inner.get(&path).await?.bytes().await }).expect("an object").to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        run(self.inner.put(&path, bytes.into())).expect("puts");
    }

    fn fault(&self, share: u64) -> Option<Fault> {
        let one_in = self.one_in.load(Ordering::Relaxed) * share;
        if one_in == 0 {
            return None;
        }
        let mut rng = self.rng.lock();
        let hit = rng.one_in(usize::try_from(one_in).expect("small"));
        hit.then(|| {
            self.faults.fetch_add(1, Ordering::Relaxed);
            FAULTS[rng.below(FAULTS.len())]
        })
    }

    async fn deliver_late(&self) {
        let now = self.counts.all();
        let due: Late = {
            let mut late = self.late.lock();
            let (due, rest) = std::mem::take(&mut *late).into_iter().partition(|(at, ..)| *at <= now);
            *late = rest;
            due
        };
        for (_, path, payload, options) in due {
            // Too late is also an answer.
            drop(self.inner.put_opts(&path, payload, options).await);
        }
    }

    fn counted(&self, list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counts.lists.fetch_add(1, Ordering::Relaxed);
        if self.is_unanswered() {
            return Box::pin(futures_util::stream::pending());
        }
        let listed = Arc::clone(&self.counts.listed);
        match self.check_up() {
            Ok(()) => Box::pin(futures_util::StreamExt::inspect(list, move |_| {
                listed.fetch_add(1, Ordering::Relaxed);
            })),
            Err(error) => Box::pin(futures_util::stream::iter([Err(error)])),
        }
    }

    fn check_up(&self) -> Result<()> {
        if self.is_down.load(Ordering::Relaxed) { Err(unavailable("503 Service Unavailable")) } else { Ok(()) }
    }
}

/// Requests to memory never wait.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

fn unavailable(why: &'static str) -> Error {
    Error::Generic { store: "flaky", source: why.into() }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "409 Conflict".into() }
}

#[async_trait::async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.counts.puts.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(payload.content_length()).expect("64 bits");
        self.counts.put_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.check_up()?;
        let slow = *self.slow.lock();
        if !slow.is_zero() {
            let now = self.counts.putting.fetch_add(1, Ordering::Relaxed) + 1;
            self.counts.putting_most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(slow).await;
            self.counts.putting.fetch_sub(1, Ordering::Relaxed);
        }
        let hook = if location.as_ref().contains("/log/") { self.before_log.lock().take() } else { None };
        if let Some(Hook(hook)) = hook {
            hook();
        }
        let is_epoch = location.as_ref().contains("/epoch/");
        if is_epoch && self.loses_epochs.load(Ordering::Relaxed) {
            self.lost_epochs.lock().push((location.clone(), payload, options));
            return Err(unavailable("503 Service Unavailable"));
        }
        if is_epoch && self.epochs_come_late.load(Ordering::Relaxed) {
            let late = std::mem::take(&mut *self.lost_epochs.lock());
            for (location, payload, options) in late {
                drop(self.inner.put_opts(&location, payload, options).await);
            }
        }
        self.deliver_late().await;
        if self.overwrites.load(Ordering::Relaxed) {
            options.mode = object_store::PutMode::Overwrite;
        }
        match self.fault(1) {
            None => self.inner.put_opts(location, payload, options).await,
            Some(Fault::AnswerLost) => {
                self.inner.put_opts(location, payload, options).await?;
                Err(unavailable("connection reset"))
            }
            Some(Fault::StoredThenExists) => {
                self.inner.put_opts(location, payload, options).await?;
                Err(exists(location))
            }
            Some(Fault::ConflictStoresNothing) => Err(exists(location)),
            Some(Fault::Unavailable) => Err(unavailable("503 Service Unavailable")),
            Some(Fault::StoredLate) => {
                let later = {
                    let mut rng = self.rng.lock();
                    u64::try_from(rng.below(6)).expect("small")
                };
                let at = self.counts.all() + later;
                self.late.lock().push((at, location.clone(), payload, options));
                Err(unavailable("timed out"))
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.counts.gets.fetch_add(1, Ordering::Relaxed);
        if self.is_unanswered() {
            std::future::pending::<()>().await;
        }
        self.check_up()?;
        self.deliver_late().await;
        // Clients repeat reads themselves.
        if matches!(self.fault(10), Some(Fault::Unavailable | Fault::AnswerLost)) {
            return Err(unavailable("503 Service Unavailable"));
        }
        let is_head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        let bytes = if is_head { 0 } else { found.range.end - found.range.start };
        self.counts.get_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.counts.deletes.fetch_add(1, Ordering::Relaxed);
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
