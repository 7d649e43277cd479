//! What ends waiting, what a failing look costs, and which store is taken over.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tenure::backing::{Backing, BackingFile, BackingLock, Memory};
use tenure::extract::Extractor;
use tenure::{ChangeKind, Error, Follower, Options, RecordId, Seq, Store};

use crate::following::LONG;

fn quick() -> Options {
    Options::new().follow_interval(Some(Duration::from_millis(10)))
}

/// A backing that fails, or panics, when asked to.
#[derive(Debug, Default)]
struct Faulty {
    memory: Memory,
    is_down: AtomicBool,
    panics: AtomicBool,
    listed: AtomicU64,
}

impl Backing for Faulty {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.memory.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        let is_follower = std::thread::current().name() == Some("tenure-follower");
        assert!(!(is_follower && self.panics.load(Ordering::Relaxed)), "a planted panic");
        if self.is_down.load(Ordering::Relaxed) { Err(io::Error::other("planted")) } else { self.memory.open(name) }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) { Err(io::Error::other("planted")) } else { self.memory.list() }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.memory.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.memory.lock()
    }

    fn location(&self) -> String {
        "a backing that fails".to_owned()
    }
}

/// What a thread gets that waits for a commit that never comes.
fn waiting(follower: &Arc<Follower>) -> mpsc::Receiver<tenure::Result<bool>> {
    let (sender, receiver) = mpsc::channel();
    let follower = Arc::clone(follower);
    std::thread::spawn(move || sender.send(follower.wait_for(Seq(u64::MAX), Duration::MAX)));
    std::thread::sleep(Duration::from_millis(50));
    receiver
}

#[test]
fn who_waits_is_told_that_the_handle_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = Store::open(dir.path().join("s")).unwrap();
    let follower = Arc::new(quick().follow(dir.path().join("s")).unwrap());
    let told = waiting(&follower);
    follower.store().clone().close().unwrap();
    let result = told.recv_timeout(Duration::from_secs(20)).expect("it ends");
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
}

#[test]
fn who_waits_is_told_that_the_thread_has_ended() {
    let backing = Arc::new(Faulty::default());
    let _writer = Options::new().open_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let follower = Arc::new(quick().follow_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap());
    let told = waiting(&follower);
    backing.panics.store(true, Ordering::Relaxed);
    let result = told.recv_timeout(Duration::from_secs(20)).expect("it ends");
    assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
}

