//! The bucket at every prefix of its log: it opens, and no acknowledged commit is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tenure::backing::{Backing, FaultBacking, Memory};
use tenure::remote::{Bucket, LogPoint, Remote};
use tenure::{Durability, Error, Options, RecordId, RecordSet, Store};

use crate::common::Rng;
use crate::flaky::Flaky;
use crate::{bucket, contents, quick, rounds, small};

type State = BTreeMap<RecordId, Vec<u8>>;

/// What was found at the prefixes.
#[derive(Debug, Default)]
struct Found {
    openings: u64,
    refused: u64,
    missing: u64,
    errors: Vec<String>,
}

/// A random run over one bucket, with kills and closings.
struct Run {
    objects: Arc<Flaky>,
    bucket: Bucket,
    local: FaultBacking,
    rng: Rng,
    /// The state after each commit.
    states: Vec<State>,
    /// Points at which a state was acknowledged, and its number.
    acknowledged: Vec<(LogPoint, usize)>,
    epoch: u64,
    /// The bucket gets nothing until the end.
    is_late: bool,
}

fn options() -> Options {
    small().durability(Durability::Buffered).collector(false)
}

impl Run {
    fn new(seed: u64, is_late: bool) -> Self {
        let objects = Flaky::new(seed);
        let bucket = bucket(&objects.store());
        let (local, rng) = (FaultBacking::new(), Rng::new(seed));
        Self { objects, bucket, local, rng, states: vec![State::new()], acknowledged: Vec::new(), epoch: 0, is_late }
    }

