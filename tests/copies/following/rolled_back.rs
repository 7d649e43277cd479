//! What those who read along see of a store that goes back to an earlier state.

use tenure::{Options, Point, Store};

use crate::following::basics::quick;

#[test]
fn a_store_that_goes_back_shows_its_new_state_though_the_old_one_has_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    let kept = store.write(|tx| tx.insert(&set, "kept")).unwrap();
    store.save_named_snapshot("a").unwrap();
    let undone = store.write(|tx| tx.insert(&set, "undone")).unwrap();
    store.save_named_snapshot("b").unwrap();
    let follower = quick().follow_interval(None).follow(&path).unwrap();
    let mut reader = Options::new().read_only(true).open(&path).unwrap();
    let before = reader.view();
    assert!(follower.get(undone).is_ok() && reader.get(undone).is_ok());
    let store = store.roll_back_to(&Point::Name("a".to_owned())).unwrap();
    assert!(store.get(undone).is_err() && store.get(kept).is_ok());
    assert_eq!(follower.look().unwrap(), store.last_seq());
    assert!(follower.get(undone).is_err() && follower.get(kept).is_ok());
    reader.refresh().unwrap();
    assert_eq!(reader.last_seq(), store.last_seq());
    assert!(reader.get(undone).is_err() && reader.get(kept).is_ok());
    assert!(before.get(undone).is_ok(), "a view stays what it was");
    // And goes on from there.
    let next = store.write(|tx| tx.insert(&set, "next")).unwrap();
    assert_eq!(follower.look().unwrap(), store.last_seq());
    reader.refresh().unwrap();
    assert!(follower.get(next).is_ok() && reader.get(next).is_ok());
}
