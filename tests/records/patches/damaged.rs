//! Damage to a patch, and to the image beneath it: both are told, and repaired.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::backing::Backing;
use tenure::repair::repair_backing;
use tenure::verify::verify_backing;

use crate::common;
use crate::common::Rng;
use crate::patches::world::World;

type Files = BTreeMap<String, Vec<u8>>;

const HEADER_BYTES: usize = 128;
const PAGE_ALIGN_BYTES: usize = 64;

/// A closed store whose newest file of pages has patches of pages in older ones. Returns the files, that one's name, and those
/// of the older ones.
fn build() -> (World, Files, String, Vec<String>) {
    let mut rng = Rng::new(11);
    let mut world = World::new(&mut rng, 3_000);
    world.store.save_snapshot().unwrap();
    world = world.reopened(true);
    let before = common::read_backing(&*world.backing);
    world.change(&mut rng, 30, true);
    let written = world.store.save_snapshot().unwrap();
    assert!(written.bytes_written < 40_000, "{} bytes are no patches", written.bytes_written);
    // Both snapshots that an opening may use have them.
    world.store.save_snapshot().unwrap();
    world = world.reopened(true);
    let mut files = common::read_backing(&*world.backing);
    files.remove("lock");
    files.retain(|name, _| !name.starts_with("reserve-"));
    let pages: Vec<String> = files.keys().filter(|name| name.starts_with("pages-")).cloned().collect();
    let is_old = |name: &&String| before.contains_key(*name);
    let newest = pages.iter().rfind(|name| !is_old(name)).unwrap().clone();
    let older = pages.iter().filter(is_old).cloned().collect();
    (world, files, newest, older)
}

/// A store with these files, and the same content.
fn with(files: &Files, of: &World) -> (Arc<dyn Backing>, tenure::Result<World>) {
    let backing = common::memory_of(files);
    let opened = crate::patches::world::options().open_backing(Arc::clone(&backing)).map(|store| {
        let set = store.record_set("things").unwrap();
        let index = |name| store.find_index(&set, name);
        let (unique, classes) = (index("key").unwrap(), index("class").unwrap());
        World { backing: Arc::clone(&backing), set, unique, classes, store, model: of.model.clone() }
    });
    (backing, opened)
}

/// Damages one byte, and checks that every wrong answer is refused, and that a repair brings everything back.
fn check(world: &World, files: &Files, name: &str, at: usize) -> bool {
    let what = format!("{name} at {at}");
    let mut files = files.clone();
    files.get_mut(name).unwrap()[at] ^= 0x10;
    let (_, opened) = with(&files, world);
    let told = match opened {
        Ok(opened) => {
            let report = opened.store.recovery_report();
            let fell_back = !report.fell_back.is_empty() || !report.damaged.is_empty();
            let told = opened.damage(&what);
            drop(opened);
            told > 0 || fell_back
        }
        Err(error) => {
            assert!(error.is_corruption(), "{what}: {error}");
            true
        }
    };
    let backing = common::memory_of(&files);
    let verified = verify_backing(&backing, &mut |_| {});
    assert!(!told || verified.is_err() || verified.is_ok_and(|report| !report.is_ok()), "{what}: told, not verified");
    let backing = common::memory_of(&files);
    repair_backing(Arc::clone(&backing), &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    let files = common::read_backing(&*backing).into_iter().filter(|(name, _)| name != "lock").collect();
    let (backing, repaired) = with(&files, world);
    let repaired = repaired.unwrap_or_else(|error| panic!("{what}: {error}"));
    let set = repaired.store.find_set("things").unwrap();
    let view = repaired.store.view();
    assert_eq!(view.len(&set), u64::try_from(world.model.len()).unwrap(), "{what}");
    for (id, bytes) in &world.model {
        let found = view.get(*id).and_then(|record| record.to_vec());
        assert_eq!(found.as_ref().ok(), Some(bytes), "{what}: {id} after the repair: {found:?}");
    }
    drop(view);
    drop(repaired);
    drop(backing);
    told
}

#[test]
fn damage_to_a_patch_is_told_and_repaired() {
    let (world, files, newest, _) = build();
    let end = files[&newest].len();
    let blocks: Vec<usize> = (HEADER_BYTES..end).step_by(PAGE_ALIGN_BYTES).collect();
    let told = blocks.iter().step_by(5).filter(|at| check(&world, &files, &newest, **at)).count();
    assert!(told * 5 * 3 > blocks.len(), "{told} of {} faults were told", blocks.len() / 5);
}

#[test]
fn damage_to_the_image_beneath_a_patch_is_told_and_repaired() {
    let (world, files, _, older) = build();
    let mut told = 0;
    for name in &older {
        let end = files[name].len();
        for at in (HEADER_BYTES + 1..end).step_by(6_151) {
            told += usize::from(check(&world, &files, name, at));
        }
    }
    assert!(told > 10, "{told} faults were told");
}
