//! What is lost beside a writer: files of its local directory, its bucket, its uploader, an answer that never comes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use tenure::backing::{Backing, BackingFile, BackingLock, Files, Memory};
use tenure::remote::Bucket;
use tenure::{Durability, Error, Options, RecordId, Store};

use crate::common::Rng;
use crate::flaky::{Flaky, run};
use crate::{bucket, contents, in_time, open, open_in, quick, rounds};

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "lock" {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn of_bucket(bucket: &Bucket) -> tenure::Result<BTreeMap<RecordId, Vec<u8>>> {
    let reader = Options::new().read_only(true).open_backing(Arc::new(bucket.view(None)?))?;
    Ok(contents(&reader))
}

/// A store that has records in several segments, as a kill leaves it: its directory, and the objects.
fn killed(dir: &Path, objects: &Arc<Flaky>) -> (BTreeMap<RecordId, Vec<u8>>, InMemory) {
    let files = Files::create(&dir.join("writer")).unwrap();
    let store = open_in(Arc::new(files), &bucket(&objects.store()), quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    let mut ids = Vec::new();
    for round in 0..6_u8 {
        for value in 0..12_u8 {
            let value = vec![value ^ round; 2_000];
            ids.push(store.write(|tx| tx.insert(&notes, &*value)).unwrap());
        }
        store.write(|tx| tx.delete(ids.swap_remove(usize::from(round)))).unwrap();
        if round % 2 == 1 {
            store.save_snapshot().unwrap();
        }
    }
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "the last")).unwrap();
    let image = dir.join("image");
    copy(&dir.join("writer"), &image);
    (contents(&store), objects.fork())
}

#[test]
fn a_directory_that_lost_a_file_takes_nothing_from_the_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Flaky::new(1);
    let (all, image) = killed(dir.path(), &objects);
    let (mut healed, mut refused) = (0, 0);
    for name in names(&dir.path().join("image")) {
        if name.starts_with("remote-") || name.starts_with("reserve") {
            continue;
        }
        for take_over in [false, true] {
            let local = dir.path().join(format!("without-{name}-{take_over}"));
            copy(&dir.path().join("image"), &local);
            fs::remove_file(local.join(&name)).unwrap();
            let objects = Flaky::over(Arc::new(image.fork()), 1);
            let bucket = bucket(&objects.store());
            let files = Arc::new(Files::open(&local).unwrap());
            match open_in(files, &bucket, quick().take_over(take_over)) {
                Ok(store) => {
                    assert_eq!(contents(&store), all, "without {name}");
                    let notes = store.record_set("notes").unwrap();
                    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "later")).unwrap();
                    assert_eq!(of_bucket(&bucket).unwrap(), contents(&store), "without {name}");
                    healed += 1;
                }
                Err(error) => {
                    let may_be_a_copy = name.starts_with("manifest-") && matches!(error, Error::Fenced { .. });
                    assert!(error.is_corruption() || (may_be_a_copy && !take_over), "without {name}: {error}");
                    assert_eq!(of_bucket(&bucket).unwrap(), all, "without {name}: {error}");
                    // As the error says.
                    let store = open(&Memory::new(), &bucket, quick().take_over(true)).unwrap();
                    assert_eq!(contents(&store), all, "without {name}");
                    refused += 1;
                }
            }
        }
    }
    println!("{healed} openings missed nothing or fetched it, {refused} were refused");
    assert!(healed > 0 && refused > 0, "{healed} {refused}");
}

/// Deletes or cuts one to three files of a directory, but for those that are its own business.
fn lose_some(path: &Path, rng: &mut Rng) -> Vec<String> {
    let is_shipped = |name: &String| ["log-", "pages-", "manifest-"].iter().any(|kind| name.starts_with(kind));
    let shipped: Vec<_> = names(path).into_iter().filter(is_shipped).collect();
    let harmed = (0..=rng.below(3)).map(|_| {
        let name = &shipped[rng.below(shipped.len())];
        let file = path.join(name);
        let cut = rng.one_in(3) && file.exists();
        if cut {
            let len = fs::metadata(&file).unwrap().len();
            let left = rng.number() % len.max(1);
            fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(left).unwrap();
            format!("{name} from {left} on")
        } else {
            drop(fs::remove_file(file));
            name.clone()
        }
    });
    harmed.collect()
}

