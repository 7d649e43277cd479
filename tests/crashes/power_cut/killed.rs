//! A process is killed, another one opens the store, and the power fails: at each step of both.
//!
//! The page cache survives a process but not a power cut. The second process therefore reads data that the first one
//! never synced, and whatever it deletes, shows or acknowledges must not depend on that data alone. Every sequence of
//! operations; killed before and within each step of the last one; then the power fails before and within each step of
//! the opening, of a commit after it, and of closing.
//!
//! The default covers all sequences of one operation and some of two. `docs/testing.md` says how to run all of them.

use std::sync::Arc;

use tenure::backing::{FailFor, FaultBacking};
use tenure::{Durability, Error, Options, Point, Store};

use crate::power_cut::world;
use crate::power_cut::world::{Named, Op, State, World, Wrap, Wrong};

/// A public operation, or a copy of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Do(Op),
    BackUp,
}

const ACTS: [Act; 13] = [
    Act::Do(Op::RollBack),
    Act::Do(Op::Update),
    Act::Do(Op::Mark),
    Act::Do(Op::SaveNamed),
    Act::Do(Op::DropNamed),
    Act::BackUp,
    Act::Do(Op::Reopen),
    Act::Do(Op::Kill),
    Act::Do(Op::Insert),
    Act::Do(Op::Delete),
    Act::Do(Op::RecordSet),
    Act::Do(Op::SaveSnapshot),
    Act::Do(Op::Collect),
];

/// Counts of the cases tried.
#[derive(Debug, Default)]
struct Count {
    sequences: u64,
    killed: u64,
    states: u64,
}

/// How the second process opens: another backing there shows that a fault of its opening is found.
#[derive(Debug, Clone, Copy)]
struct Second {
    wrap: Wrap,
}

/// The allowed states.
#[derive(Debug, Clone, Default)]
struct Law {
    states: Vec<State>,
    names: Vec<Named>,
    /// Whether it may also be no store: a copy that is not complete.
    may_be_none: bool,
}

impl Law {
    fn judge(&self, image: &FaultBacking, store: &Store, deep: bool) -> Result<State, Wrong> {
        let found = State::of(store)?;
        if !self.states.iter().any(|state| state.is(&found)) {
            return Err(format!("{found:?} is there, and right were {:?}", self.states));
        }
        let names = world::names_of(store)?;
        let right = self.names.iter().find(|named| named.keys().eq(&names));
        let right = right.ok_or_else(|| format!("snapshots {names:?} are there, and right were {:?}", self.names))?;
        for (name, state) in right.iter().filter(|_| deep) {
            let past = options().open_backing_at(Arc::new(image.clone()), &Point::Name(name.clone()));
            let past = past.map_err(|error| format!("opening {name:?}: {error}"))?;
            if !state.is(&State::of(&past)?) {
                return Err(format!("snapshot {name:?} holds something else than it held"));
            }
        }
        Ok(found)
    }
}

fn options() -> Options {
    world::options(Durability::Sync).create(false)
}

/// Opens each state after a power cut, and checks it.
fn cut_power(recorded: &[FaultBacking], law: &Law, count: &mut Count) -> Result<(), Wrong> {
    for (step, state) in recorded.iter().enumerate() {
        count.states += 1;
        let image = match count.states % 4 {
            0 => state.crash_image(count.states),
            1 => state.crash_image_keep_all(),
            _ => state.crash_image_lose_all(),
        };
        let at = |wrong| format!("power cut at step {step}: {wrong}");
        match options().open_backing(Arc::new(image.clone())) {
            Ok(store) => {
                law.judge(&image, &store, count.states.is_multiple_of(8)).map_err(at)?;
            }
            Err(Error::NotAStore { .. }) if law.may_be_none => {}
            Err(error) => return Err(at(format!("opening: {error}"))),
        }
    }
    Ok(())
}

