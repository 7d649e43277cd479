//! A repair that replaces a damaged store with a new one is killed, or loses power, at each step: one whole store has
//! the store's name, nothing of the damaged one is lost, and the next repair completes the work.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tenure::repair::{RepairStep, repair};

use crate::common;
use crate::rescue::model::{Files, Left, Model, build, options};

const PATH: &str = "TENURE_REPAIR_PATH";
const CALL: &str = "TENURE_REPAIR_CALL";
const IMAGE_BYTES: u64 = 24 << 20;

/// A killed store in whose tail a byte is damaged that is proven to have been durable.
pub(crate) fn damaged() -> (Model, Files) {
    let model = build(3, Left::Killed);
    let name = model.files.keys().rfind(|name| name.starts_with("log-")).expect("a segment").clone();
    let mut files = model.files.clone();
    files.get_mut(&name).expect("the file")[200] ^= 1;
    assert!(options().open_backing(common::memory_of(&files)).is_err());
    files.retain(|name, _| !name.starts_with("reserve"));
    (model, files)
}

pub(crate) fn is_damaged_one(path: &Path, files: &Files) -> bool {
    let mut there = common::read_dir(path);
    there.retain(|name, _| name != "lock" && !name.starts_with("reserve"));
    there == *files
}

/// Directories beside the store.
pub(crate) fn beside(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.parent().expect("a parent")).expect("lists");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|other| other != path && other.to_string_lossy().contains("things.tenure")).collect()
}

/// Checks the state after an interruption, and after the repair that follows. Returns whether the new store had already
/// replaced the old one.
fn check(path: &Path, files: &Files, model: &Model, what: &str) -> bool {
    let is_new = !is_damaged_one(path, files);
    if is_new {
        let verified = tenure::verify::verify(path, &mut |_| {}).expect("verifies");
        assert!(verified.is_ok(), "{what}: neither the damaged store nor a whole one: {:?}", verified.problems);
    }
    let is_kept = || is_damaged_one(path, files) || beside(path).iter().any(|path| is_damaged_one(path, files));
    assert!(is_kept(), "{what}: the damaged store is gone");
    let report = repair(path, &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.set_aside.is_none(), is_new, "{what}: {report:?}");
    let beside = beside(path);
    assert!(beside.iter().all(|path| !path.to_string_lossy().contains(".repairing")), "{what}: {beside:?}");
    assert!(beside.iter().any(|path| is_damaged_one(path, files)), "{what}: the damaged store is gone in the end");
    assert!(tenure::verify::verify(path, &mut |_| {}).expect("verifies").is_ok(), "{what}");
    let store = options().open(path).expect("opens");
    let back = model.live.iter().filter(|(id, expected)| {
        store.get(**id).and_then(|record| record.to_vec()).is_ok_and(|bytes| bytes == expected.bytes)
    });
    assert!(back.count() + 3 > model.live.len(), "{what}");
    is_new
}

/// Repairs, and is killed at one of the progress calls.
#[test]
#[ignore = "the other tests of this file run it in a process of its own"]
fn child() {
    let (Ok(path), Ok(call)) = (std::env::var(PATH), std::env::var(CALL)) else { return };
    let mut left: u32 = call.parse().expect("a number");
    let report = repair(Path::new(&path), &mut |_| {
        if left == 0 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).expect("dies");
        }
        left = left.saturating_sub(1);
    });
    assert!(report.expect("repaired").set_aside.is_some());
}

#[test]
fn a_repair_is_killed_at_each_step_and_the_next_one_ends_it() {
    let (model, files) = damaged();
    let (mut new, mut old) = (0, 0);
    for call in 0.. {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("things.tenure");
        common::write_dir(&path, &files);
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child
            .args(["--exact", &common::test_name(module_path!(), "child"), "--ignored"])
            .env(PATH, &path)
            .env(CALL, call.to_string());
        let ended = child.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("runs");
        if ended.success() {
            break;
        }
        let is_new = check(&path, &files, &model, &format!("killed at call {call}"));
        (new, old) = (new + u32::from(is_new), old + u32::from(!is_new));
    }
    assert!(new > 0 && old > 5, "{old} before the exchange, {new} after it");
}

#[test]
fn what_was_left_before_anything_was_in_it_or_belongs_to_others_does_not_stop_a_repair() {
    let (model, files) = damaged();
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("things.tenure");
    common::write_dir(&path, &files);
    std::fs::create_dir(scratch.path().join("things.tenure.repairing")).expect("a directory");
    std::fs::create_dir(scratch.path().join("things.tenure.damaged")).expect("a directory");
    std::fs::write(scratch.path().join("things.tenure.damaged").join("note"), "of somebody").expect("writes");
    assert!(!check(&path, &files, &model, "an empty directory"));
    assert!(is_damaged_one(&scratch.path().join("things.tenure.damaged-2"), &files));
    let note = std::fs::read(scratch.path().join("things.tenure.damaged").join("note")).expect("is there");
    assert_eq!(note, b"of somebody");
    // Nothing is done while the store is open.
    let store = options().open(&path).expect("opens");
    let name = common::read_dir(&path).into_keys().find(|name| name.starts_with("log-")).expect("a segment");
    std::fs::write(path.join(name), b"nothing").expect("writes");
    assert!(matches!(repair(&path, &mut |_| {}), Err(tenure::Error::Locked { .. })));
    drop(store);
}

