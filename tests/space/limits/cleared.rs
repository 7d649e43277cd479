//! What sets leave behind that were cleared or dropped: nothing that openings, snapshots or the heap keep of each.

use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::format::Seed;
use tenure::format::manifest::{Body, ENTRY_HEADER_BYTES, Entry, Snapshot};
use tenure::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use tenure::{Options, Store};

/// The last snapshot in the newest manifest file.
fn newest_snapshot(backing: &dyn Backing) -> Snapshot {
    let names = backing.list().unwrap();
    let manifests = names.iter().filter_map(|name| FileKind::parse_name(name));
    let number = manifests.filter(|(kind, _)| *kind == FileKind::Manifest).map(|(_, number)| number).max().unwrap();
    let name = FileKind::Manifest.file_name(number);
    let file = backing.open(&name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let seed = Seed::new(SegmentHeader::decode(&bytes, &name).unwrap().uuid, number);
    let (mut offset, mut check, mut found) = (SEGMENT_HEADER_BYTES, 0, None);
    while offset + ENTRY_HEADER_BYTES <= bytes.len() {
        let decoded = Entry::decode(&bytes[offset..], seed, offset as u64, check).unwrap();
        if let Body::Snapshot(snapshot) = decoded.entry.body {
            found = Some(snapshot);
        }
        (offset, check) = (offset + usize::try_from(decoded.bytes).unwrap(), decoded.check);
    }
    *found.unwrap()
}

#[test]
fn sets_that_are_gone_leave_no_page_reserved() {
    let backing: Arc<dyn Backing> = Arc::new(Memory::new());
    let options = Options::new().background(false);
    let mut store = options.open_backing(Arc::clone(&backing)).unwrap();
    let stays = store.record_set("stays").unwrap();
    let clear = |store: &Store, times: usize| {
        for time in 0..times {
            let set = store.record_set(if time % 2 == 0 { "a" } else { "b" }).unwrap();
            store.write(|tx| tx.insert(&set, "x")).unwrap();
            if time % 3 == 0 { store.drop_set(&set).unwrap() } else { drop(store.clear_set(&set).unwrap()) }
        }
    };
    let kept = store.write(|tx| tx.insert(&stays, "y")).unwrap();
    for round in 0..3 {
        clear(&store, 600);
        store.save_snapshot().unwrap();
        let reserved = newest_snapshot(&*backing).reserved.len();
        assert!(reserved < 300, "{reserved} pages are reserved in round {round}");
        store.close().unwrap();
        store = options.open_backing(Arc::clone(&backing)).unwrap();
    }
    assert_eq!(store.get(kept).unwrap().as_slice(), Some(&b"y"[..]));
    // Slots of a set that lives are used again.
    let ids = store.write(|tx| tx.insert_many(&stays, &vec!["z"; 2_000])).unwrap();
    store.write(|tx| ids.iter().try_for_each(|id| tx.delete(*id))).unwrap();
    store.close().unwrap();
    let store = options.open_backing(Arc::clone(&backing)).unwrap();
    let again = store.write(|tx| tx.insert_many(&stays, &vec!["z"; 2_000])).unwrap();
    let slots: Vec<u64> = ids.iter().map(|id| id.slot()).collect();
    let reused = again.iter().filter(|id| slots.contains(&id.slot())).count();
    assert!(reused > 1_500, "{reused} of 2,000 slots");
}
