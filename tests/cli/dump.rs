//! Dumps and loads, completions and manual pages.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Fixture, PEOPLE, PROGRAM, Run, files_of, tenure, tenure_with};

#[test]
fn a_store_comes_back_through_a_file_or_a_pipe_packed_or_not() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let ids = fixture.ids("people");
    tenure(&["delete", &store, &ids[1]]).ok();
    tenure(&["index", "make", &store, "people", "name", "--unique"]);
    let rows = tenure(&["export", &store, "--set", "people", "--with-ids"]).ok();
    for end in ["dump", "dump.gz", "dump.zst"] {
        let (file, new) = (fixture.path(&format!("things.{end}")), fixture.path(&format!("new-{end}")));
        let told = tenure(&["dump", &store, &file, "--json"]).json();
        assert_eq!((&told["file"], &told["records"]), (&json!(file), &json!(4)), "{told}");
        assert!(tenure(&["load", "--check", &file]).ok().contains("is intact: 4 records"));
        let loaded = tenure(&["load", &file, &new, "--json"]).json();
        assert_eq!((&loaded["records"], &loaded["damage"], &loaded["resumed"]), (&json!(4), &json!(null), &json!(0)));
        assert_eq!(tenure(&["export", &new, "--set", "people", "--with-ids"]).ok(), rows);
        assert_eq!(tenure(&["sets", &new, "--json"]).ok(), tenure(&["sets", &store, "--json"]).ok());
        let gone = tenure(&["get", &new, &ids[1]]);
        assert!(gone.code == 3 && gone.err.contains("was deleted"), "{}", gone.err);
        tenure(&["verify", &new]).ok();
        let again = tenure(&["load", &file, &new]);
        assert!(again.code == 1 && again.err.contains("is not empty"), "{}", again.err);
    }
    let piped = tenure(&["dump", &store, "-", "--pack", "zstd"]);
    assert_eq!((piped.code, piped.err.as_str()), (0, ""));
    let new = fixture.path("piped");
    assert!(String::from_utf8(tenure_with(&["load", "-", &new], &piped.out).out).expect("text").contains("4 records"));
    assert_eq!(tenure(&["export", &new, "--set", "people", "--with-ids"]).ok(), rows);
    // A state of the past.
    let file = fixture.path("past.dump");
    tenure(&["mark", &store, "now"]).ok();
    tenure(&["delete", &store, &ids[0]]).ok();
    assert!(tenure(&["dump", &store, &file, "--at", "mark:now"]).ok().contains("4 records"));
    assert!(tenure(&["dump", &store, &file]).ok().contains("3 records"));
}

#[test]
fn a_dump_that_fails_leaves_nothing_and_keeps_what_was_there() {
    let fixture = Fixture::new();
    let file = fixture.path("things.dump");
    fs::write(&file, "kept").expect("written");
    let refused = tenure(&["dump", &fixture.path("nothing"), &file]);
    assert_eq!(refused.code, 8, "{}", refused.err);
    let refused = tenure(&["dump", &fixture.store(), &fixture.path("no/such.dump")]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert_eq!(fs::read_to_string(&file).expect("there"), "kept");
    assert!(!Path::new(&format!("{file}.partial")).exists());
}

#[test]
fn damage_is_told_with_its_offset_and_can_be_passed_by() {
    let fixture = Fixture::new();
    let (file, new) = (fixture.path("things.dump"), fixture.path("new"));
    tenure(&["dump", &fixture.store(), &file]).ok();
    let whole = fs::read(&file).expect("there");
    let at = whole.windows(5).position(|window| window == b"Grace").expect("a record");
    let mut damaged = whole.clone();
    damaged[at] ^= 1;
    fs::write(&file, &damaged).expect("written");
    let run = tenure(&["load", "--check", &file]);
    assert!(run.code == 5 && run.err.contains(&format!("in {file} at byte ")), "{}", run.err);
    let run = tenure(&["load", &file, &new]);
    assert!(run.code == 5 && run.err.contains("run the same command again"), "{}", run.err);
    let unfinished = tenure(&["sets", &new]);
    assert!(unfinished.code == 8 && unfinished.err.contains("a load into it was interrupted"), "{}", unfinished.err);
    // A whole copy.
    fs::write(&file, &whole).expect("written");
    tenure(&["load", &file, &new]).ok();
    assert_eq!(tenure(&["export", &new, "--set", "people"]).ok(), PEOPLE);
    fs::write(&file, &damaged).expect("written");
    let rest = fixture.path("rest");
    let run = tenure(&["load", "--until-damage", &file, &rest]);
    assert!(run.code == 5 && run.err.contains("everything before it was loaded"), "{}", run.err);
    tenure(&["verify", &rest]).ok();
    // Something else.
    let other = fixture.write("other", b"this is no dump at all");
    let run = tenure(&["load", &other, &fixture.path("none")]);
    assert!(run.code == 5 && run.err.contains("is it a dump?"), "{}", run.err);
    assert!(!Path::new(&fixture.path("none")).exists());
    let packed = fixture.path("cut.dump.zst");
    tenure(&["dump", &fixture.store(), &packed]).ok();
    let bytes = fs::read(&packed).expect("there");
    fs::write(&packed, &bytes[..bytes.len() - 20]).expect("written");
    assert_eq!(tenure(&["load", "--check", &packed]).code, 5);
}

#[test]
fn a_load_that_is_killed_goes_on() {
    let fixture = Fixture::new();
    let (file, new) = (fixture.path("things.dump"), fixture.path("new"));
    tenure(&["dump", &fixture.store(), &file]).ok();
    let whole = fs::read(&file).expect("there");
    let mut command = Command::new(PROGRAM);
    command.args(["load", "-", &new]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&whole[..whole.len() - 30]).expect("written");
    let begun = std::time::Instant::now();
    while !Path::new(&new).join("unfinished").exists() {
        assert!(begun.elapsed() < std::time::Duration::from_mins(1), "it did not begin");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().expect("killed");
    drop(stdin);
    drop(child.wait_with_output());
    // Another dump of the same store is another one.
    let other = fixture.path("other.dump");
    tenure(&["dump", &fixture.store(), &other]).ok();
    tenure(&["load", &file, &new]).ok();
    assert_eq!(tenure(&["export", &new, "--set", "people"]).ok(), PEOPLE);
    let files = files_of(Path::new(&new));
    assert!(!files.iter().any(|(path, _)| path.ends_with("unfinished")), "{files:?}");
    assert_eq!(tenure(&["load", &other, &new]).code, 1);
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let help = tenure(&["--help"]).ok();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 25, "{help}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = tenure(&["completions", shell]).ok();
        for command in &commands {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    let bash = tenure(&["completions", "bash"]).ok();
    let mut check = Command::new("bash").arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
    check.stdin.take().expect("a pipe").write_all(bash.as_bytes()).expect("written");
    assert_eq!(Run::of(check.wait_with_output().expect("it ends")).code, 0);
    let page = tenure(&["man"]).ok();
    assert!(page.contains(".TH") && page.contains("import"), "{page}");
    assert!(tenure(&["man", "index", "list"]).ok().contains("list"));
    assert_eq!(tenure(&["man", "nothing"]).code, 2);
    let fixture = Fixture::new();
    let dir = fixture.path("pages/man1");
    tenure(&["man", "--dir", &dir]).ok();
    for command in &commands {
        assert!(Path::new(&dir).join(format!("tenure-{command}.1")).exists(), "no page of {command}");
    }
    let file = fixture.write("file", b"");
    assert_eq!(tenure(&["man", "--dir", &file]).code, 1);
}
