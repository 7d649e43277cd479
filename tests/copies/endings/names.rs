//! Two threads save a snapshot under one name.

use std::sync::Barrier;

use tenure::{Error, Store};

#[test]
fn of_two_that_save_one_name_one_is_told() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    for round in 0..40 {
        store.write(|tx| tx.insert(&set, "x")).unwrap();
        let name = format!("name {round}");
        let together = Barrier::new(3);
        let results: Vec<_> = std::thread::scope(|scope| {
            let save = || {
                together.wait();
                store.save_named_snapshot(&name)
            };
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(save)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        let is_told = |result: &&tenure::Result<_>| matches!(result, Err(Error::BadName { what: "snapshot", .. }));
        assert_eq!(results.iter().filter(is_told).count(), 2, "{results:?}");
        let kept = store.snapshots().unwrap();
        assert_eq!(kept.iter().filter(|kept| kept.name.as_deref() == Some(&name)).count(), 1);
        store.drop_snapshot(&name).unwrap();
        assert!(store.snapshots().unwrap().iter().all(|kept| kept.name.is_none()), "round {round}");
    }
}
