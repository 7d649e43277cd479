//! Every backing in the crate keeps the rules, and backings that break one are detected.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tenure::backing::conformance::check;
use tenure::backing::{Backing, BackingFile, BackingLock, FaultBacking, Files, Map, Memory, ReadAt, check_name};

use crate::examples::custom_backing;

#[test]
fn files_of_a_directory_conform() {
    let directories = RefCell::new(Vec::new());
    check(&|| {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::create(&dir.path().join("store")).expect("a new directory");
        directories.borrow_mut().push(dir);
        Arc::new(files)
    })
    .unwrap();
}

#[test]
fn files_in_memory_conform() {
    check(&|| Arc::new(Memory::new())).unwrap();
}

#[test]
fn files_with_faults_conform_while_there_is_none() {
    check(&|| Arc::new(FaultBacking::new())).unwrap();
    check(&|| Arc::new(FaultBacking::new().crash_image(3))).unwrap();
}

#[test]
fn the_example_conforms_and_runs() {
    check(&|| Arc::new(custom_backing::Bucket::default())).unwrap();
    custom_backing::main().unwrap();
}

/// The fault of a broken backing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    LosesTheLastByte,
    AppendsTwice,
    CreatesOverAnother,
    OpensWhatIsNotThere,
    TakesAnyName,
    RefusesLongNames,
    ReadsShort,
    LocksNobodyOut,
    LocksForEver,
    DeletesUnderHandles,
    ListsNothing,
    ListsTheDeleted,
    AppendsThroughReaders,
    HidesLaterAppends,
    MapsOnlyWhatIsThere,
    PreallocatesWithZeroes,
    RefusesEmptyAppends,
    FailsToSyncBesideAppends,
    DeletesNothingSilently,
    LosesWhatIsSealed,
    ReadsManyFromTheBeginning,
}

#[derive(Debug)]
struct Broken {
    inner: Memory,
    flaw: Flaw,
    deleted: Arc<Mutex<Vec<String>>>,
    is_appending: Arc<AtomicBool>,
}

#[derive(Debug)]
struct BrokenFile {
    inner: Arc<dyn BackingFile>,
    name: String,
    flaw: Flaw,
    deleted: Arc<Mutex<Vec<String>>>,
    len_at_open: Option<u64>,
    is_appending: Arc<AtomicBool>,
}

#[derive(Debug)]
struct NoLock;

impl BackingLock for NoLock {}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        Self { inner: Memory::new(), flaw, deleted: Arc::default(), is_appending: Arc::default() }
    }

    fn wrap(&self, name: &str, inner: Arc<dyn BackingFile>, is_reader: bool) -> Arc<dyn BackingFile> {
        Arc::new(BrokenFile {
            len_at_open: is_reader.then(|| inner.len().unwrap()),
            inner,
            name: name.to_owned(),
            flaw: self.flaw,
            deleted: Arc::clone(&self.deleted),
            is_appending: Arc::clone(&self.is_appending),
        })
    }
}

impl BackingFile for BrokenFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        match self.flaw {
            Flaw::LosesTheLastByte => self.inner.append(&bytes[..bytes.len().saturating_sub(1)]),
            Flaw::AppendsTwice => self.inner.append(bytes).and_then(|()| self.inner.append(bytes)),
            Flaw::RefusesEmptyAppends if bytes.is_empty() => Err(io::ErrorKind::InvalidInput.into()),
            Flaw::AppendsThroughReaders if self.len_at_open.is_some() => Ok(()),
            Flaw::FailsToSyncBesideAppends => {
                self.is_appending.store(true, Ordering::SeqCst);
                std::thread::yield_now();
                let result = self.inner.append(bytes);
                std::thread::sleep(std::time::Duration::from_micros(20));
                self.is_appending.store(false, Ordering::SeqCst);
                result
            }
            _ => self.inner.append(bytes),
        }
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_appending.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.inner.sync()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let len = self.inner.len()?;
        let end = offset.saturating_add(u64::try_from(buffer.len()).unwrap());
        match self.flaw {
            Flaw::ReadsShort if offset < len && end > len => Ok(()),
            Flaw::HidesLaterAppends if self.len_at_open.is_some_and(|len| end > len) => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Flaw::DeletesUnderHandles if self.deleted.lock().unwrap().contains(&self.name) => {
                Err(io::ErrorKind::NotFound.into())
            }
            Flaw::LosesWhatIsSealed if self.deleted.lock().unwrap().contains(&format!("sealed {}", self.name)) => {
                Err(io::ErrorKind::NotFound.into())
            }
            _ => self.inner.read_at(offset, buffer),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn seal(&self) -> io::Result<()> {
        if self.flaw == Flaw::LosesWhatIsSealed {
            self.deleted.lock().unwrap().push(format!("sealed {}", self.name));
        }
        Ok(())
    }

    fn map(&self, _capacity: u64) -> io::Result<Option<Map>> {
        if self.flaw != Flaw::MapsOnlyWhatIsThere {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(self.inner.len()?).unwrap()];
        self.inner.read_at(0, &mut bytes)?;
        Ok(Some(Map::from_bytes(bytes.into())))
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        if self.flaw == Flaw::PreallocatesWithZeroes {
            let missing = bytes.saturating_sub(self.inner.len()?);
            self.inner.append(&vec![0; usize::try_from(missing).unwrap()])?;
        }
        Ok(())
    }
}

