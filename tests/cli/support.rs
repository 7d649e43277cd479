//! Runs the program, and creates a store with a few records to run it on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tenure");

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let err = String::from_utf8(output.stderr).expect("stderr is text");
        Self { code: output.status.code().expect("no signal ended it"), out: output.stdout, err }
    }

    /// Stdout of a run that must have succeeded without output on stderr.
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""));
        String::from_utf8(self.out).expect("stdout is text")
    }

    /// Stdout of a run that must have succeeded, as one JSON document.
    pub fn json(self) -> Value {
        let text = self.ok();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Stdout of a run that must have succeeded, as JSON Lines.
    pub fn json_lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Runs the program.
pub fn tenure(args: &[&str]) -> Run {
    Run::of(Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().expect("the program starts"))
}

/// Runs the program with `input` on stdin.
pub fn tenure_with(args: &[&str], input: &[u8]) -> Run {
    let mut command = Command::new(PROGRAM);
    let command = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that stops early may close the pipe.
        drop(stdin.write_all(&input));
    });
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends");
    Run::of(output)
}

/// Runs the program in a shell line with a limit or a redirection; `"$@"` is the program with its arguments.
pub fn tenure_under(script: &str, args: &[&str]) -> Run {
    let shell = Command::new("sh").args(["-c", script, "sh", PROGRAM]).args(args).stdin(Stdio::null()).output();
    Run::of(shell.expect("the shell starts"))
}

/// Reports that a test was skipped, and why. It avoids the standard macros, whose output is hidden when a test passes.
pub fn skip(reason: &str) {
    std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes()).expect("stderr is open");
}

/// A directory with a store: the set `people` with three JSON records, `notes` with text and bytes.
pub struct Fixture {
    dir: TempDir,
    before: Vec<(String, String)>,
}

/// The records of `people`, as they are imported and exported.
pub const PEOPLE: &str =
    "{\"name\":\"Ada\",\"age\":36}\n{\"name\":\"Grace\",\"age\":85}\n{\"name\":\"Emmy\",\"age\":53}\n";

impl Fixture {
    pub fn new() -> Self {
        let mut fixture = Self { dir: tempfile::tempdir().expect("a directory"), before: Vec::new() };
        let people = fixture.write("people.jsonl", PEOPLE.as_bytes());
        tenure(&["import", &fixture.store(), &people, "--set", "people"]).ok();
        tenure(&["put", &fixture.store(), "--set", "notes", "remember the milk"]).ok();
        tenure_with(&["put", &fixture.store(), "--set", "notes", "-"], b"\xff\x00\xfe").ok();
        fixture.before = fixture.export_all();
        fixture
    }

    pub fn store(&self) -> String {
        self.path("store")
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a path of text").to_owned()
    }

    /// Writes a file to the directory; returns its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("written");
        path
    }

    /// The IDs of a set.
    pub fn ids(&self, set: &str) -> Vec<String> {
        let ids = tenure(&["scan", &self.store(), "--set", set, "--ids-only"]).ok();
        ids.lines().map(str::to_owned).collect()
    }

    pub fn export(&self, set: &str) -> String {
        tenure(&["export", &self.store(), "--set", set, "--with-ids"]).ok()
    }

    fn export_all(&self) -> Vec<(String, String)> {
        ["people", "notes"].map(|set| (set.to_owned(), self.export(set))).into()
    }

    /// Asserts that the original content is still there, and that the store verifies.
    pub fn assert_unchanged(&self) {
        assert_eq!(self.export_all(), self.before);
        tenure(&["verify", &self.store()]).ok();
    }

    /// The files of the store, with their contents.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_of(Path::new(&self.store()))
    }
}

/// The files of a directory, with their contents, in the order of their names.
pub fn files_of(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
    files.sort();
    files
}
