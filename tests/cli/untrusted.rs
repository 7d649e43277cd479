//! Malicious inputs: lines and rows without an end, compressed or not, and of extreme width; directories that are not
//! stores.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Fixture, PROGRAM, Run, tenure, tenure_under};

/// Time limit for a command that must end by itself.
const PATIENCE: Duration = Duration::from_mins(1);

fn packed(source: impl Read) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut { source }, &mut encoder).expect("packed");
    encoder.finish().expect("packed")
}

/// The end of a process, which must end by itself.
fn ended(mut child: Child) -> Run {
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().expect("killed");
            panic!("it did not end by itself: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Run::of(child.wait_with_output().expect("a child"))
}

fn import_from(stdin: impl Into<Stdio>, store: &str, more: &[&str]) -> Child {
    let args = [&["import", store, "-", "--set", "new", "--line-bytes-max", "64KiB"][..], more].concat();
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

#[test]
fn a_line_that_does_not_end_is_told_as_soon_as_it_is_too_long() {
    let fixture = Fixture::new();
    for (format, head) in [("jsonl", "1\n"), ("csv", "a\n1\n")] {
        // The line continues, but no more input comes: a reader of the whole line would wait.
        let mut child = import_from(Stdio::piped(), &fixture.store(), &["--format", format]);
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(format!("{head}{}", "x".repeat(1 << 20)).as_bytes()).unwrap_or_default();
        let run = ended(child);
        assert_eq!(run.code, 5, "{}", run.err);
        let line = head.lines().count() + 1;
        assert!(run.err.contains(&format!("stdin, line {line}, ")), "{}", run.err);
        assert!(run.err.contains("is longer than --line-bytes-max allows"), "{}", run.err);
        assert!(
            run.err.contains(&format!(
                "1 record before that line stored; fix the line, then resume with --from-line {line}\n"
            )),
            "{}",
            run.err
        );
        drop(stdin);
    }
}

#[test]
fn a_packed_line_is_not_unpacked_to_its_end() {
    let fixture = Fixture::new();
    for (name, head) in [("a.jsonl.gz", "1\n"), ("a.csv.gz", "a\n1\n")] {
        // The file is damaged after the part that may be read: reading on would detect it.
        let mut bytes = packed(head.as_bytes().chain(std::io::repeat(b'x').take(64 << 20)));
        let half = bytes.len() / 2;
        bytes[half..].fill(0xff);
        let file = fixture.write(name, &bytes);
        let run = tenure(&["import", &fixture.store(), &file, "--set", "new", "--line-bytes-max", "64KiB"]);
        assert_eq!(run.code, 5, "{}", run.err);
        assert!(run.err.contains("is longer than --line-bytes-max allows"), "{}", run.err);
    }
}

#[test]
fn what_is_too_long_is_passed_over_when_asked_for() {
    let fixture = Fixture::new();
    let long = "y".repeat(300 << 10);
    for (format, head, good, bad) in [
        ("jsonl", "", ["{\"a\":\"1\"}", "{\"a\":\"2\"}"], vec![long.clone(), format!("{long}, \"{long}")]),
        (
            "csv",
            "a\n",
            ["1", "2"],
            vec![long.clone(), format!("\"{long}\n\"\"{long}\""), ",".repeat(5000), format!("\"{long}\"\"x\"")],
        ),
    ] {
        let rows: Vec<String> = bad.iter().map(|bad| format!("{}\n{bad}\n{}\n", good[0], good[1])).collect();
        let file = fixture.write(&format!("long.{format}"), format!("{head}{}", rows.concat()).as_bytes());
        let run = tenure(&[
            "import",
            &fixture.store(),
            &file,
            "--set",
            format,
            "--line-bytes-max",
            "64KiB",
            "--on-error",
            "skip",
        ]);
        assert_eq!(run.code, 0, "{}", run.err);
        assert_eq!(run.err.lines().count(), bad.len(), "{}", run.err);
        let all = tenure(&["export", &fixture.store(), "--set", format]).ok();
        assert_eq!(all, "{\"a\":\"1\"}\n{\"a\":\"2\"}\n".repeat(bad.len()), "{format}");
    }
}

#[test]
fn a_row_of_nothing_but_commas_takes_little_memory() {
    let fixture = Fixture::new();
    let commas = fixture.write("commas.csv.gz", &packed(std::io::repeat(b',').take(32 << 20)));
    let below = [b"a,b\n1,2\n".as_slice(), &vec![b','; 32 << 20], b"\n3,4\n"].concat();
    let below = fixture.write("below.csv.gz", &packed(below.as_slice()));
    let limited = |file: &str, more: &[&str]| {
        let store = fixture.store();
        let args = [&["import", &store, file, "--set", "new", "--transaction-bytes-max", "1MiB"][..], more].concat();
        tenure_under(r#"ulimit -v 600000; exec "$@""#, &args)
    };
    let run = limited(&commas, &[]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(
        run.err.contains("line 1, the row has more than the 4194304 fields that --line-bytes-max allows"),
        "{}",
        run.err
    );
    let run = limited(&below, &["--on-error", "skip"]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("line 3, the row has more than the 4194304 fields"), "{}", run.err);
    assert_eq!(
        tenure(&["export", &fixture.store(), "--set", "new"]).ok(),
        "{\"a\":\"1\",\"b\":\"2\"}\n{\"a\":\"3\",\"b\":\"4\"}\n"
    );
}

#[test]
fn wide_headers_take_time_in_proportion() {
    let fixture = Fixture::new();
    let columns = 200_000;
    let header: Vec<String> = (0..columns).map(|column| format!("column-{column}")).collect();
    let file =
        fixture.write("wide.csv", format!("{}\n{}\n", header.join(","), vec!["1"; columns].join(",")).as_bytes());
    let begun = Instant::now();
    let told = tenure(&["import", &fixture.store(), &file, "--set", "new", "--json"]).json();
    // With quadratic time it took minutes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(told["records"], 1);
    let twice = fixture.write("twice.csv", format!("{},column-7,column-8\n", header.join(",")).as_bytes());
    let run = tenure(&["import", &fixture.store(), &twice, "--set", "new"]);
    assert!(run.err.contains("field 200001: the name \"column-7\" appears twice"), "{}", run.err);
}

#[test]
fn a_restore_of_what_is_no_store_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let at = |name: &str| fixture.path(name);
    fs::create_dir(at("empty")).expect("made");
    fs::create_dir(at("other")).expect("made");
    fs::write(at("other/file"), "x").expect("written");
    fs::create_dir(at("unfinished")).expect("made");
    fs::write(at("unfinished/unfinished"), "").expect("written");
    // A manifest without an entry, and a store that was not closed.
    fs::create_dir(at("begun")).expect("made");
    let manifest = files_named(&fixture.store(), "manifest");
    fs::copy(&manifest, Path::new(&at("begun")).join(Path::new(&manifest).file_name().expect("a name")))
        .expect("copied");
    let file = fixture.write("file", b"x");
    for from in [at("missing"), at("empty"), at("other"), at("unfinished"), at("begun"), file] {
        let to = at("restored");
        let run = tenure(&["restore", &from, &to]);
        assert!(matches!(run.code, 4 | 8), "{from}: {} {}", run.code, run.err);
        assert!(!Path::new(&to).exists(), "{from}: something was made");
        // A directory with foreign files is not reported as an unfinished copy.
        let run = tenure(&["restore", &from, &at("other")]);
        assert!(run.code != 0 && !run.err.contains("other is unfinished"), "{from}: {}", run.err);
        assert_eq!(fs::read_dir(at("other")).expect("a directory").count(), 1);
    }
}

/// A file of the store with this name prefix.
fn files_named(store: &str, begin: &str) -> String {
    let entries = fs::read_dir(store).expect("a directory").map(|entry| entry.expect("an entry").path());
    let found =
        entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin))).min();
    found.expect("a file").to_str().expect("text").to_owned()
}
