//! The threads of an open store: one saves and syncs, one collects.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gc::Collector;
use crate::snapshot;
use crate::store::emptying::Emptying;
use crate::store::guard::Guard;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the background thread looks for idle work.
const BACKGROUND_TICK: Duration = Duration::from_millis(50);
/// How often the collector looks for work.
const COLLECTOR_TICK: Duration = Duration::from_millis(5);
/// The longest pause of the background thread after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A panic ends the handle: without the thread nothing is synced at intervals, saved or collected, and no caller would
/// notice.
pub(super) fn spawn(
    name: &'static str,
    engine: &Arc<Engine>,
    run: impl FnOnce(&Engine) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let engine = Arc::clone(engine);
    let run = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&engine))) {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            engine.poison.set(&Error::Poisoned { reason: format!("its thread {name:?} panicked: {what}") });
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map_err(|source| Error::io("start", "a background thread", source))
}

/// Collects when segments approach the cap, and deletes what views have released.
pub(super) fn run_collector(engine: &Engine, collector: &Collector, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) && engine.poison.check().is_ok() {
        match collector.work(engine) {
            Ok(true) => {}
            Ok(false) => {
                // A file that cannot be deleted now may be deletable later.
                drop(collector.sweep(engine));
                std::thread::sleep(COLLECTOR_TICK);
            }
            Err(_) => {
                drop(collector.sweep(engine));
                std::thread::sleep(BACKGROUND_TICK);
            }
        }
    }
}

/// Saves snapshots when due, syncs at intervals, prepares segments, writes watermarks when idle, and empties dropped sets, of
/// which each turn does a part. Also checks that the lock is still held: a store that only appends could overlook another
/// writer for a long time.
pub(super) fn run_background(
    engine: &Engine,
    guard: Option<&Guard>,
    stop: &AtomicBool,
    interval: Option<Duration>,
    mut emptying: Emptying,
) {
    let (mut synced, mut pause, mut is_emptying) = (Instant::now(), Duration::ZERO, false);
    while !stop.load(Ordering::Acquire) {
        let tick = interval.unwrap_or(BACKGROUND_TICK).min(BACKGROUND_TICK);
        let can_save = || engine.snapshot_is_due() && !engine.reserve.is_short();
        let has_work = || is_emptying || can_save() || stop.load(Ordering::Acquire);
        engine.growth.wait_unless(has_work, tick);
        let is_held = guard.is_none_or(|guard| guard.check().is_ok());
        if !is_held || engine.poison.check().is_err() {
            return;
        }
        let mut results = Vec::new();
        // Space released from the reserve belongs to the collector.
        if !engine.reserve.is_short() {
            results.push(engine.log.prepare_spare());
            if engine.snapshot_is_due() {
                results.push(snapshot::save_if(engine, || engine.snapshot_is_due()));
            }
        }
        if interval.is_some_and(|interval| synced.elapsed() >= interval) {
            synced = Instant::now();
            results.push(engine.make_durable(engine.log.last_seq()));
        }
        let gone_on = if engine.heap.current().has_dropped { emptying.go_on(engine) } else { Ok(false) };
        is_emptying = matches!(gone_on, Ok(true));
        results.push(gone_on.map(drop));
        results.push(engine.write_watermark_when_idle());
        engine.heap.reclaim();
        // The next commit reports a full disk; every other failure has poisoned the handle. Retrying at once would only
        // wear the disk.
        pause = if results.iter().any(Result::is_err) {
            (pause * 2).clamp(BACKGROUND_TICK, PAUSE_MAX)
        } else {
            Duration::ZERO
        };
        let until = Instant::now() + pause;
        while Instant::now() < until && !stop.load(Ordering::Acquire) {
            std::thread::sleep(BACKGROUND_TICK);
        }
    }
}
