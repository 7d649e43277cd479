//! The collector reclaims space and changes nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::extract::Extractor;
use tenure::{Durability, FileKind, Options, RecordId, Store};

use crate::common;
use crate::common::Rng;

const SEGMENT: u64 = 64 << 10;

fn options() -> Options {
    Options::new()
        .segment_bytes(SEGMENT)
        .snapshot_log_bytes(4 * SEGMENT)
        .durability(Durability::Buffered)
        .background(false)
        .space_ratio(1.5)
}

fn record_bytes(store: &Store) -> (u64, u64) {
    let stats = store.stats();
    let records = stats.segments.iter().filter(|segment| segment.kind == FileKind::Records);
    records.fold((0, 0), |(bytes, live), segment| (bytes + segment.bytes, live + segment.live_bytes))
}

/// Bytes of all files with records.
fn bytes_of_files(backing: &dyn Backing) -> u64 {
    let names = backing.list().expect("lists");
    let logs = names.iter().filter(|name| name.starts_with("log"));
    logs.map(|name| backing.open(name).and_then(|file| file.len()).expect("its length")).sum()
}

fn verify(store: Store, backing: &Arc<dyn Backing>) {
    common::assert_no_strays(&store, || backing.list().expect("lists"), "open");
    store.close().expect("closes");
    common::assert_no_strays_closed_backing(backing, "closed");
    let report = tenure::verify::verify_backing(backing, &mut |_| {}).expect("verifies");
    assert!(report.is_ok(), "{:?}", report.problems);
}

type Model = BTreeMap<RecordId, Vec<u8>>;

fn check(store: &Store, model: &Model) {
    let found = common::contents(store).expect("reads");
    assert!(found.get("a").unwrap_or(&Model::new()) == model, "other contents");
}

/// Random inserts, updates, deletes and large values, with the space held by the transactions themselves.
fn churn(backing: &Arc<dyn Backing>, seed: u64, rounds: usize) {
    let mut rng = Rng::new(seed);
    let mut store = options().open_backing(Arc::clone(backing)).expect("opens");
    let by_head = |record: &[u8], keys: &mut tenure::extract::Keys| {
        if let Some(head) = record.get(..3) {
            keys.push(head);
        }
    };
    let mut model = Model::new();
    let mut most = 0;
    for round in 0..rounds {
        let set = store.record_set("a").expect("a set");
        store.index(&set, "head", Extractor::new("head", 1, by_head)).expect("an index");
        let mut tx = store.begin().expect("begins");
        for _ in 0..40 {
            let len = if rng.one_in(200) { 80_000 + rng.below(100_000) } else { rng.below(700) };
            let value = rng.bytes(len);
            let some = model.keys().nth(rng.below(model.len())).copied();
            match (rng.below(10), some) {
                (0..=1, Some(id)) if model.len() > 300 => {
                    tx.delete(id).expect("deletes");
                    model.remove(&id);
                }
                (2..=7, Some(id)) => {
                    tx.update_staged(id, &store.stage(&value[..]).expect("stages")).expect("updates");
                    model.insert(id, value);
                }
                _ => {
                    let id = tx.insert_staged(&set, &store.stage(&value[..]).expect("stages")).expect("inserts");
                    model.insert(id, value);
                }
            }
        }
        tx.commit_with(Durability::Buffered).expect("commits");
        if round % 10 == 9 {
            store.save_snapshot().expect("saves");
        }
        if round % 97 == 96 {
            check(&store, &model);
            let (bytes, live) = record_bytes(&store);
            most = most.max(bytes.saturating_sub(10 * SEGMENT) * 100 / live);
            drop(store);
            store = options().open_backing(Arc::clone(backing)).expect("opens");
            check(&store, &model);
        }
    }
    check(&store, &model);
    assert!(most < 170, "{most} % of the live bytes");
    let index = store.find_index(&store.find_set("a").expect("the set"), "head").expect("the index");
    let problems = store.verify_index(&index).expect("verifies");
    assert_eq!(problems, Vec::<String>::new());
    verify(store, backing);
}

#[test]
fn a_store_that_is_written_to_for_ever_keeps_its_size_and_its_records() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    churn(&backing, 1, 600);
}

#[test]
fn deleting_half_gives_the_space_back_in_one_collection() {
    let dir = tempfile::tempdir().expect("a directory");
    let path: &Path = dir.path();
    let store = options().background(true).open(path).expect("opens");
    let set = store.record_set("a").expect("a set");
    let ids: Vec<RecordId> = (0..20)
        .flat_map(|_| {
            store
                .write(|tx| (0..500).map(|_| tx.insert(&set, [7; 200])).collect::<Result<Vec<_>, _>>())
                .expect("inserts")
        })
        .collect();
    store.write(|tx| ids.iter().step_by(2).try_for_each(|id| tx.delete(*id))).expect("deletes");
    store.collect(None).expect("collects");
    let (bytes, live) = record_bytes(&store);
    assert_eq!(live, 5_000 * 224);
    assert!(bytes < live * 105 / 100 + 3 * SEGMENT, "{bytes} for {live}");
    let on_disk: u64 = std::fs::read_dir(path)
        .expect("lists")
        .map(|entry| entry.expect("an entry").metadata().expect("its size").len())
        .sum();
    // Beside records: pages of two snapshots, and the reserve.
    assert!(on_disk < bytes + 1_100_000, "{on_disk} bytes of files");
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(store.get(*id).is_ok(), index % 2 == 1);
    }
    drop(store);
    assert!(tenure::verify::verify(path, &mut |_| {}).expect("verifies").is_ok());
}

