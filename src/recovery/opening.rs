//! Opening: the newest usable snapshot, and the log after it.
//!
//! Owns: choosing the snapshot, and retrying while a writer changes the directory or the disk is full. Never: replays, or cleans up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::backing::Backing;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::Snapshot;
use crate::id::SegmentSeq;
use crate::manifest;
use crate::recovery::attempt::Attempt;
use crate::recovery::creation::initialise;
use crate::recovery::files::{list, list_state};
use crate::recovery::report::RecoveryReport;
use crate::recovery::settings::Settings;
use crate::reserve::{Release, Reserve};

/// How often a read-only opening retries while a writer changes the directory.
const ATTEMPTS_BESIDE_A_WRITER: u32 = 100;

/// Opens the newest state.
pub(crate) fn open_beside_a_writer(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
) -> Result<(Engine, RecoveryReport)> {
    let signs = |(_, report): &(Engine, RecoveryReport)| [&*report.fell_back, &*report.damaged].concat();
    beside_a_writer(backing, settings.read_only, signs, || open(Arc::clone(backing), settings))
}

/// Like `open_beside_a_writer`; if an opening for writing runs out of space, it is retried with the reserve released.
/// Also returns whether it was.
pub(crate) fn open_with_reserve(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
) -> Result<((Engine, RecoveryReport), bool)> {
    match open_beside_a_writer(backing, settings) {
        Err(error @ Error::NoSpace { .. }) if !settings.read_only => {
            if Reserve::new(Arc::clone(backing)).release(Release::All).is_none() {
                return Err(error);
            }
            // A thread in the background saves nothing while the reserve is not complete, so this opening does.
            let alone = Settings { has_background: false, ..*settings };
            open_beside_a_writer(backing, &alone).map(|opened| (opened, true))
        }
        result => result.map(|opened| (opened, false)),
    }
}

/// A reader may find that the writer has just deleted a file that it was about to open; it then retries. `signs` are
/// errors that may result from that, or from damage. A writer removes a file from the manifest before deleting it, so
/// an error that persists over two attempts is damage.
pub(super) fn beside_a_writer<T>(
    backing: &Arc<dyn Backing>,
    read_only: bool,
    signs: impl Fn(&T) -> Vec<String>,
    open: impl Fn() -> Result<T>,
) -> Result<T> {
    if !read_only {
        return open();
    }
    let names = || {
        let mut names = backing.list().unwrap_or_default();
        names.sort_unstable();
        names
    };
    let (mut before, mut seen) = (names(), None);
    for attempt in 1.. {
        let result = open();
        let found = result.as_ref().ok().map(&signs);
        let is_settled = found.as_ref().is_some_and(|found| found.is_empty() || seen.as_ref() == Some(found));
        if is_settled || attempt == ATTEMPTS_BESIDE_A_WRITER {
            return result;
        }
        seen = found;
        let now = names();
        // Without a change in the directory a retry finds the same; but the change may just have been missed.
        if now == before && attempt > 3 {
            return result;
        }
        before = now;
    }
    open()
}

/// Opens a store and recovers it if needed.
fn open(backing: Arc<dyn Backing>, settings: &Settings) -> Result<(Engine, RecoveryReport)> {
    let started = Instant::now();
    // The lock, or the mark of a store that is being made, keeps others from creating files meanwhile.
    let files = if settings.read_only { list(&*backing)? } else { list_state(&*backing)? };
    if files.manifests.is_empty() {
        if !files.logs.is_empty() || !files.pages.is_empty() {
            let expected = "a manifest beside the segments";
            return Err(Error::corrupt(backing.location(), 0, "store directory", expected, "none"));
        }
        if !settings.create || settings.read_only {
            let why = "it contains no manifest".to_owned();
            return Err(Error::NotAStore { path: backing.location(), why });
        }
        return begin(backing, settings, files.manifests);
    }
    let empty = files.logs.is_empty() && files.pages.is_empty();
    if empty && manifest::is_unfinished(&*backing, &files.manifests)? {
        if !settings.create || settings.read_only {
            let why = "its creation was interrupted before anything was stored".to_owned();
            return Err(Error::NotAStore { path: backing.location(), why });
        }
        return begin(backing, settings, files.manifests);
    }
    let loaded = manifest::load(&*backing, &files.manifests)?;
    let files = files.without_foreign(&loaded);
    let new_report = || RecoveryReport { foreign: files.foreign.clone(), ..RecoveryReport::of(&loaded) };
    let mut report = new_report();
    let kept = loaded.kept();
    let mut unusable: Vec<(u64, Error)> = Vec::new();
    // Snapshots with damaged pages, usable until they are repaired if no intact one exists.
    let mut usable = BTreeSet::new();
    for base in kept.snapshots().rev().chain(kept.snapshots().rev()) {
        let is_second = usable.contains(&base.number);
        if unusable.iter().any(|(unusable, _)| *unusable == base.number) && !is_second {
            continue;
        }
        let attempt = Attempt { backing: &backing, settings, loaded: &loaded, files: &files, base, until: None };
        match attempt.run(&mut report) {
            Ok(based) if !based.damage.is_empty() && !is_second => {
                report = new_report();
                usable.insert(base.number);
                let damage = based.damage.into_iter().next().map(Box::new);
                unusable.extend(damage.map(|damage| (base.number, Error::Corrupt(damage))));
            }
            Ok(base) => {
                // A snapshot is dropped only if another one is better.
                if is_second {
                    unusable.retain(|(number, _)| !usable.contains(number));
                }
                report.fell_back.extend(unusable.iter().map(|(number, error)| format!("snapshot {number}: {error}")));
                report.clean &= unusable.is_empty();
                let numbers: Vec<u64> = unusable.iter().map(|(number, _)| *number).collect();
                let engine = base.finish(&attempt, &numbers, &mut report)?;
                report.micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                return Ok((engine, report));
            }
            Err(error) if error.is_corruption() => {
                report = new_report();
                unusable.push((base.number, error));
            }
            Err(error) => return Err(error),
        }
    }
    match unusable.into_iter().next() {
        Some((_, error)) => Err(error),
        None => {
            let why = "its manifest contains no snapshot".to_owned();
            Err(Error::NotAStore { path: backing.location(), why })
        }
    }
}

/// Creates a store and opens it.
fn begin(
    backing: Arc<dyn Backing>,
    settings: &Settings,
    unfinished: Vec<SegmentSeq>,
) -> Result<(Engine, RecoveryReport)> {
    initialise(&backing, settings, unfinished, |_| {})?;
    let (engine, mut report) = open(backing, settings)?;
    report.snapshot = None;
    Ok((engine, report))
}

/// Creates a store whose first snapshot contains what `fill` adds, and opens it. For imports of records with their own
/// IDs and commit numbers.
pub(crate) fn make(
    backing: &Arc<dyn Backing>,
    settings: &Settings,
    fill: impl FnOnce(&mut Snapshot),
) -> Result<Engine> {
    initialise(backing, settings, Vec::new(), fill)?;
    open(Arc::clone(backing), settings).map(|(engine, _)| engine)
}
