//! The cells of the table: operations on a store on a full disk, and the required results.

use tenure::Store;

use crate::full_disk::content::{Held, NAMED, held};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Open,
    Delete,
    Collect,
    Compact,
    DropSnapshot,
    Close,
}

pub const ACTIONS: [Action; 6] =
    [Action::Open, Action::Delete, Action::Collect, Action::Compact, Action::DropSnapshot, Action::Close];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Close,
    FailedClose,
    Kill,
}

pub const ENDS: [End; 3] = [End::Close, End::FailedClose, End::Kill];

/// A disk with one store.
pub trait Disk {
    /// Opens the store for writing.
    fn open(&self) -> tenure::Result<Store>;
    /// Fills the remaining space.
    fn fill(&self);
    fn names(&self) -> Vec<String>;
    fn verify(&self);
}

fn is_whole(store: &Store, expected: &Held, cell: &str) {
    let found: Held = held(store).into_iter().map(|(number, (_, len))| (number, len)).collect();
    assert!(&found == expected, "{cell}: {} records for {}", found.len(), expected.len());
}

/// Opens what ended, does one thing, and then empties the store: in the end it has made so much room that it can be written to.
pub fn run(disk: &dyn Disk, action: Action, expected: &Held, cell: &str) {
    let manifests = |disk: &dyn Disk| disk.names().iter().filter(|name| name.starts_with("manifest-")).count();
    disk.fill();
    let mut expected = expected.clone();
    let mut store = disk.open().unwrap_or_else(|error| panic!("{cell}: opens: {error}"));
    is_whole(&store, &expected, cell);
    disk.fill();
    act(&store, action, &mut expected, &format!("{cell} {:?}", disk.names()));
    if action == Action::Close {
        store.close().unwrap_or_else(|error| panic!("{cell}: closes: {error}"));
        disk.fill();
        store = disk.open().unwrap_or_else(|error| panic!("{cell}: opens again: {error}"));
    }
    is_whole(&store, &expected, cell);
    disk.fill();
    make_room(&store, &mut expected, &format!("{cell} {:?}", disk.names()));
    is_whole(&store, &expected, cell);
    let set = store.find_set("a").expect("a set");
    let inserted = store.write(|tx| tx.insert(&set, [1; 100]));
    let id = inserted.unwrap_or_else(|error| panic!("{cell}: inserts: {error}; {:?}", disk.names()));
    store.write(|tx| tx.delete(id)).expect("deletes");
    store.close().unwrap_or_else(|error| panic!("{cell}: closes in the end: {error}"));
    assert!(manifests(disk) <= 2, "{cell}: {:?}", disk.names());
    disk.verify();
    is_whole(&disk.open().expect("opens in the end"), &expected, cell);
}

/// Deletes and drops what there is, and collects: all of it has to be accepted.
pub fn make_room(store: &Store, expected: &mut Held, cell: &str) {
    if store.snapshots().expect("lists").iter().any(|snapshot| snapshot.name.is_some()) {
        store.drop_snapshot(NAMED).unwrap_or_else(|error| panic!("{cell}: drops: {error}"));
    }
    let all = held(store);
    let ids: Vec<_> = all.values().map(|(id, _)| *id).collect();
    let (some, rest) = ids.split_at(ids.len() / 10);
    for id in some {
        store.write(|tx| tx.delete(*id)).unwrap_or_else(|error| panic!("{cell}: deletes one: {error}"));
    }
    for some in rest.chunks(1_000) {
        let deleted = store.write(|tx| tx.delete_many(some));
        deleted.unwrap_or_else(|error| panic!("{cell}: deletes many: {error}"));
    }
    expected.clear();
    store.collect(None).unwrap_or_else(|error| panic!("{cell}: collects in the end: {error} {:#?}", store.stats()));
}

pub fn act(store: &Store, action: Action, expected: &mut Held, cell: &str) {
    match action {
        Action::Open | Action::Close => {}
        Action::Delete => {
            for (number, (id, _)) in held(store).into_iter().step_by(3).take(300) {
                store.write(|tx| tx.delete(id)).unwrap_or_else(|error| panic!("{cell}: deletes: {error}"));
                expected.remove(&number);
            }
        }
        Action::Collect => {
            store.collect(None).unwrap_or_else(|error| panic!("{cell}: collects: {error} {:#?}", store.stats()));
        }
        Action::Compact => {
            // As the command line does: until nothing is left to gain.
            let mut last = u64::MAX;
            loop {
                let done = store.collect(None).unwrap_or_else(|error| panic!("{cell}: compacts: {error}"));
                if done.bytes_deleted == 0 || done.bytes_deleted >= last {
                    break;
                }
                last = done.bytes_deleted;
            }
        }
        Action::DropSnapshot => {
            store.drop_snapshot(NAMED).unwrap_or_else(|error| panic!("{cell}: drops: {error}"));
        }
    }
}
