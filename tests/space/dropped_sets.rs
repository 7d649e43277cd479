//! Emptying sets that were dropped: in commits of bounded size, and beside everything else that the thread in the background
//! does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::{Backing, Event, FaultBacking};
use tenure::planted::plant_frees;
use tenure::{Durability, FileKind, Options, RecordSet, Store};

/// IDs that a commit frees while a test has lowered it.
const FREES: usize = 8;
/// How long a test waits for a thread in the background.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lowers the number of IDs that a commit frees, for stores that this thread opens until it is dropped.
struct Few;

impl Few {
    fn new() -> Self {
        plant_frees(Some(FREES));
        Self
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        plant_frees(None);
    }
}

fn options() -> Options {
    Options::new().background(false).collector(false)
}

fn open(options: &Options, backing: &FaultBacking) -> Store {
    options.open_backing(Arc::new(backing.clone())).expect("opens")
}

fn insert(store: &Store, set: &RecordSet, count: usize) {
    store.write(|tx| tx.insert_many(set, &vec!["a record"; count])).expect("commits");
}

/// Bytes of records in the log that are not freed.
fn live_bytes(store: &Store) -> u64 {
    let segments = store.stats().segments.into_iter();
    segments.filter(|segment| segment.kind == FileKind::Records).map(|segment| segment.live_bytes).sum()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_of_the_log(name: &str) -> bool {
    name.starts_with("log-")
}

fn verify(backing: &FaultBacking) -> u64 {
    let backing: Arc<dyn Backing> = Arc::new(backing.clone());
    let report = tenure::verify::verify_backing(&backing, &mut |_| {}).expect("is a store");
    assert!(report.is_ok(), "{:?}", report.problems);
    report.records
}

#[test]
fn syncs_at_intervals_go_on_while_a_set_is_emptied() {
    let _few = Few::new();
    let backing = FaultBacking::new();
    let options = Options::new().collector(false).durability(Durability::Buffered).sync_interval(Some(Duration::ZERO));
    let store = open(&options, &backing);
    let set = store.record_set("a").expect("a set");
    insert(&store, &set, 2_000);
    store.sync().expect("syncs");
    store.drop_set(&set).expect("drops");
    wait_until("the set is not emptied", || live_bytes(&store) == 0);
    store.close().expect("closes");
    let (mut unsynced, mut most) = (0_usize, 0_usize);
    for event in backing.events() {
        match event {
            // Not what the test itself has written at once.
            Event::Append { name, bytes } if is_of_the_log(&name) && bytes < 20_000 => unsynced += bytes,
            Event::Sync { name } if is_of_the_log(&name) => unsynced = 0,
            _ => {}
        }
        most = most.max(unsynced);
    }
    // Two thousand IDs take 16,000 bytes.
    assert!(most < 2_000, "{most} bytes were not durable");
}

#[test]
fn emptying_a_set_keeps_to_the_limit_of_changed_pages() {
    const LIMIT: u64 = 1 << 20;
    let backing = FaultBacking::new();
    let options = options().dirty_bytes_max(LIMIT).durability(Durability::Buffered);
    let store = open(&options, &backing);
    let set = store.record_set("a").expect("a set");
    for _ in 0..20 {
        insert(&store, &set, 10_240);
    }
    store.save_snapshot().expect("saves");
    assert_eq!(store.stats().dirty_bytes, 0);
    store.drop_set(&set).expect("drops");
    let dirty = store.stats().dirty_bytes;
    assert!(dirty <= LIMIT, "{dirty} bytes");
    assert_eq!(live_bytes(&store), 0);
    store.close().expect("closes");
    assert_eq!(verify(&backing), 0);
}
