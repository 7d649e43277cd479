//! Indexes: create, list, verify, drop; look up by key and by range; maintain on import; follow from record to record.

use serde_json::{Value, json};

use crate::support::{Fixture, Run, tenure};

/// Packages that depend on each other; `a` and `b` in a cycle, `d` on a missing one.
const PACKAGES: &str = "\
{\"name\":\"a\",\"section\":\"libs\",\"size\":30,\"depends\":[\"b\",\"c\"]}
{\"name\":\"b\",\"section\":\"libs\",\"size\":-7,\"depends\":[\"a\"]}
{\"name\":\"c\",\"section\":\"Admin\",\"size\":200,\"depends\":[]}
{\"name\":\"d\",\"section\":\"admin\",\"size\":9,\"depends\":[\"c\",\"gone\",\"a\"]}
";

fn packages(more: &[&str]) -> Fixture {
    let fixture = Fixture::new();
    let file = fixture.write("packages.jsonl", PACKAGES.as_bytes());
    tenure(&[&["import", &fixture.store(), &file, "--set", "packages"][..], more].concat()).ok();
    fixture
}

fn with_indexes() -> Fixture {
    packages(&["--unique", "name", "--index", "section", "--index", "depends[]", "--index", "/size:integer"])
}

/// The results of `find`, by package name.
fn names(run: Run) -> String {
    let names: Vec<String> =
        run.json_lines().iter().map(|line| line["value"]["name"].as_str().expect("a name").to_owned()).collect();
    names.join(" ")
}

fn find(fixture: &Fixture, index: &str, more: &[&str]) -> String {
    names(tenure(&[&["find", &fixture.store(), index, "--json"][..], more].concat()))
}

#[test]
fn an_import_makes_indexes_and_they_are_listed() {
    let fixture = with_indexes();
    let store = fixture.store();
    let listed = tenure(&["index", "list", &store, "--json"]).json_lines();
    let told: Vec<(&Value, &Value, &Value, &Value)> =
        listed.iter().map(|index| (&index["index"], &index["unique"], &index["keys"], &index["entries"])).collect();
    assert_eq!(
        told,
        [
            (&json!("name"), &json!(true), &json!("json:/name:string"), &json!(4)),
            (&json!("section"), &json!(false), &json!("json:/section:string"), &json!(4)),
            (&json!("depends"), &json!(false), &json!("json:/depends/*:string"), &json!(6)),
            (&json!("size"), &json!(false), &json!("json:/size:integer"), &json!(4)),
        ]
    );
    assert!(listed.iter().all(|index| index["complete"] == true && index["set"] == "packages"), "{listed:?}");
    let table = tenure(&["index", "list", &store, "--set", "packages"]).ok();
    assert!(table.contains("packages.depends") && table.contains("json:/depends/*:string"), "{table}");
    assert_eq!(tenure(&["index", "list", &store, "--set", "people", "--json"]).ok(), "");
    fixture.assert_unchanged();
}

#[test]
fn an_import_into_the_same_set_keeps_the_indexes_that_are_there() {
    let fixture = with_indexes();
    let file = fixture.write("more.jsonl", b"{\"name\":\"e\",\"depends\":[\"c\"]}\n");
    tenure(&["import", &fixture.store(), &file, "--set", "packages", "--unique", "name"]).ok();
    assert_eq!(find(&fixture, "packages.depends", &["c"]), "a d e");
    // Other commands keep them too.
    let id = tenure(&["find", &fixture.store(), "packages.name", "e", "--ids-only"]).ok().trim().to_owned();
    tenure(&["update", &fixture.store(), &id, "{\"name\":\"f\",\"depends\":[\"gone\"]}"]).ok();
    assert_eq!(find(&fixture, "packages.depends", &["c"]), "a d");
    assert_eq!(find(&fixture, "packages.depends", &["gone"]), "d f");
    tenure(&["delete", &fixture.store(), &id]).ok();
    assert_eq!(find(&fixture, "packages.depends", &["gone"]), "d");
    tenure(&["index", "verify", &fixture.store()]).ok();
}

#[test]
fn keys_and_ranges_in_both_directions() {
    let fixture = with_indexes();
    let store = fixture.store();
    assert_eq!(
        tenure(&["find", &store, "packages.name", "c"]).ok(),
        PACKAGES.lines().nth(2).unwrap().to_owned() + "\n"
    );
    for (index, more, expected) in [
        ("packages.name", &[][..], "a b c d"),
        ("packages.name", &["--reverse"], "d c b a"),
        ("packages.name", &["--from", "b", "--to", "d"], "b c"),
        ("packages.name", &["--from", "b", "--reverse", "--limit", "2"], "d c"),
        ("packages.section", &["libs", "--reverse"], "b a"),
        ("packages.section", &["--prefix", "a"], "d"),
        ("packages.section", &["--prefix", "li"], "a b"),
        ("packages.section", &["--prefix", ""], "c d a b"),
        ("packages.section", &["--prefix", "x"], ""),
        ("packages.size", &[], "b d a c"),
        ("packages.size", &["-7"], "b"),
        ("packages.size", &["--from", "-7", "--to", "30"], "b d"),
        ("packages.size", &["--to=-8"], ""),
        ("packages.depends", &["a"], "b d"),
        ("packages.depends", &["--from", "b"], "a a d d"),
    ] {
        assert_eq!(find(&fixture, index, more), expected, "{index} {more:?}");
        let count = tenure(&[&["find", &store, index, "--count"][..], more].concat()).ok();
        assert_eq!(count.trim(), expected.split_whitespace().count().to_string(), "{index} {more:?}");
    }
    let entry = tenure(&["find", &store, "packages.size", "200", "--json"]).json();
    let id = &fixture.ids("packages")[2];
    let value: Value = serde_json::from_str(PACKAGES.lines().nth(2).unwrap()).expect("JSON");
    let bytes = PACKAGES.lines().nth(2).unwrap().len();
    assert_eq!(entry, json!({"id": id, "seq": entry["seq"], "key": 200, "bytes": bytes, "value": value}));
    assert_eq!(tenure(&["find", &store, "packages.size", "200", "--ids-only"]).ok(), format!("{id}\n"));
    assert_eq!(tenure(&["find", &store, "packages.size", "200", "--ids-only", "--json"]).json(), json!({ "id": id }));
    assert_eq!(tenure(&["find", &store, "packages.size", "--count", "--json"]).json(), json!({ "count": 4 }));
    assert_eq!(tenure(&["find", &store, "packages.size", "201", "--count"]).ok(), "0\n");
}

#[test]
fn an_index_is_made_checked_made_anew_and_dropped() {
    let fixture = packages(&[]);
    let store = fixture.store();
    let made = tenure(&["index", "create", &store, "packages", "group", "--pointer", "/section", "--lower", "--json"]);
    let made = made.json();
    assert_eq!((&made["keys"], &made["entries"]), (&json!("json:/section:string:lower"), &json!(4)));
    assert_eq!(find(&fixture, "packages.group", &["ADMIN"]), "c d");
    assert_eq!(find(&fixture, "packages.group", &["--prefix", "AD"]), "c d");
    // The same one again is no error, and changes nothing.
    let again = ["index", "create", &store, "packages", "group", "--pointer", "/section", "--lower"];
    assert_eq!(tenure(&again).ok(), "packages.group: 4 entries\n");
    let unique = ["index", "create", &store, "packages", "name", "--pointer", "/name", "--unique"];
    assert_eq!(tenure(&unique).ok(), "packages.name: 4 entries\n");
    assert_eq!(
        tenure(&["index", "verify", &store]).ok(),
        "packages.group: 4 entries, consistent with the records\npackages.name: 4 entries, consistent with the records\n"
    );
    let verified = tenure(&["index", "verify", &store, "packages.name", "--json"]).json();
    assert_eq!(verified, json!({"index": "packages.name", "ok": true, "entries": 4, "problems": []}));
    assert_eq!(tenure(&["index", "rebuild", &store, "packages.name"]).ok(), "packages.name: 4 entries\n");
    let listed = tenure(&["index", "list", &store, "--json"]).json_lines();
    assert!(listed.iter().any(|index| index["index"] == "name" && index["unique"] == true), "{listed:?}");
    assert_eq!(find(&fixture, "packages.name", &["d"]), "d");
    assert_eq!(tenure(&["index", "drop", &store, "packages.name"]).ok(), "dropped packages.name\n");
    assert_eq!(
        tenure(&["index", "drop", &store, "packages.group", "--json"]).json(),
        json!({"dropped": "packages.group"})
    );
    assert_eq!(tenure(&["index", "list", &store, "--json"]).ok(), "");
    assert_eq!(tenure(&["export", &store, "--set", "packages"]).ok(), PACKAGES);
    fixture.assert_unchanged();
}

#[test]
fn names_may_hold_dots() {
    let fixture = Fixture::new();
    let (store, file) = (fixture.store(), fixture.write("a.jsonl", b"{\"at\":{\"home\":1}}\n"));
    tenure(&["import", &store, &file, "--set", "a.b", "--index", "/at/home:integer"]).ok();
    assert_eq!(tenure(&["find", &store, "a.b.at.home", "1"]).ok(), "{\"at\":{\"home\":1}}\n");
}

#[test]
fn rows_that_a_unique_index_refuses_are_skipped_and_told() {
    let fixture = with_indexes();
    let rows = "{\"name\":\"x\"}\n{\"name\":\"a\"}\n{\"name\":\"y\"}\n{\"name\":\"x\",\"n\":2}\n{\"name\":\"z\"}\n";
    let file = fixture.write("more.jsonl", rows.as_bytes());
    let run = tenure(&["import", &fixture.store(), &file, "--set", "packages", "--on-error", "skip", "--json"]);
    let told: Value = serde_json::from_slice(&run.out).expect("JSON");
    assert_eq!((run.code, &told["records"], &told["skipped"]), (0, &json!(3), &json!(2)));
    let ids = fixture.ids("packages");
    let lines: Vec<&str> = run.err.lines().collect();
    assert_eq!(lines.len(), 2, "{}", run.err);
    let first = format!("line 2, unique index \"name\" already has key \"a\": record {}", ids[0]);
    assert!(lines[0].ends_with(&first), "{}", run.err);
    let second = format!("line 4, unique index \"name\" already has key \"x\": record {}, from line 1", ids[4]);
    assert!(lines[1].ends_with(&second), "{}", run.err);
    assert_eq!(find(&fixture, "packages.name", &["--from", "x"]), "x y z");
}

/// The tree of a walk.
fn follow(fixture: &Fixture, start: &str, more: &[&str]) -> String {
    let store = fixture.store();
    let args = ["follow", &store, start, "--field", "depends[]", "--index", "packages.name"];
    tenure(&[&args[..], more].concat()).ok()
}

#[test]
fn references_are_followed_through_keys() {
    let fixture = with_indexes();
    let ids = fixture.ids("packages");
    let (a, b, c, d) = (&ids[0], &ids[1], &ids[2], &ids[3]);
    let whole = format!(
        "d {d}\n├── a {a}\n│   ├── b {b}\n│   │   └── a {a} (cycle)\n│   └── c {c}\n├── c {c}\n└── gone (no such record)\n"
    );
    assert_eq!(follow(&fixture, "d", &[]), whole);
    assert_eq!(follow(&fixture, d, &["--depth", "99"]), whole, "by ID");
    assert_eq!(
        follow(&fixture, "d", &["--depth", "1"]),
        format!("d {d}\n├── a {a} (more)\n├── c {c}\n└── gone (no such record)\n")
    );
    assert_eq!(follow(&fixture, "d", &["--depth", "0"]), format!("d {d} (more)\n"));
    // A pointer, and an array without its brackets, are the same field.
    for field in ["/depends/*", "depends", "/depends"] {
        let args = ["follow", &fixture.store(), "d", "--field", field, "--index", "packages.name"];
        assert_eq!(tenure(&args).ok(), whole, "{field}");
    }
    let args =
        ["follow", &fixture.store(), "b", "--field", "depends", "--index", "packages.name", "--depth", "1", "--json"];
    assert_eq!(
        tenure(&args).json_lines(),
        [
            json!({"depth": 0, "key": "b", "id": b, "parent": null, "state": "live"}),
            json!({"depth": 1, "key": "a", "id": a, "parent": b, "state": "more"}),
        ]
    );
}

#[test]
fn references_are_followed_through_ids() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let put = |value: &str| tenure(&["put", &store, "--set", "parts", value]).ok().trim().to_owned();
    let leaf = put("{}");
    let gone = put("{}");
    let twig = put(&format!("{{\"parts\":[\"{leaf}\"]}}"));
    let root = put(&format!("{{\"parts\":[\"{leaf}\",\"{twig}\",\"{gone}\",\"99999.1\",\"{twig}\"]}}"));
    tenure(&["update", &store, &leaf, &format!("{{\"parts\":\"{root}\"}}")]).ok();
    tenure(&["delete", &store, &gone]).ok();
    let tree = tenure(&["follow", &store, &root, "--field", "parts", "--depth", "9"]).ok();
    let mut lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines.remove(0), root);
    for line in [
        leaf.clone(),
        format!("{root} (cycle)"),
        twig.clone(),
        format!("{leaf} (above)"),
        format!("{gone} (deleted)"),
        "99999.1 (no such record)".to_owned(),
    ] {
        let found = lines.iter().position(|found| found.trim_start_matches(['│', '├', '└', '─', ' ']) == line);
        lines.remove(found.unwrap_or_else(|| panic!("no {line:?}: {tree}")));
    }
    assert!(lines.is_empty(), "{tree}");
}

#[test]
fn asking_writes_not_a_byte() {
    let fixture = with_indexes();
    let (store, before) = (fixture.store(), fixture.files());
    let asking: [&[&str]; 4] = [
        &["find", &store, "packages.name", "a"],
        &["index", "list", &store],
        &["index", "verify", &store],
        &["follow", &store, "d", "--field", "depends", "--index", "packages.name"],
    ];
    for args in asking {
        tenure(args).ok();
        assert_eq!(fixture.files(), before, "{args:?}");
    }
}

#[test]
fn each_subcommand_of_index_has_examples() {
    for name in ["create", "list", "drop", "rebuild", "verify"] {
        let help = tenure(&["index", name, "--help"]).ok();
        assert!(help.contains("Examples:") && help.contains(&format!("tenure index {name}")), "{help}");
    }
}

#[test]
fn verify_names_the_indexes_that_it_did_not_compare() {
    let fixture = with_indexes();
    let store = tenure::Options::new().open(fixture.store()).expect("opens");
    let set = store.find_set("notes").expect("a set");
    let code = tenure::extract::Extractor::new("length", 1, |record, keys| keys.push(&record.len()));
    store.index(&set, "by length", code).expect("an index");
    store.close().expect("closes");
    let text = tenure(&["verify", &fixture.store()]).ok();
    let line = "not compared: index notes.by length: a program gives its keys by code of its own";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("no problem found, but 1 index was not compared with its records"), "{text}");
    let json = tenure(&["verify", &fixture.store(), "--json"]).json();
    assert_eq!(json["indexes_not_compared"][0]["index"], "notes.by length");
    assert_eq!((&json["indexes"], &json["indexes_compared"]), (&json!(5), &json!(4)));
}

