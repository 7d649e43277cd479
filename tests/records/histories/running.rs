//! Histories without faults: interleaved by a seed in one thread, and by the scheduler in several.

use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::{Durability, Isolation, Options};

use crate::common::Rng;
use crate::histories::checker::check;
use crate::histories::session::Session;
use crate::histories::world::{Contents, SESSIONS, Txn, Weakness, World};

pub fn rounds(usual: u64) -> u64 {
    let times = std::env::var("TENURE_HISTORY_ROUNDS").map_or(1, |text| text.parse().expect("a number"));
    usual * times
}

pub fn options(background: bool) -> Options {
    let options = Options::new().segment_bytes(64 << 10).snapshot_log_bytes(48 << 10);
    options.background(background).durability(Durability::Buffered)
}

/// Lets a seed choose which session takes the next step, until so many transactions are over.
pub fn interleave(world: &World, seed: u64, txns: usize) -> Vec<Txn> {
    let mut rng = Rng::new(seed);
    let mut sessions: Vec<Session> = (0..SESSIONS).map(|number| Session::new(number, rng.number())).collect();
    while sessions.iter().map(|session| session.done.len()).sum::<usize>() < txns {
        if sessions.iter().any(|session| session.is_over) {
            break;
        }
        let place = rng.below(sessions.len());
        sessions[place].step(world);
    }
    for session in &mut sessions {
        session.stop(world);
    }
    sessions.into_iter().flat_map(|session| session.done).collect()
}

/// Each session in a thread of its own.
pub fn side_by_side(world: &World, seed: u64, txns: usize) -> Vec<Txn> {
    let mut rng = Rng::new(seed);
    let sessions: Vec<Session> = (0..SESSIONS).map(|number| Session::new(number, rng.number())).collect();
    let each = txns / sessions.len();
    std::thread::scope(|scope| {
        let threads = sessions.into_iter().map(|mut session| {
            scope.spawn(move || {
                let mut rng = Rng::new(seed ^ u64::from(session.number()));
                while session.done.len() < each && !session.is_over {
                    session.step(world);
                    if rng.one_in(4) {
                        std::thread::yield_now();
                    }
                }
                session.stop(world);
                session.done
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a session")).collect()
    })
}

/// A history in a new store, interleaved by its seed.
pub fn history(seed: u64, isolation: Isolation, weakness: Weakness, txns: usize) -> (Vec<Txn>, Contents) {
    let store = options(false).open_backing(Arc::new(Memory::new())).unwrap();
    let world = World::open(store, isolation, weakness, 0).unwrap();
    let txns = interleave(&world, seed, txns);
    (txns, world.contents())
}

/// How many transactions wrote, and how many came to nothing.
fn count(all: &[Txn]) -> (usize, usize) {
    let written = all.iter().filter(|txn| txn.seq.is_some()).count();
    (written, all.len() - written)
}

#[test]
fn interleaved_histories_have_no_forbidden_cycle() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let mut sums = (0, 0);
        for seed in 0..rounds(60) {
            let (txns, contents) = history(seed, isolation, Weakness::None, 400);
            let problems = check(&txns, &contents, isolation);
            assert!(problems.is_empty(), "seed {seed}, {isolation:?}: {problems:#?}");
            let (written, nothing) = count(&txns);
            sums = (sums.0 + written, sums.1 + nothing);
        }
        assert!(sums.0 > sums.1 / 4 && sums.1 > sums.0 / 10, "too one-sided to say much: {sums:?}");
    }
}

#[test]
fn what_was_learned_and_taken_back_is_of_the_same_state_as_other_reads() {
    let store = options(false).open_backing(Arc::new(Memory::new())).unwrap();
    let set = store.record_set("a").unwrap();
    let (a, b) = store.write(|tx| Ok::<_, tenure::Error>((tx.insert(&set, "0")?, tx.insert(&set, "0")?))).unwrap();
    let version = store.get(a).unwrap().seq();
    let mut tx = store.begin().unwrap();
    let savepoint = tx.savepoint();
    tx.update_if(a, version, "it is still 0").unwrap();
    tx.roll_back_to(savepoint).unwrap();
    store.write(|tx| tx.update(a, "1").and(tx.update(b, "1"))).unwrap();
    let b_seen = tx.get(b).unwrap().to_vec().unwrap();
    let result = tx.commit_with(Durability::Buffered);
    assert!(result.is_err() || b_seen == b"0", "a as 0 and b as 1: no such state was ever there");
}

#[test]
fn histories_of_threads_have_no_forbidden_cycle() {
    for seed in 0..rounds(16) {
        for isolation in [Isolation::Serializable, Isolation::Snapshot] {
            let backing: Arc<dyn Backing> = Arc::new(Memory::new());
            let world =
                World::open(options(true).open_backing(backing).unwrap(), isolation, Weakness::None, 0).unwrap();
            let txns = side_by_side(&world, 5_000 + seed, 900);
            let problems = check(&txns, &world.contents(), isolation);
            assert!(problems.is_empty(), "seed {seed}, {isolation:?}: {problems:#?}");
        }
    }
}
