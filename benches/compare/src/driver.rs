//! Runs phases in fresh processes: engines take turns, round after round.
//!
//! Owns: the order of the work, directories, children. Never: touches an engine.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::{Plan, child_arguments};
use crate::engines::{LIMIT, ONLY_COLD};
use crate::machine::{Machine, MemoryGroup, drop_page_cache, quieten, version};
use crate::results::{Failure, Line, Results, Sample, Shape, SyncCount};
use crate::work::Task;
use crate::workloads::{Phase, is_phase_wanted};

/// The name under which figures of the hardware stand.
pub const HARDWARE: &str = "hardware";
/// Packages whose versions stand in the report.
const PACKAGES: &[&str] = &[
    "tenure",
    "heed",
    "lmdb-master-sys",
    "redb",
    "fjall",
    "rocksdb",
    "librocksdb-sys",
    "rusqlite",
    "libsqlite3-sys",
    "persy",
];
/// Commits in the shorter and in the longer trace. What they differ in is due to the commits.
const TRACED: [u32; 2] = [100, 600];

/// Phases that follow each other on one store.
const GROUPS: &[&[Phase]] = &[
    &[Phase::Plain],
    &[Phase::Reads, Phase::OpenClosed, Phase::Tail, Phase::OpenKilled],
    &[Phase::Writes],
    &[Phase::Space],
    &[Phase::Stored, Phase::Cold],
];

/// The phases of a group that are wanted, and those that they need.
fn needed(group: &[Phase], only: &[String]) -> Vec<Phase> {
    let is_wanted = |phase: Phase| match phase {
        Phase::Tail => is_phase_wanted(only, Phase::OpenKilled),
        Phase::Stored => is_phase_wanted(only, Phase::Cold),
        Phase::Reads => group.iter().any(|phase| is_phase_wanted(only, *phase)),
        phase => is_phase_wanted(only, phase),
    };
    group.iter().copied().filter(|phase| is_wanted(*phase)).collect()
}

pub fn run(plan: &Plan) -> Result<Results> {
    let mut results = Results { machine: Machine::here(&plan.dir)?, rounds: plan.rounds, ..Results::default() };
    for package in PACKAGES {
        let is_built = cfg!(feature = "rocksdb") || !package.contains("rocksdb");
        if let Some(version) = version(package).filter(|_| is_built) {
            results.versions.insert((*package).to_owned(), version.to_owned());
        }
    }
    let turns = (plan.engines.len() * GROUPS.len() + 1) * plan.rounds as usize * plan.shapes.len();
    // Where it cannot be limited, these phases are left out, and the others have their figures.
    let is_memory_limited = match MemoryGroup::new(1 << 30).and_then(|_| drop_page_cache()) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("NOT MEASURED: stores larger than memory: {error:#}");
            false
        }
    };
    // Drawn on a terminal only.
    let progress = ProgressBar::new(turns as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed_precise}, {eta} to go: {msg}")?);
    for (shape, only) in &plan.shapes {
        for round in 0..plan.rounds {
            let turn = |phase| Task {
                phase,
                dir: PathBuf::new(),
                data: crate::data::Data { records: shape.records, value_bytes: shape.value_bytes },
                only: only.clone(),
                limit: plan.limit,
                commits: 0,
                durable: false,
                group: None,
            };
            if is_phase_wanted(only, Phase::Hardware) {
                progress.set_message(format!("{shape}, {HARDWARE}"));
                let mut samples = Vec::new();
                group(plan, HARDWARE, LIMIT, &[turn(Phase::Hardware)], &mut samples)?;
                keep(&mut results, *shape, round, HARDWARE, samples);
            }
            progress.inc(1);
            for phases in GROUPS {
                for engine in &plan.engines {
                    let mut phases = needed(phases, only);
                    // The limit has nothing to open, and keeps what it has written.
                    phases.retain(|phase| match phase {
                        Phase::Plain | Phase::Reads | Phase::Writes => engine != ONLY_COLD,
                        Phase::Stored | Phase::Cold => engine != LIMIT && is_memory_limited,
                        _ => engine != LIMIT && engine != ONLY_COLD,
                    });
                    if let Some(phase) = phases.first() {
                        progress.set_message(format!("{shape}, round {}, {engine}: {phase:?}", round + 1));
                        let tasks: Vec<Task> = phases.iter().map(|phase| turn(*phase)).collect();
                        let mut samples = Vec::new();
                        if let Err(error) = group(plan, engine, engine, &tasks, &mut samples) {
                            let (engine, message) = (engine.clone(), format!("{error:#}"));
                            progress.suspend(|| eprintln!("{engine}: {message}"));
                            results.failures.push(Failure { shape: *shape, engine, message });
                        }
                        // What was verified before a phase failed counts.
                        keep(&mut results, *shape, round, engine, samples);
                    }
                    progress.inc(1);
                }
            }
            if let Some(path) = &plan.json {
                results.write(path)?;
            }
        }
    }
    progress.finish_and_clear();
    if plan.check_syncs {
        for engine in &plan.engines {
            results.syncs.push(syncs(plan, engine)?);
        }
    }
    Ok(results)
}

