//! What a snapshot of few changes writes, and that what it refers to does not pile up.

use tenure::FileKind;

use crate::common::Rng;
use crate::patches::world::World;

fn page_bytes(world: &World) -> (u64, u64) {
    let segments = world.store.stats().segments;
    let pages = segments.iter().filter(|segment| segment.kind == FileKind::Pages);
    pages.fold((0, 0), |sum, segment| (sum.0 + segment.bytes, sum.1 + segment.live_bytes))
}

#[test]
fn a_snapshot_of_scattered_changes_writes_no_whole_pages_for_them() {
    let mut rng = Rng::new(7);
    let mut world = World::new(&mut rng, 30_000);
    // Segments that the load has left half empty are emptied first.
    let settled = (0..20).any(|_| world.store.save_snapshot().unwrap().pages_written == 0);
    assert!(settled, "snapshots without changes still write pages");
    // Leaves that the load has filled are split at first.
    for _ in 0..10 {
        world.change(&mut rng, 150, false);
        world.store.save_snapshot().unwrap();
    }
    for _ in 0..4 {
        world.change(&mut rng, 50, false);
        let written = world.store.save_snapshot().unwrap();
        // Up to five leaves change with each record: one of the record index, two of each key index. Whole, they would take
        // some 12,000 bytes. Some are split.
        let each = written.bytes_written / 50;
        assert!(each < 3_000, "{each} bytes for each change, {} pages", written.pages_written);
        assert!(written.pages_written > 50, "{} pages", written.pages_written);
    }
    world.check("after the snapshots");
    let world = world.reopened(true);
    world.check("after a reopening");
}

#[test]
fn a_snapshot_without_changes_writes_hardly_a_page() {
    let mut rng = Rng::new(8);
    let mut world = World::new(&mut rng, 2_000);
    world.store.save_snapshot().unwrap();
    world.store.save_snapshot().unwrap();
    let before = world.store.save_snapshot().unwrap().pages_written;
    world.change(&mut rng, 1, false);
    let after = world.store.save_snapshot().unwrap().pages_written;
    assert!(before == 0 && after > before, "{before} and {after} pages");
}

#[test]
fn files_of_pages_stay_small_beneath_patches() {
    let mut rng = Rng::new(9);
    let mut world = World::new(&mut rng, 20_000);
    world.store.save_snapshot().unwrap();
    let mut most = 0;
    for round in 0..60 {
        world.change(&mut rng, 60, round % 3 == 0);
        world.store.save_snapshot().unwrap();
        let (bytes, live) = page_bytes(&world);
        most = most.max(bytes.saturating_sub(live * 2));
    }
    let (bytes, live) = page_bytes(&world);
    // Twice what is live, and a few segments that are being filled or that the snapshot before needs.
    assert!(most < 1_500_000, "{most} bytes more than twice those in use; now {bytes} of which {live} are in use");
    world.check("at the end");
    // What is counted as live is what the trees refer to: an index that goes takes its pages along.
    world.store.drop_index(&world.unique).unwrap();
    world.store.drop_index(&world.classes).unwrap();
    world.store.save_snapshot().unwrap();
    let (_, left) = page_bytes(&world);
    let expected = 20_000 / 512 * 4_096 * 2;
    assert!(left < expected && left < live / 2, "{left} bytes are in use without indexes, {live} with them");
}
