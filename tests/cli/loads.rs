//! Dumps that cannot be written or read, and loads that do not come to their end.

use std::fs;
use std::io::{Write, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Fixture, PEOPLE, PROGRAM, Run, tenure, tenure_under};
use crate::table::assert_told;

/// A store, and a dump of it.
fn dumped() -> (Fixture, String) {
    let fixture = Fixture::new();
    let file = fixture.path("things.dump");
    tenure(&["dump", &fixture.store(), &file]).ok();
    (fixture, file)
}

/// The same dump with one bit changed in a record.
fn damaged(fixture: &Fixture, file: &str) -> String {
    let mut bytes = fs::read(file).expect("there");
    let at = bytes.windows(5).position(|window| window == b"Grace").expect("a record");
    bytes[at] ^= 1;
    fixture.write("damaged.dump", &bytes)
}

/// A load that has begun, and waits for the rest of a dump.
fn waiting(fixture: &Fixture, file: &str) -> (Child, std::process::ChildStdin, String) {
    let new = fixture.path("waiting");
    let mut command = Command::new(PROGRAM);
    command.args(["load", "-", &new]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let whole = fs::read(file).expect("there");
    stdin.write_all(&whole[..whole.len() - 30]).expect("written");
    wait_until(|| Path::new(&new).join("unfinished").exists());
    (child, stdin, new)
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The CRC-32 of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _bit| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn reader_of_a_dump_that_leaves() {
    let fixture = Fixture::new();
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(PROGRAM);
    command.args(["dump", &fixture.store(), "-"]).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let run = Run::of(command.output().expect("the program starts"));
    assert_told("reader_of_a_dump_that_leaves", &run, "stdout");
    fixture.assert_unchanged();
}

#[test]
fn missing_dump() {
    let fixture = Fixture::new();
    let missing = fixture.path("missing.dump");
    assert_told("missing_dump", &tenure(&["load", &missing, &fixture.path("new")]), &missing);
    assert_told("missing_dump", &tenure(&["load", "--check", &missing]), &missing);
}

#[test]
fn what_is_no_dump() {
    let fixture = Fixture::new();
    let (file, new) = (fixture.write("letter", b"Dear Sir, this is not a dump."), fixture.path("new"));
    assert_told("what_is_no_dump", &tenure(&["load", &file, &new]), &file);
    assert!(!Path::new(&new).exists());
}

#[test]
fn dump_of_a_later_version() {
    let (fixture, file) = dumped();
    let mut bytes = fs::read(&file).expect("there");
    bytes[8] = 9;
    let check = crc32(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&check);
    let file = fixture.write("later.dump", &bytes);
    assert_told("dump_of_a_later_version", &tenure(&["load", &file, &fixture.path("new")]), &file);
    assert_told("dump_of_a_later_version", &tenure(&["load", "--check", &file]), &file);
}

#[test]
fn damaged_dump() {
    let (fixture, file) = dumped();
    let (bad, new) = (damaged(&fixture, &file), fixture.path("new"));
    assert_told("damaged_dump", &tenure(&["load", &bad, &new]), &format!("{bad} at byte "));
    // A whole copy goes on.
    tenure(&["load", &file, &new]).ok();
    assert_eq!(tenure(&["export", &new, "--set", "people"]).ok(), PEOPLE);
}

#[test]
fn damaged_dump_that_is_checked() {
    let (fixture, file) = dumped();
    let bad = damaged(&fixture, &file);
    assert_told("damaged_dump_that_is_checked", &tenure(&["load", "--check", &bad]), &format!("{bad} at byte "));
}

#[test]
fn damaged_dump_that_is_loaded_up_to_the_damage() {
    let (fixture, file) = dumped();
    let (bad, rest) = (damaged(&fixture, &file), fixture.path("rest"));
    let run = tenure(&["load", "--until-damage", &bad, &rest]);
    assert_told("damaged_dump_that_is_loaded_up_to_the_damage", &run, &bad);
    tenure(&["verify", &rest]).ok();
}

#[test]
fn load_into_a_directory_that_is_in_use() {
    let (fixture, file) = dumped();
    let other = fixture.path("other");
    fs::create_dir(&other).expect("made");
    fs::write(Path::new(&other).join("letter.txt"), "Dear Sir").expect("written");
    for place in [&other, &fixture.store()] {
        assert_told("load_into_a_directory_that_is_in_use", &tenure(&["load", &file, place]), place);
    }
    fixture.assert_unchanged();
}

#[test]
fn load_where_another_dump_was_interrupted() {
    let (fixture, file) = dumped();
    let (bad, new) = (damaged(&fixture, &file), fixture.path("new"));
    assert_eq!(tenure(&["load", &bad, &new]).code, 5);
    let other = fixture.path("other.dump");
    tenure(&["dump", &fixture.store(), &other]).ok();
    assert_told("load_where_another_dump_was_interrupted", &tenure(&["load", &other, &new]), &new);
    tenure(&["load", &file, &new]).ok();
}

#[test]
fn load_that_was_not_completed() {
    let (fixture, file) = dumped();
    let (bad, new) = (damaged(&fixture, &file), fixture.path("new"));
    assert_eq!(tenure(&["load", &bad, &new]).code, 5);
    assert_told("load_that_was_not_completed", &tenure(&["sets", &new]), &new);
}

#[test]
fn interrupted_load() {
    let (fixture, file) = dumped();
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, stdin, new) = waiting(&fixture, &file);
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("an ID")).expect("an ID");
        kill_process(pid, signal).expect("sent");
        wait_until(|| child.try_wait().expect("a child").is_some());
        drop(stdin);
        assert_told("interrupted_load", &Run::of(child.wait_with_output().expect("a child")), "stdin, interrupted");
        tenure(&["load", &file, &new]).ok();
        fs::remove_dir_all(&new).expect("deleted");
    }
}

#[test]
fn two_loads_into_one_place() {
    let (fixture, file) = dumped();
    let (mut child, stdin, new) = waiting(&fixture, &file);
    assert_told("two_loads_into_one_place", &tenure(&["load", &file, &new]), &new);
    child.kill().expect("killed");
    drop(stdin);
    child.wait().expect("a child");
}

#[test]
fn load_for_which_there_is_no_room() {
    let (fixture, file) = dumped();
    let new = fixture.path("new");
    let run = tenure_under("ulimit -f 1; exec \"$@\"", &["load", &file, &new]);
    assert_told("load_for_which_there_is_no_room", &run, "File too large");
    assert!(run.err.contains(&new), "{}", run.err);
    tenure(&["load", &file, &new]).ok();
    assert_eq!(tenure(&["export", &new, "--set", "people"]).ok(), PEOPLE);
}