/// A second process over what a killed one left, and a power cut at each of its steps. `cut`: what there may be after a power cut
/// before this process has shown anything.
fn open_killed(killed: &FaultBacking, law: &Law, cut: &Law, second: Second, count: &mut Count) -> Result<(), Wrong> {
    count.killed += 1;
    killed.record();
    let opened = options().open_backing((second.wrap)(killed.clone()));
    let store = match opened {
        Ok(store) => store,
        Err(Error::NotAStore { .. }) if law.may_be_none => {
            return cut_power(&killed.take_recorded(), cut, count);
        }
        Err(error) => return Err(format!("opening: {error}")),
    };
    let found = law.judge(killed, &store, count.killed.is_multiple_of(8))?;
    world::no_strays(&store, killed, "opened after the kill")?;
    cut_power(&killed.take_recorded(), cut, count).map_err(|wrong| format!("opening, {wrong}"))?;
    let names = world::names_of(&store)?;
    let names = law.names.iter().filter(|named| named.keys().eq(&names)).cloned().collect();
    // Everything shown stays.
    let mut shown = Law { states: vec![found.clone()], names, may_be_none: false };
    cut_power(&[killed.kill_image()], &shown, count).map_err(|wrong| format!("opened, {wrong}"))?;
    // A commit that needs no reservation, so that nothing else makes the manifest durable.
    let seq = store.mark("after").map_err(|error| format!("committing after the kill: {error}"))?;
    let mut next = found;
    next.marks.insert("after".to_owned(), Some(seq.0));
    shown.states.push(next.clone());
    cut_power(&killed.take_recorded(), &shown, count).map_err(|wrong| format!("committing, {wrong}"))?;
    shown.states.remove(0);
    cut_power(&[killed.kill_image()], &shown, count).map_err(|wrong| format!("acknowledged, {wrong}"))?;
    if count.killed.is_multiple_of(4) {
        store.close().map_err(|error| format!("closing after the kill: {error}"))?;
        let mut closing = killed.take_recorded();
        closing.push(killed.kill_image());
        let reader = options().read_only(true).open_backing(Arc::new(killed.clone()));
        let reader = reader.map_err(|error| format!("reading what was closed: {error}"))?;
        world::no_strays(&reader, killed, "closed after the kill")?;
        cut_power(&closing, &shown, count).map_err(|wrong| format!("closing, {wrong}"))?;
    }
    Ok(())
}

fn start(base: &FaultBacking, durability: Durability, acts: &[Act], seed: u64) -> Result<World, Wrong> {
    // All of it is durable; the seed chooses the effect of a failing call.
    let mut world = World::open(base.crash_image(seed), durability, world::as_it_is, 5)?;
    for act in acts {
        match act {
            Act::Do(op) => world.run(*op).map_err(|error| format!("{op:?} without a fault: {error}"))?,
            Act::BackUp => back_up(&world, &FaultBacking::new())?,
        }
    }
    Ok(world)
}

fn back_up(world: &World, to: &FaultBacking) -> Result<(), Wrong> {
    let copied = world.store().backup_to_backing(Arc::new(to.clone()));
    copied.map(drop).map_err(|error| format!("backing up without a fault: {error}"))
}

/// The states allowed during an operation and after it: after a kill, and after a power cut.
fn laws(world: &World, floor: usize, before: &State, names: &Named, has_ended: bool) -> (Law, Law) {
    let attempted = world.attempted.iter().filter(|_| !has_ended);
    let now = [world.now()].into_iter().chain(Some(before).filter(|_| !has_ended)).chain(attempted.clone());
    let floor = if has_ended { world.floor } else { floor };
    let all = world.states[floor..].iter().chain(attempted);
    let old = Some(names).filter(|_| !has_ended);
    let names: Vec<Named> = old.into_iter().chain([&world.named]).chain(&world.attempted_names).cloned().collect();
    let law = |states: Vec<State>| Law { states, names: names.clone(), may_be_none: false };
    (law(now.cloned().collect()), law(all.cloned().collect()))
}

/// A kill before, within and after each step of the last operation.
fn check(
    base: &FaultBacking,
    durability: Durability,
    acts: &[Act],
    second: Second,
    count: &mut Count,
) -> Result<(), Wrong> {
    let (last, earlier) = acts.split_last().expect("an operation");
    count.sequences += 1;
    let mut world = start(base, durability, earlier, 0)?;
    let (floor, before, names) = (world.floor, world.now().clone(), world.named.clone());
    let copy = FaultBacking::new();
    copy.record();
    world.backing.record();
    match last {
        Act::Do(op) => world.run(*op).map_err(|error| format!("{op:?} without a fault: {error}"))?,
        Act::BackUp => back_up(&world, &copy)?,
    }
    let recorded = world.backing.take_recorded();
    let (law, cut) = laws(&world, floor, &before, &names, false);
    for (step, killed) in recorded.into_iter().enumerate() {
        open_killed(&killed, &law, &cut, second, count).map_err(|wrong| format!("killed at state {step}: {wrong}"))?;
    }
    let (law, cut) = laws(&world, floor, &before, &names, true);
    open_killed(&world.backing.kill_image(), &law, &cut, second, count)
        .map_err(|wrong| format!("killed at the end: {wrong}"))?;
    if *last == Act::BackUp {
        check_copy(&world, &copy, second, count).map_err(|wrong| format!("the copy, {wrong}"))?;
    }
    Ok(())
}