#[test]
fn looks_that_fail_become_rare() {
    let backing = Arc::new(Faulty::default());
    let writer = Options::new().open_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let follower = quick().follow_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let notes = writer.record_set("notes").unwrap();
    writer.write(|tx| tx.insert(&notes, "x")).unwrap();
    assert!(follower.wait_for(writer.last_seq(), LONG).unwrap());
    backing.is_down.store(true, Ordering::Relaxed);
    let before = follower.progress().looks;
    std::thread::sleep(Duration::from_millis(1500));
    let progress = follower.progress();
    assert!(progress.error.is_some(), "{progress:?}");
    assert!(progress.looks - before <= 20, "{} looks in 1.5 seconds", progress.looks - before);
    backing.is_down.store(false, Ordering::Relaxed);
    writer.write(|tx| tx.insert(&notes, "y")).unwrap();
    assert!(follower.wait_for(writer.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
    assert!(follower.progress().error.is_none());
}

/// A read outside of a view takes its record from a commit that is being applied. What a transaction wrote in between is no state
/// of a commit.
#[test]
fn of_several_writes_of_a_record_a_follower_shows_the_last() {
    const ROUNDS: u32 = 12;
    let backing = Arc::new(Memory::new());
    let writer = Options::new().open_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let (set, others) = (writer.record_set("set").unwrap(), writer.record_set("others").unwrap());
    let whole = Extractor::new("whole", 1, |value, keys| keys.push(value));
    let by_value = writer.index(&set, "by value", whole).unwrap();
    writer.save_snapshot().unwrap();
    let changed = writer.write(|tx| tx.insert(&set, "before")).unwrap();
    let leaving = writer.write(|tx| (0..ROUNDS).map(|_| tx.insert(&set, "before")).collect::<tenure::Result<Vec<_>>>());
    let leaving = leaving.unwrap();
    let follower = quick().follow_backing(Arc::clone(&backing) as Arc<dyn Backing>).unwrap();
    let since = writer.last_seq();
    let stop = AtomicBool::new(false);
    let rows = vec![[7; 8]; 20_000];
    std::thread::scope(|scope| {
        let (follower, leaving, stop) = (&follower, &leaving, &stop);
        let reading = scope.spawn(move || {
            let mut between = 0;
            while !stop.load(Ordering::Relaxed) {
                between += u64::from(follower.get(changed).unwrap().as_slice() == Some(b"between"));
                for id in leaving {
                    let found = follower.get(*id);
                    between += u64::from(found.is_ok_and(|record| record.as_slice() == Some(b"between")));
                }
            }
            between
        });
        for (round, leaves) in leaving.iter().enumerate() {
            let written = writer.write(|tx| {
                tx.update(changed, "between")?;
                tx.update(*leaves, "between")?;
                let gone = tx.insert(&set, "between")?;
                tx.insert_many(&others, &rows)?;
                tx.update(changed, round.to_string())?;
                tx.delete(*leaves)?;
                tx.delete(gone)
            });
            written.unwrap();
            assert!(follower.wait_for(writer.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reading.join().unwrap(), 0, "reads of what no commit has left");
    });
    let now = (ROUNDS - 1).to_string();
    let check = |store: &Store| {
        let (view, of_index) = (store.view(), store.find_index(&set, "by value").unwrap());
        let entries: Vec<_> = of_index.range::<&[u8]>(&view, ..).unwrap().map(|entry| entry.unwrap().id).collect();
        assert_eq!((entries, of_index.get(&view, now.as_bytes()).unwrap()), (vec![changed], Some(changed)));
        assert_eq!((view.len(&set), view.len(&others)), (1, u64::from(ROUNDS) * 20_000));
        // A change each of the record that stays and of the one that leaves, none of the one that came and went.
        let mut seen: BTreeMap<RecordId, Vec<ChangeKind>> = BTreeMap::new();
        for commit in store.changes(since).unwrap().of_sets([&set]) {
            for change in commit.unwrap().changes() {
                let change = change.unwrap();
                assert_ne!(change.value().unwrap().bytes(), Some(&b"between"[..]));
                seen.entry(change.id().unwrap()).or_default().push(change.kind());
            }
        }
        assert_eq!(seen.remove(&changed), Some(vec![ChangeKind::Update; leaving.len()]));
        assert_eq!(seen, leaving.iter().map(|id| (*id, vec![ChangeKind::Delete])).collect());
    };
    check(&follower);
    check(&writer);
    assert_eq!(follower.progress().reloads, 0, "the log was followed");
    assert_eq!(writer.verify_index(&by_value).unwrap(), Vec::<String>::new());
    drop(follower);
    // An opening replays the same commits.
    let backing: Arc<dyn Backing> = backing;
    let opened = Options::new().read_only(true).open_backing(Arc::clone(&backing)).unwrap();
    check(&opened);
    assert!(opened.recovery_report().commits_replayed > u64::from(ROUNDS), "{}", opened.recovery_report());
    writer.close().unwrap();
    assert!(tenure::verify::verify_backing(&backing, &mut |_| {}).unwrap().is_ok());
}

#[test]
fn another_store_in_its_place_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let [path, moved] = ["s", "moved"].map(|name| dir.path().join(name));
    let writer = Store::open(&path).unwrap();
    let notes = writer.record_set("notes").unwrap();
    let note = writer.write(|tx| tx.insert(&notes, "ours")).unwrap();
    let follower = quick().follow(&path).unwrap();
    // It stays with the directory, wherever that is.
    assert!(std::process::Command::new("mv").args([&path, &moved]).status().unwrap().success());
    writer.close().unwrap();
    let later = Store::open(&moved).unwrap();
    let notes = later.record_set("notes").unwrap();
    later.write(|tx| tx.update(note, "ours, later")).unwrap();
    later.write(|tx| tx.insert(&notes, "more")).unwrap();
    assert!(follower.wait_for(later.last_seq(), LONG).unwrap(), "{:?}", follower.progress());
    assert_eq!(follower.get(note).unwrap().as_slice(), Some(&b"ours, later"[..]));
    later.close().unwrap();
    let other = Store::open(&path).unwrap();
    other.record_set("others").unwrap();
    other.close().unwrap();
    let files = || {
        let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
        files.sort();
        files
    };
    let before = files();
    let refused = follower.promote(&Options::new(), Duration::from_secs(5)).map(drop);
    assert!(matches!(&refused, Err(Error::NotAStore { why, .. }) if why.contains("another store")), "{refused:?}");
    assert_eq!(files(), before, "nothing was written to it");
}
