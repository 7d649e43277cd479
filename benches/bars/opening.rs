//! Opening after a close and after a kill. Children of this program load and are killed, or open and report.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tenure::{Durability, Options};

use crate::common::{BATCH, VALUE_BYTES, argument, figure, flag, median, path_of, value};
use crate::indexed;

pub(crate) fn heap_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// `--child PATH`: loads, prints, and waits to be killed. `--open PATH`: opens and prints time and heap.
pub(crate) fn child() -> bool {
    if let Some(path) = path_of("--child") {
        load(&path);
    } else if let Some(path) = path_of("--open") {
        open(&path);
    } else {
        return false;
    }
    true
}

fn load(path: &Path) {
    let durability = if flag("--durable") { Durability::Sync } else { Durability::Buffered };
    let options = Options::new().durability(durability).snapshot_log_bytes(u64::MAX).dirty_bytes_max(1 << 40);
    let store = options.open(path).expect("a store");
    let set = store.record_set("things").expect("a set");
    if flag("--indexed") {
        indexed::indexes(&store, &set);
    }
    let (count, end) = (argument("--records", 1_000_000), argument("--log-bytes", usize::MAX) as u64);
    let mut bytes = [0; VALUE_BYTES];
    let batch = if flag("--singly") { 1 } else { BATCH };
    let begin = Instant::now();
    for first in (0..count).step_by(batch) {
        if batch > 1 && store.stats().log_bytes_since_snapshot >= end {
            break;
        }
        let mut tx = store.begin().expect("begin");
        for number in first..(first + batch).min(count) {
            value(number as u64, &mut bytes);
            tx.insert(&set, bytes).expect("insert");
        }
        tx.commit_with(durability).expect("commit");
    }
    if flag("--synced") {
        store.sync().expect("synced");
        store.mark("synced").expect("marked");
    }
    println!("{} us to load", begin.elapsed().as_micros());
    std::io::stdout().flush().expect("flushed");
    std::thread::sleep(Duration::from_mins(1));
}

fn open(path: &Path) {
    let before = heap_kib();
    let start = Instant::now();
    let store = Options::new().background(false).read_only(flag("--read-only")).open(path).expect("a store");
    let time = start.elapsed();
    let report = store.recovery_report();
    println!(
        "{} us, heap +{} KiB (index {} KiB), replayed {} bytes, copied {} bytes, {} records",
        time.as_micros(),
        heap_kib().saturating_sub(before),
        store.stats().heap_bytes >> 10,
        report.bytes_replayed,
        report.bytes_copied,
        store.stats().records,
    );
}

pub(crate) fn open_in_child(path: &Path) -> String {
    open_with(path, &[])
}

fn open_with(path: &Path, more: &[&str]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let output = command.arg("--open").arg(path).args(more).output().expect("run");
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What opening reported after a child has loaded and was killed.
fn killed(path: &Path, arguments: &[&str]) -> String {
    loaded_and_killed(path, arguments).2
}

/// What a child said when it had loaded, and what opening it for reading and then for writing reported after the kill.
fn loaded_and_killed(path: &Path, arguments: &[&str]) -> (String, String, String) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("--child").arg(path).args(arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("child");
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(child.stdout.take().expect("piped"));
    reader.read_line(&mut line).expect("a line");
    child.kill().expect("killed");
    child.wait().expect("ended");
    let read = open_with(path, &["--read-only"]);
    let opened = open_in_child(path);
    std::fs::remove_dir_all(path).expect("removed");
    (line, read, opened)
}

fn first_number(text: &str) -> f64 {
    text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
}

/// How many times as fast as the writer an opening for reading replays, which copies nothing and saves no snapshot: commits of one record, and batches, without indexes and with two.
pub(crate) fn beside_the_writer(count: usize, rounds: usize) {
    let count = count.to_string();
    for (what, more) in [
        ("commits of one record", &["--singly"][..]),
        ("batches", &[][..]),
        ("commits of one record, two indexes", &["--singly", "--indexed"][..]),
        ("batches, two indexes", &["--indexed"][..]),
    ] {
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let dir = tempfile::tempdir().expect("a directory");
            let mut arguments = vec!["--records", &count];
            arguments.extend(more);
            let (loaded, read, opened) = loaded_and_killed(&dir.path().join("killed"), &arguments);
            println!("{what}: {}; opened for reading: {read}; for writing: {opened}", loaded.trim());
            ratios.push(first_number(&loaded) / first_number(&read));
        }
        figure(&format!("replay to writing, {what}"), median(ratios), 3.0, true, "times as fast");
    }
}

pub(crate) fn kill_and_open(dir: &Path, count: usize, synced: bool) {
    let count_text = count.to_string();
    let mut arguments = vec!["--records", &count_text];
    if synced {
        arguments.push("--synced");
    }
    let opened = killed(&dir.join("killed"), &arguments);
    println!("open after kill, {count} records, synced {synced}: {opened}");
}

/// A log tail of 64 MiB written by durable commits, without indexes and with two.
pub(crate) fn durable_tails(rounds: usize) {
    let log_bytes = (64_usize << 20).to_string();
    for (what, bar_ms, more) in [("without indexes", 150.0, &[][..]), ("with two indexes", 600.0, &["--indexed"][..])] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let dir = tempfile::tempdir().expect("a directory");
            let mut arguments = vec!["--durable", "--log-bytes", &log_bytes];
            arguments.extend(more);
            let opened = killed(&dir.path().join("killed"), &arguments);
            println!("open after kill, 64 MiB of durable commits, {what}: {opened}");
            let micros = opened.split(' ').next().and_then(|word| word.parse::<f64>().ok());
            times.push(micros.expect("a time") / 1000.0);
        }
        figure(&format!("open after kill, {what}"), median(times), bar_ms, false, "ms");
    }
}
