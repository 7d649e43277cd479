//! Rounds: a store with all threads on it for a while; then it is closed, verified, opened and compared again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::Memory;
use tenure::verify::verify;
use tenure::{Durability, Options, Store};

use crate::common::{Rng, assert_no_strays_closed, assert_no_strays_in, contents};
use crate::workers;
use crate::workers::Shared;
use crate::world::World;

/// A round ends after this, so that a log without end does not fill the disk.
const ROUND_SECONDS: u64 = 20;
/// Events that must occur at least once in the whole run.
const EXPECTED: &[&str] = &[
    "transfers",
    "pairs",
    "transfers in snapshot isolation",
    "given up",
    "waited for",
    "views",
    "views held",
    "one-shot reads",
    "lookups",
    "not there",
    "indexes",
    "snapshots",
];

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn options() -> Options {
    let options = Options::new().segment_bytes(256 << 10).snapshot_log_bytes(1 << 20);
    options.durability(Durability::Buffered).sync_interval(Some(Duration::from_millis(30)))
}

/// All threads on one store for a while; returns their counts.
fn run(store: &Store, seed: u64, duration: Duration) -> BTreeMap<&'static str, u64> {
    let world = World::open(store).unwrap();
    let shared = Shared::new(store, &world, duration);
    let work: [fn(&Shared<'_>, Rng); 8] = [
        workers::write,
        workers::write,
        workers::write,
        workers::look,
        workers::look,
        workers::read,
        workers::index,
        workers::save,
    ];
    std::thread::scope(|scope| {
        for (number, work) in (1..).zip(work) {
            let shared = &shared;
            scope.spawn(move || work(shared, Rng::new(seed ^ (number << 56))));
        }
    });
    let wrong = world.check(&store.view()).unwrap();
    assert!(wrong.is_empty(), "in the end: {wrong:?}");
    shared.counts.into_inner().unwrap()
}

#[test]
fn everything_at_once_keeps_what_is_true_of_every_view() {
    let seconds = variable("TENURE_STRESS_SECONDS", 3);
    let seed = variable("TENURE_STRESS_SEED", 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut totals: BTreeMap<&'static str, u64> = BTreeMap::new();
    for round in 0.. {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let seed = seed.wrapping_add(round);
        println!("round {round}, seed {seed}, {} s left, so far {totals:?}", left.as_secs());
        let duration = left.min(Duration::from_secs(ROUND_SECONDS));
        let counts = if round % 3 == 1 {
            let store = options().open_backing(Arc::new(Memory::new())).unwrap();
            run(&store, seed, duration)
        } else {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("stress.tenure");
            let store = options().open(&path).unwrap();
            let counts = run(&store, seed, duration);
            let before = contents(&store).unwrap();
            assert_no_strays_in(&store, &path, "after a round");
            store.close().unwrap();
            assert_no_strays_closed(&path, "closed after a round");
            let report = verify(&path, &mut |_| {}).unwrap();
            assert!(report.is_ok(), "{report:?}");
            let store = options().open(&path).unwrap();
            assert!(contents(&store).unwrap() == before, "opened again");
            let world = World::open(&store).unwrap();
            let wrong = world.check(&store.view()).unwrap();
            assert!(wrong.is_empty(), "opened again: {wrong:?}");
            counts
        };
        for (what, count) in counts {
            *totals.entry(what).or_default() += count;
        }
    }
    println!("seed {seed}, {seconds} s: {totals:?}");
    for what in EXPECTED {
        assert!(totals.contains_key(what), "no {what} in {seconds} s: {totals:?}");
    }
}
