//! The power goes while a snapshot writes patches, at any step: what was committed is there, with and without what the
//! snapshot has written.

use std::sync::Arc;

use tenure::backing::FaultBacking;

use crate::common::Rng;
use crate::patches::world::World;

#[test]
fn a_power_cut_while_patches_are_written_loses_nothing() {
    let mut rng = Rng::new(21);
    let mut backing = FaultBacking::with_seed(21);
    let mut world = World::over(Arc::new(backing.clone()), &mut rng, 2_000);
    world.store.save_snapshot().unwrap();
    let (mut cut, mut patched) = (0, 0);
    for round in 0..20 {
        world.change(&mut rng, 12, round % 2 == 0);
        world.store.sync().unwrap();
        // A save takes some ten steps.
        backing.crash_at(backing.steps() + u64::try_from(rng.below(12)).unwrap());
        match world.store.save_snapshot() {
            // Of ten leaves and more, that is no page each.
            Ok(saved) => patched += u64::from(saved.pages_written > 10 && saved.bytes_written < 40_000),
            Err(error) => {
                assert!(error.to_string().contains("power is out"), "round {round}: {error}");
                cut += 1;
            }
        }
        let model = world.model.clone();
        drop(world.store);
        for image in [backing.crash_image_keep_all(), backing.crash_image_lose_all(), backing.crash_image(round)] {
            World::open(Arc::new(image), model.clone()).check(&format!("round {round}"));
        }
        backing = backing.crash_image(round + 100);
        world = World::open(Arc::new(backing.clone()), model);
    }
    assert!(cut > 4 && patched > 2, "{cut} cuts, {patched} snapshots with patches");
}
