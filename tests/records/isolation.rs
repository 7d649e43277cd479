//! Concurrent transactions: no lost update, no write skew, and no read of uncommitted data.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenure::extract::Extractor;
use tenure::{Durability, Error, Isolation, Options, RecordId, Result, Store, Transaction, TransactionOptions};

fn number(tx: &mut Transaction, id: RecordId) -> Result<i64> {
    let bytes = tx.get(id)?.to_vec()?;
    Ok(std::str::from_utf8(&bytes).unwrap().parse().unwrap())
}

#[test]
fn a_failed_update_if_is_a_read_that_is_validated() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (a, b) = store.write(|tx| Ok::<_, Error>((tx.insert(&set, "0")?, tx.insert(&set, "0")?))).unwrap();
    let before = store.get(a).unwrap().seq();
    store.write(|tx| tx.update(a, "1")).unwrap();
    let mut one = store.begin().unwrap();
    assert!(matches!(one.update_if(a, before, "x"), Err(Error::VersionMismatch { .. })));
    one.update(b, "depends on a").unwrap();
    let mut other = store.begin().unwrap();
    other.get(b).unwrap();
    other.update(a, "depends on b").unwrap();
    let committed = [other.commit_with(Durability::Buffered), one.commit_with(Durability::Buffered)];
    assert!(matches!(committed, [Ok(_), Err(Error::Conflict { .. })]), "{committed:?}");
}

#[test]
fn what_was_not_there_is_a_read_that_is_validated() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (a, b) = store.write(|tx| Ok::<_, Error>((tx.insert(&set, "0")?, tx.insert(&set, "0")?))).unwrap();
    let mut one = store.begin().unwrap();
    one.get(a).unwrap();
    one.delete(b).unwrap();
    let mut other = store.begin().unwrap();
    other.get(b).unwrap();
    other.delete(a).unwrap();
    assert!(one.commit_with(Durability::Buffered).is_ok());
    assert!(matches!(other.commit_with(Durability::Buffered), Err(Error::Conflict { .. })));
}

/// The first read of a closure takes no view, so what it has read may be gone when a view is taken for the second one.
#[test]
fn what_a_closure_reads_holds_in_one_state_or_it_runs_again() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        for swallows in [false, true] {
            let store = Store::in_memory().unwrap();
            let set = store.record_set("a").unwrap();
            let (a, b) = store.write(|tx| Ok::<_, Error>((tx.insert(&set, "0")?, tx.insert(&set, "0")?))).unwrap();
            let (mut runs, mut seen) = (0, Vec::new());
            let options = TransactionOptions::new().isolation(isolation);
            let (told, _) = store
                .write_with(options, |tx| {
                    runs += 1;
                    let first = number(tx, a)?;
                    if runs == 1 {
                        // Both are changed by one commit.
                        store.write(|other| other.update(a, "1").and_then(|()| other.update(b, "1")))?;
                    }
                    tx.insert(&set, "one for each run")?;
                    match number(tx, b) {
                        Ok(second) => seen.push((first, second)),
                        Err(Error::Conflict(_)) if swallows => return Ok("swallowed"),
                        Err(error) => return Err(error),
                    }
                    Ok("read")
                })
                .unwrap();
            assert_eq!((told, runs, &*seen), ("read", 2, &[(1, 1)][..]), "{isolation:?}");
            // What the first run inserted is gone.
            assert_eq!(store.view().len(&set), 3);
            assert_eq!(store.stats().retries, 1);
        }
    }
}

/// Where the caller cannot run it again, a transaction reads from a state of its own from its first read on.
#[test]
fn a_transaction_that_is_begun_reads_one_state_beside_commits() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (a, b) = store.write(|tx| Ok::<_, Error>((tx.insert(&set, "0")?, tx.insert(&set, "0")?))).unwrap();
    let mut tx = store.begin().unwrap();
    assert_eq!(number(&mut tx, a).unwrap(), 0);
    store.write(|other| other.update(a, "1").and_then(|()| other.update(b, "1"))).unwrap();
    assert_eq!((number(&mut tx, b).unwrap(), number(&mut tx, a).unwrap()), (0, 0));
    tx.commit().unwrap();
}

