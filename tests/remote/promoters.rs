//! Two processes take over one bucket, or one directory, at the same time. The children are this test program itself.
//! `TENURE_REMOTE_PROMOTERS` sets the number of rounds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tenure::backing::Files;
use tenure::remote::{Bucket, Remote, RemoteOptions};
use tenure::{Durability, Error, Follower, Options, Store};

use crate::{contents, rounds, small};

const WHAT: &str = "TENURE_PROMOTER";
const LOCAL: &str = "TENURE_PROMOTER_LOCAL";
/// Set if promoters take the log objects of others for their own.
const FAULT: &str = "TENURE_PROMOTER_FAULT";

fn how() -> RemoteOptions {
    RemoteOptions::new().lag(Duration::from_millis(5)).close_wait(Duration::from_secs(2))
}

fn promote(follower: Follower, local: &Path, is_bucket: bool) -> tenure::Result<Store> {
    if is_bucket {
        std::fs::create_dir(local).expect("a new directory");
        return follower.promote_into(Arc::new(Files::open(local).expect("a directory")), &small(), how());
    }
    follower.promote(&small(), Duration::from_millis(300))
}

fn commit(store: &Store, value: &str, is_bucket: bool) -> tenure::Result<String> {
    let notes = store.record_set("notes")?;
    let durability = if is_bucket { Durability::Remote } else { Durability::Sync };
    let (id, _) = store.write_with(durability, |tx| tx.insert(&notes, value))?;
    Ok(format!("{id} {value}"))
}

/// Follows, and promotes and commits when told to. Does nothing unless a parent asks for it.
#[test]
fn promoter() {
    let (Ok(what), Ok(local)) = (std::env::var(WHAT), std::env::var(LOCAL)) else { return };
    let is_bucket = what.contains("://");
    let mut told = std::io::stdin().lock().lines();
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| out.write_all(format!("\n: {line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
    #[cfg(feature = "planted")]
    if std::env::var_os(FAULT).is_some() {
        tenure::planted::plant(Some(tenure::planted::Fault::ExistsIsStored));
    }
    let follower = Store::follow(&what).unwrap();
    say("ready".to_owned());
    told.next().unwrap().unwrap();
    let store = match promote(follower, Path::new(&local), is_bucket) {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error, Error::Locked { .. } | Error::Fenced { .. }), "{error}");
            return say(format!("refused {error}"));
        }
    };
    for number in 1..=2 {
        match commit(&store, &format!("{}-{number}", std::process::id()), is_bucket) {
            Ok(told) => say(format!("committed {told}")),
            Err(error) => {
                assert!(is_fenced(&error), "{error}");
                return say(format!("fenced {error}"));
            }
        }
    }
    say("waiting".to_owned());
    told.next().unwrap().unwrap();
    match commit(&store, "last", is_bucket) {
        Ok(told) => say(format!("last {told}")),
        Err(error) => {
            assert!(is_fenced(&error), "{error}");
            say(format!("fenced {error}"));
        }
    }
    drop(store);
}

fn is_fenced(error: &Error) -> bool {
    matches!(error, Error::Fenced { .. }) || error.to_string().contains("taken over")
}

struct Promoter {
    child: Child,
    tell: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Promoter {
    fn start(what: &str, local: &Path, is_faulty: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .envs(is_faulty.then_some((FAULT, "1")))
            .args(["promoters::promoter", "--exact", "--nocapture"])
            .env(WHAT, what)
            .env(LOCAL, local)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if is_faulty { Stdio::null() } else { Stdio::inherit() })
            .spawn()
            .unwrap();
        let (tell, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        Self { child, tell, lines }
    }

    fn tell(&mut self) {
        // It may have ended.
        drop(self.tell.write_all(b"go\n"));
    }

    /// What it says next; `None` if it has ended.
    fn said(&mut self) -> Option<String> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix(": ").map(str::to_owned))
    }

    fn end(mut self) {
        assert!(self.child.wait().unwrap().success(), "a promoter failed");
    }
}

/// How much later than the first the second one is told: both list the same epochs, or the second one finds that of the first.
fn lag(round: u64) -> Duration {
    Duration::from_millis(round % 10 * 4)
}

