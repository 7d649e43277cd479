//! A store of an older format is refused as a whole, and its dump loads.

use std::fs;
use std::path::{Path, PathBuf};

use tenure::dump::LoadOptions;
use tenure::{Error, Options, RecordId, Store};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1").join(name)
}

#[test]
fn a_store_of_version_1_is_refused_with_the_way_out_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for file in fs::read_dir(data("store")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        files.push((file.file_name(), fs::read(file.path()).unwrap()));
    }
    for result in [Store::open(dir.path()).map(drop), Options::new().read_only(true).open(dir.path()).map(drop)] {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Unsupported { what: "format version", got, .. } if got == "1"), "{error:?}");
        assert!(!error.is_corruption(), "{error}");
        assert!(error.advice().contains("tenure dump") && error.advice().contains("tenure load"), "{}", error.advice());
    }
    for (name, bytes) in files {
        assert!(fs::read(dir.path().join(&name)).unwrap() == bytes, "{name:?} changed");
    }
}

#[test]
fn the_dump_of_a_store_of_version_1_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("loaded");
    let dump = fs::read(data("store.dump")).unwrap();
    let report = tenure::dump::load(&mut dump.as_slice(), &path, &LoadOptions::new(), &mut |_| {}).unwrap();
    assert_eq!((report.incomplete.len(), report.damage.is_none()), (0, true));
    let store = Store::open(&path).unwrap();
    let text = |id: &str| {
        let id: RecordId = id.parse().unwrap();
        store.get(id).map(|record| String::from_utf8_lossy(&record.bytes().unwrap()).into_owned())
    };
    assert_eq!(text("0.1").unwrap(), r#"{"section":"admin","packages":1480,"size_bytes":721642335}"#);
    assert_eq!(text("1.1").unwrap(), r#"{"section":"cli-mono","packages":293,"size_bytes":67904681}"#);
    assert_eq!(text("512.1").unwrap(), "a note");
    assert!(matches!(text("2.1").unwrap_err(), Error::Deleted { .. }));
    let sections = store.record_set("sections").unwrap();
    assert_eq!(store.view().scan(&sections).count(), 56);
    store.close().unwrap();
    assert!(tenure::verify::verify(&path, &mut |_| {}).unwrap().is_ok());
}