fn keep(results: &mut Results, shape: Shape, round: u32, engine: &str, samples: Vec<(String, f64)>) {
    let sample = |(workload, value)| Sample { shape, round, engine: engine.to_owned(), workload, value };
    results.samples.extend(samples.into_iter().map(sample));
}

/// Runs phases one after the other on one store, each in a process of its own.
fn group(plan: &Plan, name: &str, engine: &str, tasks: &[Task], samples: &mut Vec<(String, f64)>) -> Result<()> {
    let dir = tempfile::Builder::new().prefix(&format!("compare-{name}-")).tempdir_in(&plan.dir)?;
    for task in tasks {
        let mut task = Task { dir: dir.path().to_owned(), ..task.clone() };
        quieten();
        // It lasts as long as the child.
        let memory = (task.phase == Phase::Cold).then(|| MemoryGroup::new(task.cold_memory())).transpose()?;
        if let Some(memory) = &memory {
            drop_page_cache()?;
            task.group = Some(memory.path().to_owned());
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(child_arguments(engine, &task));
        let outcome = child(command, plan.patience, task.phase == Phase::Tail, samples);
        outcome.with_context(|| format!("phase {:?}", task.phase))?;
    }
    Ok(dir.close()?)
}

/// Reads what a child prints. One that says that it waits is killed, and so is one that takes too long.
fn child(mut command: Command, patience: Duration, is_killed: bool, samples: &mut Vec<(String, f64)>) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let out = BufReader::new(child.stdout.take().context("piped")?);
    let (ended, end) = mpsc::channel::<()>();
    let child = Mutex::new(child);
    let kill = || child.lock().ok().context("poisoned").and_then(|mut child| Ok(child.kill()?));
    let is_late = std::thread::scope(|scope| {
        let kill = &kill;
        let watch = scope.spawn(move || match end.recv_timeout(patience) {
            Err(mpsc::RecvTimeoutError::Timeout) => kill().map(|()| true),
            _ => Ok(false),
        });
        for line in out.lines() {
            match serde_json::from_str(&line?)? {
                Line::Measure { workload, value } => samples.push((workload, value)),
                Line::Ready => kill()?,
            }
        }
        drop(ended);
        watch.join().ok().context("a thread has panicked")?
    })?;
    let status = child.into_inner().ok().context("poisoned")?.wait()?;
    ensure!(!is_late, "it took longer than {} minutes", patience.as_secs() / 60);
    if is_killed {
        ensure!(status.code().is_none(), "it ended before it was killed: {status}");
    } else {
        ensure!(status.success(), "it ended with {status}");
    }
    Ok(())
}

/// Counts the syncs of a commit by a trace.
fn syncs(plan: &Plan, engine: &str) -> Result<SyncCount> {
    let mut counts = [0.0; 2];
    for (count, durable) in counts.iter_mut().zip([true, false]) {
        let mut traces = [0; 2];
        for (trace, commits) in traces.iter_mut().zip(TRACED) {
            let dir = tempfile::Builder::new().prefix("compare-syncs-").tempdir_in(&plan.dir)?;
            let task = Task {
                phase: Phase::Syncs,
                dir: dir.path().to_owned(),
                data: crate::data::Data { records: 10_000, value_bytes: 200 },
                only: Vec::new(),
                limit: plan.limit,
                commits,
                durable,
                group: None,
            };
            *trace = traced(engine, &task)?;
        }
        *count = (f64::from(traces[1]) - f64::from(traces[0])) / f64::from(TRACED[1] - TRACED[0]);
    }
    Ok(SyncCount { engine: engine.to_owned(), durable: counts[0], buffered: counts[1] })
}

fn traced(engine: &str, task: &Task) -> Result<u32> {
    let file = task.dir.join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-e", "signal=none", "-o"]);
    command.arg(&file).arg(std::env::current_exe()?).args(child_arguments(engine, task)).stdout(Stdio::null());
    match command.status() {
        Ok(status) => ensure!(status.success(), "{engine}: the trace ended with {status}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("`strace` is needed to count syncs"),
        Err(error) => return Err(error.into()),
    }
    count_calls(&file)
}

fn count_calls(trace: &Path) -> Result<u32> {
    let text = std::fs::read_to_string(trace)?;
    let is_call = |line: &&str| line.contains("sync") && !line.contains("resumed>") && !line.contains("MS_ASYNC");
    Ok(u32::try_from(text.lines().filter(is_call).count())?)
}