    fn open(&mut self) -> (Arc<Remote>, Store) {
        let wait = if self.is_late { Duration::from_mins(1) } else { Duration::ZERO };
        let how = quick().events_max(1).close_wait(wait);
        let remote = Arc::new(Remote::new(Arc::new(self.local.clone()), self.bucket.clone(), how));
        let store = options().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).expect("opens");
        self.epoch += 1;
        (remote, store)
    }

    /// Waits for the bucket, and notes that it has the newest state.
    fn acknowledge(&mut self, remote: &Remote) {
        let shipping = remote.shipping().expect("it is open");
        shipping.wait(shipping.noted()).expect("the bucket has it");
        let folder = format!("/log/{:016}/", self.epoch);
        let logs = self.objects.names().into_iter().filter_map(|name| {
            let (_, number) = name.split_once(&folder)?;
            number.parse::<u64>().ok()
        });
        let at = LogPoint { epoch: self.epoch, number: logs.max().unwrap_or_default() };
        self.acknowledged.push((at, self.states.len() - 1));
    }

    /// Runs until the local disk dies or the steps are done. Says whether it died.
    fn work(&mut self, remote: &Remote, store: &Store, steps: usize) -> bool {
        let sets: Vec<RecordSet> = match ["a", "b"].iter().map(|name| store.record_set(name)).collect() {
            Ok(sets) => sets,
            Err(_) => return true,
        };
        for _ in 0..steps {
            let what = self.rng.below(16);
            let result = match what {
                0 => store.save_snapshot().map(drop),
                1 => store.collect(None).map(drop),
                2 => store.mark("here").map(drop),
                _ => self.commit(store, &sets),
            };
            // The state that was tried last may be there or not.
            if result.is_err() {
                return true;
            }
            if what == 3 && !self.is_late && store.sync().is_ok() && !self.objects.is_down() {
                self.acknowledge(remote);
            }
        }
        false
    }

    fn commit(&mut self, store: &Store, sets: &[RecordSet]) -> tenure::Result<()> {
        let mut state = self.states.last().expect("a state").clone();
        let mut transaction = store.begin()?;
        for _ in 0..=self.rng.below(4) {
            let victim = state.keys().nth(self.rng.below(state.len().max(1))).copied();
            let size = [10, 300, 3000][self.rng.below(3)];
            let value = {
                let len = self.rng.below(size);
                self.rng.bytes(len)
            };
            match (victim, self.rng.below(3)) {
                (Some(id), 0) => {
                    transaction.update(id, &*value)?;
                    state.insert(id, value);
                }
                (Some(id), 1) => {
                    transaction.delete(id)?;
                    state.remove(&id);
                }
                _ => {
                    let id = transaction.insert(&sets[self.rng.below(2)], &*value)?;
                    state.insert(id, value);
                }
            }
        }
        self.states.push(state);
        let sync = self.rng.one_in(2);
        transaction.commit_with(if sync { Durability::Sync } else { Durability::Buffered })?;
        Ok(())
    }

    fn go(&mut self) {
        let lives = if self.is_late { 1 } else { 2 + self.rng.below(3) };
        for _ in 0..lives {
            let (remote, store) = self.open();
            // What was recovered is one of the states that were tried; the others are none any more.
            let state = contents(&store);
            assert!(self.states.contains(&state), "recovered a state that never was");
            self.states.push(state);
            if self.is_late {
                self.objects.set_down(true);
            } else {
                self.acknowledge(&remote);
            }
            let dies = !self.is_late && self.rng.one_in(2);
            if dies {
                let after = u64::try_from(self.rng.below(120)).expect("small");
                self.local.crash_at(self.local.steps() + after);
            }
            let steps = self.rng.below(60);
            let mut is_dead = self.work(&remote, &store, steps);
            if dies && !is_dead {
                // The bucket stays behind before the end.
                self.objects.set_down(true);
                let more = self.rng.below(20);
                is_dead = self.work(&remote, &store, more);
            }
            if is_dead || dies {
                self.objects.set_down(true);
                let image = self.local.kill_image();
                drop((store, remote));
                self.local = image;
                self.objects.set_down(false);
            } else {
                self.objects.set_down(false);
                drop((store, remote));
            }
        }
    }

    /// Opens the bucket at each of its points.
    fn check(&self, found: &mut Found) {
        let sums: Vec<u32> = self.states.iter().map(sum).collect();
        for epoch in 1..=self.epoch {
            let folder = format!("/log/{epoch:016}/");
            let last = self.objects.names().iter().filter(|name| name.contains(&folder)).count();
            for number in 0..=u64::try_from(last).expect("small") {
                let at = LogPoint { epoch, number };
                let before = self.acknowledged.iter().filter(|(point, _)| *point <= at).map(|(_, state)| *state).max();
                for deleted in [false, true] {
                    let image = Memory::new();
                    let restored = if deleted {
                        self.bucket.restore_with_deleted(Some(at), &image)
                    } else {
                        self.bucket.restore(Some(at), &image)
                    };
                    if let Err(error) = restored {
                        // The place of the seal, or before the first manifest.
                        let is_before = before.is_none() && matches!(error, Error::NotAStore { .. });
                        assert!(is_before || number == u64::try_from(last).expect("small"), "{at}: {error}");
                        continue;
                    }
                    found.openings += 1;
                    match options().open_backing(Arc::new(image)) {
                        Err(error) => {
                            found.refused += 1;
                            found.errors.push(format!("{at}, with deleted files: {deleted}: {error}"));
                        }
                        Ok(store) => {
                            let state = sum(&contents(&store));
                            let newest = before.unwrap_or_default();
                            if !sums.get(newest..).unwrap_or_default().contains(&state) {
                                found.missing += 1;
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sum(state: &State) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (id, value) in state {
        hasher.update(id.to_string().as_bytes());
        hasher.update(&value.len().to_le_bytes());
        hasher.update(value);
    }
    hasher.finalize()
}

#[test]
fn every_prefix_opens_and_has_what_was_acknowledged() {
    let (wanted, first) = (rounds("TENURE_SHIP_OPENINGS", 1_500), rounds("TENURE_SHIP_SEED", 1));
    let mut found = Found::default();
    let mut seed = first;
    let begun = std::time::Instant::now();
    while found.openings < wanted {
        let mut run = Run::new(seed, false);
        run.go();
        run.check(&mut found);
        assert_eq!((found.refused, found.missing), (0, 0), "seed {seed}: {found:?}");
        seed += 1;
    }
    println!("{} openings in {} runs, {:?}", found.openings, seed - first, begun.elapsed());
}

#[test]
fn a_commit_that_is_missing_is_found() {
    let mut found = Found::default();
    for seed in 1..=3 {
        let mut run = Run::new(seed, false);
        run.go();
        // As if each commit had been acknowledged before its log object was stored.
        for (at, _) in &mut run.acknowledged {
            at.number = at.number.saturating_sub(2);
        }
        run.check(&mut found);
    }
    assert!(found.missing > 0 && found.refused == 0, "{found:?}");
}

#[cfg(feature = "planted")]
#[test]
fn a_manifest_that_overtakes_what_it_needs_is_found() {
    use tenure::planted::{Fault, plant};
    let mut found = Found::default();
    for seed in 1..=6 {
        plant(Some(Fault::ManifestOvertakes));
        let mut run = Run::new(seed, true);
        run.go();
        plant(None);
        run.check(&mut found);
    }
    println!("{} of {} openings refused, {} with a commit missing", found.refused, found.openings, found.missing);
    assert!(found.refused + found.missing > 0, "{found:?}");
}