impl Backing for Broken {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        if self.flaw == Flaw::CreatesOverAnother && self.inner.open(name).is_ok() {
            self.inner.delete(name)?;
        }
        if self.flaw == Flaw::TakesAnyName && name == "a b" {
            return Ok(self.wrap(name, self.inner.create("a_b")?, false));
        }
        if self.flaw == Flaw::RefusesLongNames && name.len() > 64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.wrap(name, self.inner.create(name)?, false))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        if self.flaw == Flaw::OpensWhatIsNotThere && self.inner.open(name).is_err() {
            drop(self.inner.create(name)?);
        }
        Ok(self.wrap(name, self.inner.open(name)?, true))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        match self.flaw {
            Flaw::ListsNothing => Ok(Vec::new()),
            Flaw::ListsTheDeleted => Ok([self.inner.list()?, self.deleted.lock().unwrap().clone()].concat()),
            _ => self.inner.list(),
        }
    }

    fn read_many(&self, reads: &mut [ReadAt<'_>]) -> io::Result<()> {
        let is_wrong = self.flaw == Flaw::ReadsManyFromTheBeginning;
        let offset = |offset: u64| if is_wrong { 0 } else { offset };
        reads.iter_mut().try_for_each(|read| self.open(read.name)?.read_at(offset(read.offset), read.buffer))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        if self.flaw == Flaw::DeletesNothingSilently && check_name(name).is_ok() && self.inner.open(name).is_err() {
            return Ok(());
        }
        self.inner.delete(name)?;
        self.deleted.lock().unwrap().push(name.to_owned());
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        match self.flaw {
            Flaw::LocksNobodyOut => Ok(Box::new(NoLock)),
            Flaw::LocksForEver => self.inner.lock().map(|lock| -> Box<dyn BackingLock> {
                Box::leak(lock);
                Box::new(NoLock)
            }),
            _ => self.inner.lock(),
        }
    }

    fn location(&self) -> String {
        "broken".to_owned()
    }
}

#[test]
fn backings_that_break_a_rule_are_found() {
    use Flaw::*;
    check(&|| Arc::new(Broken::new(None))).expect("without a flaw it conforms");
    let flaws = [
        (LosesTheLastByte, "take every name"),
        (AppendsTwice, "take every name"),
        (CreatesOverAnother, "create a file once"),
        (OpensWhatIsNotThere, "say NotFound"),
        (DeletesNothingSilently, "say NotFound"),
        (TakesAnyName, "take every name"),
        (RefusesLongNames, "take every name"),
        (ReadsShort, "UnexpectedEof"),
        (LocksNobodyOut, "lock for one holder"),
        (LocksForEver, "lock for one holder"),
        (DeletesUnderHandles, "keep deleted files readable"),
        (ListsNothing, "list exactly"),
        (ListsTheDeleted, "list exactly"),
        (AppendsThroughReaders, "refuse appends"),
        (HidesLaterAppends, "show later appends"),
        (MapsOnlyWhatIsThere, "map what was appended"),
        (PreallocatesWithZeroes, "preallocate"),
        (RefusesEmptyAppends, "return appended bytes"),
        (FailsToSyncBesideAppends, "at the same time"),
        (LosesWhatIsSealed, "a file that is sealed"),
        (ReadsManyFromTheBeginning, "read several files at once"),
    ];
    for (flaw, rule) in flaws {
        let violation = check(&|| Arc::new(Broken::new(flaw))).expect_err(&format!("{flaw:?} was not found"));
        assert!(violation.to_string().contains(rule), "{flaw:?} was found as: {violation}");
    }
}

