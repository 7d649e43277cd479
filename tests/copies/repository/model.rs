//! Random sequences of commits, deletions, collections, snapshots, roll backs, openings, backups that end early, and prunings;
//! every backup that is kept restores to the state that it was made of.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use tenure::repository::{AddOptions, At, BackupId, Keep, Repository};
use tenure::{Point, RecordId, Result, Store};

use crate::common::{Contents, Rng, contents};
use crate::repository::{go_on, restored, rounds, small};

struct World {
    rng: Rng,
    store: Store,
    repository: Repository,
    live: Vec<RecordId>,
    named: Vec<String>,
    states: BTreeMap<BackupId, Contents>,
}

impl World {
    fn commit(&mut self) -> Result<()> {
        let set = self.store.record_set(if self.rng.one_in(3) { "b" } else { "a" })?;
        let mut tx = self.store.begin()?;
        for _ in 0..=self.rng.below(12) {
            let len = if self.rng.one_in(40) { 70_000 } else { self.rng.below(900) };
            let value = self.rng.bytes(len);
            match self.rng.below(3) {
                0 if self.live.len() > 20 => {
                    let id = self.live.swap_remove(self.rng.below(self.live.len()));
                    tx.delete(id)?;
                }
                1 if !self.live.is_empty() => tx.update(self.live[self.rng.below(self.live.len())], value)?,
                _ => self.live.push(tx.insert(&set, value)?),
            }
        }
        tx.commit()?;
        Ok(())
    }

    fn refresh(&mut self) -> Result<()> {
        self.live.clear();
        for set in self.store.record_sets() {
            for record in self.store.view().scan(&set) {
                self.live.push(record?.id());
            }
        }
        Ok(())
    }

    fn back_up(&mut self, number: u64) -> Result<()> {
        // Some end early, at any of their steps.
        let steps = if self.rng.one_in(3) { self.rng.below(12) } else { usize::MAX };
        let mut step = 0;
        let options = AddOptions::new().verify(self.rng.one_in(2));
        let added = self.repository.add(&self.store, &options, &mut |_| {
            step += 1;
            if step > steps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Ok(added) = added {
            assert_eq!(added.seq, self.store.last_seq(), "step {number}");
            self.states.insert(added.id, contents(&self.store)?);
        } else {
            assert!(steps < usize::MAX, "step {number}: {added:?}");
        }
        Ok(())
    }

    fn step(mut self, number: u64, path: &std::path::Path) -> Result<Self> {
        match self.rng.below(24) {
            0..=11 => self.commit()?,
            12..=13 => drop(self.store.collect(None)?),
            14 => drop(self.store.collect(Some(Duration::from_millis(1)))?),
            15 => drop(self.store.save_snapshot()?),
            16 => {
                let name = format!("s{number}");
                self.store.save_named_snapshot(&name)?;
                self.named.push(name);
            }
            17 if !self.named.is_empty() => {
                let name = self.named.swap_remove(self.rng.below(self.named.len()));
                self.store.drop_snapshot(&name)?;
            }
            18 if !self.named.is_empty() => {
                let point = Point::Name(self.named[self.rng.below(self.named.len())].clone());
                self.store = self.store.roll_back_to(&point)?;
                self.refresh()?;
            }
            19 => {
                self.store.close()?;
                self.store = small().open(path)?;
            }
            20 if self.states.len() > 1 => {
                let keep = u64::try_from(1 + self.rng.below(4)).expect("small");
                let pruned = self.repository.prune(&Keep::newest(keep))?;
                for id in pruned.backups {
                    assert!(self.states.remove(&id).is_some(), "{id}");
                }
            }
            _ => self.back_up(number)?,
        }
        Ok(self)
    }
}

fn run(seed: u64) -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let repository = Repository::in_directory(dir.path().join("backups"));
    let (live, named, states) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut world = World { rng: Rng::new(seed), store: small().open(&path)?, repository, live, named, states };
    for number in 0..80 {
        world = world.step(number, &path)?;
    }
    let World { repository, states, .. } = world;
    if states.is_empty() {
        return Ok(());
    }
    let listed: Vec<_> = repository.list()?.into_iter().map(|info| info.id).collect();
    assert_eq!(listed, states.keys().copied().collect::<Vec<_>>());
    let report = repository.verify(&mut go_on)?;
    assert!(report.is_ok(), "{report:?}");
    for (id, state) in states {
        assert_eq!(restored(&repository, At::Id(id), dir.path())?, state, "{id}");
    }
    Ok(())
}

#[test]
fn every_backup_restores_to_the_state_that_it_was_made_of() {
    for seed in 0..rounds("TENURE_REPOSITORY_ROUNDS", 6) {
        if let Err(error) = run(seed) {
            panic!("seed {seed}: {error}");
        }
    }
}
