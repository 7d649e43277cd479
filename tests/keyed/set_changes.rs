//! Sets that are made, cleared and dropped at the same time, and indexes that are built meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tenure::extract::Extractor;
use tenure::{Error, Options, Store};

use crate::hooked::Hooked;

/// Until a thread that was started waits for a lock.
const MEANWHILE: Duration = Duration::from_millis(100);

fn whole() -> Extractor {
    Extractor::new("whole", 1, |record, keys| keys.push(record))
}

type Other = Box<dyn FnOnce(&Store) + Send>;

/// One after the other begins while a commit is in the log and not applied, and so waits for it.
fn beside_a_commit(store: &Store, backing: &Hooked, some: Vec<Other>) {
    let (ended, ends) = channel();
    let starter = store.clone();
    *backing.hook.lock().unwrap() = Some(Box::new(move || {
        // A backing must not call the store; another thread may.
        for one in some {
            let (store, ended): (Store, Sender<()>) = (starter.clone(), ended.clone());
            std::thread::spawn(move || {
                one(&store);
                drop(store);
                ended.send(()).unwrap();
            });
            std::thread::sleep(MEANWHILE);
        }
    }));
    store.record_set("commits").unwrap();
    assert!(backing.hook.lock().unwrap().is_none());
    // The senders are gone when all have ended.
    while ends.recv().is_ok() {}
}

#[test]
fn a_set_that_is_cleared_beside_one_that_is_made_shares_no_number_with_it() {
    let backing = Hooked::on("log-");
    let options = Options::new().background(false);
    let store = options.open_backing(Arc::new(backing.clone())).unwrap();
    let notes = store.record_set("notes").unwrap();
    let index = store.index(&notes, "whole", whole()).unwrap();
    store.write(|tx| tx.insert(&notes, "old")).unwrap();
    let cleared = notes.clone();
    beside_a_commit(
        &store,
        &backing,
        vec![
            Box::new(|store| {
                let other = store.record_set("other").unwrap();
                store.write(|tx| tx.insert(&other, "of the other")).unwrap();
            }),
            Box::new(move |store| {
                let cleared = store.clear_set(&cleared).unwrap();
                store.write(|tx| tx.insert(&cleared, "of the notes")).unwrap();
            }),
        ],
    );
    let check = |store: &Store| {
        let of = |name: &str| {
            let set = store.find_set(name).unwrap();
            let view = store.view();
            view.scan(&set).map(|record| record.unwrap().to_vec().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of("other"), [b"of the other"]);
        assert_eq!(of("notes"), [b"of the notes"]);
        let set = store.find_set("notes").unwrap();
        let index = store.find_index(&set, "whole").unwrap();
        assert_eq!(index.len(&store.view()).unwrap(), 1);
        assert!(store.verify_index(&index).is_ok_and(|found| found.is_empty()));
    };
    check(&store);
    store.close().unwrap();
    drop(index);
    let store = options.open_backing(Arc::new(backing)).unwrap();
    let notes = store.record_set("notes").unwrap();
    store.index(&notes, "whole", whole()).unwrap();
    check(&store);
}

#[test]
fn an_index_that_waits_while_its_set_is_cleared_is_one_of_the_new_set() {
    for is_dropped in [false, true] {
        let store = Store::in_memory().unwrap();
        let set = store.record_set("notes").unwrap();
        store.write(|tx| tx.insert(&set, "old")).unwrap();
        // Building an index of another set keeps the others waiting.
        let slow = store.record_set("slow").unwrap();
        store.write(|tx| tx.insert(&slow, "x")).unwrap();
        let ((begun, begins), (goes_on, wait)) = (channel(), channel::<()>());
        let wait = std::sync::Mutex::new(Some((begun, wait)));
        let blocks = Extractor::new("blocks", 1, move |record, keys| {
            if let Some((begun, wait)) = wait.lock().unwrap().take() {
                begun.send(()).unwrap();
                wait.recv().unwrap();
            }
            keys.push(record);
        });
        let made = std::thread::scope(|scope| {
            scope.spawn(|| store.index(&slow, "blocks", blocks).unwrap());
            begins.recv().unwrap();
            scope.spawn(
                || if is_dropped { store.drop_set(&set).unwrap() } else { drop(store.clear_set(&set).unwrap()) },
            );
            std::thread::sleep(MEANWHILE);
            let made = scope.spawn(|| store.index(&set, "whole", whole()));
            std::thread::sleep(MEANWHILE);
            goes_on.send(()).unwrap();
            made.join().unwrap()
        });
        // Who waits in vain for the turn may have it first.
        match made {
            Err(Error::NoSuchSet { .. }) => assert!(is_dropped),
            Err(error) => panic!("{error}"),
            Ok(index) if is_dropped => assert!(index.len(&store.view()).is_err(), "an index of no set"),
            Ok(index) => {
                store.write(|tx| tx.insert(&set, "new")).unwrap();
                assert_eq!(index.get(&store.view(), &b"old"[..]).unwrap(), None);
                assert!(index.get(&store.view(), &b"new"[..]).unwrap().is_some());
            }
        }
    }
}
