//! Readers that stay open while the writer merges what they have not read, and deletes what it was merged from.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use tenure::backing::{Backing, Memory, ReadAt};
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Durability, Options, RecordId, RecordSet, Store};

use crate::flaky::{Flaky, run};
use crate::{bucket, quick};

/// The segment that all records are in.
const LOG: &str = "log-000000000001.seg";

/// Bases that come often, and nothing is retained longer than the newest of them.
fn how() -> RemoteOptions {
    quick().base_every(4).prune_every(None).retention(Duration::ZERO)
}

/// A store in one segment, from which nothing is moved.
fn open(bucket: &Bucket) -> (Store, Arc<Remote>) {
    open_with(bucket, how())
}

fn open_with(bucket: &Bucket, how: RemoteOptions) -> (Store, Arc<Remote>) {
    let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket.clone(), how));
    let options = Options::new().background(false).collector(false).segment_bytes(64 << 20).snapshot_log_bytes(1 << 30);
    (options.open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap(), remote)
}

/// A small commit, in a log object of its own.
fn insert(store: &Store, notes: &RecordSet, number: u32) -> RecordId {
    store.write_with(Durability::Remote, |tx| tx.insert(notes, &number.to_le_bytes()[..])).unwrap().0
}

/// Commits that are put inline and whose log objects are more than a reader keeps in memory.
fn push_out(store: &Store, notes: &RecordSet, mut after_each: impl FnMut()) {
    for _ in 0..5 {
        store.write_with(Durability::Remote, |tx| tx.insert(notes, vec![7; 4 << 20])).unwrap();
        after_each();
    }
}

/// Deletes what no base after this point needs, once there is one.
fn prune_behind(bucket: &Bucket, remote: &Remote, number: u64) {
    let begun = Instant::now();
    while bucket.status().unwrap().unwrap().base.is_none_or(|base| base.number < number) {
        assert!(begun.elapsed() < Duration::from_mins(1), "no base is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    remote.prune().unwrap();
}

fn is_numbers(store: &Store, ids: &[RecordId]) {
    for (id, number) in ids.iter().zip(0_u32..) {
        let found = store.get(*id).unwrap_or_else(|error| panic!("record {number}: {error}"));
        assert_eq!(found.to_vec().unwrap(), number.to_le_bytes());
    }
}

#[test]
fn who_goes_on_reads_what_was_merged_since_it_was_opened() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let (store, remote) = open(&bucket);
    let notes = store.record_set("notes").unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let follower = Options::new().follow_interval(Some(Duration::from_hours(1))).follow_bucket(&bucket).unwrap();
    let view = Arc::new(bucket.view(None).unwrap());
    let mut reader = Options::new().read_only(true).open_backing(Arc::clone(&view) as Arc<dyn Backing>).unwrap();
    let go_on = |reader: &mut Store| {
        reader.refresh().unwrap();
        assert_eq!(follower.look().unwrap(), store.last_seq());
    };
    let ids: Vec<_> = (0..64)
        .map(|number| {
            let id = insert(&store, &notes, number);
            go_on(&mut reader);
            id
        })
        .collect();
    push_out(&store, &notes, || go_on(&mut reader));
    let begun = bucket.status().unwrap().unwrap().newest.number;
    for number in 0..8 {
        insert(&store, &notes, number);
        go_on(&mut reader);
    }
    prune_behind(&bucket, &remote, begun + 1);
    assert!(!objects.names().iter().any(|name| name.ends_with("/log/0000000000000001/0000000000000020")));
    let before = objects.counts.all();
    is_numbers(&follower, &ids);
    let requests = objects.counts.all() - before;
    println!("{requests} requests for what was merged meanwhile");
    assert!(requests <= 20, "{requests} requests");
    // Several at once, by the names of files.
    let mut buffer = [0; 3000];
    view.read_many(&mut [ReadAt { name: LOG, offset: 200, buffer: &mut buffer }]).unwrap();
    let mut expected = [0; 3000];
    view.open(LOG).unwrap().read_at(200, &mut expected).unwrap();
    assert_eq!(buffer, expected);
    is_numbers(&reader, &ids);
    // What only an opening has is loaded through the same view.
    for _ in 0..2 {
        store.save_snapshot().unwrap();
        insert(&store, &notes, 0);
    }
    go_on(&mut reader);
    assert!(follower.wait_for(store.last_seq(), Duration::ZERO).unwrap(), "{:?}", follower.progress());
    assert!(follower.progress().reloads > 0, "{:?}", follower.progress());
    is_numbers(&follower, &ids);
    is_numbers(&reader, &ids);
}

#[test]
fn a_view_that_does_not_go_on_reads_what_is_left_of_it() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let (store, remote) = open(&bucket);
    let notes = store.record_set("notes").unwrap();
    let ids: Vec<_> = (0..64).map(|number| insert(&store, &notes, number)).collect();
    // An opening does not read them.
    store.save_snapshot().unwrap();
    insert(&store, &notes, 64);
    store.wait_remote(store.last_seq()).unwrap();
    let at = bucket.status().unwrap().unwrap().newest;
    let views = [None, Some(at)].map(|point| Arc::new(bucket.view(point).unwrap()));
    let readers = views.each_ref().map(|view| {
        let view = Arc::clone(view) as Arc<dyn Backing>;
        Options::new().read_only(true).open_backing(view).unwrap()
    });
    let of_log = || objects.names().into_iter().filter(|name| name.contains("/data/log-")).collect::<Vec<_>>();
    let before = of_log();
    for number in 0..200 {
        insert(&store, &notes, number);
    }
    prune_behind(&bucket, &remote, at.number + 100);
    let after = of_log();
    assert!(!before.is_empty() && before.iter().all(|name| !after.contains(name)), "{before:?}, {after:?}");
    for (view, reader) in views.iter().zip(&readers) {
        let before = objects.counts.all();
        is_numbers(reader, &ids);
        let requests = objects.counts.all() - before;
        println!("{requests} requests for what was merged meanwhile");
        assert!((2..30).contains(&requests), "{requests} requests");
        assert_eq!(view.point(), at, "it shows the same state");
        assert_eq!(reader.view().len(&notes), 65);
        let log = view.open(LOG).unwrap();
        let mut buffers = [[0; 1000]; 2];
        let [first, second] = &mut buffers;
        log.read_at(200, first).unwrap();
        view.read_many(&mut [ReadAt { name: LOG, offset: 200, buffer: second }]).unwrap();
        assert_eq!(buffers[0], buffers[1]);
    }
}

