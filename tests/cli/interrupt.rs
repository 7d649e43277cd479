//! Ctrl-C in the middle of an import.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Fixture, PROGRAM, Run, tenure};

const ROWS: usize = 1_000;

/// Rows with the numbers from zero on.
fn lines(count: usize) -> String {
    (0..count).map(|row| format!("{row}\n")).collect::<Vec<_>>().concat()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("an ID")).expect("an ID");
    kill_process(pid, signal).expect("sent");
}

/// Waits for a condition that is expected soon.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An import that has stored `ROWS` rows, has read a part of another, and waits for more.
fn waiting(fixture: &Fixture, format: &str, batch: &str) -> (Child, std::process::ChildStdin) {
    let ids = fixture.path("ids");
    let args = ["import", &fixture.store(), "-", "--set", "new", "--format", format, "--batch", batch, "--ids", &ids];
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let head = if format == "csv" { "n\n" } else { "" };
    let rows = lines(ROWS);
    stdin.write_all(format!("{head}{rows}").as_bytes()).expect("written");
    let written = ROWS / batch.parse::<usize>().expect("a number") * batch.parse::<usize>().expect("a number");
    wait_until(|| fs::read_to_string(&ids).is_ok_and(|ids| ids.lines().count() == written));
    stdin.write_all(b"\"half").expect("written");
    (child, stdin)
}

/// An import that was interrupted while it waited for the rest of a line.
pub fn interrupted(fixture: &Fixture, format: &str, batch: &str, signal: Signal) -> Run {
    let (mut child, stdin) = waiting(fixture, format, batch);
    send(&child, signal);
    wait_until(|| child.try_wait().expect("a child").is_some());
    drop(stdin);
    Run::of(child.wait_with_output().expect("a child"))
}

#[test]
fn what_was_read_is_stored_and_the_import_goes_on_from_there() {
    for (format, batch, signal) in
        [("jsonl", "100", Signal::INT), ("csv", "100", Signal::TERM), ("jsonl", "300", Signal::INT)]
    {
        let fixture = Fixture::new();
        let run = interrupted(&fixture, format, batch, signal);
        let line = ROWS + 1 + usize::from(format == "csv");
        assert_eq!(run.code, 130, "{}", run.err);
        let told = format!(
            "error: stdin, line {line}, interrupted\nhelp: 1,000 records before that line stored; resume with --from-line {line}\n"
        );
        assert_eq!(run.err, told);
        let stored = tenure(&["export", &fixture.store(), "--set", "new"]).ok();
        assert_eq!(stored.lines().count(), ROWS);
        fixture.assert_unchanged();
        let again = lines(ROWS + 2);
        let file = fixture.write(
            &format!("again.{format}"),
            format!("{}{again}", if format == "csv" { "n\n" } else { "" }).as_bytes(),
        );
        tenure(&["import", &fixture.store(), &file, "--set", "new", "--from-line", &line.to_string()]).ok();
        assert_eq!(tenure(&["export", &fixture.store(), "--set", "new"]).ok().lines().count(), ROWS + 2);
    }
}

#[test]
fn interrupted_before_the_first_row() {
    let fixture = Fixture::new();
    let new = fixture.path("new");
    let mut command = Command::new(PROGRAM);
    command
        .args(["import", &new, "-", "--set", "a"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let stdin = child.stdin.take();
    let status = format!("/proc/{}/status", child.id());
    // Sent when the signal is watched for: bit 2 is SIGINT.
    wait_until(|| {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 2 != 0))
    });
    send(&child, Signal::INT);
    wait_until(|| child.try_wait().expect("a child").is_some());
    drop(stdin);
    let run = Run::of(child.wait_with_output().expect("a child"));
    assert_eq!((run.code, run.err.as_str()), (130, "error: stdin, interrupted\nhelp: nothing is stored\n"));
    assert!(!std::path::Path::new(&new).exists(), "a store was made for nothing");
}
