//! Interrupted loads.

use std::sync::Arc;

use tenure::Error;
use tenure::backing::{Backing, FaultBacking, Memory};
use tenure::dump::LoadOptions;

use crate::full;

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
