//! Histories with crashes: sessions stop at any step, the remaining files are opened, and the history continues.
//!
//! Everything acknowledged with `Sync` must be there, whole, and the surviving commits are a prefix of all commits.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking};
use tenure::{Isolation, Seq};

use crate::common::{Rng, assert_no_strays_closed_backing};
use crate::histories::checker::check;
use crate::histories::running::{interleave, options, rounds, side_by_side};
use crate::histories::world::{Contents, ELEMENTS, Status, Txn, Weakness, World};

/// Finds out which transactions of the last run are there, by the elements of their sessions' own lists.
fn settle(txns: &mut [Txn], contents: &Contents, run: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let of_elements: BTreeSet<u64> = contents.lists.values().flatten().map(|element| element / ELEMENTS).collect();
    let of_run = || txns.iter().filter(|txn| txn.run == run);
    let is_there = |txn: &Txn| of_elements.contains(&txn.number);
    let kept: Vec<Seq> = of_run().filter(|txn| is_there(txn)).filter_map(|txn| txn.seq).collect();
    let (last_kept, last_synced) = (
        kept.iter().max().copied(),
        of_run().filter(|txn| txn.is_synced && txn.status == Status::Committed).filter_map(|txn| txn.seq).max(),
    );
    for txn in txns.iter_mut().filter(|txn| txn.run == run) {
        let is_there = of_elements.contains(&txn.number);
        let number = txn.number;
        match (txn.status, is_there) {
            (Status::Nothing, true) => problems.push(format!("T{number} came to nothing and is there")),
            (Status::Committed, false) => {
                if txn.seq <= last_synced {
                    problems.push(format!("T{number} is gone, and it or a later one was acknowledged as durable"));
                }
                if txn.seq < last_kept {
                    problems.push(format!("T{number} is gone, and a later one is there"));
                }
                txn.status = Status::Lost;
            }
            (Status::Unknown, false) => txn.status = Status::Lost,
            (Status::Unknown, true) => txn.status = Status::Committed,
            _ => {}
        }
    }
    problems
}

type Run = fn(&World, u64, usize) -> Vec<Txn>;

fn history_with_crashes(seed: u64, isolation: Isolation, run_sessions: Run, crashes: u64) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let mut backing = FaultBacking::with_seed(seed);
    let mut txns: Vec<Txn> = Vec::new();
    for run in 0..=crashes {
        let why = format!("seed {seed}, run {run}, {isolation:?}");
        let store =
            options(false).open_backing(Arc::new(backing.clone())).unwrap_or_else(|error| panic!("{why}: {error}"));
        let world = World::open(store, isolation, Weakness::None, run).unwrap_or_else(|error| panic!("{why}: {error}"));
        let contents = world.contents();
        if let Some(before) = run.checked_sub(1) {
            let problems = settle(&mut txns, &contents, before);
            assert!(problems.is_empty(), "{why}: {problems:#?}");
            let problems = check(&txns, &contents, isolation);
            assert!(problems.is_empty(), "{why}, after the crash: {problems:#?}");
        }
        if run < crashes {
            backing.crash_at(backing.steps() + 20 + rng.below(150) as u64);
        }
        txns.extend(run_sessions(&world, rng.number(), if run < crashes { 3000 } else { 150 }));
        if run == crashes {
            let contents = world.contents();
            let problems = check(&txns, &contents, isolation);
            assert!(problems.is_empty(), "{why}, in the end: {problems:#?}");
        }
        drop(world);
        if run == crashes {
            let closed: Arc<dyn Backing> = Arc::new(backing.clone());
            assert_no_strays_closed_backing(&closed, &why);
        }
        backing = if rng.one_in(3) { backing.kill_image() } else { backing.crash_image(rng.number()) };
    }
    let lost = txns.iter().filter(|txn| txn.status == Status::Lost).count();
    (txns.len(), lost)
}

#[test]
fn interleaved_histories_go_on_after_crashes() {
    let mut sums = (0, 0);
    for seed in 0..rounds(40) {
        let isolation = if seed % 3 == 0 { Isolation::Snapshot } else { Isolation::Serializable };
        let (all, lost) = history_with_crashes(20_000 + seed, isolation, interleave, 5);
        sums = (sums.0 + all, sums.1 + lost);
    }
    assert!(sums.1 > 20, "crashes take something: {sums:?}");
}

#[test]
fn histories_of_threads_go_on_after_crashes() {
    let mut sums = (0, 0);
    for seed in 0..rounds(20) {
        let isolation = if seed % 3 == 0 { Isolation::Snapshot } else { Isolation::Serializable };
        let (all, lost) = history_with_crashes(30_000 + seed, isolation, side_by_side, 5);
        sums = (sums.0 + all, sums.1 + lost);
    }
    assert!(sums.1 > 5, "crashes take something: {sums:?}");
}
