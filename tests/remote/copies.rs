//! Copies of a writer's directory, opened beside it; and directories that only look like copies.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenure::backing::{Backing, FaultBacking, Files, Memory};
use tenure::{Durability, Error, Store};

use crate::common::Rng;
use crate::flaky::Flaky;
use crate::{bucket, common, contents, open, open_in, quick, rounds, small};

/// As `cp -a` does beside a writer: file by file, and what is deleted meanwhile is missing.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match fs::copy(entry.path(), to.join(entry.file_name())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}

fn files(path: &Path) -> Arc<dyn Backing> {
    Arc::new(Files::open(path).unwrap())
}

fn commit(store: &Store, value: &[u8]) -> tenure::Result<()> {
    let notes = store.record_set("notes")?;
    store.write_with(Durability::Remote, |tx| tx.insert(&notes, value)).map(drop)
}

fn check_refused(opened: tenure::Result<Store>, what: &str) {
    match opened {
        Err(Error::Fenced { by, .. }) => {
            assert!(by.contains("older copy") && by.contains("take_over"), "{what}: {by}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

/// The log and the epochs.
fn of_writers(objects: &Flaky) -> Vec<String> {
    let is_of_writers = |name: &String| name.contains("/log/") || name.contains("/epoch/");
    objects.names().into_iter().filter(is_of_writers).collect()
}

#[test]
fn a_copy_that_is_behind_is_refused_and_its_writer_goes_on() {
    for commits in [1, 3, 30, 300] {
        let dir = tempfile::tempdir().unwrap();
        let [home, away] = ["home", "copy"].map(|name| dir.path().join(name));
        let objects = Flaky::new(1);
        let bucket = bucket(&objects.store());
        drop(Files::create(&home).unwrap());
        let store = open_in(files(&home), &bucket, quick().base_every(20)).unwrap();
        commit(&store, &[1; 2_000]).unwrap();
        copy(&home, &away);
        for number in 0..commits {
            commit(&store, &[2; 3_000]).unwrap();
            if number % 10 == 9 {
                store.save_snapshot().unwrap();
            }
        }
        store.wait_remote(store.last_seq()).unwrap();
        let before = of_writers(&objects);
        check_refused(open_in(files(&away), &bucket, quick()), &format!("{commits} commits behind"));
        assert_eq!(of_writers(&objects), before, "{commits} commits behind");
        commit(&store, b"it goes on").unwrap();
        // As the error says.
        let wanted = contents(&store);
        let taken = open(&Memory::new(), &bucket, quick().take_over(true)).unwrap();
        assert_eq!(contents(&taken), wanted);
        assert!(matches!(commit(&store, b"no more"), Err(Error::Fenced { .. })));
    }
}

/// So long ago that the writer has deleted all files that it has.
#[test]
fn a_copy_from_long_ago_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [home, away] = ["home", "copy"].map(|name| dir.path().join(name));
    let bucket = bucket(&Flaky::new(1).store());
    drop(Files::create(&home).unwrap());
    let store = open_in(files(&home), &bucket, quick()).unwrap();
    commit(&store, &[1; 2_000]).unwrap();
    store.save_snapshot().unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    copy(&home, &away);
    // Such a manifest is larger than a mebibyte: that of the copy gets an earlier name.
    for name in common::names_in(&away) {
        match name.strip_prefix("manifest-") {
            Some(_) => fs::copy(away.join(&name), away.join("manifest-000000000001.man")).map(drop).unwrap(),
            None if name.starts_with("remote-") => continue,
            None => {}
        }
        fs::remove_file(away.join(name)).unwrap();
    }
    check_refused(open_in(files(&away), &bucket, quick()), "from long ago");
    commit(&store, b"it goes on").unwrap();
}

/// It is refused, or it lacks only files that were begun after it: these it fetches, and then it has everything.
#[test]
fn a_copy_that_was_made_while_commits_ran_is_refused_or_loses_nothing() {
    for seed in 1..=rounds("TENURE_REMOTE_COPIES", 5) {
        let dir = tempfile::tempdir().unwrap();
        let [home, away] = ["home", "copy"].map(|name| dir.path().join(name));
        let bucket = bucket(&Flaky::new(seed).store());
        drop(Files::create(&home).unwrap());
        let store = open_in(files(&home), &bucket, quick()).unwrap();
        let (stop, mut rng) = (AtomicBool::new(false), Rng::new(seed));
        std::thread::scope(|scope| {
            let notes = store.record_set("notes").unwrap();
            let (stop, store) = (&stop, &store);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    store.write(|tx| tx.insert(&notes, vec![1; 1_000])).unwrap();
                }
            });
            std::thread::sleep(Duration::from_millis(u64::try_from(rng.below(40)).unwrap()));
            copy(&home, &away);
            stop.store(true, Ordering::Relaxed);
        });
        commit(&store, b"after the copy").unwrap();
        let wanted = contents(&store);
        match open_in(files(&away), &bucket, quick()) {
            Ok(copy) => {
                assert_eq!(contents(&copy), wanted, "seed {seed}");
                assert!(matches!(commit(&store, b"no more"), Err(Error::Fenced { .. })), "seed {seed}");
                commit(&copy, b"it goes on").unwrap();
            }
            refused => {
                check_refused(refused, &format!("seed {seed}"));
                commit(&store, b"it goes on").unwrap();
            }
        }
    }
}

