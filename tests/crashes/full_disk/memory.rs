//! All cells in memory, on a backing with a limited capacity.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::Store;
use tenure::backing::{Backing, FailFor, FaultBacking};

use crate::full_disk::cells::{ACTIONS, Disk, ENDS, End, act, make_room, run};
use crate::full_disk::content::{CONTENTS, Content, Held, NAMED, options, write_until_refused};

struct Fault(FaultBacking);

impl Disk for Fault {
    fn open(&self) -> tenure::Result<Store> {
        let backing: Arc<dyn Backing> = Arc::new(self.0.clone());
        options().background(false).open_backing(backing)
    }

    fn fill(&self) {
        self.0.disk_bytes_max(Some(self.0.disk_bytes()));
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn verify(&self) {
        let backing: Arc<dyn Backing> = Arc::new(self.0.clone());
        let report = tenure::verify::verify_backing(&backing, &mut |_| {}).expect("verifies");
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}

/// A store on a full disk, and what it has acknowledged.
fn full(content: Content) -> (Fault, Store, Held) {
    let disk = Fault(FaultBacking::new());
    let store = disk.open().expect("opens");
    let mut held = content.write(&store);
    disk.fill();
    write_until_refused(&store, &mut held);
    disk.fill();
    (disk, store, held)
}

fn ended(content: Content, end: End) -> (Fault, Held) {
    let (disk, store, held) = full(content);
    match end {
        End::Close => store.close().unwrap_or_else(|error| panic!("{content:?} {end:?}: {error}")),
        End::FailedClose => {
            // The log is synced, and then nothing more succeeds.
            disk.0.fail_at(disk.0.steps() + 1, io::ErrorKind::Other, FailFor::Always);
            store.close().expect_err("has no room");
            disk.0.heal();
        }
        End::Kill => return (Fault(disk.0.kill_image()), held),
    }
    (disk, held)
}

#[test]
fn every_cell_in_memory_leads_to_a_store_that_is_open_for_writing() {
    for content in CONTENTS {
        for end in ENDS {
            let (disk, held) = ended(content, end);
            for action in ACTIONS {
                let copy = Fault(disk.0.kill_image());
                run(&copy, action, &held, &format!("{content:?} {end:?} {action:?}"));
            }
        }
    }
}

#[test]
fn while_the_process_lives_everything_that_makes_room_is_accepted() {
    for content in CONTENTS {
        for action in ACTIONS {
            let cell = format!("{content:?} living {action:?}");
            let (disk, store, mut held) = full(content);
            act(&store, action, &mut held, &cell);
            disk.fill();
            make_room(&store, &mut held, &cell);
            let set = store.find_set("a").expect("a set");
            store.write(|tx| tx.insert(&set, "room")).unwrap_or_else(|error| panic!("{cell}: {error}"));
            store.close().unwrap_or_else(|error| panic!("{cell}: closes: {error}"));
            disk.verify();
        }
    }
}

#[test]
fn a_close_that_finds_no_room_for_its_snapshot_has_synced_everything() {
    let (disk, store, held) = full(Content::AllLive);
    // Syncs go on, and nothing else does.
    let names = disk.names();
    for name in names.iter().filter(|name| name.starts_with("reserve")) {
        disk.0.remove(name);
    }
    disk.fill();
    let error = store.close().expect_err("there is no room for a snapshot");
    assert!(matches!(error, tenure::Error::NoSpace { .. }), "{error}");
    let image = Fault(disk.0.crash_image_lose_all());
    let store = image.open().expect("opens");
    let found: Held =
        crate::full_disk::content::held(&store).into_iter().map(|(number, (_, len))| (number, len)).collect();
    assert_eq!(found, held);
}

#[test]
fn an_opening_that_finds_no_room_leaves_nothing() {
    let (disk, store, _) = full(Content::AllLive);
    let image = Fault(disk.0.kill_image());
    drop(store);
    for name in image.names().iter().filter(|name| name.starts_with("reserve")) {
        image.0.remove(name);
    }
    let before = image.names();
    // Too little for the copies of what was not synced, for a manifest, for a header.
    for room in [100_000, 1_000, 200, 64, 1, 0] {
        image.0.disk_bytes_max(Some(image.0.disk_bytes() + room));
        let error = image.open().expect_err("there is no room, and no reserve");
        assert!(matches!(error, tenure::Error::NoSpace { .. }), "{error}");
        assert_eq!(image.names(), before);
    }
    image.0.disk_bytes_max(None);
    image.open().expect("opens");
}

/// What happens between a kill and the next opening.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    PowerCut,
    /// Other programs take all free space.
    Others,
}

/// Ends a process in a collection on a full disk, before and within each of its steps. The next process has to make so much
/// room that the store can be written to; where others have taken what was free, it has to when everything is deleted.
fn ends_in_a_collection(then: Then) {
    let disk = Fault(FaultBacking::new());
    let small = options().background(false).segment_bytes(256 << 10);
    let open = |disk: &Fault| {
        let backing: Arc<dyn Backing> = Arc::new(disk.0.clone());
        small.open_backing(backing)
    };
    let store = open(&disk).expect("opens");
    let mut held = Content::HalfDead.write(&store);
    store.drop_snapshot(NAMED).expect("drops");
    disk.fill();
    write_until_refused(&store, &mut held);
    store.sync().expect("syncs");
    disk.fill();
    let full_bytes = disk.0.disk_bytes();
    disk.0.record();
    store.collect(None).expect("collects");
    let images = disk.0.take_recorded();
    drop(store);
    let mut given = 0;
    for (number, image) in images.into_iter().enumerate() {
        let image = Fault(if then == Then::PowerCut { image.crash_image_lose_all() } else { image });
        let cell = format!("image {number} {:?}", image.names());
        given += u32::from(!image.names().iter().any(|name| name.starts_with("reserve-3")));
        // What is less than a piece of the reserve stays free: a small snapshot may find room without it.
        let odd_bytes = (number as u64) * 1_000 % 16_000;
        let taken = if then == Then::Others { image.0.disk_bytes() } else { full_bytes };
        image.0.disk_bytes_max(Some(taken + odd_bytes));
        let mut store = open(&image).unwrap_or_else(|error| panic!("{cell}: opens: {error}"));
        let found: Held =
            crate::full_disk::content::held(&store).into_iter().map(|(number, (_, len))| (number, len)).collect();
        assert!(found == held, "{cell}: {} records of {}", found.len(), held.len());
        let set = store.find_set("a").expect("a set");
        if then == Then::Others {
            let ids: Vec<_> = crate::full_disk::content::held(&store).into_values().map(|(id, _)| id).collect();
            for some in ids.chunks(60) {
                store.write(|tx| tx.delete_many(some)).unwrap_or_else(|error| panic!("{cell}: deletes: {error}"));
            }
            if store.collect(None).is_err() {
                store.close().unwrap_or_else(|error| panic!("{cell}: closes: {error}"));
                store = open(&image).unwrap_or_else(|error| panic!("{cell}: opens again: {error}"));
                store.collect(None).unwrap_or_else(|error| panic!("{cell}: collects: {error}"));
            }
        } else if number % 2 == 0 {
            store.collect(None).unwrap_or_else(|error| panic!("{cell}: collects: {error}"));
        }
        // Writers collect as well.
        let until = Instant::now() + Duration::from_secs(20);
        let mut inserted = store.write(|tx| tx.insert(&set, [7; 5_000]));
        while number % 2 == 1 && inserted.is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
            inserted = store.write(|tx| tx.insert(&set, [7; 5_000]));
        }
        inserted.unwrap_or_else(|error| panic!("{cell}: half of the store is dead: {error} {:#?}", store.stats()));
    }
    assert!(given > 0, "no process ended with the reserve in use");
}

#[test]
fn a_process_killed_in_a_collection_leaves_room_for_the_next_one() {
    ends_in_a_collection(Then::Nothing);
}

#[test]
fn a_process_killed_in_a_collection_leaves_room_where_others_take_what_is_free() {
    ends_in_a_collection(Then::Others);
}

#[test]
fn a_power_cut_in_a_collection_leaves_room_for_the_next_one() {
    ends_in_a_collection(Then::PowerCut);
}