#[test]
fn whatever_a_directory_loses_the_bucket_keeps() {
    let mut outcomes = (0, 0);
    for seed in 1..=rounds("TENURE_REMOTE_LOSSES", 30) {
        let mut rng = Rng::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let objects = Flaky::new(seed);
        let files = Files::create(&dir.path().join("writer")).unwrap();
        let store = open_in(Arc::new(files), &bucket(&objects.store()), quick().base_every(8)).unwrap();
        let notes = store.record_set("notes").unwrap();
        let (mut ids, image) = (Vec::new(), dir.path().join("image"));
        let commits = 20 + rng.below(120);
        // An old copy of the directory has lost what came later.
        let copied = if rng.one_in(3) { commits - rng.below(20) } else { commits };
        for number in 0..commits {
            if number == copied {
                copy(&dir.path().join("writer"), &image);
            }
            let len = rng.below(5_000);
            let value = rng.bytes(len);
            let old = (ids.len() > 30 && rng.one_in(2)).then(|| ids.swap_remove(rng.below(ids.len())));
            let written = store.write(|tx| {
                old.map_or(Ok(()), |old| tx.delete(old))?;
                tx.insert(&notes, &*value)
            });
            ids.push(written.unwrap());
            match rng.below(25) {
                0 => drop(store.save_snapshot().unwrap()),
                1 => drop(store.collect(None).unwrap()),
                _ => {}
            }
        }
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, "the last")).unwrap();
        store.wait_remote(store.last_seq()).unwrap();
        let all = contents(&store);
        if !image.exists() {
            copy(&dir.path().join("writer"), &image);
        }
        let objects = Flaky::over(Arc::new(objects.fork()), seed);
        let bucket = bucket(&objects.store());
        let lost =
            if copied < commits { vec![format!("what came after {copied}")] } else { lose_some(&image, &mut rng) };
        // Otherwise its writer may be at work.
        let how = quick().take_over(seed.is_multiple_of(2));
        match open_in(Arc::new(Files::open(&image).unwrap()), &bucket, how) {
            Ok(store) => {
                let found = try_contents(&store);
                // Damage is told when it is read; what is read is right.
                if let Ok(found) = &found {
                    let differs = found.iter().filter(|(id, value)| all.get(id) != Some(value));
                    let missing: Vec<_> = all.keys().filter(|id| !found.contains_key(id)).collect();
                    let differs: Vec<_> = differs.map(|(id, _)| id).collect();
                    assert!(
                        differs.is_empty() && missing.is_empty(),
                        "seed {seed}, without {lost:?}: {differs:?} {missing:?}"
                    );
                }
                if let Ok((_, seq)) = store.write_with(Durability::Remote, |tx| tx.insert(&notes_of(&store), "later")) {
                    store.wait_remote(seq).unwrap();
                }
                drop(store);
                let shown = of_bucket(&bucket).unwrap();
                assert!(all.iter().all(|(id, value)| shown.get(id) == Some(value)), "seed {seed}, without {lost:?}");
                outcomes.0 += 1;
            }
            Err(error) => {
                let is_told = error.is_corruption() || matches!(error, Error::Fenced { .. });
                assert!(is_told, "seed {seed}, without {lost:?}: {error}");
                assert_eq!(of_bucket(&bucket).unwrap(), all, "seed {seed}, without {lost:?}: {error}");
                outcomes.1 += 1;
            }
        }
    }
    println!("{} directories opened, {} were refused", outcomes.0, outcomes.1);
    assert!(outcomes.1 > 0, "{outcomes:?}");
}

fn notes_of(store: &Store) -> tenure::RecordSet {
    store.find_set("notes").unwrap()
}

/// The first commit that meets the end of the handle may say that it may be durable.
fn has_stopped(store: &Store) {
    let notes = store.find_set("notes").unwrap();
    assert!(store.write(|tx| tx.insert(&notes, "x")).is_err());
    let again = store.write(|tx| tx.insert(&notes, "x")).unwrap_err();
    assert!(matches!(again, Error::Poisoned { .. }), "{again}");
}

fn empty(objects: &Arc<Flaky>) {
    let store = objects.store();
    run(async {
        let all: Vec<_> = store.list(None).try_collect().await.unwrap();
        for meta in all {
            store.delete(&meta.location).await.unwrap();
        }
    });
}

#[test]
fn a_writer_whose_bucket_was_emptied_stops_acknowledging() {
    let objects = Flaky::new(1);
    let store = open(&Memory::new(), &bucket(&objects.store()), quick().base_every(8)).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "before")).unwrap();
    empty(&objects);
    let mut acknowledged = 0;
    let error = loop {
        match store.write_with(Durability::Remote, |tx| tx.insert(&notes, "after")) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 30, "it goes on for ever");
    };
    assert!(error.to_string().contains("epoch"), "{error}");
    has_stopped(&store);
}

/// What harms an object.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flipped,
    Cut,
    Empty,
    Swollen,
    Gone,
}

impl Harm {
    fn to(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let half = bytes.len() / 2;
        Some(match self {
            Self::Flipped => {
                let mut bytes = bytes.to_vec();
                bytes[half] ^= 1;
                bytes
            }
            Self::Cut => bytes[..half].to_vec(),
            Self::Empty => Vec::new(),
            Self::Swollen => [bytes, &[0; 100]].concat(),
            Self::Gone => return None,
        })
    }
}

