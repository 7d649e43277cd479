//! What a commit copies: pages that an existing view has, and no others.

use crate::error::Result;
use crate::heap::State;
use crate::id::RecordId;
use crate::store::Store;

/// Whether committing an update copies any page. If so, readers get another state.
fn copies(store: &Store, id: RecordId) -> Result<bool> {
    let now = || std::ptr::from_ref::<State>(&store.engine().heap.current()).addr();
    let before = now();
    store.write(|tx| tx.update(id, "changed"))?;
    Ok(now() != before)
}

#[test]
fn pages_are_copied_for_views_that_are_there_and_for_no_others() -> Result<()> {
    let store = Store::in_memory()?;
    let set = store.record_set("a")?;
    let ids = store.write(|tx| tx.insert_many(&set, &vec!["old"; 3 * 512]))?;
    let [a, b, c] = [ids[0], ids[600], ids[1_200]];
    assert!(!copies(&store, a)?, "without a view");
    drop(store.view().get(a)?);
    assert!(!copies(&store, a)?, "for a view that is gone");

    let view = store.view();
    assert!(copies(&store, a)?, "for a view");
    assert!(!copies(&store, a)?, "what was copied is younger than the view");
    drop(store.view());
    assert!(!copies(&store, a)?, "for a younger view that is gone");
    assert!(
        !copies(&store, b)?,
        "the directory page is younger than the view, and gets a patch over what the view has"
    );
    assert_eq!(view.get(b)?.as_slice(), Some(&b"old"[..]));
    let younger = store.view();
    drop(view);
    assert!(copies(&store, b)?, "for the younger view, when the older one is gone");
    store.write(|tx| tx.update(b, "changed again"))?;
    assert_eq!(younger.get(b)?.as_slice(), Some(&b"changed"[..]));
    assert_eq!(younger.get(c)?.as_slice(), Some(&b"old"[..]));
    drop(younger);
    assert!(!copies(&store, c)?, "when all are gone");

    let mut tx = store.begin()?;
    tx.get(a)?;
    tx.update(a, "read and changed")?;
    let before = std::ptr::from_ref::<State>(&store.engine().heap.current()).addr();
    tx.commit()?;
    assert_eq!(before, std::ptr::from_ref::<State>(&store.engine().heap.current()).addr(), "its own view");
    Ok(())
}
