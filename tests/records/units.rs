//! What is brought to the heap for a change of the record index: blocks of a page, not the page.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tenure::{Durability, Options, RecordId, RecordSet, Store, View};

use crate::common::Rng;

const SLOTS_PER_PAGE: usize = 512;

type Model = BTreeMap<RecordId, Vec<u8>>;

fn open(path: &Path) -> (Store, RecordSet) {
    let store = Options::new().background(false).durability(Durability::Buffered).open(path).unwrap();
    let set = store.record_set("a").unwrap();
    (store, set)
}

fn filled(store: &Store, set: &RecordSet, records: usize) -> Vec<RecordId> {
    let ids = store.write(|tx| (0..records).map(|number| tx.insert(set, number.to_le_bytes())).collect()).unwrap();
    store.save_snapshot().unwrap();
    assert_eq!(store.stats().dirty_bytes, 0);
    ids
}

#[test]
fn one_change_in_each_page_takes_a_block_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let (store, set) = open(dir.path());
    let pages = 60;
    let ids = filled(&store, &set, pages * SLOTS_PER_PAGE);
    for is_held in [false, true] {
        let view = is_held.then(|| store.view());
        for id in ids.iter().step_by(SLOTS_PER_PAGE) {
            store.write(|tx| tx.update(*id, "new")).unwrap();
        }
        let stats = store.stats();
        assert!((60..=61).contains(&stats.dirty_pages), "{} pages", stats.dirty_pages);
        // A page of 4 KiB would be some ten times as much.
        assert!(stats.dirty_bytes < stats.dirty_pages * 700, "{} bytes", stats.dirty_bytes);
        if let Some(view) = view {
            let old = view.get(ids[0]).unwrap().to_vec().unwrap();
            assert_eq!(old, *b"new", "the view was taken after the first change");
            store.write(|tx| tx.update(ids[0], "newer")).unwrap();
            assert_eq!(view.get(ids[0]).unwrap().to_vec().unwrap(), b"new");
            assert_eq!(store.get(ids[0]).unwrap().to_vec().unwrap(), b"newer");
            assert!(store.stats().views[0].heap_bytes < pages as u64 * 700);
        }
    }
    // Many blocks of a page are worth the page.
    for id in &ids[..SLOTS_PER_PAGE] {
        store.write(|tx| tx.update(*id, "all of a page")).unwrap();
    }
    assert!(store.stats().dirty_bytes < (pages as u64 + 1) * 700 + 4_200);
    store.save_snapshot().unwrap();
    assert_eq!((store.stats().dirty_bytes, store.stats().dirty_pages), (0, 0));
}

fn check(what: &str, model: &Model, read: impl Fn(RecordId) -> tenure::Result<Vec<u8>>, dead: &[RecordId]) {
    for (id, bytes) in model {
        assert_eq!(read(*id).unwrap(), *bytes, "{what}: {id}");
    }
    for id in dead.iter().filter(|id| !model.contains_key(id)) {
        assert!(read(*id).is_err(), "{what}: {id} is deleted");
    }
}

/// Changes of random places, near each other and apart, with views held, dropped and checked, while snapshots are saved
/// at any moment.
#[test]
fn views_and_the_newest_state_stay_true_while_blocks_change_and_are_saved() {
    let rounds: u64 = std::env::var("TENURE_UNITS_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    for seed in 0..rounds {
        let dir = tempfile::tempdir().unwrap();
        let (store, set) = open(dir.path());
        let mut ids = filled(&store, &set, 4 * SLOTS_PER_PAGE);
        let mut model: Model =
            ids.iter().enumerate().map(|(number, id)| (*id, number.to_le_bytes().to_vec())).collect();
        let (ends, saves) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    store.save_snapshot().unwrap();
                    saves.fetch_add(1, Ordering::Relaxed);
                }
            });
            let (mut rng, mut views) = (Rng::new(seed), Vec::<(View, Model)>::new());
            let mut step = 0_u64;
            // Some saves beside changes, however slow the disk is.
            while (step < 300 || saves.load(Ordering::Relaxed) < 3) && !thread.is_finished() {
                step += 1;
                let near = rng.below(ids.len());
                let changes = if rng.one_in(20) { 200 } else { 1 + rng.below(8) };
                store
                    .write(|tx| {
                        for change in 0..changes {
                            let place = if rng.one_in(3) { rng.below(ids.len()) } else { (near + change) % ids.len() };
                            let id = ids[place];
                            if !model.contains_key(&id) {
                                let id = tx.insert(&set, step.to_le_bytes())?;
                                ids.push(id);
                                model.insert(id, step.to_le_bytes().to_vec());
                            } else if rng.one_in(10) {
                                tx.delete(id)?;
                                model.remove(&id);
                            } else {
                                tx.update(id, step.to_le_bytes())?;
                                model.insert(id, step.to_le_bytes().to_vec());
                            }
                        }
                        Ok::<(), tenure::Error>(())
                    })
                    .unwrap();
                if rng.one_in(10) {
                    views.push((store.view(), model.clone()));
                }
                if views.len() > rng.below(6) {
                    let (view, then) = views.swap_remove(rng.below(views.len()));
                    check("a view", &then, |id| view.get(id)?.to_vec(), &ids);
                }
                if step.is_multiple_of(50) {
                    check("newest", &model, |id| store.get(id)?.to_vec(), &ids);
                }
            }
            ends.store(true, Ordering::Relaxed);
            check("newest", &model, |id| store.get(id)?.to_vec(), &ids);
            for (view, then) in &views {
                check("a view", then, |id| view.get(id)?.to_vec(), &ids);
            }
        });
        store.save_snapshot().unwrap();
        assert_eq!((store.stats().dirty_bytes, store.stats().dirty_pages), (0, 0), "seed {seed}");
        store.close().unwrap();
        assert!(tenure::verify::verify(dir.path(), &mut |_| {}).unwrap().is_ok(), "seed {seed}");
        let (store, _) = open(dir.path());
        check("opened again", &model, |id| store.get(id)?.to_vec(), &ids);
    }
}
