//! All cells in memory, on a backing that has room for so many bytes.

use std::io;
use std::sync::Arc;

use tenure::Store;
use tenure::backing::Backing;
use tenure::backing::FailFor;
use tenure::backing::FaultBacking;

use crate::cells::ACTIONS;
use crate::cells::Disk;
use crate::cells::ENDS;
use crate::cells::End;
use crate::cells::act;
use crate::cells::make_room;
use crate::cells::run;
use crate::content::CONTENTS;
use crate::content::Content;
use crate::content::Held;
use crate::content::options;
use crate::content::write_until_refused;

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
    let found: Held = crate::content::held(&store).into_iter().map(|(number, (_, len))| (number, len)).collect();
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
