//! Who excludes whom: a backup that slept beside a pruning, marks of programs that use one place in two ways, and prefixes whose names
//! are written in another way than they are given.

use std::fmt::{Debug, Display, Formatter};
use std::ops::ControlFlow;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tenure::remote::Bucket;
use tenure::repository::{AddOptions, At, BackupId, Keep, Repository};
use tenure::{Error, Store};

use crate::common::contents;
use crate::repository::flaky::run;
use crate::repository::{add, go_on, restored, small};

/// A store in memory in which something happens before the next list of a backup arrives.
struct Staged {
    inner: InMemory,
    before_list: Hook,
    /// Called once that list is there.
    after_list: Hook,
    /// Called before lists of backups are listed.
    before_lists: Hook,
    /// Marks of backups look as if they were two hours older.
    ages_backups: AtomicBool,
    /// Called before pieces are deleted.
    before_deletions: Hook,
}

type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

fn run_once(hook: &Hook) {
    let hook = hook.lock().take();
    if let Some(hook) = hook {
        hook();
    }
}

impl Debug for Staged {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Staged")
    }
}

impl Display for Staged {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("staged")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Staged {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_list = location.as_ref().contains("/backups/");
        if is_list {
            run_once(&self.before_list);
        }
        let put = self.inner.put_opts(location, payload, options).await;
        if is_list {
            run_once(&self.after_list);
        }
        put
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // There is nothing to wait for in such a stream.
        let locations: Vec<Result<Path>> = locations.collect().now_or_never().expect("names");
        let is_of = |folder| locations.iter().flatten().any(|path| path.as_ref().contains(folder));
        if is_of("/data/") {
            run_once(&self.before_deletions);
        }
        self.inner.delete_stream(futures_util::stream::iter(locations).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if prefix.is_some_and(|prefix| prefix.as_ref().ends_with("/backups")) {
            run_once(&self.before_lists);
        }
        let ages = self.ages_backups.load(Ordering::Relaxed);
        let shown = move |meta: ObjectMeta| {
            let is_aged = ages && meta.location.as_ref().contains("/marks/backup-");
            let by = Duration::from_hours(if is_aged { 2 } else { 0 });
            ObjectMeta { last_modified: meta.last_modified - by, ..meta }
        };
        self.inner.list(prefix).map(move |meta| meta.map(shown)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn repository_in(objects: &Arc<Staged>) -> Repository {
    let objects = Arc::clone(objects) as Arc<dyn ObjectStore>;
    Repository::in_bucket(Bucket::new(objects, "backups").expect("a bucket"))
}

fn change(store: &Store, value: u8) {
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, vec![value; 30_000])).expect("commits");
}

/// A repository with one backup, and a store that has changed since.
fn staged(dir: &FilePath) -> (Arc<Staged>, Store) {
    let store = small().open(dir.join("store")).expect("opens");
    let objects = Arc::new(Staged {
        inner: InMemory::new(),
        before_list: Mutex::default(),
        after_list: Mutex::default(),
        before_lists: Mutex::default(),
        ages_backups: AtomicBool::new(false),
        before_deletions: Mutex::default(),
    });
    change(&store, 1);
    add(&repository_in(&objects), &store).expect("backs up");
    change(&store, 2);
    (objects, store)
}

/// What the second backup says while a pruning takes it for dead just before its list arrives, and is about to delete its pieces. The
/// backup waits for it, or is cancelled then.
fn slept(dir: &FilePath, is_cancelled: bool) -> (Arc<Staged>, Store, tenure::Result<BackupId>) {
    let (objects, store) = staged(dir);
    let ((at_deletions, waits), (ended, until)) = (channel(), channel::<()>());
    *objects.before_deletions.lock() = Some(Box::new(move || {
        at_deletions.send(()).expect("the backup waits");
        // Until the backup waits, or has ended.
        until.recv().unwrap_err();
    }));
    let thread = Arc::new(Mutex::new(None));
    let (begun, place) = (Arc::clone(&thread), Arc::clone(&objects));
    *objects.before_list.lock() = Some(Box::new(move || {
        place.ages_backups.store(true, Ordering::Relaxed);
        let pruning = repository_in(&place);
        *begun.lock() = Some(std::thread::spawn(move || pruning.prune(&Keep::newest(9))));
        waits.recv().expect("the pruning deletes pieces");
    }));
    let mut ended = Some(ended);
    let added = repository_in(&objects).add(&store, &AddOptions::new(), &mut |_| {
        if objects.before_list.lock().is_some() {
            return ControlFlow::Continue(());
        }
        ended.take();
        if is_cancelled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    drop(ended);
    let pruning = thread.lock().take().expect("it has begun");
    let pruned = pruning.join().expect("no panic").expect("prunes");
    assert!(pruned.pieces > 0, "{pruned:?}");
    objects.ages_backups.store(false, Ordering::Relaxed);
    (objects, store, added.map(|added| added.id))
}

fn listed(repository: &Repository) -> Vec<BackupId> {
    repository.list().expect("lists").iter().map(|info| info.id).collect()
}

fn is_whole(repository: &Repository, store: &Store, dir: &FilePath) {
    let report = repository.verify(&mut go_on).expect("verifies");
    assert!(report.is_ok(), "{report:?}");
    let state = contents(store).expect("reads");
    assert_eq!(restored(repository, At::Newest, dir).expect("restores"), state);
}

#[test]
fn a_backup_that_a_pruning_took_for_dead_puts_again_what_that_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (objects, store, added) = slept(dir.path(), false);
    let repository = repository_in(&objects);
    assert_eq!(added.expect("backs up"), BackupId(2));
    assert_eq!(listed(&repository), [BackupId(1), BackupId(2)]);
    is_whole(&repository, &store, dir.path());
}

/// The pruning reads the list, and deletes the older backup because of it.
#[test]
fn a_backup_that_a_pruning_kept_instead_of_older_ones_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let (objects, store) = staged(dir.path());
    let ((has_begun, begun), (is_stored, stored)) = (channel(), channel());
    let thread = Arc::new(Mutex::new(None));
    let (place, pruning) = (Arc::clone(&objects), Arc::clone(&thread));
    *objects.before_list.lock() = Some(Box::new(move || {
        place.ages_backups.store(true, Ordering::Relaxed);
        *place.before_lists.lock() = Some(Box::new(move || {
            has_begun.send(()).expect("the backup waits");
            stored.recv().expect("the list is stored");
        }));
        let repository = repository_in(&place);
        *pruning.lock() = Some(std::thread::spawn(move || repository.prune(&Keep::newest(1))));
        begun.recv().expect("the mark is deleted");
    }));
    *objects.after_list.lock() = Some(Box::new(move || {
        is_stored.send(()).expect("the pruning waits");
        let pruning = thread.lock().take().expect("it has begun");
        let pruned = pruning.join().expect("no panic").expect("prunes");
        assert_eq!(pruned.backups, [BackupId(1)]);
    }));
    let repository = repository_in(&objects);
    let added = add(&repository, &store);
    objects.ages_backups.store(false, Ordering::Relaxed);
    assert_eq!(listed(&repository), [BackupId(2)], "{added:?}");
    added.expect("backs up");
    is_whole(&repository, &store, dir.path());
}

#[test]
fn of_a_list_that_stays_the_error_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let (objects, store, added) = slept(dir.path(), true);
    let repository = repository_in(&objects);
    let error = added.expect_err("it may lack pieces").to_string();
    for words in ["b2", "backups/000000000002", "may lack pieces", "delete", "cancelled"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(!repository.verify(&mut go_on).expect("verifies").is_ok());
    // It takes the place of none that is whole.
    assert!(repository.prune(&Keep::newest(1)).expect("prunes").backups.is_empty());
    restored(&repository, At::Id(BackupId(1)), dir.path()).expect("restores");
    // As the error says.
    run(objects.inner.delete(&Path::from("backups/backups/000000000002"))).expect("deletes");
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
    add(&repository, &store).expect("backs up");
    is_whole(&repository, &store, dir.path());
}

fn in_two_ways(dir: &FilePath) -> (Repository, Repository) {
    let place = dir.join("backups");
    let url = format!("file://{}", place.display());
    (Repository::in_bucket(Bucket::at(&url).expect("a bucket")), Repository::in_directory(place))
}

#[test]
fn a_place_that_is_used_in_two_ways_has_one_kind_of_exclusion() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small().open(dir.path().join("store")).expect("opens");
    let (as_bucket, as_directory) = in_two_ways(dir.path());
    for (ours, theirs, age) in [(&as_bucket, &as_directory, 0), (&as_directory, &as_bucket, 2)] {
        change(&store, 3);
        let mut told = None;
        ours.add(&store, &AddOptions::new(), &mut |now| {
            if told.is_none() {
                // However long the backup has run.
                let marks = std::fs::read_dir(dir.path().join("backups/marks")).expect("lists");
                for mark in marks {
                    let mark = std::fs::File::options().write(true).open(mark.expect("a mark").path());
                    let then = SystemTime::now() - Duration::from_hours(age);
                    mark.expect("opens").set_modified(then).expect("ages");
                }
                told = Some(theirs.prune(&Keep::newest(1)));
            }
            go_on(now)
        })
        .expect("backs up");
        assert!(matches!(told, Some(Err(Error::Locked { .. }))), "{told:?}");
        assert!(ours.verify(&mut go_on).expect("verifies").is_ok());
    }
}

#[test]
fn marks_that_dead_owners_left_are_found_out_either_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small().open(dir.path().join("store")).expect("opens");
    let (as_bucket, as_directory) = in_two_ways(dir.path());
    change(&store, 1);
    add(&as_directory, &store).expect("backs up");
    let mark = |name: &str| dir.path().join("backups/marks").join(name);
    for (repository, other) in [(&as_bucket, ""), (&as_directory, "marks/prune-1")] {
        std::fs::write(mark("prune-1"), other).expect("writes");
        let then = SystemTime::now() - Duration::from_hours(if other.is_empty() { 0 } else { 2 });
        std::fs::File::options().write(true).open(mark("prune-1")).unwrap().set_modified(then).unwrap();
        add(repository, &store).expect("backs up");
        assert!(!mark("prune-1").exists(), "{other}");
    }
}