/// A service with its own user can continue with a store that another user has repaired.
#[test]
fn the_new_store_has_the_owner_and_the_rights_of_the_damaged_one() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let (_, files) = damaged();
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("things.tenure");
    common::write_dir(&path, &files);
    let all = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).expect("lists").map(|entry| entry.expect("an entry").path());
        entries.chain([path.to_owned()]).collect()
    };
    for one in all(&path) {
        let mode = if one == path { 0o750 } else { 0o640 };
        std::fs::set_permissions(&one, std::fs::Permissions::from_mode(mode)).expect("sets");
        // Only root may.
        drop(std::os::unix::fs::chown(&one, Some(4242), Some(4243)));
    }
    let owner = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid())).expect("is there");
    let of_old = owner(&path);
    let report = repair(&path, &mut |_| {}).expect("repaired");
    assert!(report.set_aside.is_some());
    for one in all(&path) {
        let mode = std::fs::metadata(&one).expect("is there").mode() & 0o777;
        let wanted = if one == path { 0o750 } else { 0o640 };
        assert_eq!((mode, owner(&one)), (wanted, of_old), "{}", one.display());
    }
}

#[test]
fn two_repairs_of_one_store_do_not_meet() {
    let (_, files) = damaged();
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("things.tenure");
    common::write_dir(&path, &files);
    let (mut is_being_made, mut refused) = (false, Vec::new());
    let report = repair(&path, &mut |now| {
        is_being_made |= now.step == RepairStep::Rescuing;
        if is_being_made && refused.last() != Some(&now.step) {
            let other = repair(&path, &mut |_| {});
            assert!(matches!(other, Err(tenure::Error::Locked { .. })), "{:?}: {other:?}", now.step);
            refused.push(now.step);
        }
    });
    let damaged = report.expect("repaired").set_aside.expect("set aside").damaged;
    let steps = [RepairStep::Rescuing, RepairStep::Checking, RepairStep::Exchanging, RepairStep::SettingAside];
    assert_eq!(refused, steps);
    assert!(is_damaged_one(&damaged, &files) && beside(&path) == [damaged], "{:?}", beside(&path));
    assert!(tenure::verify::verify(&path, &mut |_| {}).expect("verifies").is_ok());
}

/// A file system on an image that can be copied.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn mount(image: &Path, directory: &Path) -> Option<Mounted> {
    std::fs::create_dir_all(directory).expect("a directory");
    let mut command = Command::new("mount");
    succeeds(command.args(["-o", "loop"]).arg(image).arg(directory)).then(|| Mounted(directory.to_owned()))
}

/// Copies what is in an image and no holes.
fn copy(image: &Path, to: &Path) {
    assert!(succeeds(Command::new("cp").arg("--sparse=always").arg(image).arg(to)), "copies");
}

/// Where a file system may be mounted: the device is copied at each step, and what a power cut leaves of it is mounted.
#[test]
fn the_power_fails_at_each_step_of_a_repair_and_the_next_one_ends_it() {
    let (model, files) = damaged();
    let scratch = tempfile::tempdir().expect("a directory");
    let (image, directory) = (scratch.path().join("image"), scratch.path().join("mounted"));
    let made = std::fs::File::options().create_new(true).write(true).open(&image);
    made.and_then(|file| file.set_len(IMAGE_BYTES)).expect("an image");
    let is_made = succeeds(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    let Some(mounted) = is_made.then(|| mount(&image, &directory)).flatten() else {
        println!("no file system can be mounted here");
        return;
    };
    let path = directory.join("things.tenure");
    common::write_dir(&path, &files);
    assert!(succeeds(&mut Command::new("sync")));
    let mut copies = Vec::new();
    let mut take = |step: Option<RepairStep>| {
        let to = scratch.path().join(format!("copy-{}", copies.len()));
        copy(&image, &to);
        copies.push((to, step));
    };
    let report = repair(&path, &mut |now| take(Some(now.step))).expect("repaired");
    take(None);
    assert!(report.set_aside.is_some());
    drop(mounted);
    let (mut new, mut old) = (0, 0);
    for (number, (image, step)) in copies.into_iter().enumerate() {
        let directory = scratch.path().join(format!("after-{number}"));
        let mounted = mount(&image, &directory).expect("mounts");
        let what = format!("power cut {number}, {step:?}");
        let is_new = check(&directory.join("things.tenure"), &files, &model, &what);
        assert!(
            is_new || !matches!(step, None | Some(RepairStep::SettingAside)),
            "{what}: the exchange was not durable"
        );
        (new, old) = (new + u32::from(is_new), old + u32::from(!is_new));
        drop(mounted);
    }
    assert!(new >= 2 && old > 5, "{old} before the exchange, {new} after it");
}
