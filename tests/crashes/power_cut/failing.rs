//! Every call fails once, or permanently; every disk size is too small. Errors are clean, no acknowledged commit is
//! lost, and everything that can continue does.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::backing::{FailFor, FaultBacking};
use tenure::{Durability, Error};

use crate::power_cut::world;
use crate::power_cut::world::{Op, State, World, Wrong};

const SCRIPT: [Op; 25] = [
    Op::Insert,
    Op::RecordSet,
    Op::Insert,
    Op::Several,
    Op::Mark,
    Op::SaveSnapshot,
    Op::Delete,
    Op::InsertLarge,
    Op::Update,
    Op::Sync,
    Op::Abort,
    Op::Insert,
    Op::SaveSnapshot,
    Op::Reopen,
    Op::Insert,
    Op::Abort,
    Op::InsertLarge,
    Op::SaveSnapshot,
    Op::Update,
    Op::Several,
    Op::SaveSnapshot,
    Op::Reopen,
    Op::Delete,
    Op::Insert,
    Op::Update,
];

/// A failed operation has left the state before it, or the one after it where the error says so; reads go on.
fn check_after_error(world: &mut World, error: &Error) -> Result<(), Wrong> {
    let Some(store) = &world.store else { return Ok(()) };
    let found = State::of(store)?;
    match error {
        Error::Io { .. } | Error::Indeterminate { .. } | Error::NoSpace { .. } | Error::Poisoned { .. } => {}
        other => return Err(format!("an unexpected error: {other}")),
    }
    if world.now().is(&found) {
        return Ok(());
    }
    match world.attempted.take() {
        Some(attempted) if attempted.is(&found) => {
            world.states.push(found);
            Ok(())
        }
        _ => Err("the handle shows a state that is neither before nor after the failed operation".to_owned()),
    }
}

/// Runs the script with a fault at one step; returns whether the fault was reached.
fn run_with_fault(
    base: &FaultBacking,
    durability: Durability,
    after: u64,
    kind: ErrorKind,
    how_long: FailFor,
) -> Result<bool, Wrong> {
    let mut world = World::open(base.crash_image(after), durability, world::as_it_is, 9)?;
    world.value_bytes_max = 3_000;
    let step = world.backing.steps() + after;
    world.backing.fail_at(step, kind, how_long);
    let mut is_poisoned = false;
    for op in SCRIPT {
        if world.store.is_none() {
            break;
        }
        let result = world.run(op);
        if let Err(error) = &result {
            let at = |wrong| format!("{op:?} gave {error}: {wrong}");
            check_after_error(&mut world, error).map_err(at)?;
            // Poison lasts, until the store is opened again.
            is_poisoned |= matches!(error, Error::Poisoned { .. });
        } else if is_poisoned && !matches!(op, Op::Abort | Op::Reopen) {
            return Err(format!("{op:?} succeeded on a poisoned store"));
        }
        is_poisoned &= op != Op::Reopen;
        if world.backing.steps() > step + 12 && how_long == FailFor::Once && world.backing.steps() < step + 40 {
            // Images while the handle still runs.
            let image = world.backing.crash_image_lose_all();
            world.check_image(&image).map_err(|wrong| format!("after {op:?}: {wrong}"))?;
        }
    }
    let met = world.backing.steps() > step;
    let live = world.store.take();
    if let (Some(store), FailFor::Once, true) = (&live, how_long, met) {
        let set = store.find_set("a").expect("a set");
        match store.begin().and_then(|mut tx| tx.insert(&set, "still").map(|_| drop(tx))) {
            Ok(()) | Err(Error::Poisoned { .. }) => {}
            Err(error) => return Err(format!("neither poisoned nor working: {error}")),
        }
    }
    drop(live);
    world.backing.heal();
    for (index, image) in world::images(&world.backing, after).into_iter().enumerate() {
        world.check_image(&image).map_err(|wrong| format!("after a power cut, image {index}: {wrong}"))?;
    }
    // Data in the page cache may never have been written; the next opening must not depend on it.
    let backing = world.backing.clone();
    world.check_image(&backing).map_err(|wrong| format!("opened again: {wrong}"))?;
    Ok(met)
}