/// Lets two take over, the second one so much later. Returns how many were refused, and how many were fenced.
fn compete(
    what: &str,
    locals: [&Path; 2],
    lag: Duration,
    known: &mut BTreeMap<String, String>,
    is_faulty: bool,
) -> [usize; 2] {
    let mut both = locals.map(|local| Promoter::start(what, local, is_faulty));
    for one in &mut both {
        assert_eq!(one.said().as_deref(), Some("ready"));
    }
    let [first, second] = &mut both;
    first.tell();
    std::thread::sleep(lag);
    second.tell();
    let (mut refused, mut fenced, mut won) = (0, 0, 0);
    let mut told = |line: String, counts: [&mut usize; 3]| {
        let [refused, fenced, won] = counts;
        match line.split_once(' ') {
            Some(("committed", commit)) => {
                let (id, value) = commit.split_once(' ').unwrap();
                assert_eq!(known.insert(id.to_owned(), value.to_owned()), None, "{id} was acknowledged twice");
            }
            Some(("last", commit)) => {
                let (id, value) = commit.split_once(' ').unwrap();
                assert_eq!(known.insert(id.to_owned(), value.to_owned()), None, "{id} was acknowledged twice");
                *won += 1;
            }
            Some(("refused", _)) => *refused += 1,
            Some(("fenced", _)) => *fenced += 1,
            _ => panic!("{line}"),
        }
    };
    // Only when both are where they have come to, the last commit decides.
    for one in &mut both {
        while let Some(line) = one.said().filter(|line| line != "waiting") {
            told(line, [&mut refused, &mut fenced, &mut won]);
        }
    }
    for mut one in both {
        one.tell();
        while let Some(line) = one.said() {
            told(line, [&mut refused, &mut fenced, &mut won]);
        }
        one.end();
    }
    assert_eq!((won, refused + fenced), (1, 1), "one goes on, the other is told");
    [refused, fenced]
}

fn check(store: &Store, known: &BTreeMap<String, String>) {
    let found: BTreeMap<String, String> =
        contents(store).into_iter().map(|(id, value)| (id.to_string(), String::from_utf8(value).unwrap())).collect();
    let lost: Vec<_> = known.iter().filter(|(id, value)| found.get(*id) != Some(value)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

/// Lets two take over a bucket at once, again and again.
fn take_over_often(wanted: u64, is_faulty: bool) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("bucket").display());
    let bucket = Bucket::at(&url).unwrap();
    let open = |name: &str| {
        let local = dir.path().join(name);
        std::fs::create_dir(&local).unwrap();
        let remote = Remote::new(Arc::new(Files::open(&local).unwrap()), bucket.clone(), how().take_over(true));
        small().open_backing(Arc::new(remote)).unwrap()
    };
    let (mut known, mut outcomes) = (BTreeMap::new(), [0, 0]);
    // The first writer lives on, and is taken over; later ones have closed the store.
    let old = open("old");
    let (id, _) = old.write_with(Durability::Remote, |tx| tx.insert(&old.record_set("notes")?, "old")).unwrap();
    known.insert(id.to_string(), "old".to_owned());
    for round in 0..wanted {
        let locals = ["a", "b"].map(|name| dir.path().join(format!("{name} {round}")));
        let [refused, fenced] = compete(&url, [&locals[0], &locals[1]], lag(round), &mut known, is_faulty);
        outcomes = [outcomes[0] + refused, outcomes[1] + fenced];
        let reader = Options::new().read_only(true).open_backing(Arc::new(bucket.view(None).unwrap())).unwrap();
        check(&reader, &known);
    }
    let late = old.write_with(Durability::Remote, |tx| tx.insert(&old.record_set("notes")?, "late"));
    assert!(matches!(late, Err(Error::Fenced { .. })), "{late:?}");
    check(&open("last"), &known);
    println!("{} commits acknowledged; {} refused, {} fenced", known.len(), outcomes[0], outcomes[1]);
}

#[test]
fn of_two_processes_that_take_over_a_bucket_one_goes_on() {
    take_over_often(rounds("TENURE_REMOTE_PROMOTERS", 6), false);
}

#[cfg(feature = "planted")]
#[test]
fn promoters_that_take_objects_of_others_for_their_own_are_found() {
    let found = std::panic::catch_unwind(|| take_over_often(300, true));
    assert!(found.is_err(), "nothing was lost, or acknowledged twice");
}

#[test]
fn of_two_processes_that_take_over_a_directory_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = small().open(&path).unwrap();
    store.record_set("notes").unwrap();
    let mut known = BTreeMap::new();
    drop(store);
    for round in 0..3 {
        let [refused, fenced] = compete(path.to_str().unwrap(), [&path, &path], lag(round), &mut known, false);
        assert_eq!((refused, fenced), (1, 0));
        check(&small().open(&path).unwrap(), &known);
    }
}