/// The writer commits between the moment at which the copy compares itself with the bucket, and the one at which it would end the log.
#[test]
fn a_copy_that_falls_behind_while_it_opens_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [home, away] = ["home", "copy"].map(|name| dir.path().join(name));
    let objects = Flaky::new(1);
    drop(Files::create(&home).unwrap());
    let store = open_in(files(&home), &bucket(&objects.store()), quick()).unwrap();
    commit(&store, b"before").unwrap();
    copy(&home, &away);
    let writer = store.clone();
    objects.before_the_next_log(move || commit(&writer, b"meanwhile").unwrap());
    check_refused(open_in(files(&away), &bucket(&objects.store()), quick()), "in between");
    commit(&store, b"it goes on").unwrap();
    assert_eq!(store.stats().records, 3);
}

#[test]
fn a_directory_that_was_moved_or_copied_after_a_kill_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let [home, away] = ["home", "elsewhere"].map(|name| dir.path().join(name));
    let objects = Flaky::new(1);
    drop(Files::create(&home).unwrap());
    let store = open_in(files(&home), &bucket(&objects.store()), quick().close_wait(Duration::ZERO)).unwrap();
    for number in 0..40 {
        commit(&store, &[number; 3_000]).unwrap();
    }
    let wanted = contents(&store);
    // The process is gone without having ended its epoch.
    objects.set_down(true);
    copy(&home, &away);
    drop(store);
    objects.set_down(false);
    let store = open_in(files(&away), &bucket(&objects.store()), quick()).unwrap();
    assert_eq!(contents(&store), wanted);
    commit(&store, b"more").unwrap();
}

#[test]
fn a_copy_without_files_is_refused_and_its_writer_goes_on() {
    let (local, objects) = (Memory::new(), Flaky::new(1));
    let bucket = bucket(&objects.store());
    let store = open(&local, &bucket, quick()).unwrap();
    commit(&store, b"before").unwrap();
    let marks = common::read_backing(&local).into_iter().filter(|(name, _)| name.starts_with("remote-"));
    let copied = common::memory_of(&marks.collect());
    let before = of_writers(&objects);
    let refused = open_in(Arc::clone(&copied), &bucket, quick()).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert_eq!(of_writers(&objects), before);
    commit(&store, b"it goes on").unwrap();
    let taken = open_in(copied, &bucket, quick().take_over(true)).unwrap();
    assert_eq!(contents(&taken), contents(&store));
}

/// Of an own directory that lacks its files, or the end of its log, an opening is killed at each step. The next one goes on.
#[test]
fn an_opening_that_is_killed_while_it_fetches_goes_on() {
    let (local, first) = (FaultBacking::new(), Flaky::new(1));
    let store = open_in(Arc::new(local.clone()), &bucket(&first.store()), quick().events_max(1)).unwrap();
    for number in 0..40 {
        commit(&store, &[number; 3_000]).unwrap();
    }
    let (all, killed, objects) = (contents(&store), local.kill_image(), first.fork());
    let end = killed.names().into_iter().filter(|name| name.starts_with("log-")).max().unwrap();
    let mut resumed = 0;
    for is_empty in [false, true] {
        for step in 0.. {
            let disk = if is_empty { FaultBacking::new() } else { killed.kill_image() };
            disk.remove(&end);
            let objects = Flaky::over(Arc::new(objects.fork()), step);
            let bucket = bucket(&objects.store());
            disk.crash_at(disk.steps() + step);
            let opened = open_in(Arc::new(disk.clone()), &bucket, quick().take_over(is_empty));
            let is_over = opened.is_ok();
            objects.set_down(true);
            let image = if step % 2 == 0 { disk.kill_image() } else { disk.crash_image_keep_all() };
            drop(opened);
            objects.set_down(false);
            // Before it had noted anything, an empty directory is any.
            let is_own = image.names().iter().any(|name| name.starts_with("remote-"));
            let next = open_in(Arc::new(image), &bucket, quick().take_over(is_empty && !is_own));
            let next = next.unwrap_or_else(|error| panic!("empty: {is_empty}, step {step}: {error}"));
            assert_eq!(contents(&next), all, "empty: {is_empty}, step {step}");
            resumed += 1;
            if is_over {
                break;
            }
        }
    }
    println!("{resumed} openings after one that was killed");
    assert!(resumed > 30, "{resumed}");
}

