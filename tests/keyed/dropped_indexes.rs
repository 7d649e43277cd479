//! Dropping large indexes: nobody waits while their pages are looked for, and all of them are released.

use std::io;
use std::sync::{Arc, Mutex};

use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking};
use tenure::extract::Extractor;
use tenure::{Options, Store};

const RECORDS: u32 = 30_000;

fn open_in(backing: Arc<dyn Backing>) -> Store {
    Options::new().background(false).open_backing(backing).unwrap()
}

fn open(disk: &FaultBacking) -> Store {
    open_in(Arc::new(disk.clone()))
}

fn whole() -> Extractor {
    Extractor::new("whole", 1, |record, keys| keys.push(record))
}

fn page_bytes(disk: &FaultBacking) -> usize {
    let names = disk.names().into_iter().filter(|name| name.starts_with("pages-"));
    names.filter_map(|name| disk.contents(&name)).map(|bytes| bytes.len()).sum()
}

fn loaded(disk: &FaultBacking) -> usize {
    let store = open(disk);
    let set = store.record_set("a").unwrap();
    let values: Vec<[u8; 300]> = (0..RECORDS).map(|n| std::array::from_fn(|at| n.to_le_bytes()[at % 4])).collect();
    store.write(|tx| tx.insert_many(&set, &values)).unwrap();
    store.save_snapshot().unwrap();
    store.collect(None).unwrap();
    let bare = page_bytes(disk);
    store.index(&set, "whole", whole()).unwrap();
    store.save_snapshot().unwrap();
    store.close().unwrap();
    bare
}

#[test]
fn dropping_an_index_reads_none_of_it_and_releases_all_of_it() {
    for is_changed in [false, true] {
        let disk = FaultBacking::new();
        let bare = loaded(&disk);
        let with_index = page_bytes(&disk);
        assert!(with_index > bare + 4_000_000, "{bare}, {with_index}");
        let store = open(&disk);
        let set = store.record_set("a").unwrap();
        let index = store.index(&set, "whole", whole()).unwrap();
        if is_changed {
            store.write(|tx| tx.insert(&set, "one more")).unwrap();
        }
        let before = disk.reads();
        store.drop_index(&index).unwrap();
        let reads = disk.reads() - before;
        assert!(reads < 3, "{reads} reads while others wait");
        for _ in 0..3 {
            store.save_snapshot().unwrap();
            store.collect(None).unwrap();
        }
        let left = page_bytes(&disk);
        assert!(left < bare + 400_000, "{bare}, {with_index}, {left}");
        store.close().unwrap();
        let backing: Arc<dyn Backing> = Arc::new(disk.clone());
        let report = tenure::verify::verify_backing(&backing, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Does something once when a page is read.
#[derive(Clone)]
struct Hooked {
    disk: FaultBacking,
    hook: Hook,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

#[derive(Debug)]
struct HookedFile {
    file: Arc<dyn BackingFile>,
    of: Hooked,
}

impl Backing for Hooked {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let file = self.disk.open(name)?;
        Ok(if name.starts_with("pages-") { Arc::new(HookedFile { file, of: self.clone() }) } else { file })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.disk.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.disk.lock()
    }

    fn location(&self) -> String {
        self.disk.location()
    }
}

impl BackingFile for HookedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let armed = self.of.hook.lock().unwrap().take();
        if let Some(armed) = armed {
            armed();
        }
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// The snapshot does not have the second index any more, and nothing after it says that it was dropped.
#[test]
fn an_index_that_is_dropped_while_another_is_released_leaves_no_pages_after_a_crash() {
    let disk = FaultBacking::new();
    let bare = loaded(&disk);
    let both = |store: &Store| {
        let set = store.record_set("a").unwrap();
        ["whole", "again"].map(|name| store.index(&set, name, whole()).unwrap())
    };
    let store = open(&disk);
    both(&store);
    store.close().unwrap();
    let hook = Hook::default();
    let store = open_in(Arc::new(Hooked { disk: disk.clone(), hook: Arc::clone(&hook) }));
    let [first, second] = both(&store);
    store.drop_index(&first).unwrap();
    let beside = store.clone();
    *hook.lock().unwrap() = Some(Box::new(move || {
        beside.drop_index(&second).unwrap();
        beside.sync().unwrap();
    }));
    store.save_snapshot().unwrap();
    assert!(hook.lock().unwrap().is_none(), "it was dropped meanwhile");
    let image = disk.kill_image();
    drop(store);
    let store = open(&image);
    for _ in 0..3 {
        store.save_snapshot().unwrap();
        store.collect(None).unwrap();
    }
    let left = page_bytes(&image);
    assert!(left < bare + 400_000, "{bare}, {left}");
}
