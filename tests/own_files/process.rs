//! Child processes that execute commands, line by line, and report the results.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tenure::{Durability, Options, RecordId, Store};

const ROLE: &str = "TENURE_OWN_FILES_ROLE";
const PATH: &str = "TENURE_OWN_FILES_PATH";
const HOW: &str = "TENURE_OWN_FILES_HOW";

/// The smallest segments, so that files come and go.
pub fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(64 << 10)
}

/// The role and directory of this process; `None` for the test binary itself.
pub fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(PATH).ok()?.into()))
}

pub fn how(word: &str) -> bool {
    std::env::var(HOW).is_ok_and(|how| how.split(' ').any(|found| found == word))
}

/// Another process.
pub struct Other {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Other {
    pub fn start(role: &str, path: &Path, how: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["role", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .envs([(ROLE, role), (HOW, how)])
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let said = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, said }
    }

    /// Says a line, and waits for the answer.
    pub fn tell(&mut self, line: &str) -> String {
        let input = self.process.stdin.as_mut().expect("its input");
        writeln!(input, "{line}").expect("it listens");
        self.answer()
    }

    /// The next line that is meant for us.
    pub fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).expect("it speaks") > 0, "it ended without an answer");
            if let Some((_, answer)) = line.split_once("> ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// Waits for its end, which is a good one.
    pub fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().expect("it ends").success());
    }
}

/// Answers whoever started this process.
pub fn say(answer: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "> {answer}").and_then(|()| out.flush()).expect("somebody listens");
}

/// The next order.
pub fn listen() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).expect("reads");
    (read > 0).then(|| line.trim_end().to_owned())
}

pub fn put(store: &Store, value: &[u8], durability: Durability) -> tenure::Result<RecordId> {
    let set = store.record_set("a")?;
    let mut tx = store.begin()?;
    let id = tx.insert(&set, value)?;
    tx.commit_with(durability)?;
    Ok(id)
}

/// Opens the store and executes commands: `put TEXT`, `buffered TEXT`, `many COUNT`, `close`.
pub fn write_as_told(path: &Path) {
    let store = options().background(!how("alone")).open(path);
    say(&store.as_ref().map_or_else(ToString::to_string, |_| "open".to_owned()));
    let mut store = store.ok();
    while let (Some(order), Some(open)) = (listen(), &store) {
        let (verb, text) = order.split_once(' ').unwrap_or((&order, ""));
        let result = match verb {
            "put" => put(open, text.as_bytes(), Durability::Sync).map(|id| id.to_string()),
            "buffered" => put(open, text.as_bytes(), Durability::Buffered).map(|id| id.to_string()),
            "many" => many(open, text.parse().expect("a number")).map(|()| "done".to_owned()),
            "close" => store.take().expect("is open").close().map(|()| "closed".to_owned()),
            other => panic!("no order {other:?}"),
        };
        say(&result.unwrap_or_else(|error| format!("error: {error}")));
    }
}

/// So many commits, in which segments come and go, snapshots are saved and dropped, and files are deleted.
pub fn many(store: &Store, count: u32) -> tenure::Result<()> {
    let mut last = None;
    for number in 0..count {
        let durability = if number % 50 == 0 { Durability::Sync } else { Durability::Buffered };
        let id = put(store, &[7; 3_000], durability)?;
        if let Some(before) = last.replace(id) {
            store.write(|tx| tx.delete(before))?;
        }
        if number % 100 == 99 {
            store.save_named_snapshot("for a while")?;
            store.collect(None)?;
            store.drop_snapshot("for a while")?;
        }
    }
    Ok(())
}

/// What a store that nobody writes to says under these IDs. It has no damage.
pub fn values(path: &Path, ids: &[String]) -> Vec<String> {
    let report = tenure::verify::verify(path, &mut |_| {}).expect("verifies");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let store = Options::new().read_only(true).open(path).expect("opens for reading");
    let value = |id: &String| match store.get(id.parse().expect("an ID")) {
        Ok(record) => String::from_utf8_lossy(&record.to_vec().expect("reads")).into_owned(),
        Err(error) => format!("error: {error}"),
    };
    ids.iter().map(value).collect()
}
