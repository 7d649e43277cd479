//! Loads and questions.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::data;
use crate::data::{Data, Key, NO_REFERENCE, REFERENCES, SECTION_RECORDS, digest, references_of};
use crate::engine::{Engine, Session, Setup, View};
use crate::machine::Heap;
use crate::work::opening::save_ids;
use crate::work::questions::{uniform, zipfian};
use crate::work::{Task, World, load, per_second};

/// Questions to one view.
const VIEW: usize = 100;
/// Questions of one measurement, if the time suffices.
const QUESTIONS: usize = 1_000_000;
/// Sections of a range: 100 records.
const RANGE_SECTIONS: u32 = 100 / SECTION_RECORDS;

/// A load without indexes.
pub fn plain<E: Engine>(task: &Task) -> Result<()> {
    let engine = E::open(&task.store(), Setup::default())?;
    let mut ids = Vec::with_capacity(task.data.records as usize);
    let time = load::<E>(&mut engine.session()?, task.data, &mut ids, task.data.records)?;
    World::new(task.data, ids).verify(&engine)?;
    task.report("load", per_second(task.data.records as usize, time))?;
    engine.close()
}

/// A load with both indexes and all that is asked of it. Leaves the store and the IDs.
pub fn indexed<E: Engine>(task: &Task) -> Result<()> {
    let mut ids: Vec<E::Id> = Vec::with_capacity(task.data.records as usize);
    let heap = Heap::now()?;
    let engine = E::open(&task.store(), Setup { indexed: true, ..Setup::default() })?;
    // The session stays until the heap was measured: it may hold a cache.
    let mut session = engine.session()?;
    let time = load::<E>(&mut session, task.data, &mut ids, task.data.records)?;
    task.report("load-indexed", per_second(task.data.records as usize, time))?;
    engine.settle()?;
    let own = ids.len() * size_of::<E::Id>();
    task.report("memory", heap.grown_mebibytes(own)?)?;
    drop(session);

    save_ids::<E>(task, &ids)?;
    let world = World::new(task.data, ids);
    // Every record is read once, so that no engine meets a page for the first time while it is timed.
    world.verify(&engine)?;
    gets(task, &engine, &world)?;
    keys(task, &engine, &world)?;
    ranges(task, &engine, &world)?;
    walks(task, &engine, &world)?;
    scan(task, &engine, &world)?;
    engine.close()
}

/// Runs threads from a common start on. Each gives how much it has done.
pub fn threads<T: Send>(
    count: usize,
    body: impl Fn(usize, Instant) -> Result<(usize, T)> + Sync,
) -> Result<(f64, Vec<T>)> {
    let barrier = Barrier::new(count);
    let outcomes = std::thread::scope(|scope| {
        let one = |thread: usize| {
            let (barrier, body) = (&barrier, &body);
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                let (done, outcome) = body(thread, start)?;
                Ok::<_, anyhow::Error>((done, start.elapsed(), outcome))
            })
        };
        let handles: Vec<_> = (0..count).map(one).collect();
        let join =
            |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().ok().context("a thread has panicked")?;
        handles.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let done = outcomes.iter().map(|(done, _, _)| done).sum();
    let time = outcomes.iter().map(|(_, time, _)| *time).max().unwrap_or_default();
    Ok((per_second(done, time), outcomes.into_iter().map(|(_, _, outcome)| outcome).collect()))
}

/// Rate of gets. A question list for each thread; views or one-shot gets.
fn get_rate<E: Engine>(task: &Task, engine: &E, world: &World<E>, numbers: &[Vec<u32>], in_view: bool) -> Result<f64> {
    let ids: Vec<Vec<E::Id>> =
        numbers.iter().map(|numbers| numbers.iter().map(|number| world.id(*number)).collect()).collect();
    let (rate, outcomes) = threads(numbers.len(), |thread, start| {
        let (mut session, mut sum, mut done) = (engine.session()?, 0_u64, 0);
        let mut visit = |bytes: &[u8]| sum = sum.wrapping_add(digest(bytes));
        for chunk in ids[thread].chunks(VIEW) {
            if in_view {
                let view = session.view()?;
                chunk.iter().try_for_each(|id| view.get(*id, &mut visit))?;
            } else {
                chunk.iter().try_for_each(|id| session.get(*id, &mut visit))?;
            }
            done += chunk.len();
            if start.elapsed() > task.limit {
                break;
            }
        }
        Ok((done, (done, sum)))
    })?;
    for ((done, sum), numbers) in outcomes.iter().zip(numbers) {
        check::<E>("get", *sum, numbers[..*done].iter().map(|number| world.expected(*number)))?;
    }
    Ok(rate)
}

pub fn check<E: Engine>(what: &str, got: u64, expected: impl Iterator<Item = u64>) -> Result<()> {
    let expected = expected.fold(0, u64::wrapping_add);
    ensure!(got == expected, "{}: {what}: wrong answers, digest {got:x} for {expected:x}", E::NAME);
    Ok(())
}

fn gets<E: Engine>(task: &Task, engine: &E, world: &World<E>) -> Result<()> {
    let records = task.data.records;
    let even = [uniform(1, records, QUESTIONS), uniform(2, records, QUESTIONS)];
    let skewed = [zipfian(3, records, QUESTIONS)?, zipfian(4, records, QUESTIONS)?];
    for (name, numbers, in_view) in [
        ("get-view", &even[..1], true),
        ("get", &even[..1], false),
        ("get-2", &even[..], false),
        ("get-zipf", &skewed[..1], false),
        ("get-zipf-2", &skewed[..], false),
    ] {
        if task.wants(name) {
            task.report(name, get_rate(task, engine, world, numbers, in_view)?)?;
        }
    }
    Ok(())
}