#[test]
fn a_view_reads_what_it_saw_over_a_full_turnover_and_lets_go() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("a").expect("a set");
    let mut rng = Rng::new(3);
    let ids = store
        .write(|tx| (0..2_000).map(|n: u32| tx.insert(&set, n.to_le_bytes().repeat(50))).collect::<Result<Vec<_>, _>>())
        .expect("inserts");
    let view = store.view();
    for _ in 0..200 {
        store
            .write(|tx| (0..100).try_for_each(|_| tx.update(ids[rng.below(ids.len())], rng.bytes(200))))
            .expect("updates");
    }
    store.collect(None).expect("collects");
    for (n, id) in (0_u32..).zip(&ids) {
        assert_eq!(view.get(*id).expect("still there").to_vec().expect("reads"), n.to_le_bytes().repeat(50));
    }
    let before = bytes_of_files(&*backing);
    drop(view);
    store.collect(None).expect("collects");
    let now = bytes_of_files(&*backing);
    assert!(now + 400_000 < before, "{before} bytes before, {now} now");
    verify(store, &backing);
}

#[test]
fn page_segments_do_not_grow_where_only_some_pages_change() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = options().snapshot_log_bytes(u64::MAX).open_backing(Arc::clone(&backing)).expect("opens");
    let set = store.record_set("a").expect("a set");
    let key = |record: &[u8], keys: &mut tenure::extract::Keys| keys.push(record);
    let index = store.index(&set, "whole", Extractor::new("whole", 1, key)).expect("an index");
    let mut rng = Rng::new(11);
    let ids: Vec<RecordId> = (0..40)
        .flat_map(|_| {
            let mut tx = store.begin().expect("begins");
            let some: Vec<RecordId> = (0..1_000).map(|_| tx.insert(&set, rng.bytes(8)).expect("inserts")).collect();
            tx.commit_with(Durability::Buffered).expect("commits");
            some
        })
        .collect();
    let pages = |store: &Store| {
        let stats = store.stats();
        let pages = stats.segments.iter().filter(|segment| segment.kind == FileKind::Pages && segment.live_bytes > 0);
        pages.fold((0, 0), |(bytes, live), segment| (bytes + segment.bytes, live + segment.live_bytes))
    };
    let mut most = 0;
    for round in 0..120 {
        let mut tx = store.begin().expect("begins");
        // Few of the pages of each kind, and not always the same ones.
        for _ in 0..30 {
            let id = ids[(round / 10 * 1_500 + rng.below(600)) % ids.len()];
            tx.update(id, rng.bytes(8)).expect("updates");
        }
        tx.commit_with(Durability::Buffered).expect("commits");
        store.save_snapshot().expect("saves");
        let (bytes, live) = pages(&store);
        most = most.max((bytes - 3 * SEGMENT) * 100 / live);
    }
    assert!(most <= 210, "{most} % of what is live");
    assert_eq!(store.verify_index(&index).expect("verifies"), Vec::<String>::new());
    verify(store, &backing);
}

#[test]
fn a_disk_that_is_full_of_old_versions_is_made_room_on() {
    use tenure::backing::FaultBacking;
    for background in [false, true] {
        let disk = FaultBacking::new();
        let backing: Arc<dyn Backing> = Arc::new(disk.clone());
        // A ratio that the disk cannot reach: only the full disk starts the collector.
        let store =
            options().background(background).space_ratio(20.0).open_backing(Arc::clone(&backing)).expect("opens");
        let set = store.record_set("a").expect("a set");
        let insert =
            |tx: &mut tenure::Transaction| (0..2_000).map(|_| tx.insert(&set, [0; 200])).collect::<Result<Vec<_>, _>>();
        let ids = store.write(insert).expect("inserts");
        disk.disk_bytes_max(Some(disk.disk_bytes() + 50 * SEGMENT));
        let mut rng = Rng::new(4);
        let (mut refused, mut done) = (0, 0);
        while done < 3_000 && refused < 2_000 {
            let id = ids[rng.below(ids.len())];
            match store.write(|tx| {
                (0..10)
                    .try_for_each(|_| tx.update(ids[rng.below(ids.len())], [1; 200]))
                    .and_then(|()| tx.update(id, [2; 200]))
            }) {
                Ok(()) => done += 1,
                Err(tenure::Error::NoSpace { .. }) => {
                    refused += 1;
                    if background {
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                }
                Err(error) => panic!("{error}"),
            }
            assert!(store.get(id).is_ok());
        }
        assert_eq!(done, 3_000, "{refused} were refused");
        disk.disk_bytes_max(None);
        verify(store, &backing);
    }
}
