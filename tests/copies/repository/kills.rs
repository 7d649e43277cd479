//! A process that backs up and prunes is killed at random moments. What the repository lists is whole, and equals the states
//! that the process told before.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tenure::repository::{At, Keep, Repository};
use tenure::{RecordId, Seq, Store};

use crate::common::{Contents, Rng, contents, test_name};
use crate::repository::{add, go_on, restored, rounds, small};

const PATH: &str = "TENURE_REPOSITORY_PATH";
const SEED: &str = "TENURE_REPOSITORY_SEED";

/// A number that two states share only if they are equal.
fn digest(contents: &Contents) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (set, records) in contents {
        set.hash(&mut hasher);
        records.hash(&mut hasher);
    }
    hasher.finish()
}

fn change(store: &Store, rng: &mut Rng, live: &mut Vec<RecordId>) {
    let set = store.record_set("a").expect("a set");
    let mut tx = store.begin().expect("begins");
    for _ in 0..rng.below(60) {
        let value = rng.bytes(2_000);
        if live.len() < 200 || rng.one_in(3) {
            live.push(tx.insert(&set, value).expect("inserts"));
        } else {
            let id = live[rng.below(live.len())];
            tx.update(id, value).expect("updates");
        }
    }
    tx.commit().expect("commits");
}

/// The process that is killed.
#[test]
#[ignore = "the other test of this file runs it in a process of its own"]
fn child() {
    let (Ok(path), Ok(seed)) = (std::env::var(PATH), std::env::var(SEED)) else { return };
    let path = Path::new(&path);
    let mut rng = Rng::new(seed.parse().expect("a number"));
    let store = small().open(path.join("store")).expect("opens");
    let set = store.record_set("a").expect("a set");
    let mut live: Vec<_> = store.view().scan(&set).map(|record| record.expect("reads").id()).collect();
    let repository = Repository::in_directory(path.join("backups"));
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| {
        // Behind what the test harness may have written without ending its line.
        out.write_all(format!("\n{line}\n").as_bytes()).expect("the parent reads");
        out.flush().expect("the parent reads");
    };
    say("ready".to_owned());
    loop {
        change(&store, &mut rng, &mut live);
        if rng.one_in(3) {
            store.collect(None).expect("collects");
        }
        say(format!("state {} {}", store.last_seq().0, digest(&contents(&store).expect("reads"))));
        let added = add(&repository, &store).expect("backs up");
        say(format!("added {} {}", added.id.0, added.seq.0));
        if rng.one_in(3) {
            say("pruning".to_owned());
            let pruned = repository.prune(&Keep::newest(2)).expect("prunes");
            say(format!("pruned {}", pruned.backups.len()));
        }
    }
}

#[test]
fn killed_backups_and_prunings_leave_only_whole_backups() {
    let dir = tempfile::tempdir().expect("a directory");
    let repository = Repository::in_directory(dir.path().join("backups"));
    let mut rng = Rng::new(11);
    let mut states = BTreeMap::new();
    let mut newest = 0;
    let mut backups_seen = 0;
    for round in 0..rounds("TENURE_REPOSITORY_KILLS", 12) {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([&test_name(module_path!(), "child"), "--exact", "--ignored", "--nocapture"])
            .env(PATH, dir.path())
            .env(SEED, rng.number().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "round {round}: it starts");
        let reader = std::thread::spawn(move || lines.collect::<Vec<_>>());
        std::thread::sleep(Duration::from_micros(1_000 + rng.number() % 250_000));
        child.kill().expect("kills");
        let ended = child.wait().expect("ends");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9), "round {round}: it was killed");
        for line in reader.join().expect("reads") {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                // The last line may be cut, and is then followed by no backup.
                ["state", seq, digest] => drop(states.insert(seq.to_owned(), digest.to_owned())),
                ["added", id, _] => newest = id.parse().unwrap_or(newest),
                _ => {}
            }
        }
        if !repository.exists().expect("looks") {
            assert_eq!(newest, 0, "round {round}");
            continue;
        }
        let listed = repository.list().expect("lists");
        assert!(listed.last().map_or(0, |info| info.id.0) >= newest, "round {round}: no acknowledged backup is lost");
        let report = repository.verify(&mut go_on).expect("verifies");
        assert!(report.is_ok(), "round {round}: {report:?}");
        for info in listed.iter().rev().take(3) {
            let state = restored(&repository, At::Id(info.id), dir.path()).expect("restores");
            let Seq(seq) = info.seq;
            assert_eq!(states.get(&seq.to_string()), Some(&digest(&state).to_string()), "round {round}: {info:?}");
            backups_seen += 1;
        }
    }
    assert!(backups_seen > 0, "some backups were made");
    assert!(std::fs::read_dir(dir.path().join("backups/marks")).expect("lists").count() < 100);
    repository.prune(&Keep::newest(1)).expect("prunes: all others are dead");
    assert_eq!(repository.verify(&mut go_on).expect("verifies").unneeded, 0);
}
