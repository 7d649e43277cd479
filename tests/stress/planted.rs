//! Planted faults: what the checks of the stress test, and the sanitizer under it, must find.

use std::time::Duration;

use tenure::Store;

use crate::common::Rng;
use crate::workers;
use crate::workers::Shared;
use crate::world::{Account, World, item};

#[test]
fn money_from_nowhere_is_found() {
    let store = Store::in_memory().unwrap();
    let world = World::open(&store).unwrap();
    assert_eq!(world.check(&store.view()).unwrap(), Vec::<String>::new());
    let id = world.owner.get(&store.view(), &3_u64).unwrap().unwrap();
    let mut account = Account::decode(&store.get(id).unwrap().to_vec().unwrap());
    account.balance += 1;
    store.write(|tx| tx.update(id, account.encode(0))).unwrap();
    let wrong = world.check(&store.view()).unwrap();
    assert!(matches!(&wrong[..], [one] if one.contains("sum")), "{wrong:?}");
}

#[test]
fn half_a_pair_is_found() {
    let store = Store::in_memory().unwrap();
    let world = World::open(&store).unwrap();
    store.write(|tx| tx.insert(&world.items, item(1, 7, 0))).unwrap();
    let wrong = world.check(&store.view()).unwrap();
    assert!(matches!(&wrong[..], [one] if one.contains("pair 1")), "{wrong:?}");
}

#[test]
#[should_panic(expected = "a scoped thread panicked")]
fn a_reader_beside_a_writer_that_breaks_the_sum_finds_it() {
    let store = Store::in_memory().unwrap();
    let world = World::open(&store).unwrap();
    let shared = Shared::new(&store, &world, Duration::from_secs(2));
    std::thread::scope(|scope| {
        scope.spawn(|| workers::look(&shared, Rng::new(1)));
        let id = world.owner.get(&store.view(), &3_u64).unwrap().unwrap();
        let account = Account { owner: 3, group: 3, balance: 0 };
        store.write(|tx| tx.update(id, account.encode(0))).unwrap();
    });
}

/// Fails only under a thread sanitizer, and must fail there: `.ci/run` starts it to see that the sanitizer is awake.
#[test]
#[ignore = "a data race, for the sanitizer to find"]
#[allow(unsafe_code, reason = "safe code has no data races")]
fn a_data_race_is_found_by_the_sanitizer() {
    struct Cell(std::cell::UnsafeCell<u64>);
    // SAFETY: it is not. The sanitizer must report it.
    unsafe impl Sync for Cell {}
    let cell = Cell(std::cell::UnsafeCell::new(0));
    // Both go on from here, and nothing orders what they do then, however the machine has them take turns.
    let start = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (cell, start) = (&cell, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..1000 {
                    // SAFETY: none; see above. An aligned word is written whole on every machine that the test runs on.
                    unsafe { cell.0.get().write_volatile(number) };
                }
            });
        }
    });
}
