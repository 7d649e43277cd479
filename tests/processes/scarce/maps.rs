//! Stores with few maps, or none: unmapped data is read with system calls.

use crate::scarce::few_maps::{FewMaps, Left};
use crate::scarce::life;
use crate::scarce::life::Life;

#[test]
fn a_store_lives_with_as_many_maps_as_there_are() {
    for (number, maps) in [0, 1, 2, 5, 40].into_iter().enumerate() {
        for fails in [false, true] {
            let dir = tempfile::tempdir().expect("a directory");
            let left = Left::new(maps, fails);
            let backing = FewMaps::of(&dir.path().join("store"), &left);
            life::live(&backing, u64::try_from(number).expect("few"), 300);
            assert!(left.refused() > 20 && left.maps() == 0, "{left:?}");
        }
    }
}

#[test]
fn what_is_read_often_gets_a_map_when_there_is_one_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let left = Left::new(0, false);
    let backing = FewMaps::of(&dir.path().join("store"), &left);
    let mut life = Life::new(1);
    let (store, set) = Life::open(&backing);
    life.write(&store, &set, 300).expect("writes");
    store.close().expect("closes");

    let (store, set) = Life::open(&backing);
    life.check(&store, &set);
    let id = *life.now().keys().next().expect("a record");
    let value = life.now()[&id].clone();
    left.set(1_000);
    for _ in 0..200 {
        assert!(store.get(id).expect("is there").to_vec().expect("reads") == value);
    }
    let used = 1_000 - left.maps();
    assert!((1..10).contains(&used), "{used} maps for what is read of one record");
    life.check(&store, &set);
    life.check(&store, &set);
    life.check(&store, &set);
    assert!(1_000 - left.maps() > used, "others were read too");
    store.close().expect("closes");
}

#[test]
fn a_view_reads_what_was_deleted_without_a_map() {
    let dir = tempfile::tempdir().expect("a directory");
    let backing = FewMaps::of(&dir.path().join("store"), &Left::new(0, true));
    let mut life = Life::new(2);
    let (store, set) = Life::open(&backing);
    life.write(&store, &set, 400).expect("writes");
    store.close().expect("closes");
    let (store, set) = Life::open(&backing);
    let (view, before) = (store.view(), life.now());
    // Every page is replaced many times, and page segments go while the view needs them.
    let files = || backing.list().expect("lists").iter().filter(|name| name.starts_with("pages-")).count();
    for _ in 0..20 {
        life.write(&store, &set, 100).expect("writes");
        store.save_snapshot().expect("saves");
    }
    assert!(files() < 15, "{} page files", files());
    for (id, value) in &before {
        assert!(view.get(*id).expect("is there").to_vec().expect("reads") == *value, "{id}");
    }
    assert_eq!(view.scan(&set).flatten().count(), before.len());
    drop(view);
    store.close().expect("closes");
    life::verify(&backing);
}