/// Until all files are there, the directory of who takes over is no store: nobody opens it without the bucket.
#[test]
fn what_a_killed_takeover_has_fetched_is_not_opened_by_itself() {
    let (first, objects) = (Memory::new(), Flaky::new(1));
    let store = open(&first, &bucket(&objects.store()), quick().events_max(1)).unwrap();
    for number in 0..40 {
        commit(&store, &[number; 3_000]).unwrap();
        if number == 20 {
            store.save_snapshot().unwrap();
        }
    }
    let (all, objects) = (contents(&store), objects.fork());
    let (mut refused, mut whole) = (0, 0);
    for step in 0.. {
        let disk = FaultBacking::new();
        let objects = Flaky::over(Arc::new(objects.fork()), step);
        let bucket = bucket(&objects.store());
        disk.crash_at(step);
        let opened = open_in(Arc::new(disk.clone()), &bucket, quick().take_over(true));
        let is_over = opened.is_ok();
        objects.set_down(true);
        let image = if step % 2 == 0 { disk.kill_image() } else { disk.crash_image_keep_all() };
        drop(opened);
        objects.set_down(false);
        let names = image.names();
        let has_begun = names.iter().any(|name| name.starts_with("remote-"));
        // Without a file of a store a directory is as good as empty.
        let is_empty = names.iter().all(|name| name == "lock" || name.starts_with("remote-"));
        for is_read_only in [true, false] {
            let alone = small().read_only(is_read_only).open_backing(Arc::new(image.kill_image()));
            match alone {
                Ok(_) if is_empty && !is_read_only => {}
                Ok(store) => {
                    assert!(contents(&store) == all, "step {step}, read-only {is_read_only}: {names:?}");
                    whole += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::NotAStore { .. }), "step {step}: {error}");
                    refused += 1;
                }
            }
        }
        // With the bucket it goes on.
        let next = open_in(Arc::new(image), &bucket, quick().take_over(!has_begun));
        let next = next.unwrap_or_else(|error| panic!("step {step}: {error}"));
        assert_eq!(contents(&next), all, "step {step}");
        if is_over {
            break;
        }
    }
    println!("{refused} refused, {whole} whole");
    assert!(refused > 10 && whole > 1, "{refused} {whole}");
}

/// A directory of a writer is not behind its bucket, whenever the power fails or the process is killed, and it is never taken for a copy.
#[test]
fn the_writers_own_directory_opens_after_every_crash() {
    let mut crashes = 0;
    for seed in 1..=rounds("TENURE_REMOTE_CRASHES", 60) {
        let mut rng = Rng::new(seed);
        let objects = Flaky::new(seed);
        let bucket = bucket(&objects.store());
        let mut local = FaultBacking::with_seed(seed);
        for life in 0..5_u8 {
            let after = u64::try_from(rng.below(160)).unwrap();
            local.crash_at(local.steps() + after);
            let how = quick().close_wait(Duration::ZERO).events_max(1 + rng.below(4)).base_every(6);
            let opened = open_in(Arc::new(local.clone()), &bucket, how);
            match opened {
                Ok(store) => {
                    let away = rng.below(40);
                    let is_full = rng.one_in(3);
                    if is_full {
                        local.disk_bytes_max(Some(local.disk_bytes() + u64::try_from(rng.below(20_000)).unwrap()));
                    }
                    for number in 0..80 {
                        if number == away {
                            objects.set_down(true);
                        }
                        if live(&store, &mut rng).is_err() && !is_full {
                            break;
                        }
                    }
                    objects.set_down(true);
                    let image = if rng.one_in(2) { local.kill_image() } else { local.crash_image(seed) };
                    drop(store);
                    local = image;
                    objects.set_down(false);
                }
                Err(error) => {
                    let why = error.to_string();
                    assert!(why.contains("power"), "seed {seed}, life {life}: {why}");
                    local = if rng.one_in(2) { local.kill_image() } else { local.crash_image(seed) };
                }
            }
            local.heal();
            crashes += 1;
        }
        let store = open_in(Arc::new(local), &bucket, quick()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        commit(&store, b"more").unwrap();
    }
    println!("{crashes} crashes");
}

/// Commits, and now and then what deletes files.
fn live(store: &Store, rng: &mut Rng) -> tenure::Result<()> {
    let notes = store.record_set("notes")?;
    let len = rng.below(3_000);
    let value = rng.bytes(len);
    match rng.below(12) {
        0 => store.save_snapshot().map(drop),
        1 => store.collect(None).map(drop),
        // A transaction with a segment of its own, which is given up.
        2 => {
            let mut given_up = store.begin()?;
            given_up.insert(&notes, vec![7; 90_000])?;
            drop(given_up);
            Ok(())
        }
        _ => store.write(|tx| tx.insert(&notes, &*value)).map(drop),
    }
}