/// Only what the closure has read decides whether it runs again, and a single read never does.
#[test]
fn a_closure_that_reads_one_record_or_an_unchanged_one_runs_once() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let (a, b) = store.write(|tx| Ok::<_, Error>((tx.insert(&set, "0")?, tx.insert(&set, "0")?))).unwrap();
    let (before, mut runs) = (store.view().seq(), 0);
    let (_, seq) = store
        .write_with(TransactionOptions::new(), |tx| {
            runs += 1;
            let first = number(tx, a)?;
            store.write(|other| other.update(a, "1"))?;
            Ok::<_, Error>(first)
        })
        .unwrap();
    // The state that it read: the one before the other commit.
    assert_eq!((runs, seq), (1, before));
    let refused: Result<()> = store.write(|tx| {
        runs += 1;
        number(tx, a)?;
        store.write(|other| other.update(a, "2"))?;
        Err(Error::ReadOnly)
    });
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    let both = store.write(|tx| {
        runs += 1;
        let first = number(tx, a)?;
        store.write(|other| other.update(b, "3"))?;
        // Twice: also from the view that was taken for the second one.
        Ok::<_, Error>((first, number(tx, b)?, number(tx, a)?, tx.get_many(&[a, b]).len()))
    });
    assert_eq!((both.unwrap(), runs), ((2, 3, 2, 2), 3));
}

/// Pairs whose sum never changes, moved by some threads and read by others, in every kind of second read.
#[test]
fn no_closure_sees_half_of_a_commit() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let index = store.index(&set, "all", Extractor::new("all", 1, |_, keys| keys.push("all"))).unwrap();
    let pair = store.write(|tx| Ok::<_, Error>([tx.insert(&set, "50")?, tx.insert(&set, "50")?])).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for amount in [1, -1] {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let moved = store.write(|tx| {
                        let (from, to) = (number(tx, pair[0])?, number(tx, pair[1])?);
                        assert_eq!(from + to, 100);
                        tx.update(pair[0], (from - amount).to_string())?;
                        tx.update(pair[1], (to + amount).to_string())
                    });
                    moved.unwrap();
                }
            });
        }
        let (store, index, set) = (&store, &index, &set);
        let readers = [Isolation::Serializable, Isolation::Snapshot].map(|isolation| {
            scope.spawn(move || {
                for round in 0..3000 {
                    let looked = store.write_with(TransactionOptions::new().isolation(isolation), |tx| {
                        let first = number(tx, pair[round % 2])?;
                        let other = pair[1 - round % 2];
                        match round % 4 {
                            0 => assert_eq!(tx.len(set)?, 2),
                            1 => assert_eq!(tx.scan(set)?.iter().count(), 2),
                            2 => assert_eq!(tx.range::<&str>(index, ..)?.count(), 2),
                            _ => {}
                        }
                        let bytes = tx.get_many(&[other]).remove(0)?.to_vec()?;
                        let second: i64 = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
                        assert_eq!(first + second, 100, "round {round}");
                        Ok::<_, Error>(())
                    });
                    looked.unwrap();
                }
            })
        });
        let ends = readers.map(std::thread::ScopedJoinHandle::join);
        stop.store(true, Ordering::Relaxed);
        for end in ends {
            end.unwrap();
        }
    });
}

/// What a closure has read decides what it writes, so a write of something else must hold in a state that has it.
#[test]
fn a_write_of_another_record_holds_in_the_state_that_was_read() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let store = Store::in_memory().unwrap();
        let set = store.record_set("a").unwrap();
        let pair = store.write(|tx| Ok::<_, Error>([tx.insert(&set, "50")?, tx.insert(&set, "50")?])).unwrap();
        let mut runs = 0;
        let written = store.write_with(TransactionOptions::new().isolation(isolation), |tx| {
            runs += 1;
            let first = number(tx, pair[0])?;
            if runs == 1 {
                store.write(|other| other.update(pair[0], "40").and_then(|()| other.update(pair[1], "60")))?;
            }
            tx.update(pair[1], (100 - first).to_string())
        });
        written.unwrap();
        let now = pair.map(|id| String::from_utf8(store.get(id).unwrap().to_vec().unwrap()).unwrap());
        assert_eq!((runs, now), (2, ["40".to_owned(), "60".to_owned()]), "{isolation:?}");
        // Nor does a closure learn from an error what was never so together.
        let (mut runs, mut told) = (0, Vec::new());
        let refused: Result<()> = store.write(|tx| {
            runs += 1;
            let is_there = number(tx, pair[0])? == 40;
            if runs == 1 {
                store.write(|other| other.update(pair[0], "0").and_then(|()| other.delete(pair[1])))?;
            }
            let deleted = tx.delete(pair[1]);
            told.push((is_there, matches!(deleted, Err(Error::Conflict(_)))));
            Err(Error::ReadOnly)
        });
        assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
        assert_eq!((runs, told), (2, vec![(true, true), (false, false)]));
    }
}