#[test]
fn under_a_prefix_that_is_written_in_another_way_nothing_foreign_is_joined() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small().open(dir.path().join("store")).expect("opens");
    change(&store, 1);
    let state = contents(&store).expect("reads");
    for prefix in ["things~1", "a/things #1", "[things]*", "bücher", "things/1"] {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let repository = || Repository::in_bucket(Bucket::new(Arc::clone(&objects), prefix).expect("a bucket"));
        add(&repository(), &store).expect("backs up");
        assert_eq!(restored(&repository(), At::Newest, dir.path()).expect("restores"), state, "{prefix}");
        let listed = || run(objects.list(None).map(|meta| meta.expect("an object").location).collect::<Vec<_>>());
        let header = listed().into_iter().find(|path| path.filename() == Some("repository")).expect("the header");
        for path in listed() {
            run(objects.delete(&path)).expect("deletes");
        }
        // Where the objects are, and where others would expect them.
        let given = Path::from(prefix);
        let there = header.as_ref().trim_end_matches("repository").trim_end_matches('/');
        for foreign in [Path::parse(format!("{there}/foreign")).expect("a name"), given.join("foreign")] {
            run(objects.put(&foreign, "not ours".into())).expect("puts");
            let refused = add(&repository(), &store);
            let is_told = matches!(&refused, Err(Error::BadDestination { why, .. }) if why.contains("neither empty"));
            assert!(is_told, "{prefix}, {foreign}: {refused:?}");
            run(objects.delete(&foreign)).expect("deletes");
        }
        add(&repository(), &store).expect("backs up");
        assert!(listed().contains(&header), "{prefix}: it is where it was");
    }
}
