//! The size of the reserve: small for a small store, and reduced again when the store shrinks.

use std::path::Path;

use tenure::{Durability, Options};

fn reserve_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("lists").map(|entry| entry.expect("an entry"));
    let reserve = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("reserve"));
    reserve.map(|entry| entry.metadata().expect("its size").len()).sum()
}

#[test]
fn the_reserve_follows_the_store_up_and_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = Options::new().segment_bytes(4 << 20).durability(Durability::Buffered).open(&path).expect("opens");
    let set = store.record_set("a").expect("a set");
    store.write(|tx| tx.insert(&set, "one")).expect("inserts");
    let least = reserve_bytes(&path);
    assert!((100 << 10..=256 << 10).contains(&least), "{least} bytes for one record");
    let mut ids = Vec::new();
    for _ in 0..400 {
        ids.extend(store.write(|tx| tx.insert_many(&set, &vec![[7; 1_000]; 100])).expect("inserts"));
    }
    let most = reserve_bytes(&path);
    assert!(most > 1 << 20, "{most} bytes for 40 MB in segments of a megabyte");
    store.write(|tx| tx.delete_many(&ids[100..])).expect("deletes");
    store.collect(None).expect("collects");
    store.close().expect("closes");
    let now = reserve_bytes(&path);
    assert!(now < 700 << 10, "{now} bytes for a hundred records");
    for _ in 0..5 {
        Options::new().open(&path).expect("opens").close().expect("closes");
        assert_eq!(reserve_bytes(&path), now);
    }
}
