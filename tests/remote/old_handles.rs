//! What is left of a handle when another one has the directory: it changes no file that the other has counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use tenure::backing::{Backing, BackingFile, BackingLock, Files, Map};
use tenure::remote::Remote;
use tenure::{Durability, Error, Options};

use crate::flaky::Flaky;
use crate::{bucket, contents, quick};

fn files(path: &Path) -> Arc<dyn Backing> {
    Arc::new(Files::open(path).unwrap())
}

/// A directory whose files cannot be synced from some moment on.
#[derive(Debug)]
struct Tired {
    files: Files,
    now: Arc<AtomicBool>,
}

#[derive(Debug)]
struct TiredFile {
    file: Arc<dyn BackingFile>,
    now: Arc<AtomicBool>,
}

impl BackingFile for TiredFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.now.load(Ordering::Relaxed) { Err(io::Error::other("a planted error")) } else { self.file.sync() }
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
        self.file.preallocate(bytes)
    }
}

impl Backing for Tired {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(Arc::new(TiredFile { file: self.files.create(name)?, now: Arc::clone(&self.now) }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.files.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.files.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.files.lock()
    }

    fn location(&self) -> String {
        self.files.location()
    }
}

/// Its segment has space behind its end, which nothing may give back once another handle has counted it.
#[test]
fn a_view_of_a_handle_that_failed_to_close_takes_nothing_from_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = bucket(&Flaky::new(1).store());
    // Segments larger than what is allocated at once.
    let options = || Options::new().background(false).collector(false);
    let opened =
        |local: Arc<dyn Backing>| options().open_backing(Arc::new(Remote::new(local, bucket.clone(), quick())));
    let now = Arc::new(AtomicBool::new(false));
    let store = opened(Arc::new(Tired { files: Files::open(dir.path()).unwrap(), now: Arc::clone(&now) })).unwrap();
    let notes = store.record_set("notes").unwrap();
    for value in 0..4_u8 {
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, vec![value; 3_000])).unwrap();
    }
    let view = store.view();
    let all = contents(&store);
    now.store(true, Ordering::Relaxed);
    let error =
        store.write_with(Durability::Sync, |tx| tx.insert(&notes, "in doubt")).expect_err("it cannot be synced");
    assert!(error.to_string().contains("planted"), "{error}");
    assert!(matches!(store.close(), Err(Error::Poisoned { .. })));
    let sizes = || {
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect::<BTreeMap<_, _>>()
    };
    let store = opened(files(dir.path())).unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let before = sizes();
    assert_eq!(view.scan(&notes).count(), all.len(), "the view stays valid");
    drop(view);
    assert_eq!(sizes(), before, "what an old handle leaves changes no file");
    let now = contents(&store);
    assert!(all.iter().all(|(id, value)| now.get(id) == Some(value)));
    store.close().unwrap();
    let store = opened(files(dir.path())).expect("the directory has what the bucket has");
    assert_eq!(contents(&store), now);
}
