//! Stores in a process with few descriptors, and without maps.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tenure::Error;

use crate::common::test_name;
use crate::scarce::few_maps::{FewMaps, Left};
use crate::scarce::life;
use crate::scarce::life::Life;

const ROLE: &str = "TENURE_SCARCE_ROLE";
const PATH: &str = "TENURE_SCARCE_PATH";
/// Descriptors that the process may have. A store needs 25 or so for itself: the log, survivors, pages, manifest, lock.
const LIMIT: u64 = 48;

fn in_a_process(role: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = Command::new(std::env::current_exe().expect("this program"))
        .args([&test_name(module_path!(), "role"), "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PATH, dir.path().join("store"))
        .stderr(Stdio::inherit())
        .output()
        .expect("runs");
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && told.contains("1 passed"), "{told}");
}

/// The roles of the test processes.
#[test]
#[ignore = "the other tests run it in a process of its own"]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("few") => live_with_few(),
        Ok("none") => live_with_none(),
        _ => {}
    }
}

fn path() -> PathBuf {
    std::env::var_os(PATH).expect("a path").into()
}

fn limit(descriptors: u64) {
    let limit = Rlimit { current: Some(descriptors), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).expect("limits");
}

/// So many segments that a descriptor for each would exceed the limit by far.
fn segments(path: &Path) -> usize {
    std::fs::read_dir(path).expect("lists").flatten().filter(|entry| entry.file_name().len() > 10).count()
}

#[test]
fn a_store_of_hundreds_of_segments_lives_with_a_few_descriptors() {
    in_a_process("few");
}

fn live_with_few() {
    limit(LIMIT);
    let backing = FewMaps::of(&path(), &Left::new(0, true));
    let mut life = Life::new(7);
    let (store, set) = Life::open(&backing);
    life.fill(&store, &set, 250).expect("writes, and nobody syncs");
    assert!(segments(&path()) > 4 * usize::try_from(LIMIT).expect("few"), "{} files", segments(&path()));
    life.check(&store, &set);
    store.close().expect("closes");
    let (store, set) = Life::open(&backing);
    life.check(&store, &set);
    store.close().expect("closes");
    std::fs::remove_dir_all(path()).expect("goes");
    life::live(&FewMaps::of(&path(), &Left::new(0, true)), 7, 500);
}

#[test]
fn a_store_goes_on_when_there_are_descriptors_again() {
    in_a_process("none");
}

/// Takes all descriptors, until none is left.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn live_with_none() {
    limit(256);
    let backing = FewMaps::of(&path(), &Left::new(0, true));
    let mut life = Life::new(8);
    let (store, set) = Life::open(&backing);
    life.fill(&store, &set, 300).expect("writes");
    store.sync().expect("syncs");
    life.check(&store, &set);
    // What files that are only read hold is what the store gives up: one file can be made, and one read.
    let taken = take_all();
    life.check(&store, &set);
    drop(taken);
    life.check(&store, &set);

    // Now for everything that makes files, with nothing to give up: whatever fails says so, and nothing has ended.
    let mut failed = 0;
    for round in 0..40 {
        let mut others = take_all();
        for step in 0..20 {
            let result = match (round + step) % 10 {
                0 => store.collect(None).map(drop),
                5 => store.save_snapshot().map(drop),
                _ => life.write(&store, &set, 1),
            };
            failed += usize::from(result.is_err_and(|error| is_refused(&error)));
            others.extend(take_all());
        }
        drop(others);
        assert!(life.write(&store, &set, 5).is_ok(), "round {round}");
        store.collect(None).expect("collects");
        store.save_snapshot().expect("saves");
        life.check(&store, &set);
    }
    assert!(failed > 0, "descriptors were never short");
    store.close().expect("closes");
    life::verify(&backing);
    let (store, set) = Life::open(&backing);
    life.check(&store, &set);
    store.close().expect("closes");
}

/// Refused, and the handle stays usable.
fn is_refused(error: &Error) -> bool {
    assert!(matches!(error, Error::Io { .. }), "{error}");
    true
}