/// Counts which files were sealed, and with how many bytes.
#[derive(Debug, Clone, Default)]
struct Sealing {
    inner: FaultBacking,
    sealed: Arc<Mutex<Vec<(String, u64)>>>,
}

#[derive(Debug)]
struct SealingFile {
    inner: Arc<dyn BackingFile>,
    name: String,
    of: Sealing,
}

impl BackingFile for SealingFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let sealed = self.of.sealed.lock().unwrap();
        assert!(sealed.iter().all(|(name, _)| *name != self.name), "{} is appended to, and it is sealed", self.name);
        drop(sealed);
        self.inner.append(bytes)
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

    fn seal(&self) -> io::Result<()> {
        assert_eq!(self.of.inner.unsynced_bytes(&self.name), 0, "{} is sealed before it is synced", self.name);
        let sealed = (self.name.clone(), self.inner.len()?);
        self.of.sealed.lock().unwrap().push(sealed);
        // It must not matter.
        Err(io::ErrorKind::Other.into())
    }
}

impl Backing for Sealing {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        Ok(Arc::new(SealingFile { inner: self.inner.create(name)?, name: name.to_owned(), of: self.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

/// Commits, snapshots and collections in a small store.
fn work(store: &tenure::Store, rounds: u64) {
    let set = store.record_set("notes").unwrap();
    let mut ids = Vec::new();
    for round in 0..rounds {
        let value = vec![7; 2_000];
        ids.push(store.write(|tx| tx.insert(&set, &*value)).unwrap());
        if round % 3 == 0 {
            store.write(|tx| tx.update(ids[usize::try_from(round).unwrap() / 2], "changed")).unwrap();
        }
        if round % 40 == 0 {
            store.save_snapshot().unwrap();
        }
    }
    store.collect(None).unwrap();
}

#[test]
fn every_file_is_sealed_once_it_gets_no_more_bytes() {
    let backing = Sealing::default();
    let options = tenure::Options::new().segment_bytes(64 << 10).background(false);
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    work(&store, 200);
    store.close().unwrap();
    let sealed = backing.sealed.lock().unwrap().clone();
    let names: std::collections::BTreeSet<&str> = sealed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), sealed.len(), "one was sealed twice: {sealed:?}");
    let listed = backing.list().unwrap();
    // The page segment that the last snapshot wrote to is left as it is: later handles begin another.
    let last = listed.iter().filter(|name| name.starts_with("pages-")).max();
    let files = listed.iter().filter(|name| name.contains(".seg") || name.starts_with("manifest"));
    for name in files.filter(|name| Some(*name) != last) {
        assert!(names.contains(name.as_str()), "{name} was not sealed: {sealed:?}");
    }
    for (name, len) in sealed.iter().filter(|(name, _)| backing.inner.contents(name).is_some()) {
        let now = backing.inner.contents(name).unwrap().len();
        assert_eq!(u64::try_from(now).unwrap(), *len, "{name} has grown");
    }
}

#[test]
fn a_clean_close_leaves_nothing_that_a_power_cut_could_take() {
    for background in [false, true] {
        let backing = FaultBacking::new();
        let options = tenure::Options::new().segment_bytes(64 << 10).background(background);
        let mut timeline = None;
        for round in 0..3 {
            let store = options.open_backing(Arc::new(backing.clone())).unwrap();
            work(&store, 30 + 60 * round);
            if background {
                // A watermark is written when the store is idle, and a segment prepared.
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            store.close().unwrap();
            for name in backing.names().iter().filter(|name| !name.starts_with("reserve")) {
                assert_eq!(backing.unsynced_bytes(name), 0, "{name}");
            }
            let image = backing.crash_image_lose_all();
            let store = options.open_backing(Arc::new(image)).unwrap();
            let report = store.recovery_report();
            assert!(report.clean && report.commits_replayed == 0, "{report}");
            assert_eq!(*timeline.get_or_insert(store.stats().timeline), store.stats().timeline);
        }
    }
}
