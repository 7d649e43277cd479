//! Interrupted loads.

use std::sync::Arc;

use tenure::Error;
use tenure::backing::{Backing, FaultBacking, Memory};
use tenure::dump::LoadOptions;

use crate::dump::full;

fn load(stream: &[u8], to: &FaultBacking) -> tenure::Result<tenure::dump::LoadReport> {
    let to: Arc<dyn Backing> = Arc::new(to.clone());
    let options = LoadOptions::new().checkpoint_bytes(64 << 10);
    tenure::dump::load_backing(&mut &stream[..], &to, &options, &mut |_| {})
}

#[test]
fn a_load_goes_on_after_a_power_cut_or_a_kill_at_any_step() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let store = full::full(&backing, 2);
    let stream = full::dump(&store);
    let whole = FaultBacking::new();
    load(&stream, &whole).unwrap();
    let (steps, rounds) = (whole.steps(), rounds());
    let mut resumed = 0;
    for round in 0..rounds {
        let step = round * steps / rounds + 1;
        let cut = FaultBacking::with_seed(round);
        cut.crash_at(step);
        load(&stream, &cut).unwrap_err();
        let image = if round % 2 == 0 { cut.crash_image(round) } else { cut.kill_image() };
        let as_backing: Arc<dyn Backing> = Arc::new(image.clone());
        // A half loaded store cannot be opened.
        if image.names().iter().any(|name| name == "unfinished") {
            let error = full::options().open_backing(Arc::clone(&as_backing)).unwrap_err();
            assert!(matches!(error, Error::NotAStore { .. }), "{error}");
        }
        match load(&stream, &image) {
            Ok(report) => resumed += u64::from(report.resumed > 0),
            // It had come to its end.
            Err(Error::Exists { .. }) => {}
            Err(error) => panic!("step {step}: {error}"),
        }
        full::assert_verified(&as_backing);
        let loaded = full::options().open_backing(as_backing).unwrap();
        full::assert_same(&store, &loaded);
        if round % 8 == 0 {
            full::assert_new_ids_are_new(&store, &loaded);
        }
    }
    assert!(resumed > rounds / 3, "only {resumed} of {rounds} loads went on");
}

fn rounds() -> u64 {
    std::env::var("TENURE_LOAD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(24)
}

#[test]
fn the_load_of_another_dump_is_refused() {
    let store = tenure::Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    store.write(|tx| (0..3000).try_for_each(|_| tx.insert(&set, vec![1; 200]).map(drop))).unwrap();
    let (one, other) = (full::dump(&store), full::dump(&store));
    let to = FaultBacking::new();
    // Its end is missing.
    let error = load(&one[..one.len() - 10], &to).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    let error = load(&other, &to).unwrap_err();
    assert!(matches!(error, Error::BadDestination { .. }), "{error}");
    let report = load(&one, &to).unwrap();
    assert!(report.resumed > 0, "{report:?}");
    let loaded = full::options().open_backing(Arc::new(to)).unwrap();
    full::assert_same(&store, &loaded);
}

#[test]
fn two_loads_into_one_place_are_refused() {
    let stream = full::dump(&tenure::Store::in_memory().unwrap());
    let to = FaultBacking::new();
    let lock = to.lock().unwrap();
    assert!(matches!(load(&stream, &to).unwrap_err(), Error::Locked { .. }));
    drop(lock);
    load(&stream, &to).unwrap();
}

/// Killed while an index is built, that is behind the last record, a load keeps the records, and builds that index from its beginning.
#[test]
fn a_load_that_is_killed_while_it_builds_its_first_index_goes_on() {
    let store = full::options().open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("things").unwrap();
    full::with_extractors(&store);
    // More than are built on the heap.
    let row = |number: u32| format!("u{:08}", number.wrapping_mul(2_654_435_761));
    store.write(|tx| (0..9_000).try_for_each(|number| tx.insert(&set, row(number)).map(drop))).unwrap();
    let stream = full::dump(&store);
    let whole = FaultBacking::new();
    let to: Arc<dyn Backing> = Arc::new(whole.clone());
    let mut first = None;
    tenure::dump::load_backing(&mut &stream[..], &to, &LoadOptions::new(), &mut |now| {
        if now.records == now.records_total {
            first.get_or_insert_with(|| whole.steps());
        }
    })
    .unwrap();
    let (first, end) = (first.unwrap(), whole.steps());
    assert!(end > first + 20, "the indexes took {} steps", end - first);
    let mut resumed = 0;
    for step in (first + 1..=end).step_by(3) {
        let cut = FaultBacking::with_seed(step);
        cut.crash_at(step);
        let options = LoadOptions::new();
        let as_backing = |backing: &FaultBacking| -> Arc<dyn Backing> { Arc::new(backing.clone()) };
        tenure::dump::load_backing(&mut &stream[..], &as_backing(&cut), &options, &mut |_| {}).unwrap_err();
        for image in [cut.crash_image(step), cut.kill_image()] {
            match tenure::dump::load_backing(&mut &stream[..], &as_backing(&image), &options, &mut |_| {}) {
                Ok(report) => resumed += u64::from(report.resumed == 9_000),
                // It had come to its end.
                Err(Error::Exists { .. }) => {}
                Err(error) => panic!("step {step}: {error}"),
            }
            full::assert_verified(&as_backing(&image));
            let loaded = full::options().open_backing(as_backing(&image)).unwrap();
            full::assert_same(&store, &loaded);
            for info in loaded.indexes(&loaded.find_set("things").unwrap()) {
                assert!(info.ready && info.entries == 9_000, "step {step}: {info:?}");
            }
        }
    }
    assert!(resumed > 0, "no load went on behind all records");
}
