//! Other stores and other objects in the same bucket.

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tenure::backing::{Backing, Memory};
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Durability, Store};

use crate::flaky::Flaky;
use crate::{contents, open, quick, small};

fn how() -> RemoteOptions {
    quick().base_every(3).events_max(1).prune_every(None).part_bytes(64 << 10).retention(Duration::ZERO)
}

fn fill(store: &Store, what: u8) {
    let notes = store.record_set("notes").unwrap();
    for number in 0..12_u8 {
        store.write_with(Durability::Remote, |tx| tx.insert(&notes, vec![what ^ number; 90_000])).unwrap();
    }
}

/// The prefix of one store is a folder of the other's.
#[test]
fn a_store_below_another_one_loses_nothing_when_that_prunes() {
    for folder in ["log", "data", "base", "epoch", "probe", "log/0000000000000001"] {
        let objects = Flaky::new(1);
        let at = |prefix: &str| Bucket::new(objects.store(), prefix).expect("a bucket");
        let (upper, lower) = (at("store"), at(&format!("store/{folder}")));
        let below = open(&Memory::new(), &lower, how()).unwrap();
        fill(&below, 1);
        let wanted = contents(&below);
        drop(below);
        let before: Vec<String> =
            objects.names().into_iter().filter(|name| name.starts_with(&format!("/store/{folder}/"))).collect();
        let remote = Arc::new(Remote::new(Arc::new(Memory::new()), upper.clone(), how()));
        let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
        fill(&store, 2);
        assert!(remote.prune().unwrap().objects > 0, "{folder}");
        let after = objects.names();
        let gone: Vec<&String> = before.iter().filter(|name| !after.contains(name)).collect();
        assert_eq!(gone, Vec::<&String>::new(), "{folder}");
        drop((store, remote));
        let upper = open(&Memory::new(), &upper, how()).unwrap();
        assert_eq!(upper.stats().records, 12, "{folder}");
        assert_eq!(contents(&open(&Memory::new(), &lower, how()).unwrap()), wanted, "{folder}");
    }
}

/// Objects that somebody copied or made by hand, with names that only resemble those of a store.
#[test]
fn objects_with_other_names_are_no_part_of_a_store() {
    let objects = Flaky::new(1);
    let bucket = crate::bucket(&objects.store());
    let store = open(&Memory::new(), &bucket, how()).unwrap();
    fill(&store, 1);
    let wanted = contents(&store);
    drop(store);
    let stranger = |name: &str| {
        let (store, name): (Arc<dyn ObjectStore>, _) = (objects.store(), Path::from(format!("store/{name}")));
        let put = async move { store.put(&name, PutPayload::from_static(b"stranger")).await };
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(put).unwrap();
    };
    let names = [
        "epoch/7",
        "epoch/+000000000000008",
        "epoch/18446744073709551615",
        "epoch/0000000000000009.copy",
        "epoch/old/0000000000000009",
        "base/1-9",
        "base/9-0000000000000001",
        "base/old/0000000000000001-0000000000000900",
        "log/0000000000000001/9000",
        "log/0000000000000001/old/0000000000009000",
        "data/x.1-1/0",
        "data/old/log.0000000000000001-0000000000000001/0000000000000000",
    ];
    for name in names {
        stranger(name);
    }
    let status = bucket.status().unwrap().unwrap();
    assert_eq!((status.newest.epoch, status.is_sealed), (1, true), "{status:?}");
    let remote = Arc::new(Remote::new(Arc::new(Memory::new()), bucket, how()));
    let store = small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap();
    assert_eq!(contents(&store), wanted);
    fill(&store, 3);
    remote.prune().unwrap();
    let after = objects.names();
    for name in names {
        assert!(after.iter().any(|found| found.ends_with(name)), "{name} is not the store's to delete");
    }
}
