//! Output to a terminal: control characters in records and names are escaped, unless the user asks for the bytes.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Fixture, PROGRAM, tenure, tenure_with};

/// Colours, a bell, a title, the same with a single byte, a carriage return, and text from right to left.
const HARMFUL: &str = "a\x1b[31mb\x07\x1b]0;title\x07\u{9b}2J\rc\u{202e}d\u{2066}e\u{200f}f";
/// Characters that a terminal interprets.
const OBEYED: [char; 7] = ['\x1b', '\x07', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{7f}'];

/// Stdout of the program on a terminal. Its line breaks have a carriage return.
fn on_a_terminal(args: &[&str]) -> Vec<u8> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
    let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("text");
    let theirs = File::options().read(true).write(true).open(name).expect("the other end");
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null()).stdout(theirs).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // The command holds a copy of the other end while it exists.
    drop(command);
    let (mut shown, mut piece, mut ours) = (Vec::new(), [0; 4096], File::from(ours));
    // The read fails once all copies of the other end are closed.
    while let Ok(len @ 1..) = ours.read(&mut piece) {
        shown.extend_from_slice(&piece[..len]);
    }
    let ended = child.wait().expect("it ends");
    assert!(ended.success(), "{args:?}: {:?}", String::from_utf8_lossy(&shown));
    String::from_utf8_lossy(&shown).replace("\r\n", "\n").into_bytes()
}

fn text(shown: Vec<u8>) -> String {
    String::from_utf8(shown).expect("text")
}

#[test]
fn records_cannot_do_anything_to_a_terminal() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let json = serde_json::json!({ "name": HARMFUL, "\u{9b}": 1 }).to_string();
    let ids: Vec<String> = [HARMFUL.as_bytes(), json.as_bytes(), b"\x9b2J\xff\x1b"]
        .map(|bytes| tenure_with(&["put", &store, "--set", "bad", "-"], bytes).ok().trim().to_owned())
        .into();
    tenure_with(&["put", &store, "--set", "indexed", "-"], json.as_bytes()).ok();
    tenure(&["index", "create", &store, "indexed", "name", "--pointer", "/name"]).ok();
    let get = [&["get", &store][..], &ids.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    let with = |args: &[&'static str]| -> Vec<String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        [&[args[0].clone(), store.clone()][..], &args[1..]].concat()
    };
    let commands = [
        with(&["scan", "--set", "bad"]),
        with(&["scan", "--set", "bad", "--json"]),
        with(&["find", "indexed.name"]),
        with(&["find", "indexed.name", "--json"]),
        with(&["export", "--set", "bad"]),
        with(&["export", "--set", "indexed", "--format", "csv"]),
        get.iter().map(|arg| (*arg).to_owned()).collect(),
        get.iter().copied().chain(["--json"]).map(str::to_owned).collect(),
    ];
    for args in &commands {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let shown = text(on_a_terminal(&args));
        assert!(shown.contains('a') && shown.contains("[31m"), "{args:?}: {shown:?}");
        let obeyed = |char: char| OBEYED.contains(&char) || (char.is_control() && !matches!(char, '\n' | '\t'));
        assert!(!shown.contains(obeyed), "{args:?}: {shown:?}");
        if args.contains(&"--json") {
            // JSON contains the same as escapes.
            let parsed = |text: &str| -> Vec<serde_json::Value> {
                text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
            };
            assert_eq!(parsed(&shown), parsed(&tenure(&args).ok()), "{args:?}");
        }
    }
    let shown = text(on_a_terminal(&["get", &store, &ids[0]]));
    assert_eq!(shown, "a\\u001b[31mb\\u0007\\u001b]0;title\\u0007\\u009b2J\\u000dc\\u202ed\\u2066e\\u200ff\n");
    let shown = text(on_a_terminal(&["get", &store, &ids[2]]));
    assert_eq!(shown, "\\x9b2J\\xff\\u001b\n");
}

#[test]
fn the_bytes_themselves_can_be_asked_for() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let json = serde_json::json!({ "name": HARMFUL }).to_string();
    let id = tenure_with(&["put", &store, "--set", "bad", "-"], json.as_bytes()).ok().trim().to_owned();
    tenure(&["index", "create", &store, "bad", "name", "--pointer", "/name"]).ok();
    for args in [
        &["get", &store, &id, "--raw"][..],
        &["scan", &store, "--set", "bad", "--raw"],
        &["find", &store, "bad.name", "--raw"],
    ] {
        assert_eq!(text(on_a_terminal(args)), json, "{args:?}");
        assert_eq!(tenure(args).ok(), json, "{args:?}");
    }
    // A file or a pipe gets the bytes in any case.
    assert_eq!(tenure(&["get", &store, &id]).ok(), format!("{json}\n"));
    assert_eq!(tenure(&["find", &store, "bad.name"]).ok(), format!("{json}\n"));
}
