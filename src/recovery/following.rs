//! Following a writer: a reader's state goes on with the commits that came since it last looked.
//!
//! Owns: whether there may be something new, and whether the log alone leads there. If it does not, because the log was cut, its
//! beginning is gone, or only a snapshot has what is needed, the newest state is loaded as by an opening. Never: writes, or takes a
//! lock of the store's directory.
//! Invariant: readers see the state of a commit, never an older one than before.

use std::collections::BTreeMap;
use std::io;

use crate::backing::{Backing, refuse_unfinished};
use crate::engine::{Engine, Followed};
use crate::error::{Error, Result};
use crate::format::manifest::{Body, Snapshot, SnapshotKind};
use crate::format::segment::FileKind;
use crate::id::{SegmentSeq, Seq};
use crate::log::now_micros;
use crate::manifest;
use crate::recovery::files::{list, list_state};
use crate::recovery::followed::{last_entry, manifest_of, newest};
use crate::recovery::opening::open_beside_a_writer;
use crate::recovery::replay;
use crate::recovery::replay::{Live, Past};
use crate::recovery::report::RecoveryReport;
use crate::recovery::settings::Settings;

/// The first bytes of a frame, which are not all zeros.
const BEGIN_BYTES: usize = 8;
/// After so many looks without anything new, all files are looked at once.
const LOOKS: u32 = 16;

/// What a look has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing new.
    Nothing,
    /// New commits were applied.
    Applied,
    /// The newest state was loaded anew.
    Reloaded,
}

/// Advances a reader to the newest commit. Without `closely`, what is unlikely to have changed is looked at now and then.
pub(crate) fn advance(engine: &Engine, settings: &Settings, closely: bool) -> Result<Step> {
    let locked = if closely { Some(engine.following.lock()) } else { engine.following.try_lock() };
    // Who goes on just now finds the same, and may have to wait for an answer.
    let Some(mut followed) = locked else { return Ok(Step::Nothing) };
    if !followed.is_lost {
        match has_news(engine, &mut followed) {
            Ok(false) if !closely => return Ok(Step::Nothing),
            Ok(_) => {}
            Err(source) => return Err(Error::io("look at", engine.backing.location(), source)),
        }
        match go_on(engine, settings, &mut followed, closely) {
            Ok(Some(is_new)) => return Ok(if is_new { Step::Applied } else { Step::Nothing }),
            // What the log does not say, or does not say any more, an opening finds, or says what is wrong.
            Ok(None) | Err(_) => followed.is_lost = true,
        }
    }
    reload(engine, settings, &mut followed)?;
    Ok(Step::Reloaded)
}

/// Whether there may be anything new.
fn has_news(engine: &Engine, followed: &mut Followed) -> io::Result<bool> {
    let backing = &*engine.backing;
    let looked = backing.look_again()?;
    if looked.is_some() {
        // Another handle, or a feed, may have gone on to it.
        return Ok(std::mem::replace(&mut followed.shown, looked) != looked);
    }
    followed.idle += 1;
    let is_new = followed.idle >= LOOKS
        || followed.is_sealed
        || has_grown(backing, followed.at)?
        || manifest_of(backing, &followed.manifest.0)? != Some(followed.manifest.1);
    if is_new {
        followed.idle = 0;
    }
    Ok(is_new)
}

