//! Salvage and its output.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Fixture, PEOPLE, files_of, tenure};

#[test]
fn what_is_whole_of_a_damaged_store_is_in_a_new_one() {
    let fixture = Fixture::new();
    let (store, new, again) = (fixture.store(), fixture.path("new"), fixture.path("again"));
    for (path, _) in files_of(Path::new(&store)) {
        if path.extension().is_some_and(|end| end == "man") {
            fs::remove_file(path).expect("removed");
        }
    }
    assert_eq!(tenure(&["get", &store, "0.1"]).code, 4);
    let before = files_of(Path::new(&store));
    let told = tenure(&["salvage", &store, &new]).ok();
    assert!(told.contains("set people: 3 records\n") && told.contains("may be back"), "{told}");
    assert_eq!(files_of(Path::new(&store)), before, "the damaged store was written to");
    assert_eq!(tenure(&["export", &new, "--set", "people"]).ok(), PEOPLE);
    tenure(&["verify", &new]).ok();
    let made = tenure(&["salvage", &store, &again, "--json"]).json();
    assert_eq!((&made["complete"], &made["records"], &made["lost"]), (&json!(true), &json!(5), &json!([])), "{made}");
    // Nothing is written to an existing directory.
    let refused = tenure(&["salvage", &store, &again]);
    assert!(refused.code == 1 && refused.err.contains("is not empty"), "{}", refused.err);
    assert_eq!(tenure(&["salvage", &fixture.path("nothing"), &fixture.path("other")]).code, 8);
}

#[test]
fn what_does_not_come_back_is_told_by_id_and_place() {
    let fixture = Fixture::new();
    let (store, new) = (fixture.store(), fixture.path("new"));
    let ids = fixture.ids("people");
    for (path, mut bytes) in files_of(Path::new(&store)) {
        if let Some(at) = bytes.windows(5).position(|window| window == b"Grace") {
            bytes[at] ^= 1;
            fs::write(path, bytes).expect("written");
        }
    }
    let run = tenure(&["salvage", &store, &new]);
    let told = String::from_utf8(run.out).expect("text");
    assert_eq!(run.code, 4, "{}", run.err);
    assert!(told.contains(&format!("lost: record {} in log-", ids[1])), "{told}");
    assert!(run.err.contains("1 record did not come back"), "{}", run.err);
    assert_eq!(tenure(&["get", &new, &ids[1]]).code, 3);
    for id in [&ids[0], &ids[2]] {
        tenure(&["get", &new, id]).ok();
    }
}

#[test]
fn a_damaged_page_is_rebuilt_in_place() {
    let fixture = Fixture::new();
    let store = fixture.store();
    tenure(&["snapshot", "save", &store]).ok();
    assert_eq!(tenure(&["repair", &store]).ok(), "nothing to repair\n");
    for (path, mut bytes) in files_of(Path::new(&store)) {
        if path.to_string_lossy().contains("pages-") {
            for at in (128..bytes.len()).step_by(64) {
                bytes[at] ^= 1;
            }
            fs::write(path, bytes).expect("written");
        }
    }
    assert_eq!(tenure(&["export", &store, "--set", "people"]).code, 4);
    let told = tenure(&["repair", &store]).ok();
    assert!(told.starts_with("found: ") && told.ends_with("repaired\n"), "{told}");
    assert_eq!(tenure(&["export", &store, "--set", "people"]).ok(), PEOPLE);
    tenure(&["verify", &store]).ok();
    assert_eq!(tenure(&["repair", &store, "--json"]).json()["nothing"], json!(true));
}

#[test]
fn a_store_that_does_not_open_is_replaced_by_one_of_what_is_whole_and_kept() {
    let fixture = Fixture::new();
    let store = fixture.store();
    tenure(&["snapshot", "save", &store, "monday"]).ok();
    for (path, _) in files_of(Path::new(&store)) {
        if path.extension().is_some_and(|end| end == "man") {
            fs::remove_file(path).expect("removed");
        }
    }
    let mut before = files_of(Path::new(&store));
    before.retain(|(path, _)| !path.ends_with("lock"));
    assert_eq!(tenure(&["get", &store, "0.1"]).code, 4);
    let run = tenure(&["repair", &store]);
    let (code, told) = (run.code, String::from_utf8(run.out).expect("text"));
    let damaged = format!("{store}.damaged");
    assert!(code == 4 && run.err.contains("in doubt"), "{told} {}", run.err);
    assert!(told.contains("possibly deleted: record ") && told.ends_with("repaired\n"), "{told}");
    assert!(told.contains(&format!("which is now {damaged}")), "{told}");
    let kept = files_of(Path::new(&damaged));
    for (path, bytes) in before {
        let name = path.file_name().expect("a name");
        assert!(kept.iter().any(|(path, kept)| path.file_name() == Some(name) && *kept == bytes), "{path:?}");
    }
    assert_eq!(tenure(&["export", &store, "--set", "people"]).ok(), PEOPLE);
    tenure(&["verify", &store]).ok();
    assert_eq!(tenure(&["repair", &store, "--json"]).json()["nothing"], json!(true));
    // The advised commands work: the damaged store that was kept can be salvaged again.
    let again = fixture.path("again");
    tenure(&["salvage", &damaged, &again]).ok();
    // Damaged a second time: the store set aside first stays.
    for (path, _) in files_of(Path::new(&store)) {
        if path.extension().is_some_and(|end| end == "man") {
            fs::remove_file(path).expect("removed");
        }
    }
    let told = tenure(&["repair", &store, "--json"]);
    assert_eq!(told.code, 4);
    let told: serde_json::Value = serde_json::from_slice(&told.out).expect("JSON");
    assert_eq!(told["set_aside"]["damaged"], json!(format!("{damaged}-2")), "{told}");
    assert_eq!(files_of(Path::new(&damaged)), kept);
}

#[test]
fn damage_that_only_a_named_snapshot_needs_ends_with_the_code_of_damage() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let id = fixture.ids("people").remove(0);
    tenure(&["snapshot", "save", &store, "monday"]).ok();
    let of_then: Vec<_> = files_of(Path::new(&store)).into_iter().map(|(path, _)| path).collect();
    for id in ["people", "notes"].iter().flat_map(|set| fixture.ids(set)) {
        tenure(&["update", &store, &id, "{\"name\":\"another\"}"]).ok();
    }
    for _ in 0..3 {
        tenure(&["compact", &store]).ok();
    }
    let mut told = 0;
    for path in of_then.iter().filter(|path| path.exists() && path.to_string_lossy().contains("log-")) {
        let bytes = fs::read(path).expect("a file");
        fs::remove_file(path).expect("removed");
        if tenure(&["get", &store, &id]).code == 0 {
            let then = tenure(&["get", &store, &id, "--at", "snapshot:monday"]);
            assert!(then.code == 4 || then.code == 0, "{}: {}", then.code, then.err);
            told += u32::from(then.code == 4);
            assert!(then.code == 0 || !then.err.contains("choose another"), "{}", then.err);
            if then.code == 4 {
                assert_eq!(tenure(&["verify", &store]).code, 4);
                assert_eq!(tenure(&["verify", &store, "--newest"]).code, 0);
            }
        }
        fs::write(path, bytes).expect("written");
    }
    assert!(told > 0, "no file is the snapshot's alone");
}
