//! A disk that a consumer has filled: what it acknowledges, or its removal, makes room.

use std::sync::Arc;

use tenure::backing::FaultBacking;
use tenure::{Durability, Error, Options, Seq, Store};

use crate::changes::mirror::{Mirror, records_of};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(128 << 10).background(false)
}

/// Updates all records until there is no space.
fn fill(store: &Store) {
    let set = store.record_set("a").unwrap();
    let ids: Vec<_> = store.view().scan(&set).map(|record| record.unwrap().id()).collect();
    for round in 0..1_000_u32 {
        let changes: Vec<_> = ids.iter().map(|id| (*id, vec![7; 500 + usize::try_from(round % 7).unwrap()])).collect();
        let written = store.write_with(Durability::Sync, |tx| tx.update_many(&changes)).map(drop);
        let result = written.and_then(|()| if round % 8 == 0 { store.collect(None).map(drop) } else { Ok(()) });
        match result {
            Ok(()) => {}
            Err(Error::NoSpace { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk is not full");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Acknowledge,
    Remove,
}

#[test]
fn a_consumer_that_filled_the_disk_makes_room_by_acknowledging_or_leaving() {
    for (way, is_killed) in
        [(Way::Acknowledge, false), (Way::Acknowledge, true), (Way::Remove, false), (Way::Remove, true)]
    {
        let mut backing = FaultBacking::new();
        let mut store = options().open_backing(Arc::new(backing.clone())).unwrap();
        let set = store.record_set("a").unwrap();
        store.add_consumer("slow", Seq::ZERO).unwrap();
        store.write(|tx| tx.insert_many(&set, &vec![vec![0; 500]; 200])).unwrap();
        backing.disk_bytes_max(Some(6 << 20));
        fill(&store);
        if is_killed {
            backing = backing.kill_image();
            backing.disk_bytes_max(Some(6 << 20));
            store = options().open_backing(Arc::new(backing.clone())).unwrap();
        }
        // Everything is still there to be read.
        let mut mirror = Mirror::default();
        mirror.follow(&mut store.consumer("slow").unwrap().changes().unwrap()).unwrap();
        assert_eq!(mirror.records, records_of(&store, &store.view()), "{way:?}, killed {is_killed}");
        match way {
            Way::Acknowledge => store.consumer("slow").unwrap().acknowledge(mirror.position).unwrap(),
            Way::Remove => store.remove_consumer("slow").unwrap(),
        }
        store.collect(None).unwrap();
        for number in 0..20 {
            let written = store.write(|tx| tx.insert(&set, [number; 500]));
            assert!(written.is_ok(), "{way:?}, killed {is_killed}: {written:?}, {} bytes", backing.disk_bytes());
        }
        assert!(backing.disk_bytes() < 3 << 20, "{way:?}, killed {is_killed}: {}", backing.disk_bytes());
    }
}
