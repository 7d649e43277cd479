//! Power cuts amid backups and prunings in a directory: after each change of it, whatever was not synced is lost or not.
//! `TENURE_REPOSITORY_CUTS` sets how many states of each are tried.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::backing::Cut;
use crate::id::RecordId;
use crate::options::Options;
use crate::repository::directory::Directory;
use crate::repository::{AddOptions, At, BackupId, Keep, OnProgress, Repository};
use crate::store::Store;

type State = BTreeMap<RecordId, Vec<u8>>;

fn go_on() -> Box<OnProgress<'static>> {
    Box::new(|_| ControlFlow::Continue(()))
}

fn state(store: &Store) -> State {
    let set = store.find_set("a").expect("the set");
    let view = store.view();
    let read = view.scan(&set).map(|record| record.expect("a record"));
    read.map(|record| (record.id(), record.to_vec().expect("a value"))).collect()
}

/// What was told after so many changes of the directory.
enum Told {
    Backup(BackupId),
    /// From now on only the newest so many backups must be there.
    Pruning(usize),
}

/// A store, and the backups of its states.
struct World {
    store: Store,
    states: BTreeMap<BackupId, State>,
    told: Vec<(usize, Told)>,
}

fn restore(repository: &Repository, id: BackupId, wanted: &State, work: &Path) -> Result<(), String> {
    drop(fs::remove_dir_all(work));
    repository.restore(At::Id(id), work, &mut *go_on()).map_err(|error| format!("{id}: {error}"))?;
    let restored = Options::new().background(false).read_only(true).open(work).map_err(|error| error.to_string())?;
    if state(&restored) == *wanted { Ok(()) } else { Err(format!("{id} is another state")) }
}

/// Numbers from a seed.
fn choose(seed: &mut u64) -> impl FnMut(usize) -> usize {
    move |below| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).expect("64 bits") % below
    }
}

impl World {
    fn change(&self, round: u8) {
        let set = self.store.record_set("a").expect("a set");
        let before: Vec<RecordId> = self.store.view().scan(&set).map(|record| record.expect("a record").id()).collect();
        for value in 0..30_u8 {
            self.store.write(|tx| tx.insert(&set, vec![value ^ round; 1_500])).expect("commits");
        }
        for id in before.into_iter().step_by(2) {
            self.store.write(|tx| tx.delete(id)).expect("commits");
        }
        self.store.collect(None).expect("collects");
    }

    /// What a state of the directory must have, after so many changes.
    fn check(&self, image: &Path, changes: usize, work: &Path) -> Result<(), String> {
        let repository = Repository::in_directory(image);
        let failed = |error: crate::error::Error| error.to_string();
        let mut needed = Vec::new();
        for (_, told) in self.told.iter().filter(|(at, _)| *at <= changes) {
            match told {
                Told::Backup(id) => needed.push(*id),
                Told::Pruning(keep) => drop(needed.drain(..needed.len() - keep)),
            }
        }
        if repository.exists().map_err(failed)? {
            let listed: Vec<BackupId> = repository.list().map_err(failed)?.into_iter().map(|info| info.id).collect();
            if let Some(lost) = needed.iter().find(|id| !listed.contains(id)) {
                return Err(format!("{lost} was told, and is not there"));
            }
            let report = repository.verify(&mut *go_on()).map_err(failed)?;
            if !report.is_ok() {
                return Err(format!("{:?}", report.problems));
            }
            for id in listed {
                restore(&repository, id, &self.states[&id], work)?;
            }
        } else if !needed.is_empty() {
            return Err("the repository is gone".to_owned());
        }
        // What is left serves the next backup and pruning.
        let next = repository.add(&self.store, &AddOptions::new().verify(false), &mut *go_on()).map_err(failed)?;
        restore(&repository, next.id, &state(&self.store), work)?;
        repository.prune(&Keep::newest(1)).map_err(failed)?;
        let report = repository.verify(&mut *go_on()).map_err(failed)?;
        if report.is_ok() && report.unneeded == 0 { Ok(()) } else { Err(format!("at the end: {report:?}")) }
    }
}

#[test]
fn a_power_cut_amid_a_backup_or_a_pruning_leaves_whole_backups() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("place");
    fs::create_dir(&place).expect("a directory");
    let directory = Directory::new(&place.join("backups"));
    let made = directory.made();
    let repository = Repository { place: Arc::new(directory) };
    let store = Options::new().background(false).segment_bytes(64 << 10).open(dir.path().join("store")).expect("opens");
    let mut world = World { store, states: BTreeMap::new(), told: Vec::new() };
    for round in 0..4 {
        world.change(round);
        let added = repository.add(&world.store, &AddOptions::new(), &mut *go_on()).expect("backs up");
        world.states.insert(added.id, state(&world.store));
        world.told.push((made.lock().len(), Told::Backup(added.id)));
        if round == 2 {
            world.told.push((made.lock().len(), Told::Pruning(1)));
            repository.prune(&Keep::newest(1)).expect("prunes");
        }
    }
    let wanted = std::env::var("TENURE_REPOSITORY_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let steps = made.lock().clone();
    let mut cut = Cut::in_directory(&place);
    let (mut seed, mut images) = (1, 0);
    for changes in 0..=steps.len() {
        for _ in 0..wanted {
            let image = dir.path().join("image");
            drop(fs::remove_dir_all(&image));
            cut.leave(&image, &mut choose(&mut seed));
            let checked = world.check(&image.join("backups"), changes, &dir.path().join("work"));
            let last = changes.checked_sub(1).map(|last| &steps[last]);
            checked.unwrap_or_else(|why| panic!("after {changes} changes, the last {last:?}: {why}"));
            images += 1;
        }
        if let Some(step) = steps.get(changes) {
            cut.step(step);
        }
    }
    println!("{} changes, {images} states of the directory", steps.len());
}