/// Asks in views until all is asked or the time is over, and gives how many questions were answered.
pub fn ask<S: Session, Q>(
    task: &Task,
    mut session: S,
    questions: &[Q],
    to_a_view: usize,
    mut answer: impl FnMut(&S::View<'_>, &Q) -> Result<()>,
) -> Result<(usize, Duration)> {
    let (mut done, start) = (0, Instant::now());
    for chunk in questions.chunks(to_a_view) {
        let view = session.view()?;
        for question in chunk {
            answer(&view, question)?;
        }
        drop(view);
        done += chunk.len();
        if start.elapsed() > task.limit {
            break;
        }
    }
    Ok((done, start.elapsed()))
}

fn keys<E: Engine>(task: &Task, engine: &E, world: &World<E>) -> Result<()> {
    if !task.wants("key") {
        return Ok(());
    }
    let numbers = uniform(5, task.data.records, QUESTIONS);
    let keys: Vec<Key> = numbers.iter().map(|number| Data::key(*number, 0)).collect();
    let mut sum = 0_u64;
    let mut visit = |bytes: &[u8]| sum = sum.wrapping_add(digest(bytes));
    let (done, time) = ask(task, engine.session()?, &keys, VIEW, |view, key| view.by_key(key, &mut visit))?;
    check::<E>("key", sum, numbers[..done].iter().map(|number| world.expected(*number)))?;
    task.report("key", per_second(done, time))
}

fn ranges<E: Engine>(task: &Task, engine: &E, world: &World<E>) -> Result<()> {
    if !task.wants("range") {
        return Ok(());
    }
    let sections = uniform(6, task.data.sections() - RANGE_SECTIONS, QUESTIONS / 100);
    let mut sum = 0_u64;
    let mut visit = |bytes: &[u8]| sum = sum.wrapping_add(digest(bytes));
    let range = |section: u32| section..section + RANGE_SECTIONS;
    let (done, time) =
        ask(task, engine.session()?, &sections, 1, |view, section| view.range(range(*section), &mut visit))?;
    let by_section = task.data.by_section();
    let numbers = |section: &u32| by_section[*section as usize..][..RANGE_SECTIONS as usize].as_flattened();
    let expected = sections[..done].iter().flat_map(numbers).map(|number| world.expected(*number));
    check::<E>("range", sum, expected)?;
    task.report("range", per_second(done, time))
}

/// A record and what it refers to.
fn read<E: Engine, V: View<Id = E::Id>>(view: &V, id: E::Id, sum: &mut (u64, usize)) -> Result<[u64; REFERENCES]> {
    let mut references = [NO_REFERENCE; REFERENCES];
    view.get(id, &mut |bytes| {
        references = references_of(bytes);
        *sum = (sum.0.wrapping_add(digest(bytes)), sum.1 + 1);
    })?;
    Ok(references)
}

/// A record, the four that it refers to, and the four that each of those refers to.
fn walk<E: Engine, V: View<Id = E::Id>>(view: &V, id: E::Id, depth: u32, sum: &mut (u64, usize)) -> Result<()> {
    for word in read::<E, V>(view, id, sum)? {
        if depth > 0 && word != NO_REFERENCE {
            walk::<E, V>(view, E::from_word(word)?, depth - 1, sum)?;
        }
    }
    Ok(())
}

fn expected_walk<E: Engine>(world: &World<E>, number: u32, depth: u32) -> u64 {
    let own = world.expected(number);
    if depth == 0 {
        return own;
    }
    let one = |number: u32| expected_walk(world, number, depth - 1);
    Data::references(number).into_iter().flatten().map(one).fold(own, u64::wrapping_add)
}

fn walks<E: Engine>(task: &Task, engine: &E, world: &World<E>) -> Result<()> {
    if !task.wants("walk") {
        return Ok(());
    }
    let numbers = uniform(7, task.data.records, QUESTIONS / 20);
    let roots: Vec<E::Id> = numbers.iter().map(|number| world.id(*number)).collect();
    let mut sum = (0, 0);
    let (done, time) =
        ask(task, engine.session()?, &roots, VIEW / 20, |view, root| walk::<E, _>(view, *root, 2, &mut sum))?;
    check::<E>("walk", sum.0, numbers[..done].iter().map(|number| expected_walk(world, *number, 2)))?;
    task.report("walk", per_second(sum.1, time))
}

fn scan<E: Engine>(task: &Task, engine: &E, world: &World<E>) -> Result<()> {
    if !task.wants("scan") {
        return Ok(());
    }
    let mut rates = Vec::new();
    for _ in 0..5 {
        let (mut sum, mut count) = (0_u64, 0);
        let mut session = engine.session()?;
        let start = Instant::now();
        session.view()?.scan(&mut |bytes| {
            sum = sum.wrapping_add(data::digest(bytes));
            count += 1;
        })?;
        rates.push(per_second(count, start.elapsed()));
        check::<E>("scan", sum, (0..task.data.records).map(|number| world.expected(number)))?;
    }
    task.report("scan", crate::results::median(&mut rates))
}
