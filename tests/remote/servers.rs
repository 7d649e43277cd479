//! Writers that are killed, over a directory, or over a real server if `TENURE_REMOTE_URL` names a bucket of one.
//!
//! `tests/remote/moto.sh` starts a server and runs this. The child is this test program itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use tenure::backing::Files;
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Durability, Error, Options, RecordId, Store};

use crate::common::Rng;
use crate::proxy::Proxy;
use crate::{contents, rounds, small};

const LOCAL: &str = "TENURE_REMOTE_CHILD";
const URL: &str = "TENURE_REMOTE_CHILD_URL";
/// A child that has committed nothing for so long will not.
const PATIENCE: Duration = Duration::from_mins(1);

fn open_at(url: &str, local: &Path) -> tenure::Result<Store> {
    let how = RemoteOptions::new().lag(Duration::from_millis(5)).take_over(true).base_every(20);
    let files = Files::open(local).expect("a directory");
    small().background(true).open_backing(Arc::new(Remote::new(Arc::new(files), Bucket::at(url)?, how)))
}

/// Commits until it is killed. Does nothing unless a parent asks for it.
#[test]
fn child() {
    let (Ok(local), Ok(url)) = (std::env::var(LOCAL), std::env::var(URL)) else { return };
    let mut attempts = (0..20).map(|_| open_at(&url, Path::new(&local)));
    // The server may fail.
    let store = attempts.find(|opened| !matches!(opened, Err(Error::Io { .. } | Error::Locked { .. })));
    let store = store.expect("opens some time").expect("opens");
    let mut out = std::io::stdout().lock();
    // Each line in one write: a kill leaves whole lines, or none.
    let mut say = |line: String| out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("a pipe");
    let notes = store.record_set("notes").expect("a set");
    let mut rng = Rng::new(u64::from(std::process::id()));
    loop {
        let len = rng.below(2000);
        let value = rng.bytes(len);
        let sum = crc32fast::hash(&value);
        let durability = if rng.one_in(3) { Durability::Sync } else { Durability::Remote };
        say(format!("\nT {} {sum} .\n", value.len()));
        let (id, _) = store.write_with(durability, |tx| tx.insert(&notes, &*value)).expect("commits");
        say(format!("\n{} {id} {sum} .\n", if durability == Durability::Sync { "S" } else { "R" }));
    }
}

/// A directory of its own, in which the machine's store is.
fn machine(dir: &Path, number: u64) -> PathBuf {
    let path = dir.join(format!("machine {number}"));
    std::fs::create_dir(&path).expect("a new directory");
    path
}

#[test]
fn writers_that_are_killed_lose_nothing_that_they_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let of_files = format!("file://{}", dir.path().join("bucket").display());
    let real = std::env::var("TENURE_REMOTE_URL").ok();
    let url = real.map_or(of_files, |url| format!("{url}/{}", std::process::id()));
    let wanted = rounds("TENURE_REMOTE_KILLS", 6);
    // Servers for tests become slow with many objects.
    for begin in (0..wanted).step_by(100) {
        kill_writers(&format!("{url}/{begin}"), None, begin, (wanted - begin).min(100));
    }
}

/// Runs a writer for a while, or from its first commit that the bucket has on, and kills it. Returns what it said.
fn run_and_kill(url: &str, local: &Path, proxy: Option<&Proxy>, waits: bool, pause: Duration) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    if let Some(proxy) = proxy {
        command.env("AWS_ENDPOINT", proxy.endpoint());
    }
    let mut child = command
        .args(["servers::child", "--exact", "--nocapture"])
        .env(LOCAL, local)
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        for line in lines.lines().map_while(Result::ok) {
            if let Some(whole) = line.strip_suffix(" .") {
                said.push(whole.to_owned());
                if whole.starts_with('R') {
                    // Nobody waits for most of them.
                    tell.send(()).unwrap_or_default();
                }
            }
        }
        said
    });
    if waits {
        // However slow the machine is, something is acknowledged.
        told.recv_timeout(PATIENCE).expect("a first commit");
    }
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Kills writers of a bucket, which they may reach through a proxy, and looks at what they leave, without it.
pub fn kill_writers(url: &str, proxy: Option<&Proxy>, seed: u64, wanted: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(7 + seed);
    let mut local = machine(dir.path(), 0);
    let mut known: BTreeMap<RecordId, u32> = BTreeMap::new();
    let (mut acknowledged, mut lost) = (0, 0);
    for round in 1..=wanted {
        let pause = Duration::from_millis(u64::try_from(rng.below(400)).unwrap() + 50);
        let said = run_and_kill(url, &local, proxy, round.is_multiple_of(2), pause);
        let (mut only_local, mut tried) = (BTreeMap::new(), BTreeSet::new());
        for line in said {
            let words: Vec<&str> = line.split(' ').collect();
            let [how, id, sum] = words[..] else { panic!("{line}") };
            let sum: u32 = sum.parse().unwrap();
            if how == "T" {
                tried.insert(sum);
                continue;
            }
            let id: RecordId = id.parse().unwrap();
            if how == "R" {
                // Everything before it is in the bucket too.
                known.append(&mut only_local);
                known.insert(id, sum);
                acknowledged += 1;
            } else {
                only_local.insert(id, sum);
            }
        }
        if rng.one_in(2) {
            // The machine is lost.
            local = machine(dir.path(), round);
            lost += 1;
        } else {
            known.append(&mut only_local);
        }
        let store = open_at(url, &local).unwrap();
        let found: BTreeMap<RecordId, u32> =
            contents(&store).into_iter().map(|(id, value)| (id, crc32fast::hash(&value))).collect();
        for (id, sum) in &known {
            assert_eq!(found.get(id), Some(sum), "round {round}: {id} was acknowledged");
        }
        let mut others = found.iter().filter(|(id, sum)| known.get(id) != Some(sum));
        assert!(others.all(|(_, sum)| tried.contains(sum)), "round {round}: a record that nobody wrote");
        drop(store);
        let view = Bucket::at(url).and_then(|bucket| bucket.view(None)).unwrap();
        let reader = Options::new().read_only(true).background(false).open_backing(Arc::new(view)).unwrap();
        let in_bucket = contents(&reader).into_iter().map(|(id, value)| (id, crc32fast::hash(&value)));
        assert!(in_bucket.eq(found.clone()), "round {round}: the bucket has something else than its writer");
        known = found;
    }
    assert!(acknowledged > 0 || wanted < 6, "no commit was acknowledged by the bucket");
    println!("{wanted} kills, {lost} machines lost, {acknowledged} commits acknowledged by {url}");
}