#[test]
fn every_harmed_object_is_named_or_not_needed() {
    let objects = Flaky::new(1);
    let shared = bucket(&objects.store());
    let store = open(&Memory::new(), &shared, quick().base_every(10).part_bytes(64 << 10)).unwrap();
    let notes = store.record_set("notes").unwrap();
    for value in 0..40_u8 {
        let value = vec![value; if value % 8 == 0 { 150_000 } else { 500 }];
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, &*value)).unwrap();
    }
    let all = contents(&store);
    drop(store);
    let (mut named, mut unneeded) = (0, 0);
    for name in objects.names() {
        for harm in [Harm::Flipped, Harm::Cut, Harm::Empty, Harm::Swollen, Harm::Gone] {
            // Without an epoch it is another bucket.
            if matches!(harm, Harm::Gone) && name.contains("/epoch/") {
                continue;
            }
            let fork = Arc::new(objects.fork());
            let path = object_store::path::Path::from(name.trim_start_matches('/'));
            run(async {
                let bytes = fork.get(&path).await.unwrap().bytes().await.unwrap();
                match harm.to(&bytes) {
                    Some(bytes) => drop(fork.put(&path, bytes.into()).await.unwrap()),
                    None => fork.delete(&path).await.unwrap(),
                }
            });
            let bucket = bucket(&Flaky::over(fork, 1).store());
            let image = Memory::new();
            let restored = bucket.restore(None, &image).and_then(|_| Options::new().open_backing(Arc::new(image)));
            let viewed = bucket.view(None).and_then(|view| Options::new().read_only(true).open_backing(Arc::new(view)));
            let viewed = viewed.map(|reader| try_contents(&reader));
            match restored {
                Ok(store) => {
                    assert_eq!(contents(&store), all, "{harm:?} {name}");
                    unneeded += 1;
                }
                Err(error) => {
                    let why = error.to_string();
                    assert!(
                        error.is_corruption() || matches!(error, Error::PointGone { .. }),
                        "{harm:?} {name}: {why}"
                    );
                    assert!(why.contains(name.trim_start_matches('/')), "{harm:?} {name}: {why}");
                    named += 1;
                }
            }
            if let Ok(Ok(found)) = viewed {
                assert_eq!(found, all, "{harm:?} {name}, by a view");
            }
        }
    }
    println!("{named} times named, {unneeded} times not needed");
    assert!(named > 20 && unneeded > 20, "{named} {unneeded}");
}

fn try_contents(store: &Store) -> tenure::Result<BTreeMap<RecordId, Vec<u8>>> {
    let (view, mut all) = (store.view(), BTreeMap::new());
    for set in store.record_sets() {
        for record in view.scan(&set) {
            let record = record?;
            all.insert(record.id(), record.to_vec()?);
        }
    }
    Ok(all)
}

/// A local backing whose files cannot be read by the uploader.
#[derive(Debug)]
struct Panics {
    local: Memory,
    now: Arc<AtomicBool>,
}

#[derive(Debug)]
struct PanicsFile {
    file: Arc<dyn BackingFile>,
    now: Arc<AtomicBool>,
}

impl BackingFile for PanicsFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let is_uploader = std::thread::current().name() == Some("tenure-uploader");
        assert!(!(is_uploader && self.now.load(Ordering::Relaxed)), "a planted panic");
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Backing for Panics {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let (file, now) = (self.local.create(name)?, Arc::clone(&self.now));
        Ok(Arc::new(PanicsFile { file, now }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let (file, now) = (self.local.open(name)?, Arc::clone(&self.now));
        Ok(Arc::new(PanicsFile { file, now }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.local.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.local.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.local.lock()
    }

    fn location(&self) -> String {
        self.local.location()
    }
}

#[test]
fn a_panic_of_the_uploader_ends_who_waits() {
    let objects = Flaky::new(1);
    let now = Arc::new(AtomicBool::new(false));
    let local = Panics { local: Memory::new(), now: Arc::clone(&now) };
    let store = open_in(Arc::new(local), &bucket(&objects.store()), quick()).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, "before")).unwrap();
    now.store(true, Ordering::Relaxed);
    let (clone, set) = (store.clone(), notes.clone());
    let write = move || clone.write_with(Durability::Remote, |tx| tx.insert(&set, "x")).map(drop);
    let error = in_time(write).unwrap_err();
    assert!(error.to_string().contains("panic"), "{error}");
    has_stopped(&store);
}

#[test]
fn closing_does_not_wait_for_an_answer_that_never_comes() {
    let objects = Flaky::new(1);
    let how = quick().close_wait(Duration::from_millis(300));
    let store: Store = open(&Memory::new(), &bucket(&objects.store()), how).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    objects.slow(Duration::from_secs(100_000));
    store.write(|tx| tx.insert(&notes, "x")).unwrap();
    // The uploader has begun to put it.
    let puts = objects.counts.puts();
    let begun = Instant::now();
    while objects.counts.puts() == puts && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let begun = Instant::now();
    in_time(move || drop(store));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
