//! What a child process does: one phase with one engine.
//!
//! Owns: the model of what is in the store, loading, verifying. Never: starts processes.
//! Invariants: 1. Nothing is reported that was not verified: a wrong answer ends the run. 2. Records are made outside of
//! the time that is measured, except where threads mix reads and writes. 3. A time limit shortens the work, never the
//! verification of what was done.

mod cold;
mod hardware;
mod mixed;
mod opening;
mod questions;
mod reads;
mod space;
mod syncs;
mod updates;
mod writes;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::data;
use crate::data::{Data, LOAD_BATCH, Versions};
use crate::engine::{Batch, Engine, Session as _, Setup, View as _};
use crate::engines::Job;
use crate::results::print_measure;
use crate::workloads::{Phase, is_wanted};

/// What a child is told.
#[derive(Debug, Clone)]
pub struct Task {
    pub phase: Phase,
    pub dir: PathBuf,
    pub data: Data,
    pub only: Vec<String>,
    /// Limit of each timed part.
    pub limit: Duration,
    /// Commits of the phase `syncs`, and their kind.
    pub commits: u32,
    pub durable: bool,
    /// The control group that the phase `cold` joins.
    pub group: Option<PathBuf>,
}

impl Task {
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn ids(&self) -> PathBuf {
        self.dir.join("ids")
    }

    /// Bytes of memory of the phase `cold`: a quarter of the data.
    pub fn cold_memory(&self) -> u64 {
        self.data.user_bytes() / 4
    }

    pub fn wants(&self, name: &str) -> bool {
        is_wanted(&self.only, name)
    }

    /// Hands a figure to the driver, if it was asked for.
    pub fn report(&self, workload: &str, value: f64) -> Result<()> {
        if self.wants(workload) { print_measure(workload, value) } else { Ok(()) }
    }
}

impl Job for &Task {
    type Output = ();

    fn run<E: Engine>(self) -> Result<()> {
        match self.phase {
            Phase::Plain => reads::plain::<E>(self),
            Phase::Reads => reads::indexed::<E>(self),
            Phase::OpenClosed => opening::closed::<E>(self),
            Phase::Tail => opening::tail::<E>(self),
            Phase::OpenKilled => opening::killed::<E>(self),
            Phase::Writes => writes::run::<E>(self),
            Phase::Space => space::run::<E>(self),
            Phase::Stored => cold::store::<E>(self),
            Phase::Cold => cold::run::<E>(self),
            Phase::Hardware => hardware::run(self),
            Phase::Syncs => syncs::run::<E>(self),
        }
    }
}

/// What is known of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Versions,
    /// Threads have updated it in an order that nobody has seen. Its bytes say which version won.
    Key,
    Deleted,
}

/// What must be in the store.
pub struct World<E: Engine> {
    pub data: Data,
    pub ids: Vec<E::Id>,
    pub versions: Vec<Versions>,
    pub known: Vec<Known>,
}

impl<E: Engine> World<E> {
    pub fn new(data: Data, ids: Vec<E::Id>) -> Self {
        let count = ids.len();
        Self { data, ids, versions: vec![Versions::default(); count], known: vec![Known::Versions; count] }
    }

    pub fn id(&self, number: u32) -> E::Id {
        self.ids[number as usize]
    }

    pub fn expected(&self, number: u32) -> u64 {
        self.data.expected(number, self.versions[number as usize])
    }

    pub fn record(&self, number: u32, versions: Versions, out: &mut Vec<u8>) {
        self.data.record(number, versions, |number| E::to_word(self.id(number)), out);
    }

    /// Reads everything and compares every byte.
    pub fn verify(&self, engine: &E) -> Result<()> {
        let (mut seen, mut wrong, mut expected) = (vec![false; self.ids.len()], Vec::new(), Vec::new());
        let mut session = engine.session()?;
        session.view()?.scan(&mut |bytes| {
            let number = if bytes.len() == self.data.value_bytes { data::number_of(bytes) } else { u32::MAX };
            let index = number as usize;
            if seen.get(index) != Some(&false) || self.known[index] == Known::Deleted {
                wrong.push(number);
                return;
            }
            seen[index] = true;
            let mut versions = self.versions[index];
            if self.known[index] == Known::Key {
                versions.payload = data::version_of(bytes);
            }
            expected.clear();
            self.record(number, versions, &mut expected);
            if expected != bytes {
                wrong.push(number);
            }
        })?;
        ensure!(wrong.is_empty(), "{}: records are wrong, such as {:?}", E::NAME, &wrong[..wrong.len().min(5)]);
        let missing = seen.iter().zip(&self.known).position(|(seen, known)| !*seen && *known != Known::Deleted);
        ensure!(missing.is_none(), "{}: record {missing:?} is missing", E::NAME);
        Ok(())
    }
}

/// Loads all records from a number on, and gives the time that the engine took.
pub fn load<E: Engine>(session: &mut E::Session<'_>, data: Data, ids: &mut Vec<E::Id>, end: u32) -> Result<Duration> {
    let mut time = Duration::ZERO;
    let mut batch = Batch { first: 0, value_bytes: data.value_bytes, bytes: Vec::new() };
    let mut first = u32::try_from(ids.len())?;
    while first < end {
        batch.first = first;
        batch.bytes.clear();
        for number in first..(first + LOAD_BATCH).min(end) {
            let word = |number: u32| E::to_word(ids[number as usize]);
            data.record(number, Versions::default(), word, &mut batch.bytes);
        }
        let start = Instant::now();
        session.insert(&batch, ids)?;
        time += start.elapsed();
        first = (first + LOAD_BATCH).min(end);
        ensure!(ids.len() == first as usize, "{}: IDs are missing", E::NAME);
    }
    Ok(time)
}

/// A store with all records and both indexes, at rest.
pub fn loaded<E: Engine>(task: &Task) -> Result<(E, World<E>)> {
    let engine = E::open(&task.store(), Setup { indexed: true, ..Setup::default() })?;
    let mut ids = Vec::with_capacity(task.data.records as usize);
    load::<E>(&mut engine.session()?, task.data, &mut ids, task.data.records)?;
    engine.settle()?;
    Ok((engine, World::new(task.data, ids)))
}

/// Operations a second.
pub fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}
