//! One round: a process that loads, measures and is killed, one that opens what it left, and one that opens what that
//! one closed.
//!
//! Owns: the lines in which a process reports its figures. Never: measures two rounds in one process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{argument, number, plain, store};

/// A figure of the store and its limit. Less is better, whatever the unit.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) store: f64,
    pub(crate) limit: f64,
}

impl Figure {
    pub(crate) fn tell(name: &str, unit: &str, store: f64, limit: f64) {
        println!("{name}\t{unit}\t{store}\t{limit}");
    }

    fn heard(line: &str) -> Option<Self> {
        let mut parts = line.split('\t');
        let (name, unit) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(Self { name, unit, store: parts.next()?.parse().ok()?, limit: parts.next()?.parse().ok()? })
    }
}

/// The last line of a process that waits to be killed.
const DONE: &str = "done";

/// What another process started this one for; `false` if it was not.
pub(crate) fn child() -> bool {
    let path = |name| argument(name).map(PathBuf::from);
    if let Some(dir) = path("--measure") {
        let records = number("--records", 0);
        let limits = plain::measure(&dir.join("plain"), records);
        let open = store::measure(&dir, records, &limits);
        println!("{DONE}");
        std::io::stdout().flush().expect("flushed");
        std::thread::sleep(Duration::from_mins(1));
        drop(open);
    } else if let Some(dir) = path("--recover") {
        store::recover(&dir);
    } else if let Some(dir) = path("--open") {
        store::open_closed(&dir);
    } else {
        return false;
    }
    true
}

/// The figures that a process reports until it ends, or says that it waits to be killed.
fn run(what: &str, dir: &Path, records: usize) -> Vec<Figure> {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.arg(what).arg(dir).arg("--records").arg(records.to_string()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("a process");
    let (mut found, mut is_waiting) = (Vec::new(), false);
    for line in BufReader::new(process.stdout.take().expect("its output")).lines() {
        let line = line.expect("a line");
        if line == DONE {
            is_waiting = true;
            process.kill().expect("killed");
            break;
        }
        // Shows the progress.
        eprintln!("{records} records: {}", line.replace('\t', " "));
        found.extend(Figure::heard(&line));
    }
    let status = process.wait().expect("its end");
    assert!(is_waiting || status.success(), "{what} ended with {status}");
    found
}

/// All figures of one round.
pub(crate) fn figures(records: usize) -> Vec<Figure> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut found = run("--measure", dir.path(), records);
    found.extend(run("--recover", dir.path(), records));
    found.extend(run("--open", dir.path(), records));
    found
}
