//! Directories that are behind their bucket, opened when its last writer has closed: older copies, and one without its manifests.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tenure::Store;
use tenure::backing::{Backing, Files, Memory};
use tenure::remote::Bucket;

use crate::flaky::Flaky;
use crate::{bucket, contents, open, open_in, quick};

fn files(path: &Path) -> Arc<dyn Backing> {
    Arc::new(Files::open(path).unwrap())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn write(store: &Store, value: u8) {
    let notes = store.record_set("notes").unwrap();
    store.write(|tx| tx.insert(&notes, vec![value; 3_000])).unwrap();
}

/// A store that was closed, and a copy of its directory from before: with as many commits, and then so many more in the store.
fn closed_beside_a_copy(dir: &Path, bucket: &Bucket, more: u8) {
    drop(Files::create(&dir.join("home")).unwrap());
    let store = open_in(files(&dir.join("home")), bucket, quick()).unwrap();
    for value in 0..30 {
        write(&store, value);
    }
    store.save_snapshot().unwrap();
    store.wait_remote(store.last_seq()).unwrap();
    copy(&dir.join("home"), &dir.join("copy"));
    for value in 0..more {
        write(&store, value);
        if value % 10 == 9 {
            store.save_snapshot().unwrap();
        }
    }
    store.close().unwrap();
}

/// Its epoch has ended, so nobody else is at work, and the directory itself comes later.
#[test]
fn an_older_copy_that_is_refused_after_a_clean_close_shuts_out_nobody() {
    for more in [1, 3, 30, 100] {
        for take_over in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let objects = Flaky::new(1);
            let bucket = bucket(&objects.store());
            closed_beside_a_copy(dir.path(), &bucket, more);
            let before = objects.names().len();
            for attempt in 0..3 {
                let older = files(&dir.path().join("copy"));
                let refused = open_in(older, &bucket, quick().take_over(take_over)).map(drop);
                let error = refused.expect_err("it is behind");
                assert!(error.is_corruption(), "{more} more, attempt {attempt}: {error}");
                assert_eq!(objects.names().len(), before, "{more} more, attempt {attempt}");
            }
            let store = open_in(files(&dir.path().join("home")), &bucket, quick()).unwrap();
            let all = contents(&store);
            assert_eq!(all.len(), usize::from(more) + 30);
            store.close().unwrap();
            let taken = open(&Memory::new(), &bucket, quick()).unwrap();
            assert_eq!(contents(&taken), all);
        }
    }
}

/// Its manifest is gone as well: nothing of it is the store's.
#[test]
fn a_directory_without_its_manifests_shuts_out_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Flaky::new(1);
    let bucket = bucket(&objects.store());
    closed_beside_a_copy(dir.path(), &bucket, 10);
    let damaged = dir.path().join("damaged");
    copy(&dir.path().join("home"), &damaged);
    for name in crate::common::names_in(&damaged).into_iter().filter(|name| name.starts_with("manifest-")) {
        fs::remove_file(damaged.join(name)).unwrap();
    }
    let before = objects.names().len();
    let error = open_in(files(&damaged), &bucket, quick()).map(drop).expect_err("no manifest");
    assert!(error.is_corruption(), "{error}");
    assert_eq!(objects.names().len(), before);
    let store = open_in(files(&dir.path().join("home")), &bucket, quick()).unwrap();
    assert_eq!(contents(&store).len(), 40);
}
