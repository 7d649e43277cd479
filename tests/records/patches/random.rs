//! Random changes, with snapshots that hold few of them each: patches over patches, views and named snapshots that outlive
//! them, segments that are emptied beneath them, and a reopening at any time.
//!
//! `TENURE_PATCHES_ROUNDS` sets how many runs there are.

use std::sync::Arc;

use tenure::verify::verify_backing;
use tenure::{Point, View};

use crate::common::Rng;
use crate::patches::world::{Model, World, compare, options};

fn rounds() -> u64 {
    std::env::var("TENURE_PATCHES_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(&mut rng, 4_000);
    let mut views: Vec<(View, Model)> = Vec::new();
    let mut named: Vec<(String, Model)> = Vec::new();
    for step in 0..60 {
        let what = format!("seed {seed}, step {step}");
        match rng.below(12) {
            0..=4 => {
                let (count, deletes) = (1 + rng.below(20), rng.one_in(2));
                world.change(&mut rng, count, deletes);
                world.store.save_snapshot().unwrap();
            }
            5 => {
                let count = 1 + rng.below(200);
                world.insert(&mut rng, count);
            }
            6 => {
                let count = 300 + rng.below(300);
                world.change(&mut rng, count, true);
                world.store.save_snapshot().unwrap();
            }
            7 => views.push((world.store.view(), world.model.clone())),
            8 => drop(views.pop()),
            9 => {
                let name = format!("at step {step}");
                world.store.save_named_snapshot(&name).unwrap();
                named.push((name, world.model.clone()));
                if named.len() > 2 {
                    world.store.drop_snapshot(&named.remove(0).0).unwrap();
                }
            }
            10 => {
                world.store.collect(None).map(drop).unwrap();
            }
            _ => {
                for (view, model) in &views {
                    compare(view, &world, model, &format!("{what}: a view"));
                }
                views.clear();
                let closes = rng.one_in(2);
                world = world.reopened(closes);
                world.check(&what);
            }
        }
    }
    for (view, model) in &views {
        compare(view, &world, model, &format!("seed {seed}: a view"));
    }
    drop(views);
    world.check(&format!("seed {seed}"));
    let world = world.reopened(true);
    let World { backing, store, .. } = world;
    store.close().unwrap();
    // Named snapshots too.
    let verified = verify_backing(&backing, &mut |_| {}).unwrap();
    assert!(verified.is_ok(), "seed {seed}: {:?}", verified.problems);
    for (name, model) in named {
        let past = options().open_backing_at(Arc::clone(&backing), &Point::Name(name.clone())).unwrap();
        let view = past.view();
        let set = past.find_set("things").unwrap();
        let found: Model =
            view.scan(&set).map(|record| record.unwrap()).map(|it| (it.id(), it.to_vec().unwrap())).collect();
        assert!(found == model, "seed {seed}: {name}");
    }
}

#[test]
fn random_changes_read_as_they_should_at_every_step() {
    for seed in 0..rounds() {
        run(seed);
    }
}