#[test]
fn an_open_file_knows_where_its_bytes_went_before_it_was_deleted() {
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket.clone(), how()));
    let _lock = remote.lock().unwrap();
    let shipping = remote.shipping().unwrap();
    let append = |file: &dyn tenure::backing::BackingFile, bytes: &[u8]| {
        file.append(bytes).unwrap();
        file.sync().unwrap();
        shipping.wait(shipping.noted()).unwrap();
    };
    let [one, other] = ["one", "other"].map(|name| remote.create(name).unwrap());
    let mut expected = Vec::new();
    for number in 0..64_u8 {
        append(&*one, &[number; 100]);
        expected.extend([number; 100]);
    }
    let view = bucket.view(None).unwrap();
    let opened = view.open("one").unwrap();
    for number in 0..100_u32 {
        append(&*one, &[0; 100]);
        append(&*other, &number.to_le_bytes());
    }
    view.list().unwrap();
    // The deletion comes behind the last base.
    let newest = || bucket.status().unwrap().unwrap().newest.number;
    while newest() % 4 != 1 {
        append(&*other, b"more");
    }
    view.list().unwrap();
    let base = newest() - 1;
    prune_behind(&bucket, &remote, base);
    remote.delete("one").unwrap();
    shipping.wait(shipping.noted()).unwrap();
    assert!(!view.list().unwrap().contains(&"one".to_owned()));
    assert_eq!(bucket.status().unwrap().unwrap().base.map(|base| base.number), Some(base));
    let mut found = vec![0; expected.len()];
    opened.read_at(0, &mut found).unwrap();
    assert_eq!(found, expected);
    assert_eq!(opened.len().unwrap(), 6400);
    assert!(opened.read_at(6400, &mut [0]).is_err(), "it had no more when it was opened");
}

#[test]
fn reads_of_bytes_that_are_gone_load_the_newest_state_once() {
    let all = Arc::new(InMemory::new());
    let objects = Flaky::over(Arc::clone(&all), 1);
    let bucket = bucket(&objects.store());
    let (store, _remote) = open_with(&bucket, quick().part_bytes(64 << 10));
    let notes = store.record_set("notes").unwrap();
    store.write_with(Durability::Remote, |tx| tx.insert_many(&notes, &vec![vec![7; 60_000]; 5])).unwrap();
    let view = bucket.view(None).unwrap();
    // Loading the newest state reads each of them.
    for number in 0..40 {
        insert(&store, &notes, number);
    }
    let log = view.open(LOG).unwrap();
    for name in objects.names().into_iter().filter(|name| name.contains("/data/log-")) {
        run(all.delete(&Path::from(name.trim_start_matches('/')))).unwrap();
    }
    let requests = || {
        let before = objects.counts.all();
        log.read_at(20_000, &mut [0; 100]).unwrap_err();
        objects.counts.all() - before
    };
    let first = requests();
    let others: Vec<_> = (0..9).map(|_| requests()).collect();
    println!("{first} requests for the first of them, {others:?} for the others");
    assert!(first > 20 && others.iter().all(|others| *others <= 10), "{first}, {others:?}");
}

#[test]
fn who_goes_on_seldom_asks_for_bases() {
    let all = Arc::new(InMemory::new());
    let [writes, reads] = [Flaky::over(Arc::clone(&all), 1), Flaky::over(all, 1)];
    let (store, _remote) = open(&bucket(&writes.store()));
    let notes = store.record_set("notes").unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    let view = bucket(&reads.store()).view(None).unwrap();
    let mut reader = Options::new().read_only(true).open_backing(Arc::new(view)).unwrap();
    let counts = || [&reads.counts.lists, &reads.counts.gets].map(|count| count.load(Ordering::Relaxed));
    let before = counts();
    for number in 0..600 {
        insert(&store, &notes, number);
        reader.refresh().unwrap();
    }
    let after = counts();
    let [lists, gets] = [after[0] - before[0], after[1] - before[1]];
    println!("{lists} listings and {gets} reads for 600 log objects");
    assert!((1201..=1204).contains(&lists) && gets <= 2 * 600 + 4 * 4, "{lists} listings and {gets} reads");
}