fn every_call_fails(kind: ErrorKind, how_long: FailFor) {
    let base = world::base();
    for durability in [Durability::Sync, Durability::Buffered] {
        let mut after = 0;
        while run_with_fault(&base, durability, after, kind, how_long)
            .unwrap_or_else(|wrong| panic!("{durability:?}, call {after} fails {how_long:?} with {kind:?}: {wrong}"))
        {
            after += 1;
        }
        assert!(after > 60, "the script has only {after} calls");
    }
}

#[test]
fn a_call_that_fails_once_loses_nothing() {
    every_call_fails(ErrorKind::Other, FailFor::Once);
}

#[test]
fn calls_that_fail_for_ever_lose_nothing() {
    every_call_fails(ErrorKind::Other, FailFor::Always);
}

#[test]
fn a_call_that_is_interrupted_once_loses_nothing() {
    every_call_fails(ErrorKind::Interrupted, FailFor::Once);
}

#[test]
fn a_call_that_finds_no_room_once_loses_nothing() {
    every_call_fails(ErrorKind::StorageFull, FailFor::Once);
}

#[test]
fn calls_that_find_no_room_for_ever_lose_nothing() {
    every_call_fails(ErrorKind::StorageFull, FailFor::Always);
}

/// A crash image with a log to replay, for tests of opening.
fn unclean() -> (FaultBacking, State) {
    let mut world = World::open(world::base(), Durability::Buffered, world::as_it_is, 3).expect("opens");
    for op in [Op::Insert, Op::SaveSnapshot, Op::Update, Op::SaveSnapshot, Op::Insert, Op::InsertLarge, Op::Delete] {
        world.run(op).expect("no fault");
    }
    (world.backing.crash_image_keep_all(), world.now().clone())
}

#[test]
fn a_read_that_fails_while_opening_ends_it_and_no_snapshot_is_passed_over() {
    let (image, expected) = unclean();
    for read in 0.. {
        let backing = image.crash_image_keep_all();
        backing.fail_read_at(read, ErrorKind::Other, FailFor::Once);
        let opened = world::options(Durability::Sync).open_backing(Arc::new(backing.clone()));
        if let Err(error) = &opened {
            assert!(matches!(error, Error::Io { .. }), "read {read}: {error}");
        }
        if let Ok(store) = &opened {
            assert!(store.recovery_report().fell_back.is_empty(), "read {read}: {}", store.recovery_report());
        }
        let is_over = backing.reads() <= read;
        drop(opened);
        backing.heal();
        for image in [backing.crash_image_lose_all(), backing] {
            let store = world::options(Durability::Sync).open_backing(Arc::new(image)).expect("opens");
            assert!(expected.is(&State::of(&store).expect("reads")), "read {read}");
        }
        if is_over {
            assert!(read > 8, "only {read} reads");
            return;
        }
    }
}

#[test]
fn a_read_that_fails_is_an_error_of_that_read_alone() {
    let (image, expected) = unclean();
    let store = world::options(Durability::Sync).open_backing(Arc::new(image.clone())).expect("opens");
    for (id, bytes) in expected.contents.values().flatten() {
        for read in 0.. {
            let at = image.reads() + read;
            image.fail_read_at(at, ErrorKind::Other, FailFor::Once);
            let found = store.get(*id).and_then(|record| record.to_vec());
            if image.reads() <= at {
                assert_eq!(&found.expect("no fault"), bytes);
                break;
            }
            assert!(matches!(found, Err(Error::Io { .. })), "{id}: {found:?}");
            assert_eq!(&store.get(*id).and_then(|record| record.to_vec()).expect("the next read"), bytes);
        }
    }
    image.heal();
    store.close().expect("nothing was poisoned");
}

