//! A file system that becomes full: the backup fails, the others stay, and it is resumed once there is room.

use std::path::Path;
use std::process::Command;

use tenure::Error;
use tenure::repository::{At, Repository};

use crate::repository::{add, go_on, restored, small};

/// A file system of its own, which is unmounted when this is dropped.
struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    fn of(path: &'p Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir(path).expect("a directory");
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        is_mounted.then_some(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).output());
    }
}

#[test]
fn a_full_file_system_ends_a_backup_that_is_resumed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mount = dir.path().join("mount");
    let Some(mounted) = Mounted::of(&mount, 1 << 20) else {
        eprintln!("SKIPPED: a full file system needs the right to mount one");
        return;
    };
    let store = small().open(dir.path().join("store")).expect("opens");
    let set = store.record_set("a").expect("a set");
    for value in 0..400_u64 {
        store.write(|tx| tx.insert(&set, value.to_le_bytes().repeat(64))).expect("commits");
    }
    let repository = Repository::in_directory(mount.join("backups"));
    add(&repository, &store).expect("backs up");
    let state = crate::common::contents(&store).expect("reads");
    for value in 0..4_000_u64 {
        store.write(|tx| tx.insert(&set, value.to_le_bytes().repeat(64))).expect("commits");
    }
    let error = add(&repository, &store).expect_err("it is full");
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(repository.list().expect("lists").len(), 1);
    assert!(repository.verify(&mut go_on).expect("verifies").is_ok());
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), state);
    let mut grow = Command::new("mount");
    grow.args(["-o", "remount,size=16777216"]).arg(&mount);
    assert!(grow.status().expect("starts").success());
    let added = add(&repository, &store).expect("backs up");
    assert!(added.written + 300_000 < added.bytes, "it went on with what was there: {added:?}");
    let state = crate::common::contents(&store).expect("reads");
    assert_eq!(restored(&repository, At::Newest, dir.path()).expect("restores"), state);
    drop(mounted);
}