#[test]
fn whether_a_key_is_free_holds_in_the_state_that_was_read() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let store = Store::in_memory().unwrap();
        let set = store.record_set("a").unwrap();
        let whole = Extractor::new("whole", 1, |value, keys| keys.push(value));
        store.unique_index(&set, "by value", whole).unwrap();
        let (a, taken) = store.write(|tx| Ok::<_, Error>((tx.insert(&set, "1")?, tx.insert(&set, "key")?))).unwrap();
        let mut runs = 0;
        let written = store.write_with(TransactionOptions::new().isolation(isolation), |tx| {
            runs += 1;
            let first = number(tx, a)?;
            if runs == 1 {
                store.write(|other| other.update(a, "2").and_then(|()| other.delete(taken)))?;
            }
            tx.insert(&set, "key")?;
            Ok::<_, Error>(first)
        });
        assert_eq!((written.unwrap().0, runs), (2, 2), "{isolation:?}");
    }
}

/// A transaction may write a record several times, and others see only what it leaves.
#[test]
fn nobody_sees_what_a_transaction_writes_in_between() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let by_value =
        store.unique_index(&set, "by value", Extractor::new("whole", 1, |value, keys| keys.push(value))).unwrap();
    let others = store.record_set("others").unwrap();
    let id = store.write(|tx| tx.insert(&set, "0")).unwrap();
    let stop = AtomicBool::new(false);
    let commits = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (store, set, others, stop, commits) = (&store, &set, &others, &stop, &commits);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let bytes = store.get(id).unwrap().to_vec().unwrap();
                assert_ne!(bytes, b"-1");
            }
        });
        for _ in 0..2 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    store.write(|tx| number(tx, id).and_then(|now| tx.update(id, (now + 1).to_string()))).unwrap();
                    commits.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let next = commits.fetch_add(1, Ordering::Relaxed);
                    let update = store.write(|tx| {
                        let now = number(tx, id)?;
                        tx.update(id, format!("between {next}"))?;
                        tx.update(id, (now + 1).to_string())
                    });
                    update.unwrap();
                }
            });
        }
        let writing = scope.spawn(move || {
            for round in 0..60 {
                let rows = vec![[7; 8]; 2_000];
                let written = store.write(|tx| {
                    let now = number(tx, id)?;
                    tx.update(id, "-1")?;
                    tx.insert_many(others, &rows)?;
                    let gone = tx.insert(set, format!("gone {round}"))?;
                    tx.update(id, (now + 1).to_string())?;
                    tx.delete(gone)
                });
                written.unwrap();
                commits.fetch_add(1, Ordering::Relaxed);
            }
        });
        let end = writing.join();
        stop.store(true, Ordering::Relaxed);
        end.unwrap();
    });
    let left = store.get(id).unwrap().to_vec().unwrap();
    assert_eq!(String::from_utf8(left.clone()).unwrap(), commits.load(Ordering::Relaxed).to_string());
    let view = store.view();
    let entries: Vec<_> = by_value.range::<&[u8]>(&view, ..).unwrap().map(|entry| entry.unwrap().id).collect();
    assert_eq!((entries, by_value.get(&view, &left[..]).unwrap()), (vec![id], Some(id)));
    assert_eq!(store.verify_index(&by_value).unwrap(), Vec::<String>::new());
}

/// A conflict of another transaction that a closure commits is an error of the closure, like any other.
#[test]
fn a_conflict_that_a_closure_returns_is_not_its_own_and_is_not_retried() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, "0")).unwrap();
    let mut runs = 0;
    let told = store.write(|tx| {
        runs += 1;
        tx.insert(&set, "of the closure")?;
        let mut inner = store.begin()?;
        inner.get(id)?;
        store.write(|other| other.update(id, "1"))?;
        inner.update(id, "2")?;
        inner.commit()
    });
    assert!(matches!(told, Err(Error::Conflict { .. })), "{told:?}");
    assert_eq!((runs, store.stats().retries), (1, 0));
    assert_eq!(store.view().len(&set), 1, "the transaction of the closure was aborted");
}