/// Runs the script on a disk with this much free space; returns whether it was enough.
fn run_on_a_full_disk(base: &FaultBacking, durability: Durability, room: u64) -> Result<bool, Wrong> {
    let mut world = World::open(base.crash_image(room), durability, world::as_it_is, 9)?;
    world.value_bytes_max = 3_000;
    world.backing.disk_bytes_max(Some(base.disk_bytes() + room));
    let mut was_enough = true;
    for op in SCRIPT {
        let Err(error) = world.run(op) else { continue };
        was_enough = false;
        if !matches!(error, Error::NoSpace { .. }) {
            return Err(format!("{op:?} gave {error}"));
        }
        let Some(store) = &world.store else { break };
        if !world.now().is(&State::of(store)?) {
            return Err(format!("{op:?} failed and left something"));
        }
    }
    if world.store.is_none() {
        // Opening for writing needs room; opening for reading writes nothing.
        let reading = world.options.clone().read_only(true).open_backing(Arc::new(world.backing.clone()));
        let store = reading.map_err(|error| format!("reading on a full disk: {error}"))?;
        world.judge(&State::of(&store)?)?;
    }
    let full = world.backing.crash_image_lose_all();
    world.check_image(&full).map_err(|wrong| format!("after a power cut on the full disk: {wrong}"))?;
    world.backing.disk_bytes_max(None);
    if world.store.is_some() {
        // The same handle continues, once it has checked for free space again.
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(world.run(Op::Insert), Err(Error::NoSpace { .. })) && Instant::now() < until {}
        for op in [Op::Insert, Op::SaveSnapshot, Op::Several, Op::Reopen] {
            world.run(op).map_err(|error| format!("{op:?} with room again: {error}"))?;
        }
        drop(world.store.take());
    }
    let backing = world.backing.clone();
    world.check_image(&backing.crash_image_lose_all())?;
    world.check_image(&backing)?;
    Ok(was_enough)
}

#[test]
fn on_a_full_disk_of_any_size_transactions_fail_whole_and_the_handle_goes_on() {
    let base = world::base();
    for durability in [Durability::Sync, Durability::Buffered] {
        let mut room = 0;
        while !run_on_a_full_disk(&base, durability, room)
            .unwrap_or_else(|wrong| panic!("{durability:?}, room for {room} bytes: {wrong}"))
        {
            room += if room < 4_000 { 61 } else { 997 };
        }
        assert!(room > 100_000, "the script takes only {room} bytes");
    }
}

#[test]
fn where_there_is_no_room_to_merge_closing_and_recovering_merge_nothing_and_succeed() {
    let base = world::base_of_small_segments();
    let segments = |disk: &FaultBacking| disk.names().iter().filter(|name| name.starts_with("log-")).count();
    let (mut merged, mut unmerged) = (0, 0);
    for (room, is_closed) in (0..3_000).step_by(60).flat_map(|room| [(room, true), (room, false)]) {
        let what = |wrong: Wrong| format!("{room} bytes of room, closed: {is_closed}: {wrong}");
        let opened = World::open(base.crash_image_keep_all(), Durability::Sync, world::as_it_is, 3);
        let mut world = opened.unwrap_or_else(|wrong| panic!("{wrong}"));
        world.run(Op::Insert).expect("inserts");
        let disk = if is_closed { world.backing.clone() } else { world.backing.kill_image() };
        let before = segments(&disk);
        disk.disk_bytes_max(Some(disk.disk_bytes() + room));
        if is_closed {
            let closed = world.store.take().expect("an open store").close();
            closed.unwrap_or_else(|error| panic!("{}", what(error.to_string())));
        } else {
            let opened = World::open(disk.clone(), Durability::Sync, world::as_it_is, 3);
            drop(opened.unwrap_or_else(|wrong| panic!("{}", what(wrong))));
        }
        *(if segments(&disk) < before { &mut merged } else { &mut unmerged }) += 1;
        disk.heal();
        world.check_image(&disk.kill_image()).unwrap_or_else(|wrong| panic!("{}", what(wrong)));
    }
    assert!(merged > 4 && unmerged > 4, "{merged} were merged, {unmerged} not");
}
