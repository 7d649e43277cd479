//! Every sequence of up to three operations, with a crash at every step of the last one. Of the thousand of three of all operations a third
//! is taken with each durability, and not the same; `TENURE_POWER_CUT_SEQUENCES=all` takes them all.
//!
//! A crash at a step of an earlier operation is covered by a shorter sequence.

use tenure::Durability;
use tenure::backing::{Backing, FaultBacking};

use crate::power_cut::world;
use crate::power_cut::world::{OPS, Op, World, Wrap, Wrong};

/// Of the sequences of three.
#[derive(Debug, Clone, Copy)]
enum Threes {
    All,
    /// Those of which the sum of the operations' places leaves this, divided by three.
    Third(usize),
}

/// How often the recovery itself is crashed at each of its steps: once in this many crashes.
const RECOVERIES_ONE_IN: u64 = 50;

#[derive(Debug, Default)]
pub struct Count {
    pub crashes: u64,
    pub images: u64,
    pub recoveries: u64,
}

fn start(base: &FaultBacking, durability: Durability, wrap: Wrap, ops: &[Op]) -> Result<World, Wrong> {
    let mut world = World::open(base.crash_image_keep_all(), durability, wrap, 5)?;
    for op in ops {
        world.run(*op).map_err(|error| format!("{op:?} without a fault: {error}"))?;
    }
    Ok(world)
}

/// A crash at every step of the last operation, and right after it.
fn check(base: &FaultBacking, durability: Durability, wrap: Wrap, ops: &[Op], count: &mut Count) -> Result<(), Wrong> {
    let (last, earlier) = ops.split_last().expect("an operation");
    for after in 0.. {
        let mut world = start(base, durability, wrap, earlier)?;
        let step = world.backing.steps() + after;
        world.backing.crash_at(step);
        let result = world.run(*last);
        let is_over = world.backing.steps() <= step;
        if is_over {
            result.map_err(|error| format!("{last:?} without a fault: {error}"))?;
        }
        count.crashes += 1;
        for (index, image) in world::images(&world.backing, count.crashes).into_iter().enumerate() {
            let at = |wrong| format!("{durability:?} {ops:?}, crash at step {after}, image {index}: {wrong}");
            count.images += 1;
            let untouched = image.crash_image_keep_all();
            world.check_image(&image).map_err(at)?;
            if index == 2 && count.crashes.is_multiple_of(RECOVERIES_ONE_IN) {
                count.recoveries += world.check_crashes_of_recovery(&untouched, count.images).map_err(at)?;
            }
        }
        if is_over {
            return Ok(());
        }
    }
    Ok(())
}

/// All sequences of up to `len` operations.
pub fn check_all(durability: Durability, wrap: Wrap, ops: &[Op], len: u32) -> Result<Count, Wrong> {
    check_all_from(&world::base(), durability, wrap, ops, len, Threes::All)
}

fn check_all_from(
    base: &FaultBacking,
    durability: Durability,
    wrap: Wrap,
    ops: &[Op],
    len: u32,
    threes: Threes,
) -> Result<Count, Wrong> {
    let mut count = Count::default();
    for len in 1..=len {
        for mut number in 0..ops.len().pow(len) {
            let (mut sequence, mut sum) = (Vec::new(), 0);
            for _ in 0..len {
                sequence.push(ops[number % ops.len()]);
                sum += number % ops.len();
                number /= ops.len();
            }
            let is_taken = match threes {
                Threes::All => true,
                Threes::Third(third) => len < 3 || sum % 3 == third,
            };
            if is_taken {
                check(base, durability, wrap, &sequence, &mut count)?;
            }
        }
    }
    Ok(count)
}

fn check_all_and_count(durability: Durability, third: usize) {
    let threes = match std::env::var("TENURE_POWER_CUT_SEQUENCES") {
        Ok(asked) if asked == "all" => Threes::All,
        Ok(other) => panic!("TENURE_POWER_CUT_SEQUENCES: {other} instead of all"),
        Err(_) => Threes::Third(third),
    };
    let count = check_all_from(&world::base(), durability, world::as_it_is, &OPS, 3, threes);
    let count = count.unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(count.crashes > 2_000 && count.recoveries > 50, "{count:?}");
}

#[test]
fn sequences_of_three_synced_operations_survive_a_crash_at_every_step() {
    check_all_and_count(Durability::Sync, 0);
}

#[test]
fn sequences_of_three_buffered_operations_survive_a_crash_at_every_step() {
    check_all_and_count(Durability::Buffered, 1);
}

#[test]
fn collections_survive_a_crash_at_every_step() {
    let ops = world::OPS_BESIDE_COLLECT;
    let count = check_all(Durability::Buffered, world::as_it_is, &ops, 3).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(count.crashes > 2_000 && count.recoveries > 50, "{count:?}");
}

#[test]
fn going_back_survives_a_crash_at_every_step() {
    let (base, ops) = (world::base_with_a_past(), world::OPS_OF_THE_PAST);
    for (durability, len) in [(Durability::Buffered, 3), (Durability::Sync, 2)] {
        let count = check_all_from(&base, durability, world::as_it_is, &ops, len, Threes::All);
        let count = count.unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(count.crashes > 400 && count.recoveries > 20, "{count:?}");
    }
}

#[test]
fn merging_survives_a_crash_at_every_step() {
    let (base, ops) = (world::base_of_small_segments(), world::OPS_BESIDE_MERGES);
    let segments = |world: &World| {
        let names = world.backing.list().expect("lists");
        names.iter().filter(|name| name.starts_with("log-")).count()
    };
    for op in [Op::Reopen, Op::Kill] {
        let mut world = start(&base, Durability::Sync, world::as_it_is, &[Op::Insert]).expect("goes on");
        let before = segments(&world);
        world.run(op).expect("opens");
        assert!(segments(&world) + 3 <= before, "{op:?} merged nothing of {before} segments");
    }
    for durability in [Durability::Buffered, Durability::Sync] {
        let count = check_all_from(&base, durability, world::as_it_is, &ops, 2, Threes::All);
        let count = count.unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(count.crashes > 300 && count.recoveries > 50, "{count:?}");
    }
}

#[test]
fn a_crash_at_every_step_of_making_a_store_lets_it_be_made() {
    for step in 0.. {
        let backing = FaultBacking::new();
        backing.crash_at(step);
        let opened = World::open(backing.clone(), Durability::Sync, world::as_it_is, 1);
        let is_over = opened.is_ok();
        assert_eq!(is_over, backing.steps() <= step);
        for (index, image) in world::images(&backing, step).into_iter().enumerate() {
            let mut world = World::open(image, Durability::Sync, world::as_it_is, 1)
                .unwrap_or_else(|wrong| panic!("crash at step {step}, image {index}: {wrong}"));
            world.run(Op::RecordSet).expect("works");
            world.run(Op::Insert).expect("works");
            world.check_image(&world.backing.crash_image_lose_all()).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        if is_over {
            assert!(step > 2, "only {step} steps");
            return;
        }
    }
}