#[test]
fn counters_lose_nothing_and_sums_keep_their_bound() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let ids = store.write(|tx| (0..8).map(|_| tx.insert(&set, "1")).collect::<Result<Vec<_>>>()).unwrap();
    let counter = store.write(|tx| tx.insert(&set, "0")).unwrap();
    let rounds = 400;
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (store, ids) = (&store, &ids);
            scope.spawn(move || {
                let mut random = thread * 7919 + 1;
                for _ in 0..rounds {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let pair = usize::try_from(random >> 33).unwrap() % 4 * 2;
                    let side = usize::try_from(random >> 50).unwrap() % 2;
                    store
                        .write(|tx| {
                            let both = [number(tx, ids[pair])?, number(tx, ids[pair + 1])?];
                            // Each takes one away only while the sum allows it.
                            let sum = both[0] + both[1];
                            let step = if sum >= 1 { -1 } else { 1 };
                            tx.update(ids[pair + side], (both[side] + step).to_string())
                        })
                        .unwrap();
                    let add = |tx: &mut Transaction| number(tx, counter).map(|now| (now + 1).to_string());
                    store.write(|tx| add(tx).and_then(|next| tx.update(counter, next))).unwrap();
                }
            });
        }
    });
    let mut tx = store.begin().unwrap();
    assert_eq!(number(&mut tx, counter).unwrap(), 6 * rounds, "a lost update");
    for pair in ids.chunks(2) {
        let sum = number(&mut tx, pair[0]).unwrap() + number(&mut tx, pair[1]).unwrap();
        assert!((0..=2).contains(&sum), "write skew: {sum}");
    }
}

#[test]
fn writes_inside_writes_end() {
    let store = Store::in_memory().unwrap();
    let set = store.record_set("a").unwrap();
    let id = store.write(|tx| tx.insert(&set, "a")).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let result = store.write(|tx| {
            tx.update(id, "outer")?;
            let mut tries = 0;
            store.write(|tx| -> Result<_> {
                tries += 1;
                tx.update(id, "inner")?;
                if tries < 12 {
                    let mut third = store.begin()?;
                    third.update(id, "third")?;
                    third.commit_with(Durability::Buffered)?;
                }
                Ok(())
            })
        });
        // The receiver is gone when the time is over.
        send.send(result.is_err()).unwrap_or_default();
    });
    assert!(receive.recv_timeout(Duration::from_secs(20)).expect("it ends"), "each is the other's conflict");
}

/// Runs `look` again and again beside a writer of tiny segments and many snapshots; gives what was wrong.
fn beside_a_writer(look: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let options = Options::new().segment_bytes(64 << 10).snapshot_log_bytes(64 << 10);
    let store = options.open(&path).unwrap();
    let set = store.record_set("a").unwrap();
    let (stop, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut ids, mut round) = (Vec::new(), 0_usize);
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let body = |tx: &mut Transaction| -> Result<_> {
                    for _ in 0..20 {
                        ids.push(tx.insert(&set, vec![7; 700])?);
                    }
                    for _ in 0..if ids.len() > 600 { 20 } else { 0 } {
                        let id = ids.swap_remove(round * 7919 % ids.len());
                        tx.delete(id)?;
                    }
                    Ok(())
                };
                store.write(body).unwrap();
                if round.is_multiple_of(7) {
                    store.save_snapshot().unwrap();
                }
            }
        });
        let begun = Instant::now();
        let mut problems = Vec::new();
        while begun.elapsed() < Duration::from_secs(3) {
            looks.fetch_add(1, Ordering::Relaxed);
            problems.extend(look(&path));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(looks.load(Ordering::Relaxed) > 3);
        problems
    })
}

#[test]
fn verification_beside_a_writer_finds_nothing_wrong() {
    let problems = beside_a_writer(|path| match tenure::verify::verify(path, &mut |_| {}) {
        Ok(report) if report.is_ok() => None,
        other => Some(format!("{other:?}")),
    });
    assert!(problems.is_empty(), "{} problems, the first: {}", problems.len(), problems[0]);
}

#[test]
fn opening_for_reading_beside_a_writer_finds_a_whole_state() {
    let problems = beside_a_writer(|path| {
        let store = match Options::new().read_only(true).open(path) {
            Ok(store) => store,
            Err(error) => return Some(error.to_string()),
        };
        let set = store.find_set("a")?;
        let view = store.view();
        let read = view.scan(&set).try_fold(0, |count, record| record.map(|_| count + 1));
        (read.as_ref().ok() != Some(&view.len(&set))).then(|| format!("{read:?} of {}", view.len(&set)))
    });
    assert!(problems.is_empty(), "{} problems, the first: {}", problems.len(), problems[0]);
}