#[test]
fn keys_that_are_ids_are_looked_up_and_shown_as_ids() {
    let fixture = Fixture::new();
    let store = fixture.path("references");
    let people = fixture.write("people.jsonl", b"{\"name\":\"Ada\"}\n{\"name\":\"Grace\"}\n");
    let people = tenure(&["import", &store, &people, "--set", "people", "--json"]).json();
    let [ada, grace] = ["first_id", "last_id"].map(|end| people[end].as_str().expect("an ID").to_owned());
    let notes =
        format!("{{\"of\":\"{ada}\",\"n\":1}}\n{{\"of\":\"{grace}\",\"n\":2}}\n{{\"of\":\"nobody\",\"n\":3}}\n");
    let notes = fixture.write("notes.jsonl", notes.as_bytes());
    tenure(&["import", &store, &notes, "--set", "notes", "--index", "of:id"]).ok();
    let found = tenure(&["find", &store, "notes.of", &grace, "--json"]).json();
    assert_eq!((&found["key"], &found["value"]["n"]), (&json!(grace), &json!(2)), "{found}");
    assert_eq!(tenure(&["find", &store, "notes.of", "--from", &ada, "--count"]).ok(), "2\n");
    let refused = tenure(&["find", &store, "notes.of", "12"]);
    assert!(refused.code == 2 && refused.err.contains("is not a record ID: write it as SLOT.COUNT"), "{}", refused.err);
}
