//! What an incremental backup costs: after one per cent of 100,000 records changed, at most five per cent of the full one.
//!
//! `TENURE_REPOSITORY_CHURN` adds so many rounds of changes, with the collector at work in the background.

use tenure::repository::{AddOptions, Added, At, BackupId, Repository};
use tenure::{Options, RecordId, Store};

use crate::common::Rng;
use crate::repository::go_on;

const RECORDS: usize = 100_000;

fn add(repository: &Repository, store: &Store) -> Added {
    repository.add(store, &AddOptions::new().verify(false), &mut go_on).expect("backs up")
}

/// Changes one per cent of the records, in commits of ten.
fn change(store: &Store, ids: &[RecordId], rng: &mut Rng) {
    for _ in 0..RECORDS / 1_000 {
        let mut tx = store.begin().expect("begins");
        for _ in 0..10 {
            let id = ids[rng.below(ids.len())];
            tx.update(id, rng.bytes(200)).expect("updates");
        }
        tx.commit().expect("commits");
    }
}

fn check(full: &Added, next: &Added, when: &str) -> String {
    let share = next.written * 1_000 / full.bytes;
    assert!(share <= 50, "{when}: {next:?} after {full:?}");
    format!("{when}: {} of {} bytes, {}.{} %", next.written, full.bytes, share / 10, share % 10)
}

#[test]
fn one_per_cent_of_changes_costs_at_most_five_per_cent() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Options::new().open(dir.path().join("store")).expect("opens");
    let set = store.record_set("a").expect("a set");
    let mut rng = Rng::new(5);
    let mut ids = Vec::new();
    for _ in 0..RECORDS / 1_000 {
        let values: Vec<_> = (0..1_000).map(|_| rng.bytes(200)).collect();
        ids.extend(store.write(|tx| tx.insert_many(&set, &values)).expect("commits"));
    }
    let repository = Repository::in_directory(dir.path().join("backups"));
    let full = add(&repository, &store);
    assert!(full.written >= full.bytes);
    let mut states = vec![crate::common::contents(&store).expect("reads")];
    for round in 0..5 {
        change(&store, &ids, &mut rng);
        let next = add(&repository, &store);
        eprintln!("{}", check(&full, &next, &format!("round {round}")));
        states.push(crate::common::contents(&store).expect("reads"));
    }
    // A collection of everything moves what shares a segment with what was changed; the backup behind it has that.
    let collected = store.collect(None).expect("collects");
    let moved = add(&repository, &store);
    eprintln!("the backup behind a collection ({collected:?}): {} bytes", moved.written);
    states.push(crate::common::contents(&store).expect("reads"));
    change(&store, &ids, &mut rng);
    let next = add(&repository, &store);
    eprintln!("{}", check(&full, &next, "after a collection"));
    states.push(crate::common::contents(&store).expect("reads"));
    // Under changes that go on, the collector writes in the background.
    let longer = crate::repository::rounds("TENURE_REPOSITORY_CHURN", 0);
    let mut written = 0;
    for round in 0..longer {
        change(&store, &ids, &mut rng);
        let next = add(&repository, &store).written;
        eprintln!("round {round}: {next} bytes");
        written += next;
    }
    eprintln!("in {longer} rounds {written} bytes, of {} each", full.bytes);
    assert!(written <= longer * full.bytes / 20);
    let restored = dir.path().join("restored");
    for (number, state) in states.iter().enumerate().skip(5) {
        let id = BackupId(u64::try_from(number).expect("small") + 1);
        repository.restore(At::Id(id), &restored, &mut go_on).expect("restores");
        let back = Options::new().read_only(true).open(&restored).expect("opens");
        assert_eq!(crate::common::contents(&back).expect("reads"), *state, "{id}");
        drop(back);
        std::fs::remove_dir_all(&restored).expect("deletes");
    }
}
