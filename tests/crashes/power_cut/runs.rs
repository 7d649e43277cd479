//! Longer seeded runs, with power cuts, interrupted recoveries, and segments that fill up.

use tenure::Durability;
use tenure::backing::FaultBacking;

use crate::common::Rng;
use crate::power_cut::world;
use crate::power_cut::world::{Op, World, Wrap, Wrong};

const ROUNDS: u64 = 40;
const OPS_PER_ROUND: usize = 60;

fn some_op(rng: &mut Rng) -> Op {
    match rng.below(45) {
        0..=11 => Op::Insert,
        12..=18 => Op::Update,
        19..=23 => Op::Delete,
        24..=29 => Op::Several,
        30..=31 => Op::Abort,
        32 => Op::InsertLarge,
        33 => Op::RecordSet,
        34 => Op::Mark,
        35 => Op::SaveSnapshot,
        36..=37 => Op::Collect,
        38 => Op::Sync,
        39 => Op::Kill,
        40..=41 => Op::SaveNamed,
        42 => Op::DropNamed,
        43 => Op::RollBack,
        _ => Op::Reopen,
    }
}

/// One operation; transactions are sometimes committed with the other durability than the store's.
fn step(world: &mut World, rng: &mut Rng) -> Result<(), tenure::Error> {
    let (op, usual) = (some_op(rng), world.durability);
    if matches!(op, Op::Insert | Op::Several | Op::Delete) && rng.one_in(3) {
        world.durability = if usual == Durability::Sync { Durability::Buffered } else { Durability::Sync };
    }
    let result = world.run(op);
    world.durability = usual;
    result
}

fn some_image(backing: &FaultBacking, rng: &mut Rng) -> FaultBacking {
    match rng.below(5) {
        0 => backing.crash_image_keep_all(),
        1 => backing.crash_image_lose_all(),
        _ => backing.crash_image(rng.number()),
    }
}

/// Counts over several rounds.
#[derive(Debug, Default)]
pub struct Done {
    pub crashes: u64,
    pub moved: u64,
    pub rolled_back: u64,
}

/// Returns the outcome.
pub fn round(seed: u64, wrap: Wrap) -> Result<Done, Wrong> {
    let mut rng = Rng::new(seed);
    let durability = if rng.one_in(2) { Durability::Sync } else { Durability::Buffered };
    let mut world = World::open(world::base(), durability, wrap, seed)?;
    world.value_bytes_max = [40, 600, 6_000][rng.below(3)];
    let mut crashes = 0;
    for number in 0..OPS_PER_ROUND {
        let at = |wrong| format!("round {seed}, operation {number}: {wrong}");
        if rng.one_in(10) {
            let ahead = u64::try_from(rng.below(14)).expect("64 bits");
            world.backing.crash_at(world.backing.steps() + ahead);
        }
        let Err(error) = step(&mut world, &mut rng) else { continue };
        let text = error.to_string();
        if !text.contains("power is out") {
            return Err(at(text));
        }
        crashes += 1;
        drop(world.store.take());
        for _ in 0..3 {
            let image = some_image(&world.backing, &mut rng);
            let untouched = image.crash_image_keep_all();
            world.check_image(&image).map_err(at)?;
            if rng.one_in(12) {
                world.check_crashes_of_recovery(&untouched, rng.number() >> 8).map_err(at)?;
            }
        }
        let mut image = some_image(&world.backing, &mut rng);
        // Recoveries that do not come to their end, one after the other.
        while rng.one_in(2) {
            image.crash_at(u64::try_from(rng.below(9)).expect("64 bits"));
            drop(world.options.open_backing(wrap(image.clone())));
            image = some_image(&image, &mut rng);
        }
        world.resume(image).map_err(at)?;
    }
    Ok(Done { crashes, moved: world.moved, rolled_back: world.rolled_back })
}

#[test]
fn seeded_runs_survive_their_power_cuts() {
    let rounds = std::env::var("TENURE_POWER_CUT_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"));
    let mut all = Done::default();
    for seed in 0..rounds {
        let done = round(seed, world::as_it_is).unwrap_or_else(|wrong| panic!("{wrong}"));
        all.crashes += done.crashes;
        all.moved += done.moved;
        all.rolled_back += done.rolled_back;
    }
    assert!(all.crashes > rounds && all.moved > 10 * rounds && all.rolled_back > rounds / 2, "only {all:?}");
}