/// A copy is none, or whole; and one that was opened stays.
fn check_copy(world: &World, copy: &FaultBacking, second: Second, count: &mut Count) -> Result<(), Wrong> {
    let mut state = world.now().clone();
    // Marks stand between snapshots, and a copy has one.
    state.marks.clear();
    let mut law = Law { states: vec![state], names: vec![Named::new()], may_be_none: true };
    for (step, killed) in copy.take_recorded().into_iter().enumerate() {
        open_killed(&killed, &law, &law, second, count).map_err(|wrong| format!("killed at state {step}: {wrong}"))?;
    }
    law.may_be_none = false;
    open_killed(&copy.kill_image(), &law, &law, second, count).map_err(|wrong| format!("at the end: {wrong}"))
}

/// Each step of the last operation fails; then the process is killed, with the page cache as it was and without what a failed sync
/// has left in it.
fn check_failing(base: &FaultBacking, durability: Durability, acts: &[Act], count: &mut Count) -> Result<(), Wrong> {
    let (last, earlier) = acts.split_last().expect("an operation");
    let Act::Do(op) = last else { return Ok(()) };
    count.sequences += 1;
    for after in 0.. {
        let mut world = start(base, durability, earlier, after)?;
        let (floor, before, names) = (world.floor, world.now().clone(), world.named.clone());
        let step = world.backing.steps() + after;
        world.backing.fail_at(step, std::io::ErrorKind::Other, FailFor::Once);
        // With the process that was killed its faults are gone.
        drop(world.run(*op));
        let is_over = world.backing.steps() <= step || *op == Op::Kill;
        let second = Second { wrap: world::as_it_is };
        let at = |wrong| format!("step {after} fails: {wrong}");
        let (law, cut) = laws(&world, floor, &before, &names, false);
        open_killed(&world.backing.kill_image(), &law, &cut, second, count).map_err(at)?;
        open_killed(&world.backing.kill_image_evicted(), &cut, &cut, second, count).map_err(at)?;
        if is_over {
            break;
        }
    }
    Ok(())
}

/// All sequences of up to so many operations, in an order that begins with the shortest; of the longest one in so many.
fn sequences(len: u32, one_in: usize) -> impl Iterator<Item = Vec<Act>> {
    let of_len = move |len: u32| (0..ACTS.len().pow(len)).map(move |number| (len, number));
    let is_wanted = move |(each, number): &(u32, usize)| *each < len || number.is_multiple_of(one_in);
    (1..=len).flat_map(of_len).filter(is_wanted).map(|(len, mut number)| {
        let next = |_| {
            let act = ACTS[number % ACTS.len()];
            number /= ACTS.len();
            act
        };
        (0..len).map(next).collect()
    })
}

/// How long the sequences are, and which part of the longest.
fn wanted() -> (u32, usize) {
    match std::env::var("TENURE_KILLED_OPERATIONS") {
        Ok(text) => (text.parse().expect("a number"), 1),
        Err(_) => (2, 24),
    }
}

/// The shortest sequence in which a process reads another's unsynced data, and depends on it.
pub fn check_going_back(wrap: Wrap) -> Result<(), Wrong> {
    let acts = [Act::Do(Op::RollBack)];
    check(&world::base_with_a_past(), Durability::Sync, &acts, Second { wrap }, &mut Count::default())
}

fn check_all(durability: Durability) -> Count {
    let (base, mut count, (len, one_in)) = (world::base_with_a_past(), Count::default(), wanted());
    let second = Second { wrap: world::as_it_is };
    for acts in sequences(len, one_in) {
        check(&base, durability, &acts, second, &mut count)
            .unwrap_or_else(|wrong| panic!("{durability:?} {acts:?}: {wrong}"));
    }
    assert!(count.killed > 200 && count.states > 3_000, "{count:?}");
    count
}

#[test]
fn what_a_killed_process_has_synced_in_time_is_built_on_and_the_rest_is_copied() {
    println!("{:?}", check_all(Durability::Sync));
}

#[test]
fn the_same_where_commits_are_buffered() {
    println!("{:?}", check_all(Durability::Buffered));
}

#[test]
fn what_a_failed_sync_has_left_in_the_page_cache_is_not_built_on() {
    let (base, mut count, (len, one_in)) = (world::base_with_a_past(), Count::default(), wanted());
    for durability in [Durability::Sync, Durability::Buffered] {
        for acts in sequences(len, one_in) {
            check_failing(&base, durability, &acts, &mut count)
                .unwrap_or_else(|wrong| panic!("{durability:?} {acts:?}: {wrong}"));
        }
    }
    println!("{count:?}");
    assert!(count.killed > 300 && count.states > 2_000, "{count:?}");
}
