//! The steps of the demo that collect dead space, roll back, and make a backup.
//!
//! Owns: the changes made for them. Never: leaves a change behind that the step does not report.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use tenure::{Durability, Lookup, Options, Point, RecordId, RecordSet, Store};

use crate::commands::map;
use crate::commands::story::{SET, Story, unexpected};
use crate::context::existing_set;
use crate::failure::Outcome;
use crate::medium::Medium;
use crate::units;

/// Width of the map in columns.
const MAP_WIDTH: usize = 77;
/// Records changed or deleted per commit.
const BATCH: usize = 200;
/// Maximum number of records deleted before the rollback.
const DELETED_MAX: usize = 1000;
/// The name of the snapshot.
const NAME: &str = "demo";

/// Updates the first third of the records, and every second one of the next third.
pub fn rewrite(tale: &mut Story, store: &Store, ids: &[RecordId]) -> Outcome {
    tale.step("Rewrite", "New versions leave dead ones behind. The map shows how much of each segment is live.")?;
    // Otherwise the store would start collecting before the map is drawn.
    store.set_collecting(false);
    let third = ids.len() / 3;
    let chosen = ids.iter().enumerate().filter(|(at, _)| *at < third || (*at < 2 * third && at % 2 == 0));
    let chosen: Vec<RecordId> = chosen.map(|(_, &id)| id).collect();
    let (begun, mut changed) = (Instant::now(), 0);
    for batch in chosen.chunks(BATCH) {
        let mut transaction = store.begin()?;
        for &id in batch {
            let Lookup::Live(record) = transaction.lookup(id)? else { continue };
            let mut package: Value = serde_json::from_slice(&record.to_vec()?)
                .map_err(|error| unexpected(format!("record {id} is not JSON: {error}")))?;
            if let Some(member) = package.as_object_mut() {
                member.insert("seen".to_owned(), Value::from(true));
            }
            drop(record);
            transaction.update(id, package.to_string())?;
            changed += 1;
        }
        transaction.commit_with(Durability::Buffered)?;
    }
    store.sync()?;
    tale.fact(&format!("{} in {}", units::counted(changed, "new version"), units::time(begun.elapsed())))?;
    draw(tale, store, false)
}

fn draw(tale: &mut Story, store: &Store, with_legend: bool) -> Outcome {
    let lines = map::lines(&store.stats().segments, MAP_WIDTH);
    let shown = lines.len() - usize::from(!with_legend);
    let lines = lines.iter().take(shown).filter(|line| !line.ends_with(": none"));
    lines.into_iter().try_for_each(|line| tale.fact(line))
}

/// Reclaims the dead space.
pub fn collect(tale: &mut Story, store: &Store, path: &Path) -> Outcome {
    tale.step("Collect", "Live records beside dead ones move to the next generation; emptied files are deleted.")?;
    let (before, begun) = (Medium::of(path)?, Instant::now());
    let done = store.collect(None)?;
    let (after, taken) = (Medium::of(path)?, units::time(begun.elapsed()));
    if after.bytes >= before.bytes {
        return Err(unexpected(format!("{} bytes were expected, but there are {}", before.bytes, after.bytes)));
    }
    let (moved, segments) = (units::counted(done.records, "record"), units::counted(done.victims, "segment"));
    tale.fact(&format!("{moved} moved out of {segments}, in {taken}; every ID leads to its record as before"))?;
    tale.fact(&format!("{} -> {}", units::bytes(before.bytes), units::bytes(after.bytes)))?;
    draw(tale, store, true)
}

/// Saves a named snapshot, deletes records, reads the snapshot beside the store, and rolls back to it.
pub fn go_back(tale: &mut Story, store: Store, path: &Path, ids: &[RecordId]) -> Outcome<Store> {
    tale.step(
        "Go back",
        "A named snapshot is kept until it is dropped: it can be read, and the store can roll back to it.",
    )?;
    let begun = Instant::now();
    let saved = store.save_named_snapshot(NAME)?;
    let set = existing_set(&store, SET)?;
    let count = |store: &Store, set: &RecordSet| store.view().len(set);
    let full = count(&store, &set);
    let taken = units::time(begun.elapsed());
    tale.fact(&format!("snapshot {NAME:?} of commit {}: {}, {taken}", saved.seq, units::counted(full, "record")))?;
    let mut transaction = store.begin()?;
    let mut first = None;
    for &id in ids.iter().take((ids.len() / 2).min(DELETED_MAX)) {
        if matches!(transaction.lookup(id)?, Lookup::Live(_)) {
            transaction.delete(id)?;
            first = first.or(Some(id));
        }
    }
    let seq = transaction.commit_with(Durability::Sync)?;
    let begun = Instant::now();
    let point = Point::Name(NAME.to_owned());
    let then = Options::new().open_at(path, &point)?;
    let seen = count(&then, &existing_set(&then, SET)?);
    let taken = units::time(begun.elapsed());
    let (now, seen_there) = (units::counted(count(&store, &set), "record"), units::count(seen));
    tale.fact(&format!(
        "after a mistake, in commit {seq}: {now}; beside it, {NAME:?} has {seen_there}, opened in {taken}"
    ))?;
    drop(then);
    let begun = Instant::now();
    let store = store.roll_back_to(&point)?;
    let (taken, back) = (units::time(begun.elapsed()), count(&store, &existing_set(&store, SET)?));
    if (back, seen) != (full, full) {
        return Err(unexpected(format!("{full} records were saved, {seen} read, and {back} are back")));
    }
    let again = first.map(|id| store.get(id).map(|record| format!("; {id} is there again, version {}", record.seq())));
    let again = again.transpose()?.unwrap_or_default();
    let (back, seq) = (units::counted(back, "record"), store.last_seq());
    tale.fact(&format!("back at {NAME:?}: {back}, as commit {seq}, in {taken}{again}"))?;
    store.drop_snapshot(NAME)?;
    Ok(store)
}

/// Makes a backup and opens it.
pub fn back_up(tale: &mut Story, store: &Store, directory: &Path) -> Outcome {
    tale.step(
        "Back up",
        "A consistent copy while the store is in use: links to files that never change. It is a store itself.",
    )?;
    let begun = Instant::now();
    let report = store.backup_to(directory)?;
    let taken = units::time(begun.elapsed());
    let (files, bytes) = (units::counted(report.files, "file"), units::bytes(report.bytes));
    let linked = units::counted(report.linked, "hard link");
    tale.fact(&format!("commit {}: {bytes} in {files}, {linked}, read back, in {taken}", report.seq))?;
    let begun = Instant::now();
    let copy = Options::new().read_only(true).open(directory)?;
    let taken = units::time(begun.elapsed());
    let [records, there] = [store, &copy].map(|store| store.stats().records);
    if records != there {
        return Err(unexpected(format!("the store has {records} records, and its backup {there}")));
    }
    tale.fact(&format!("opened in {taken}: {}, as in the store", units::counted(there, "record")))
}