/// Whether anything follows the last frame in its segment, or that is gone.
fn has_grown(backing: &dyn Backing, (segment, offset): (SegmentSeq, u64)) -> io::Result<bool> {
    let file = match backing.open(&FileKind::Records.file_name(segment)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut begin = [0; BEGIN_BYTES];
    match file.read_at(offset, &mut begin) {
        Ok(()) => Ok(begin.iter().any(|byte| *byte != 0)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Applies what the log has after the last frame. `None` if only an opening can go on.
fn go_on(engine: &Engine, settings: &Settings, followed: &mut Followed, closely: bool) -> Result<Option<bool>> {
    let mut is_new = false;
    // Most of what is new follows in the same segment. Then nothing is listed, which would cost by the number of files.
    if !closely && is_in_segment(&*engine.backing, followed) {
        let logs = [followed.at.0];
        match apply(engine, settings, followed, &logs)? {
            Some(applied) => is_new = applied,
            None => return Ok(None),
        }
        if is_new && !is_elsewhere(followed) {
            return Ok(Some(true));
        }
    }
    let Some(logs) = listed(engine, followed)? else { return Ok(None) };
    Ok(apply(engine, settings, followed, &logs)?.map(|applied| applied || is_new))
}

/// Whether the log goes on in another segment than that of the last frame.
fn is_elsewhere(followed: &Followed) -> bool {
    followed.is_sealed || followed.prewritten.is_some()
}

/// Whether something follows the last frame in its segment, and the manifest says nothing new.
fn is_in_segment(backing: &dyn Backing, followed: &Followed) -> bool {
    followed.shown.is_none()
        && !is_elsewhere(followed)
        && has_grown(backing, followed.at).unwrap_or_default()
        && manifest_of(backing, &followed.manifest.0).ok().flatten() == Some(followed.manifest.1)
}

/// The segments from that of the last frame on. `None` if only an opening can go on.
fn listed(engine: &Engine, followed: &mut Followed) -> Result<Option<Vec<SegmentSeq>>> {
    let files = if followed.shown.is_some() { list_state(&*engine.backing) } else { list(&*engine.backing) }?;
    if manifest_of(&*engine.backing, &files.manifests).ok().flatten() != Some(followed.manifest.1)
        || files.manifests != followed.manifest.0
    {
        let loaded = manifest::load(&*engine.backing, &files.manifests)?;
        if !leads_on(engine, followed, &loaded) {
            return Ok(None);
        }
        followed.manifest = (files.manifests.clone(), loaded.newest_bytes);
        (followed.last_entry, followed.known) = (last_entry(&loaded), loaded.next_segment());
        followed.newest = newest(&loaded);
        engine.manifest.follow(&loaded);
    }
    let mut logs = files.without_far(followed.known).logs;
    followed.older.retain(|number| logs.binary_search(number).is_ok());
    logs.retain(|number| *number >= followed.at.0 && !followed.older.contains(number));
    Ok(Some(logs))
}

/// Applies what these segments have after the last frame. `None` if only an opening can go on.
fn apply(engine: &Engine, settings: &Settings, followed: &mut Followed, logs: &[SegmentSeq]) -> Result<Option<bool>> {
    let before = engine.heap.seq();
    let base = head(engine, followed);
    let nothing = BTreeMap::new();
    let live =
        Live { durable: engine.log.durable_seq(), is_sealed: followed.is_sealed, prewritten: followed.prewritten };
    let past =
        Past { manifest: &nothing, base: &base, until: None, reserved_end: u64::MAX, live: Some(live), at_once: false };
    let mut report = RecoveryReport::default();
    let replayed = replay::replay(engine.log.source(), &engine.heap, &past, &BTreeMap::new(), logs, &mut report)?;
    followed.at = replayed.read_to;
    followed.is_sealed = replayed.is_sealed;
    followed.prewritten = replayed.prewritten;
    followed.older.extend(replayed.older);
    engine.log.note_followed(replayed.durable.min(replayed.last));
    engine.growth.count_replayed(report.bytes_replayed);
    if is_behind(engine, settings, followed) {
        return Ok(None);
    }
    if replayed.last == before {
        return Ok(Some(false));
    }
    engine.registry.forget_sets();
    engine.heap.let_go_of_emptied(followed.at.0);
    // A reader saves nothing, and releases no page.
    engine.heap.with_indexes(|indexes| drop(indexes.take_ended()));
    engine.heap.reclaim();
    Ok(Some(true))
}

/// Whether the log after the last frame leads to the newest state, as far as the manifest says.
fn leads_on(engine: &Engine, followed: &Followed, loaded: &manifest::Loaded) -> bool {
    let mut later = loaded.entries.range(followed.last_entry.saturating_add(1)..);
    loaded.uuid == engine.store_id()
        && !later.any(|(_, body)| matches!(body, Body::Cut(_)))
        && loaded.kept().snapshots().any(|snapshot| snapshot.number == followed.base)
        // Going back begins a timeline without a cut, and keeps the snapshots that have names.
        && loaded.kept().snapshots().all(|snapshot| snapshot.timeline <= followed.timeline)
}

/// Whether a newer snapshot than the one that the state was loaded from has what the state lacks.
fn is_behind(engine: &Engine, settings: &Settings, followed: &Followed) -> bool {
    // An index that was being built is in a snapshot before it is used, and nowhere else.
    let lacks_an_index = || engine.heap.catalogue().indexes().any(|index| !index.is_ready);
    let has_damaged = || engine.heap.current().root.has_damaged;
    let is_large = || engine.heap.dirty_bytes() > settings.dirty_bytes_max / 2;
    followed.newest != followed.base && (lacks_an_index() || has_damaged() || is_large())
}

/// The present state as a snapshot from whose head the log is replayed.
fn head(engine: &Engine, followed: &Followed) -> Snapshot {
    Snapshot {
        seq: engine.heap.seq(),
        timeline: followed.timeline,
        time_micros: now_micros(),
        head_segment: followed.at.0,
        head_offset: followed.at.1,
        next_segment: followed.known,
        ..Snapshot::empty(followed.last_entry, SnapshotKind::Automatic)
    }
}

/// Loads the newest state, as an opening does, and goes on from there.
fn reload(engine: &Engine, settings: &Settings, followed: &mut Followed) -> Result<()> {
    refuse_unfinished(&*engine.backing)?;
    let settings = Settings { lineage: engine.lineage, ..*settings };
    let (next, _report) = open_beside_a_writer(&engine.backing, &settings)?;
    if next.store_id() != engine.store_id() {
        let why = "another store has taken the place of the one that was followed".to_owned();
        return Err(Error::NotAStore { path: engine.backing.location(), why });
    }
    let (seen, found) = (engine.heap.seq(), next.heap.seq());
    if found < seen {
        return Err(went_back(engine, seen, found));
    }
    let shown = followed.shown;
    *followed = std::mem::take(&mut *next.following.lock());
    followed.shown = shown;
    engine.take_over(next);
    engine.following.count_reload();
    Ok(())
}

fn went_back(engine: &Engine, seen: Seq, found: Seq) -> Error {
    let why = format!("the store now ends with commit {found}: an older copy has taken its place; follow it anew");
    Error::PointGone { point: format!("commit {seen} of {}", engine.backing.location()), why }
}
