//! Repositories of backups from the command line.

use crate::support::{Fixture, tenure};

/// The records of a store, without their IDs.
pub fn people(store: &str) -> String {
    tenure(&["export", store, "--set", "people"]).ok()
}

#[test]
fn backups_are_added_listed_restored_verified_and_pruned() {
    let fixture = Fixture::new();
    let (store, place) = (fixture.store(), fixture.path("backups"));
    let back_up = |more: &[&str]| tenure(&[&["backup", "--incremental", &store, &place, "--json"][..], more].concat());
    let first = back_up(&[]).json();
    assert_eq!(first["id"], "b1");
    assert!(first["records"].as_u64().is_some_and(|records| records > 0), "{first}");
    let before = people(&store);
    tenure(&["put", &store, "--set", "people", "{\"name\":\"Sofia\",\"age\":41}"]).ok();
    let second = back_up(&["--no-verify"]).json();
    assert_eq!((&second["id"], &second["records"]), (&"b2".into(), &serde_json::Value::Null));
    assert!(second["written"].as_u64() < first["written"].as_u64(), "{first} {second}");
    let after = people(&store);

    let listed = tenure(&["backup", "list", &place, "--json"]).json_lines();
    assert_eq!(listed.iter().map(|info| info["id"].clone()).collect::<Vec<_>>(), ["b1", "b2"]);
    let table = tenure(&["backup", "list", &place]).ok();
    assert!(table.contains("COMMIT") && table.contains("b2"), "{table}");

    let seq = second["seq"].to_string();
    for (number, (at, state)) in [("b1", &before), ("b2", &after), (&*seq, &after)].into_iter().enumerate() {
        let restored = fixture.path(&format!("restored-{number}"));
        tenure(&["restore", &place, &restored, "--at", at]).ok();
        assert_eq!(people(&restored), *state, "{at}");
    }
    let newest = fixture.path("newest");
    tenure(&["restore", &place, &newest]).ok();
    assert_eq!(people(&newest), after);

    assert!(tenure(&["backup", "verify", &place]).ok().contains("no problem found"));
    let pruned = tenure(&["backup", "prune", &place, "--keep", "1", "--keep-daily", "0", "--json"]).json();
    assert_eq!(pruned["backups"], serde_json::json!(["b1"]));
    assert_eq!(tenure(&["backup", "verify", &place, "--json"]).json()["unneeded"], 0);
    let gone = tenure(&["restore", &place, &fixture.path("gone"), "--at", "b1"]);
    assert!(
        gone.code == 3 && gone.err.contains("cannot reach backup b1") && gone.err.contains("backup list"),
        "{gone:?}"
    );
}
